"""Block multicast: every order of events of small clusters, with faults; and single steps of one node."""

import attrs
import pytest

from specs.protocols import block_multicast, tell
from specs.protocols import events as ev
from specs.protocols.facts import is_settled, lacks
from specs.protocols.nouns import Cannot, Copy, Ending, LossReason, Report
from tests.protocols.spaces import CHAIN, EARLY, EARLY_AND_LOCAL, HALVES, THREE, D, R, relay, run, swap, two
from tests.protocols.verdicts import all_is_well
from tests.protocols.world import Faults, node_plans


def early_before_all(world):
    """A pipeline serves while no receiver holds everything."""
    return "early" in world.nodes[1].opened and all(len(state.held) == 1 for state in world.nodes[1:])


def opened_then_superseded(world):
    return world.nodes[1].opened == {"early", "local"} and "early" in world.ended


def never_opened(world):
    return world.nodes[1].opened == {"local"} and "early" in world.ended


def blamed_from_afar(world):
    """n3 lacks a blob because of n0, with which it has no transfer, though it has not lost n2."""
    return Cannot(step=2, because="n0") in world.nodes[3].refused


def others_complete(world):
    """One receiver died and the other holds everything."""
    return 2 in world.dead and len(world.nodes[1].held) == 2


def mutual(world):
    return any(loss.reason is LossReason.MUTUAL for state in world.nodes for loss in state.lost)


def drained_and_released(world):
    return "shared" in world.nodes[0].drained and world.nodes[0].released


def closed_by(ending):
    return lambda world: any(each.ending is ending for state in world.nodes for each in state.spoilt)


def liar(world):
    return any(loss.reason is LossReason.CORRUPT for state in world.nodes for loss in state.lost)


# name: plans, faults, what must be reachable besides completion, exact number of states
SPACES = {
    "calm": (relay(), Faults(), [], 308),
    "a report lost, one late, one repeated": (relay(), Faults(losses=1, lates=1, repeats=1), [], 31750),
    "a transfer breaks": (relay(), Faults(breaks=1, lates=1), [], 19471),
    "a block comes corrupt": (relay(), Faults(corruptions=1, losses=1), [], 3171),
    "a peer that lies": (
        node_plans({"n0": "a", "n1": "", "n2": ""}, [("a", "n0", "n1"), ("a", "n1", "n2")], tries_max=2),
        Faults(corruptions=2, losses=1),
        [liar],
        358,
    ),
    "a transfer that counts on a release": (swap(), Faults(losses=1, breaks=1, deaths=1), [], 963),
    "a node dies": (relay(), Faults(deaths=1), [others_complete], 6452),
    "a node dies and a report is lost": (relay(), Faults(deaths=1, losses=1), [others_complete], 15180),
    "a node of a chain dies": (node_plans(*CHAIN), Faults(deaths=1), [blamed_from_afar], 6620),
    "a node that lives is suspected": (relay(), Faults(suspicions=1), [mutual], 8920),
    "early opening": (relay(EARLY), Faults(), [early_before_all], 1972),
    "early opening, a report lost": (relay(EARLY), Faults(losses=1), [early_before_all], 6271),
    "early opening, a bad network": (
        node_plans(THREE, HALVES, EARLY),
        Faults(losses=1, lates=1, repeats=1),
        [early_before_all],
        5075,
    ),
    "early opening, a death or a suspicion": (
        node_plans(THREE, HALVES, EARLY),
        Faults(deaths=1, suspicions=1),
        [early_before_all, mutual],
        35020,
    ),
    "early opening, a wrong token or no room": (
        node_plans(THREE, HALVES, EARLY),
        Faults(wrong_tokens=1, bad_builds=1),
        [closed_by(Ending.WRONG_TOKEN), closed_by(Ending.UNABLE)],
        224,
    ),
    "switch": (relay(EARLY_AND_LOCAL, [("early", "local", R)]), Faults(), [opened_then_superseded, never_opened], 5636),
    "switch by recomputing, a bad network": (two(R), Faults(losses=1, lates=1, repeats=1), [], 7962),
    "switch by draining, a bad network": (two(D), Faults(losses=1, lates=1, repeats=1), [drained_and_released], 8296),
    "switch by draining, a death or a suspicion": (
        two(D),
        Faults(deaths=1, suspicions=1),
        [drained_and_released, mutual],
        4139,
    ),
}


@pytest.mark.parametrize("space", SPACES)
def test_every_order_of_events(space):
    plans, faults, sometimes, states = SPACES[space]
    all_is_well(run(plans, faults, sometimes), states)


@pytest.mark.slow
def test_every_order_of_events_of_a_relay_with_a_switch_and_a_death():
    plans = relay(EARLY_AND_LOCAL, [("early", "local", R)])
    found = run(plans, Faults(deaths=1), [opened_then_superseded], states_max=200_000)
    assert found.is_right, (found.broken, found.stuck, found.endless)
    assert found.states == 165_901


# --- one node ---------------------------------------------------------------------------------------------------------


