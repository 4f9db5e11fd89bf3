"""Bounds where places hold parts of an LLM, against every schedule of small problems."""

import itertools

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.outcome import Planned
from planner.solve import Request, solve
from specs.certificates import FORMULAS, Inapplicable, derive
from specs.certificates.lacking import LACKING, lacking_time_ns
from specs.checker import Rejected, verify
from specs.problem import Holding
from specs.units import duration_ns
from tests.builders import GIGABYTE, a_cluster, a_problem
from tests.place_graphs import islands, star
from tests.plans import a_chain, blobs_of, gpu

BLOBS = 3


def with_parts(nodes, parts, *, cluster=None):
    """Node 0 holds all; the others what their bits of `parts` say, each blob as a run of its own."""
    problem = a_problem(nodes, cluster=cluster or a_cluster(nodes, latency_ns=0))
    blobs = blobs_of(problem.llms[0], BLOBS)
    runs = [
        Holding(llm="llm", place=gpu(node), first_tensor=blob.first_tensor, end_tensor=blob.end_tensor)
        for node, bits in enumerate(parts, start=1)
        for index, blob in enumerate(blobs)
        if bits >> index & 1
    ]
    return attrs.evolve(problem, holdings=(*problem.holdings, *runs)), blobs


def fewest_ticks(start, done):
    """Search all schedules: in a tick each node sends one blob and receives one blob at most."""
    frontier, ticks = {start}, 0
    while not any(done(state) for state in frontier):
        frontier, ticks = {after for state in frontier for after in next_states(state)}, ticks + 1
        frontier = {a for a in frontier if not any(a != b and all(x & ~y == 0 for x, y in zip(a, b)) for b in frontier)}  # noqa: B905
    return ticks


def next_states(state):
    """Every state after one tick: each receiver picks a sender that nobody else picked, and a blob of its."""
    found = {(state, 0)}
    for receiver in range(len(state)):
        more = set()
        for held, used in found:
            for sender in range(len(state)):
                if sender != receiver and not used >> sender & 1:
                    for blob in range(BLOBS):
                        if state[sender] >> blob & 1 and not state[receiver] >> blob & 1:
                            after = (*held[:receiver], held[receiver] | 1 << blob, *held[receiver + 1 :])
                            more.add((after, used | 1 << sender))
        found |= more
    return {held for held, _ in found}


@given(parts=st.lists(st.integers(0, 2**BLOBS - 1), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_no_bound_is_above_an_optimum_and_no_plan_below(parts):
    problem, blobs = with_parts(len(parts) + 1, parts)
    everything = 2**BLOBS - 1
    start = (everything, *parts)
    ticks = {
        "completion": fewest_ticks(start, lambda state: all(held == everything for held in state)),
        "first-cover": fewest_ticks(
            start, lambda state: all(any(held >> blob & 1 for held in state[1:]) for blob in range(BLOBS))
        ),
    }
    plan = a_parent(problem, blobs)
    longest = duration_ns(max(blob.bytes for blob in blobs), GIGABYTE)
    for formula in LACKING:
        bound = derive(formula, problem, plan, "llm", ())
        if isinstance(bound, Inapplicable):
            assert not any(parts)
            continue
        optimum = ticks[formula.claim.value]
        assert bound <= (optimum if formula.measure.value == "ticks" else optimum * longest), formula.name
    outcome = solve(problem, Request(parent=plan))
    assert isinstance(outcome, Planned)
    assert outcome.verified.plan.blobs == blobs
    for each in outcome.verified.plan.certificates:
        if each.measure.value == "ticks":
            assert each.bound <= ticks[each.claim.value] <= each.value


def a_parent(problem, blobs):
    """A plan whose only use is its cut."""
    _, plan = a_chain(len(problem.cluster.nodes), BLOBS)
    assert plan.blobs == blobs
    return plan


def ticks_bound(parts):
    problem, blobs = with_parts(len(parts) + 1, parts)
    return derive(FORMULAS["lacking-blobs-ticks"], problem, a_parent(problem, blobs), "llm", ())


@pytest.mark.parametrize(
    ("parts", "least"),
    [
        ([0b111, 0b011], 1),  # one blob is lacking
        ([0b001, 0b000], 3),  # a receiver lacks everything
        ([0b110, 0b110, 0b110, 0b110, 0b110], 3),  # one holder, five receivers of one blob: 1, 3, all
        ([0b110, 0b110, 0b110], 2),  # one holder and three receivers: just two doublings
    ],
)
def test_ticks_by_hand(parts, least):
    assert ticks_bound(parts) == least


def test_each_receiver_counts_with_what_it_lacks_and_its_own_port():
    cluster = star(3, (GIGABYTE, GIGABYTE, GIGABYTE // 10))
    problem, blobs = with_parts(3, [0b000, 0b110], cluster=cluster)
    slow = blobs[0].bytes * 10**9 // (GIGABYTE // 10)
    fast = sum(blob.bytes for blob in blobs) * 10**9 // GIGABYTE
    assert lacking_time_ns(problem, blobs, "llm") == max(slow, fast)


def test_what_only_one_holds_leaves_through_its_port():
    cluster = star(4, (GIGABYTE // 10, GIGABYTE, GIGABYTE, GIGABYTE))
    problem, blobs = with_parts(4, [0b011, 0b011, 0b011], cluster=cluster)
    assert lacking_time_ns(problem, blobs, "llm") == blobs[2].bytes * 10**9 // (GIGABYTE // 10)


def test_several_ports_have_no_ticks():
    problem, blobs = with_parts(2, [0b001], cluster=islands(2))
    assert isinstance(
        derive(FORMULAS["lacking-blobs-ticks"], problem, a_parent(problem, blobs), "llm", ()), Inapplicable
    )
    assert lacking_time_ns(problem, blobs, "llm") > 0


def test_whole_holdings_are_left_to_the_forms_for_multicast():
    problem, plan = a_chain(3, BLOBS)
    assert all(isinstance(derive(formula, problem, plan, "llm", ()), Inapplicable) for formula in LACKING)


def test_nothing_is_lacking():
    assert ticks_bound([0b111, 0b111]) == 0


def test_a_bound_that_is_too_good_is_refused():
    problem, blobs = with_parts(4, [0b001, 0b010, 0b100])
    outcome = solve(problem, Request(parent=a_parent(problem, blobs)))
    plan = outcome.verified.plan
    for index, each in enumerate(plan.certificates):
        if each.formula.startswith("lacking-") and each.bound:
            better = [*plan.certificates]
            better[index] = attrs.evolve(each, bound=each.bound + 1)
            verdict = verify(problem, attrs.evolve(plan, certificates=tuple(better)))
            assert isinstance(verdict, Rejected)
            assert {violation.rule for violation in verdict.violations} == {"BOUND"}


def test_the_search_of_this_test_knows_the_multicast():
    assert fewest_ticks((0b111, 0, 0), lambda state: all(held == 0b111 for held in state)) == 4
    assert list(itertools.islice(next_states((1, 0)), 3)) in ([(1, 0), (1, 1)], [(1, 1), (1, 0)])
