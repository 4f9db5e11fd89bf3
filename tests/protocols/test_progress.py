"""How far a node is: at rest nothing is pending, and what is complete is what the plan promised."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from specs.plan import Continuity
from specs.protocols.progress import Count, progress
from tests.protocols.node_cluster import Cluster
from tests.protocols.properties import is_complete
from tests.protocols.spaces import (
    C,
    D,
    chained,
    grown,
    grown_beside,
    joined,
    kept,
    moving,
    shrinking,
    squeezed,
    taken_over,
)
from tests.protocols.test_random_schedules import SHAPES, a_cluster, run
from tests.protocols.world import Faults

PLANS = [plans(how) for plans in (moving, shrinking, chained) for how in Continuity]
PLANS += [kept(), squeezed(C), squeezed(D), joined(C), grown(), grown_beside()]
PLANS += [taken_over(1, 2, 0), taken_over(2, 1, 0)]


def phases(cluster, world):
    """The phase of each node that lives."""
    return {
        plan.node: progress(plan, state).phase
        for number, (plan, state) in enumerate(zip(cluster.plans, world.nodes, strict=True))
        if number not in world.dead
    }


@settings(max_examples=10, deadline=None, derandomize=True)
@given(shape=SHAPES, seed=st.integers(0, 2**32))
def test_whoever_has_all_of_a_multicast_is_complete(shape, seed):
    cluster = a_cluster(*shape, Faults(losses=2, breaks=1, corruptions=1))
    assert "complete" not in phases(cluster, cluster.start()).values()
    world, labels = run(cluster, random.Random(seed))
    assert is_complete(cluster, world), labels
    assert set(phases(cluster, world).values()) == {"complete"}, labels


@settings(max_examples=15, deadline=None, derandomize=True)
@given(shape=SHAPES, seed=st.integers(0, 2**32), deaths=st.integers(0, 2), suspicions=st.integers(0, 1))
def test_at_rest_nothing_is_pending(shape, seed, deaths, suspicions):
    cluster = a_cluster(*shape, Faults(deaths=deaths, suspicions=suspicions, breaks=1, wrong_tokens=1, bad_builds=1))
    world, labels = run(cluster, random.Random(seed))
    assert set(phases(cluster, world).values()) <= {"complete", "incomplete"}, (phases(cluster, world), labels)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    plans=st.sampled_from(PLANS),
    seed=st.integers(0, 2**32),
    faults=st.sampled_from([Faults(), Faults(deaths=1), Faults(suspicions=1), Faults(wrong_tokens=1, bad_builds=1)]),
)
def test_changes_of_what_runs_end_too(plans, seed, faults):
    cluster = Cluster(plans, faults)
    world, labels = run(cluster, random.Random(seed))
    found = phases(cluster, world)
    assert set(found.values()) <= {"complete", "incomplete"}, (found, labels)
    if faults == Faults():
        assert set(found.values()) == {"complete"}, labels


def test_a_transfer_to_a_lost_node_is_no_loss_here():
    cluster = a_cluster(4, 1, 3, Faults(deaths=1))
    world, chance = cluster.start(), random.Random(0)
    world = next(move.state for move in cluster.moves(world) if move.is_fault)
    while calm := [move for move in cluster.moves(world) if not move.is_fault]:
        world = chance.choice(calm).state
    for number in {0, 1, 2, 3} - world.dead:
        found = progress(cluster.plans[number], world.nodes[number])
        if number == 0:
            assert found.transfers.given_up
            assert found.phase == "complete"


def test_what_is_neither_done_nor_given_up_is_pending():
    assert Count(done=2, given_up=1, all=4).pending == 1