def test_the_receiver_of_a_chain_names_what_it_lacks_and_the_node_to_blame():
    plans = node_plans(*CHAIN)
    state, actions = block_multicast.begin(plans[3])
    assert ev.Receive(2) in actions
    assert ev.Tell("n2", Report(ready=(2,))) in actions
    state, actions = block_multicast.step(
        plans[3], state, ev.Heard("n2", Report(cannot=(Cannot(step=2, because="n0"),)))
    )
    assert actions == (ev.Abandon(2), ev.Tell("n2", Report()))
    assert tell.reports(plans[3], state)["n2"] == Report()
    state, actions = block_multicast.step(plans[3], state, ev.ReceiveFailed(2))
    (lack,) = lacks(plans[3], state)
    assert (lack.copy, lack.because) == (Copy(blob="a", place="n3"), "n0")
    assert is_settled(plans[3], state)


def test_what_arrives_after_all_from_a_lost_node_counts():
    plans = node_plans(*CHAIN)
    state, _ = block_multicast.begin(plans[1])
    state, actions = block_multicast.step(plans[1], state, ev.PeerLost("n0", LossReason.STALLED))
    assert ev.Abandon(0) in actions
    state, actions = block_multicast.step(plans[1], state, ev.Arrived(0))
    assert state.held == {Copy(blob="a", place="n1")}
    assert lacks(plans[1], state) == ()


@pytest.mark.parametrize(
    "event",
    [
        ev.Arrived(1),
        ev.Corrupt(1),
        ev.ReceiveFailed(77),
        ev.SendDone(0),
        ev.SendFailed(0),
        ev.PeerLost("n1", LossReason.SILENT),
        ev.PeerLost("stranger", LossReason.SILENT),
        ev.StageBuilt("early"),
        ev.StageFailed("early"),
        ev.Proved("early", True),
        ev.Drained("early"),
        ev.Heard("stranger", Report(closed=("early",))),
        # A peer may only speak of its own transfers, stages and pipelines.
        ev.Heard("n0", Report(ready=(2,), over=(2,), cannot=(Cannot(step=3, because="n0"),), built=("early",))),
        ev.Heard("n2", Report(opened=("early",), closed=("early",), unable=("local",), lost=("n0",))),
        ev.Heard("n2", Report(ready=(99,), over=(3,), cannot=(Cannot(step=99, because="n0"),), built=("nothing",))),
    ],
    ids=repr,
)
def test_an_event_that_does_not_fit_changes_nothing(event):
    plan = relay(EARLY_AND_LOCAL)[1]
    state, _ = block_multicast.begin(plan)
    assert block_multicast.step(plan, state, event) == (state, ())


def test_a_lost_node_is_ignored_for_ever_but_told_so_on_every_tick():
    plan = relay()[1]
    state, _ = block_multicast.begin(plan)
    state, actions = block_multicast.step(plan, state, ev.PeerLost("n2", LossReason.SILENT))
    assert ev.Tell("n2", Report(lost=("n2",))) in actions
    after, actions = block_multicast.step(plan, state, ev.Heard("n2", Report(ready=(2,))))
    assert (after, actions) == (state, ())
    _, actions = block_multicast.step(plan, state, ev.Tick())
    assert [each.peer for each in actions] == ["n0", "n2"]


def test_a_transfer_that_fails_too_often_counts_its_sender_as_lost():
    plan = node_plans(*CHAIN, tries_max=3)[1]
    state, _ = block_multicast.begin(plan)
    for _ in range(2):
        state, actions = block_multicast.step(plan, state, ev.Corrupt(0))
        assert ev.Receive(0) in actions
        assert not state.lost
    state, actions = block_multicast.step(plan, state, ev.Corrupt(0))
    assert [(each.node, each.reason) for each in state.lost] == [("n0", LossReason.CORRUPT)]
    assert ev.Receive(0) not in actions
    assert ev.Tell("n2", Report(cannot=(Cannot(step=1, because="n0"),), lost=("n0",))) in actions


def test_a_copy_within_a_node_follows_the_same_rules():
    (plan,) = node_plans({"n0": "a"}, [("a", "n0", "n0")])
    upper = Copy(blob="a", place="n0/gpu1")
    plan = attrs.evolve(plan, passages=(attrs.evolve(plan.passages[0], destination=upper),))
    state, actions = block_multicast.begin(plan)
    assert actions == (ev.Receive(0), ev.Send(0))
    state, _ = block_multicast.step(plan, state, ev.Arrived(0))
    state, _ = block_multicast.step(plan, state, ev.SendDone(0))
    assert upper in state.held
    assert is_settled(plan, state)
    state, _ = block_multicast.begin(plan)
    for _ in range(plan.tries_max):
        state, actions = block_multicast.step(plan, state, ev.SendFailed(0))
        state, actions = block_multicast.step(plan, state, ev.Corrupt(0))
    assert [lack.because for lack in lacks(plan, state)] == ["n0"]
    assert not state.lost
