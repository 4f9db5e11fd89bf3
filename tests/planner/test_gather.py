"""Swarms: everybody gets everything, near the bound, the same every time; limits and what cannot be reached."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.blocks import cut
from planner.demands import Demand
from planner.gather import OutOfTime, gather
from planner.outcome import Infeasible, Planned, Undecided
from planner.routes import NoRoute, Routes
from planner.search import Search
from planner.solve import Request, solve
from planner.transfers import schedule
from specs.bounds import multicast_ticks_bound
from specs.plan import Claim, Measure, Transfer
from specs.problem import Holding, Target
from specs.units import duration_ns
from tests.builders import GIGABYTE, a_cluster, a_problem, an_llm
from tests.place_graphs import Wiring, islands, star, two_racks
from tests.plans import gpu


def swarm_of(problem, blocks, holders, search=None):
    """The moves that bring each blob from its holders to all others of the problem's places."""
    routes = Routes(problem.cluster)
    places = [each.place for each in (*problem.holdings, *problem.targets)]
    needs = [
        Demand(blob=blob, holders=tuple(held), wanting=tuple(place for place in places if place not in held))
        for blob, held in zip(cut(problem.llms[0], blocks), holders, strict=True)
    ]
    moves = gather(problem.cluster, routes, needs, search or Search(), decision="transfers of llm", bound_ns=0)
    return moves, needs, schedule(routes, moves)


def ticks_of(problem, blocks, holders):
    moves, needs, timed = swarm_of(problem, blocks, holders)
    got = {(move.blob.id, move.destination) for move in moves}
    assert got == {(need.blob.id, place) for need in needs for place in need.wanting}
    assert len(moves) == len(got)
    last = max(transfer.end_ns for transfer in timed.transfers)
    return last / duration_ns(max(need.blob.bytes for need in needs), GIGABYTE)


@pytest.mark.parametrize(("nodes", "sources", "blocks"), [(2, 1, 3), (5, 1, 6), (8, 2, 8), (12, 3, 16), (24, 1, 24)])
def test_from_whole_holders_it_comes_near_the_optimal_multicast(nodes, sources, blocks):
    problem = a_problem(nodes, sources, llm=an_llm(blocks, layer_bytes=2**20), cluster=a_cluster(nodes, latency_ns=0))
    holders = [[gpu(number) for number in range(sources)]] * blocks
    optimum = multicast_ticks_bound(nodes, sources, blocks)
    assert optimum * 0.99 <= ticks_of(problem, blocks, holders) <= optimum + 1.1


def test_what_is_spread_already_is_exchanged_at_full_rate():
    problem = a_problem(8, llm=an_llm(8, layer_bytes=2**20), cluster=a_cluster(8, latency_ns=0))
    assert ticks_of(problem, 8, [[gpu(number)] for number in range(8)]) <= 8.01


def test_a_device_waits_for_its_fast_neighbour_rather_than_ask_far_away():
    # Each blob crosses the narrow NIC of a node once; the neighbours take it over NVLink.
    problem = attrs.evolve(
        a_problem(2, llm=an_llm(4, layer_bytes=2**20), cluster=islands(2, 4)),
        holdings=(Holding(llm="llm", place="n0/gpu0"),),
        targets=tuple(Target(llm="llm", place=f"n1/gpu{number}") for number in range(4)),
    )
    moves, _, _ = swarm_of(problem, 4, [["n0/gpu0"]] * 4)
    across = [move for move in moves if move.source == "n0/gpu0"]
    assert len(across) == 4


