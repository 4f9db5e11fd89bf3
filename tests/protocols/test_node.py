"""What a node takes from one plan into the next of the lives in which it met its peers."""

from specs.protocols import node
from specs.protocols.events import PeerLost
from specs.protocols.nouns import LossReason
from tests.protocols.switch_cluster import a_plan
from tests.protocols.world import node_plans

FIRST, NEXT = a_plan(1, "xyz").name, a_plan(2, "xyz").name
PLAN = node_plans({"x": "ab", "y": "ab", "z": "ab"}, [], None, None, running={"p": [("x", "a"), ("y", "b")]})[0]


def under_first(**lives):
    now, _ = node.adopt(None, FIRST, PLAN)
    for peer, life in lives.items():
        now, lost = node.meet(now, peer, life)
        assert lost is None
    return now


def test_another_life_is_a_loss_under_the_next_plan_too():
    now, _ = node.adopt(under_first(y="1"), NEXT, PLAN)
    assert node.meet(now, "y", "1") == (now, None)
    now, lost = node.meet(now, "y", "2")
    assert lost == PeerLost("y", LossReason.RESTARTED)
    assert node.meet(now, "y", "2") == (now, None)


def test_whoever_is_in_no_pipeline_that_runs_is_met_anew_under_the_next_plan():
    """It is taken back in another life, and others may adopt that plan before they say so."""
    now, _ = node.adopt(under_first(y="1", z="1"), NEXT, PLAN)
    now, lost = node.meet(now, "z", "2")
    assert lost is None
    _, lost = node.meet(now, "z", "3")
    assert lost == PeerLost("z", LossReason.RESTARTED)
