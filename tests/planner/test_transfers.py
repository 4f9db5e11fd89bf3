"""Moves laid on links: the order is kept, links are never overbooked, equal links take exactly the optimal time."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.blocks import cut
from planner.outcome import Planned
from planner.routes import NoRoute, Routes
from planner.solve import Request, solve
from planner.transfers import Move, multicast_moves, schedule
from specs.bounds import first_cover_ticks_bound, multicast_ticks_bound
from specs.plan import Claim, Measure, Transfer
from specs.ports import order_of, ticks
from specs.units import duration_ns
from tests.builders import GIGABYTE, a_cluster, a_problem, an_llm
from tests.place_graphs import Wiring, star, two_racks


def gpus(first, end):
    return [f"n{number}/gpu0" for number in range(first, end)]


def check_optimal(nodes, sources, blocks):
    """Plan and verify; the depth of the order of transfers is what no order can go below.

    Layers are large beside what goes with the first and the last one: blobs are equal.
    """
    problem = a_problem(nodes, sources, llm=an_llm(blocks, layer_bytes=2**20), live_requests_max=1)
    outcome = solve(problem, Request(blocks=blocks))
    assert isinstance(outcome, Planned)
    plan = outcome.verified.plan
    completion = multicast_ticks_bound(nodes, sources, blocks)
    cover = first_cover_ticks_bound(nodes, sources, blocks)
    assert max(ticks(order_of(problem.cluster, plan)).values(), default=0) == completion
    claims = {each.claim: each for each in plan.certificates if each.measure is Measure.TICKS}
    for claim, ticks_bound in ((Claim.COMPLETION, completion), (Claim.FIRST_COVER, cover)):
        if nodes > sources:
            assert (claims[claim].value, claims[claim].bound) == (ticks_bound, ticks_bound)
    assert sum(isinstance(step, Transfer) for step in plan.steps) == blocks * (nodes - sources)


@pytest.mark.parametrize("sources", [1, 2, 3, 4])
def test_plans_of_up_to_24_nodes_are_optimal(sources):
    """Every count of nodes, and on the way every count of blocks; the slow test takes all pairs."""
    for nodes in range(sources, 25):
        for blocks in {nodes * 7 % 24 + 1, nodes * 11 % 24 + 1}:
            check_optimal(nodes, sources, blocks)


@pytest.mark.slow
@pytest.mark.parametrize("sources", [1, 2, 3, 4])
def test_every_plan_of_24_nodes_is_optimal(sources):
    for nodes in range(sources, 25):
        for blocks in range(1, 25):
            check_optimal(nodes, sources, blocks)


@pytest.mark.slow
@pytest.mark.parametrize("sources", [1, 2, 5, 8])
def test_medium_plans_are_optimal(sources):
    for nodes in (25, 31, 32, 33, 40, 47, 48, 57, 63, 64):
        for blocks in (1, 2, 7, 16, 31, 33, 48, 63, 64):
            check_optimal(nodes, sources, blocks)


def test_equal_links_and_blobs_take_exactly_their_ticks():
    llm = an_llm(4, layer_bytes=10**6)
    blobs = cut(llm, 4)
    routes = Routes(a_cluster(6, latency_ns=0))
    found = schedule(routes, multicast_moves(blobs, gpus(0, 1), gpus(1, 6)))
    largest = duration_ns(max(blob.bytes for blob in blobs), GIGABYTE)
    assert max(step.end_ns for step in found.transfers) <= multicast_ticks_bound(6, 1, 4) * largest


def test_a_group_sends_neighbouring_blobs_first():
    blobs = cut(an_llm(6), 6)
    moves = multicast_moves(blobs, gpus(0, 2), gpus(2, 4))
    first = [[move.blob.id for move in moves if move.source == source][:3] for source in gpus(0, 2)]
    assert first == [["llm/0", "llm/1", "llm/2"], ["llm/3", "llm/4", "llm/5"]]


def test_nobody_to_send_to():
    assert multicast_moves(cut(an_llm(2), 2), gpus(0, 1), []) == []
    nothing = schedule(Routes(star(1)), [])
    assert (nothing.transfers, nothing.routes) == ((), ())


def test_arrivals_are_listed_by_place_in_time():
    routes = Routes(star(3))
    found = schedule(routes, multicast_moves(cut(an_llm(3), 3), gpus(0, 1), gpus(1, 3))).arrivals(routes)
    assert set(found) == {"n1/gpu0", "n2/gpu0"}
    for arrived in found.values():
        assert arrived == sorted(arrived)
        assert {blob for _, blob in arrived} == {"llm/0", "llm/1", "llm/2"}


def test_memories_that_are_not_joined():
    wiring = Wiring()
    for number in range(2):
        wiring.node(number, wiring.switch(f"leaf{number}"))
    (blob,) = cut(an_llm(1), 1)
    with pytest.raises(NoRoute):
        schedule(Routes(wiring.cluster()), [Move(blob=blob, source="n0/gpu0", destination="n1/gpu0")])


@given(
    rates=st.lists(st.integers(1, 5), min_size=1, max_size=4).map(lambda found: tuple(GIGABYTE * r for r in found)),
    uplink=st.integers(1, 5),
    racks=st.booleans(),
    blocks=st.integers(1, 5),
    data=st.data(),
)
@settings(max_examples=80, deadline=None)
def test_no_link_is_ever_overbooked(rates, uplink, racks, blocks, data):
    cluster = two_racks(3, uplink * GIGABYTE // 2, spines=2) if racks else star(6, rates)
    sources = data.draw(st.integers(1, 5))
    routes = Routes(cluster)
    found = schedule(routes, multicast_moves(cut(an_llm(5), blocks), gpus(0, sources), gpus(sources, 6)))
    ports = {links[end] for route in found.routes for links in (route.links,) for end in (0, -1)}
    crossing = {}
    for step in found.transfers:
        for link in found.routes[step.route].links:
            crossing.setdefault(link, []).append(step)
    for link, steps in crossing.items():
        instants = {step.start_ns for step in steps}
        at_once = [[step for step in steps if step.start_ns <= at < step.end_ns] for at in instants]
        assert all(
            sum(step.bytes_per_second for step in running) <= routes.links[link].bytes_per_second for running in at_once
        )
        if link in ports:
            assert all(before.end_ns <= after.start_ns for before, after in itertools.pairwise(steps))
    starts = [step.start_ns for step in found.transfers]
    assert starts == sorted(starts)


def test_a_narrow_uplink_carries_several_when_they_fit():
    # Four NICs of 1 GB/s share an uplink of 2 GB/s: two cross it at a time, not one and not four.
    wiring = Wiring()
    for rack in range(2):
        wiring.switch(f"leaf{rack}")
    for number in range(8):
        wiring.node(number, f"leaf{number // 4}")
    wiring.cable("leaf0", "leaf1", 2 * GIGABYTE)
    (blob,) = cut(an_llm(1, layer_bytes=10**6), 1)
    moves = [Move(blob=blob, source=f"n{number}/gpu0", destination=f"n{number + 4}/gpu0") for number in range(4)]
    starts = [step.start_ns for step in schedule(Routes(wiring.cluster()), moves).transfers]
    assert starts[0] == starts[1] == 0
    assert starts[2] == starts[3] > 0