@pytest.mark.parametrize(
    "cluster", [star(6, (GIGABYTE, 3 * GIGABYTE)), two_racks(3, uplink=GIGABYTE // 2)], ids=["two rates", "narrow"]
)
def test_the_same_seed_finds_the_same_order(cluster):
    problem = a_problem(6, llm=an_llm(8, layer_bytes=2**20), cluster=cluster)
    holders = [[gpu(0)]] * 8
    once, twice = (swarm_of(problem, 8, holders, Search(seed=3, steps_max=2000))[0] for _ in range(2))
    assert once == twice


def test_more_steps_are_never_worse_and_are_told():
    problem = a_problem(12, llm=an_llm(12, layer_bytes=2**20), cluster=two_racks(6))
    told = []
    ends = []
    for steps in (1, 2_000, 20_000):
        search = Search(steps_max=steps, tell=told.append)
        _, _, timed = swarm_of(problem, 12, [[gpu(0)]] * 12, search)
        ends.append(max(transfer.end_ns for transfer in timed.transfers))
        assert search.cut_short
    assert ends == sorted(ends, reverse=True)
    assert {each.decision for each in told} == {"transfers of llm"}


def test_a_clock_that_is_over_gives_no_plan_and_says_how_far_it_came():
    problem = a_problem(6, llm=an_llm(8))
    with pytest.raises(OutOfTime, match="of 40 transfers were put in order"):
        swarm_of(problem, 8, [[gpu(0)]] * 8, Search(within_s=0))


def test_out_of_time_is_undecided():
    problem = a_problem(6)
    half = Holding(llm="llm", place=gpu(1), end_tensor=3)
    for each in (problem, attrs.evolve(problem, holdings=(*problem.holdings, half))):
        outcome = solve(each, Request(), Search(within_s=0))
        assert isinstance(outcome, Undecided)
        assert outcome.sentence.startswith("the time was over before the first plan was whole: ")


def test_a_stopped_search_still_gives_its_first_plan():
    problem = a_problem(6)
    half = Holding(llm="llm", place=gpu(1), end_tensor=3)
    search = Search()
    search.stop()
    outcome = solve(attrs.evolve(problem, holdings=(*problem.holdings, half)), Request(), search)
    assert isinstance(outcome, Planned)
    assert search.cut_short


def a_row():
    """Three memories in a row, without a switch."""
    wiring = Wiring()
    for number in range(3):
        wiring.device(gpu(number))
    wiring.cable(gpu(0), gpu(1))
    wiring.wire(gpu(1), gpu(2))
    return a_problem(3, cluster=wiring.cluster())


def test_places_that_want_a_blob_pass_it_on():
    problem = a_row()
    half = Holding(llm="llm", place=gpu(1), end_tensor=3)
    moves, _, _ = swarm_of(problem, 2, [[gpu(0)], [gpu(0)]])
    assert {(move.source, move.destination) for move in moves} == {(gpu(0), gpu(1)), (gpu(1), gpu(2))}
    assert isinstance(solve(attrs.evolve(problem, holdings=(*problem.holdings, half))), Planned)


def test_what_cannot_be_reached_is_told_from_what_only_other_memories_reach():
    problem = a_row()
    with pytest.raises(NoRoute, match="leads to n0/gpu0 from any place that holds or gets llm/0"):
        swarm_of(problem, 1, [[gpu(2)]])
    part = Holding(llm="llm", place=gpu(0), end_tensor=3)
    rest = Holding(llm="llm", place=gpu(0), first_tensor=3)
    through = attrs.evolve(problem, holdings=(part, rest), targets=(problem.targets[1],))
    assert isinstance(solve(through), Planned)  # the memory between has room
    back = attrs.evolve(
        problem,
        holdings=(attrs.evolve(part, place=gpu(2)), attrs.evolve(rest, place=gpu(2))),
        targets=(Target(llm="llm", place=gpu(0)),),
    )
    outcome = solve(back)
    assert isinstance(outcome, Infeasible)
    assert [(each.rule, each.where) for each in outcome.conflicts] == [("FULL", gpu(0))]


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_parts_on_any_shape_are_planned_with_honest_bounds(data):
    nodes = data.draw(st.integers(2, 6))
    shapes = [a_cluster(nodes), star(nodes, (GIGABYTE, 4 * GIGABYTE)), two_racks(3, uplink=GIGABYTE // 3)]
    layers = data.draw(st.integers(1, 6))
    problem = a_problem(nodes, llm=an_llm(layers, layer_bytes=2**18), cluster=data.draw(st.sampled_from(shapes)))
    count = len(problem.llms[0].tensors)
    runs = []
    for number in range(1, nodes):
        borders = sorted(data.draw(st.sets(st.integers(0, count), max_size=4)))
        runs += [
            Holding(llm="llm", place=gpu(number), first_tensor=first, end_tensor=end)
            for first, end in zip(borders[::2], borders[1::2], strict=False)
        ]
    outcome = solve(attrs.evolve(problem, holdings=(*problem.holdings, *runs)))
    assert isinstance(outcome, Planned)
    plan = outcome.verified.plan
    held = {(each.place, tensor) for each in runs for tensor in range(each.first_tensor, each.end_tensor)}
    lacking = (nodes - 1) * count - len(held)
    sizes = {blob.id: blob.end_tensor - blob.first_tensor for blob in plan.blobs}
    assert sum(sizes[step.blob] for step in plan.steps if isinstance(step, Transfer)) == lacking
    for each in plan.certificates:
        assert each.bound <= each.value
    assert {pipeline.id for pipeline in plan.pipelines} >= {f"llm@{gpu(number)}" for number in range(nodes)}


@pytest.mark.slow
def test_a_thousand_nodes_that_hold_a_third_each():
    problem = a_problem(1024, llm=an_llm(64, layer_bytes=2**20))
    runs = tuple(
        Holding(llm="llm", place=gpu(number), first_tensor=1 + number % 40, end_tensor=22 + number % 40)
        for number in range(1, 1024)
    )
    outcome = solve(attrs.evolve(problem, holdings=(*problem.holdings, *runs)), Request(blocks=64))
    assert isinstance(outcome, Planned)
    (found,) = (
        each
        for each in outcome.verified.plan.certificates
        if (each.claim, each.measure) == (Claim.COMPLETION, Measure.NANOS)
    )
    assert found.value <= found.bound * 1.03
