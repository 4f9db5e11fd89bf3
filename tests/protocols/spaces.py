"""Small plans to explore, and the exploration of one."""

import attrs

from specs.plan import Continuity
from specs.protocols.explore import explore
from tests.protocols.node_cluster import Cluster
from tests.protocols.properties import always, is_complete, is_good
from tests.protocols.world import node_plans

R, D, C = Continuity.RECOMPUTE, Continuity.DRAIN, Continuity.COPY

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


def swap():
    """Two nodes with room for one blob each exchange blobs through n1, which has room for two."""
    plans = node_plans({"n0": "a", "n1": "b"}, [("a", "n0", "n1"), ("b", "n1", "n0")], releases=[("a", "n0")])
    later = {0: 0, 1: 3}  # the release, step 2, comes between the transfers
    return tuple(
        attrs.evolve(plan, passages=tuple(attrs.evolve(each, step=later[each.step]) for each in plan.passages))
        for plan in plans
    )


def moving(continuity, transfers=TWO[1]):
    """What runs on n0 moves to n1, and n0 then gives up what it held."""
    runs = {"old": [("n0", "ab")]}
    releases = [("a", "n0"), ("b", "n0")]
    return node_plans(TWO[0], transfers, {"new": [("n1", "ab")]}, [("old", "new", continuity)], releases, running=runs)


def shrinking(continuity):
    """A pipeline that runs on both nodes makes room for one on n1 alone."""
    held = {"n0": "a", "n1": "b"}
    runs = {"old": [("n0", "a"), ("n1", "b")]}
    return node_plans(
        held, [("a", "n0", "n1")], {"new": [("n1", "ab")]}, [("old", "new", continuity)], [("a", "n0")], running=runs
    )


def chained(continuity):
    """What runs on n0 is superseded on n1, and that on n2."""
    return node_plans(
        {"n0": "a", "n1": "", "n2": ""},
        [("a", "n0", "n1"), ("a", "n0", "n2")],
        {"next": [("n1", "a")], "last": [("n2", "a")]},
        [("old", "next", continuity), ("next", "last", continuity)],
        running={"old": [("n0", "a")]},
    )


def kept():
    """A pipeline runs on n0 and n1 and takes over the requests of another; meanwhile n1 gets what n0 has."""
    return node_plans(
        {"n0": "a", "n1": "b"},
        [("a", "n0", "n1")],
        switches=[("other", "kept", C)],
        running={"kept": [("n0", "a"), ("n1", "b")], "other": [("n1", "b")]},
    )


def run(plans, faults, sometimes=(), states_max=60_000, carried=None):
    cluster = Cluster(plans, faults, carried)
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
