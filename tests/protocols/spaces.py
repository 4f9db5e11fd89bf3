"""Small plans to explore, and the exploration of one."""

import attrs

from specs.plan import Continuity, StepId
from specs.protocols.explore import explore
from specs.protocols.nouns import Sizing
from tests.protocols.node_cluster import Cluster
from tests.protocols.properties import always, is_complete, is_good
from tests.protocols.world import node_plans, reordered

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
    return reordered(plans, 0, 2, 1)  # the release comes between the transfers


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


def squeezed(continuity):
    """What runs on n0 with two slots gives one up, and its successor opens beside it with one, which n1 leads.

    Once the old one has closed, the new one has two.
    """
    plans = node_plans(
        {"n0": "ab", "n1": ""},
        [("b", "n0", "n1")],
        {"new": [("n1", "b"), ("n0", "a")]},
        [("old", "new", continuity)],
        [("b", "n0")],
        running={"old": [("n0", "ab")]},
        slots={"old": 2},
        resizes=[("old", 1), ("new", 2)],
    )
    return reordered(plans, 0, 4, 1, 2, 3, 5)  # the shrink comes before the activation


def joined(continuity):
    """What runs on both nodes, led by n1, gives a slot up, so that n0 has room for a blob and for a stage of its own.

    That takes over, and then has two slots.
    """
    plans = node_plans(
        {"n0": "a", "n1": "b"},
        [("b", "n1", "n0")],
        {"new": [("n0", "ab")]},
        [("old", "new", continuity)],
        [("b", "n1")],
        running={"old": [("n1", "b"), ("n0", "a")]},
        slots={"old": 2},
        resizes=[("old", 1), ("new", 2)],
    )
    return reordered(plans, 4, 0, 1, 2, 3, 5)  # the shrink comes first


def grown():
    """What is kept on both nodes gets the room of another one, which it takes the requests of, and gives it back."""
    return node_plans(
        {"n0": "a", "n1": "b"},
        [],
        switches=[("other", "kept", C)],
        running={"kept": [("n0", "a"), ("n1", "b")], "other": [("n1", "b")]},
        resizes=[("kept", 2), ("kept", 1)],
    )


def taken_over(*order):
    """What is kept with two slots takes over from another pipeline (step 1), and gives one up (2) for a blob (0)."""
    plans = node_plans(
        {"n0": "ab", "n1": "b"},
        [("a", "n0", "n1")],
        switches=[("other", "kept", C)],
        running={"kept": [("n1", "b")], "other": [("n0", "a")]},
        slots={"kept": 2},
        resizes=[("kept", 1)],
    )
    return reordered(plans, *order)


def grown_beside():
    """What is kept on n1 gets the room of a pipeline beside it, which another node takes over."""
    return node_plans(
        {"n0": "a", "n1": "ab"},
        [],
        switches=[("other", "next", D)],
        running={"kept": [("n1", "a")], "other": [("n1", "b")], "next": [("n0", "a")]},
        resizes=[("kept", 2)],
    )


def begun_small():
    """A pipeline opens with one slot and then has two."""
    return node_plans({"n0": "a", "n1": ""}, [("a", "n0", "n1")], {"new": [("n1", "a")]}, resizes=[("new", 2)])


def took_others(slots):
    """Of what runs on both nodes the plan says how many slots it has; it may have others, until a blob comes to n1."""
    runs = {"old": [("n0", "a"), ("n1", "b")]}
    plans = node_plans({"n0": "ab", "n1": "b"}, [("a", "n0", "n1")], running=runs, slots={"old": slots})
    before = Sizing(step=StepId(-2), pipeline="old", slots=slots, is_shrink=slots < 3)
    return tuple(attrs.evolve(plan, sizings=(before,)) for plan in plans)


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
