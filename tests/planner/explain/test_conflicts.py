"""Explanations: the least loosening, of the numbers that can help and of no other."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.explain.conflicts import Condition, conflicts, least_change
from planner.explain.limits import (
    live_requests_of,
    longest_request_of,
    machines_like,
    memory_of,
    requests_of,
    tpot_of,
    ttft_of,
)
from specs.workload import Slo
from tests.builders import a_problem
from tests.plans import gpu


@given(st.integers(0, 10**15), st.integers(0, 10**15), st.integers(0, 10**15))
def test_the_least_change_is_found(start, end, threshold):
    direction = 1 if end > start else -1
    asked = []

    def enough(amount):
        asked.append(amount)
        return direction * amount >= direction * threshold

    found = least_change(start, end, enough)
    if start == end or direction * threshold > direction * end:
        assert found is None
    else:
        nearest = max(start + 1, threshold) if direction == 1 else min(start - 1, threshold)
        assert found == nearest
        assert len(asked) <= 2 * abs(end - start).bit_length() + 1


def test_small_changes_are_tried_before_large_ones():
    asked = []
    least_change(1, 1025, lambda amount: asked.append(amount) or amount >= 4)
    assert max(asked) <= 5


def with_slo(problem):
    slo = Slo(llm="llm", percentile=90, ttft_ns_max=10**9, tpot_ns_max=10**8)
    return attrs.evolve(problem, slos=(slo,))


@pytest.mark.parametrize(
    ("limit", "read"),
    [
        (lambda problem: memory_of(problem, gpu(1)), lambda problem: problem.cluster.places[3].memory_bytes),
        (lambda problem: live_requests_of(problem, "llm"), lambda problem: problem.workloads[0].live_requests_max),
        (lambda problem: longest_request_of(problem, "llm"), lambda problem: problem.workloads[0].request_tokens_max),
        (lambda problem: requests_of(problem, "llm"), lambda problem: problem.workloads[0].requests_per_hour),
        (lambda problem: ttft_of(problem, "llm"), lambda problem: problem.slos[0].ttft_ns_max),
        (lambda problem: tpot_of(problem, "llm"), lambda problem: problem.slos[0].tpot_ns_max),
    ],
)
def test_a_limit_reads_and_sets_its_number(limit, read):
    problem = with_slo(a_problem(2))
    found = limit(problem)
    assert found.allowed == read(problem)
    assert read(found.set_to(problem, found.loosest)) == found.loosest
    assert found.set_to(problem, found.allowed) == problem


def test_without_a_promise_there_is_nothing_to_loosen():
    assert ttft_of(a_problem(2), "llm") is None


def test_more_machines_are_real_machines():
    problem = a_problem(2)
    more = machines_like("n1").set_to(problem, 4)
    assert [node.id for node in more.cluster.nodes] == ["n0", "n1", "n1+1", "n1+2", "n1+3"]
    places = {place.id for place in more.cluster.places}
    assert {"n1+3/gpu0", "n1+3/nic0"} <= places
    ends = [(link.source, link.destination) for link in more.cluster.links]
    assert ("n1+3/nic0", "leaf") in ends
    assert ("leaf", "n1+3/nic0") in ends


def test_only_what_helps_is_named_and_by_how_much():
    problem = a_problem(2)
    needed = problem.cluster.places[1].memory_bytes + 7

    def fault(changed):
        have = next(place.memory_bytes for place in changed.cluster.places if place.id == gpu(0))
        return None if have >= needed else f"{needed - have} bytes are missing"

    condition = Condition(
        rule="MEM",
        where=gpu(0),
        fault=fault,
        limits=(memory_of(problem, gpu(0)), memory_of(problem, gpu(1)), requests_of(problem, "llm")),
    )
    (found,) = conflicts(problem, [condition])
    assert found.sentence == "7 bytes are missing"
    assert [(give.limit, give.needed) for give in found.gives] == [("memory of n0/gpu0", needed)]
