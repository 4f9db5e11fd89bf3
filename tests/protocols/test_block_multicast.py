"""Block multicast, explored: every order of events of small clusters, with faults; and bugs that must be found."""

import pytest

from specs.plan import Continuity
from specs.protocols.explore import explore
from specs.protocols.nouns import Cannot, Ending, LossReason
from tests.protocols.node_cluster import Cluster
from tests.protocols.properties import always, is_complete, is_good
from tests.protocols.world import Faults, node_plans

# One source and two receivers, which pass on to each other what they got.
THREE = {"n0": "ab", "n1": "", "n2": ""}
RELAY = [("a", "n0", "n1"), ("b", "n0", "n2"), ("a", "n1", "n2"), ("b", "n2", "n1")]
HALVES = [("a", "n0", "n1"), ("b", "n0", "n2")]
CHAIN = ({"n0": "a", "n1": "", "n2": "", "n3": ""}, [("a", "n0", "n1"), ("a", "n1", "n2"), ("a", "n2", "n3")])
EARLY = {"early": [("n1", "a"), ("n2", "b")]}
EARLY_AND_LOCAL = {**EARLY, "local": [("n1", "ab")]}
# A source that serves together with its one receiver, and then gives up what it held.
TWO = ({"n0": "ab", "n1": ""}, [("a", "n0", "n1"), ("b", "n0", "n1")])
SHARED = {"shared": [("n0", "a"), ("n1", "b")], "local": [("n1", "ab")]}


def two(continuity):
    return node_plans(*TWO, SHARED, [("shared", "local", continuity)], [("a", "n0")])


def relay(pipelines=None, switches=None):
    return node_plans(THREE, RELAY, pipelines, switches)


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


R, D = Continuity.RECOMPUTE, Continuity.DRAIN
# name: plans, faults, what must be reachable besides completion, exact number of states
SPACES = {
    "calm": (relay(), Faults(), [], 308),
    "a report lost, one late, one repeated": (relay(), Faults(losses=1, lates=1, repeats=1), [], 0),
    "a transfer breaks": (relay(), Faults(breaks=1, lates=1), [], 0),
    "a block comes corrupt": (relay(), Faults(corruptions=1, losses=1), [], 0),
    "a peer that lies": (
        node_plans({"n0": "a", "n1": "", "n2": ""}, [("a", "n0", "n1"), ("a", "n1", "n2")], tries_max=2),
        Faults(corruptions=2, losses=1),
        [liar],
        0,
    ),
    "a node dies": (relay(), Faults(deaths=1), [others_complete], 6452),
    "a node dies and a report is lost": (relay(), Faults(deaths=1, losses=1), [others_complete], 0),
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
        0,
    ),
    "early opening, a wrong token or no room": (
        node_plans(THREE, HALVES, EARLY),
        Faults(wrong_tokens=1, bad_builds=1),
        [closed_by(Ending.WRONG_TOKEN), closed_by(Ending.UNABLE)],
        224,
    ),
    "switch": (relay(EARLY_AND_LOCAL, [("early", "local", R)]), Faults(), [opened_then_superseded, never_opened], 5436),
    "switch by recomputing, a bad network": (two(R), Faults(losses=1, lates=1, repeats=1), [], 0),
    "switch by draining, a bad network": (two(D), Faults(losses=1, lates=1, repeats=1), [drained_and_released], 0),
    "switch by draining, a death or a suspicion": (
        two(D),
        Faults(deaths=1, suspicions=1),
        [drained_and_released, mutual],
        0,
    ),
}


def run(plans, faults, sometimes=(), states_max=60_000):
    cluster = Cluster(plans, faults)
    return explore(
        [cluster.start()],
        cluster.moves,
        always=always(cluster),
        sometimes={
            "complete": lambda world: is_complete(cluster, world),
            **{each.__qualname__ + str(index): each for index, each in enumerate(sometimes)},
        },
        good=lambda world: is_good(cluster, world),
        states_max=states_max,
    )


@pytest.mark.parametrize("space", SPACES)
def test_every_order_of_events(space):
    plans, faults, sometimes, states = SPACES[space]
    found = run(plans, faults, sometimes)
    assert found.broken is None, str(found.broken)
    assert found.stuck is None, str(found.stuck)
    assert found.endless is None, str(found.endless)
    assert found.unwitnessed == ()
    assert found.states == states
