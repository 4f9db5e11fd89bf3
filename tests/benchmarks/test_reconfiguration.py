"""The arithmetic of pauses, the clients that note them, and the plans of the four ways."""

import asyncio
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.busy import Reading
from benchmarks.streams import Added, Answer, gaps_within, largest_gap_touching, percentile


def test_percentiles_are_values_that_occur():
    assert percentile([5], 99) == 5
    assert percentile(range(1, 101), 99) == 99
    assert percentile(range(1, 101), 50) == 50
    assert percentile([3, 1, 2], 50) == 2
    assert percentile([3, 1, 2], 99) == 3


@given(st.lists(st.integers(0, 100), min_size=1), st.integers(1, 100))
def test_so_many_percent_do_not_exceed_a_percentile_and_no_smaller_value_would_do(values, percent):
    found = percentile(values, percent)

    def share(bound):
        return sum(value <= bound for value in values) * 100

    assert share(found) >= percent * len(values)
    smaller = [value for value in values if value < found]
    assert not smaller or share(max(smaller)) < percent * len(values)


def test_what_a_move_adds_is_told_from_what_the_machine_does():
    #           calm: gaps 10, 10, 14, 10      the stop: 35         12   20
    instants = [0, 10, 20, 34, 44, 54, 89, 101, 121]
    added = Added.of(instants, calm=(0, 44), stop=(60, 70), change=(50, 121))
    assert added == Added(median_ns=10, calm_ns=4, control_ns=(0, 4, 4), stop_ns=25, worst_ns=25)
    late = Added.of(instants, calm=(0, 44), stop=(90, 95), change=(85, 121))
    assert late.stop_ns == 2
    assert late.worst_ns == 25, "a gap that began before the order counts, for it ended after"


def test_a_gap_touches_an_instant_at_either_of_its_ends():
    assert largest_gap_touching([0, 5, 15], (5, 5)) == 10
    assert largest_gap_touching([0, 5, 15], (16, 20)) == 0
    assert gaps_within([0, 5, 15], (1, 15)) == [10]


@pytest.mark.parametrize("instants", [[0], [0, 50, 60], [0, 5, 9]])
def test_without_gaps_there_is_nothing_to_compare(instants):
    with pytest.raises(ValueError, match="a request has"):
        Added.of(instants, calm=(0, 10), stop=(20, 30), change=(15, 40))


def piece(*tokens):
    return f"data: {json.dumps({'choices': [{'logprobs': {'tokens': tokens}}]})}\n\n".encode()


def heard(data, cuts):
    async def hear():
        instants, ended = [], asyncio.get_running_loop().create_future()
        answer = Answer(b"", instants, ended)
        edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        for begin, end in pairwise(edges):
            answer.data_received(data[begin:end])
        answer.connection_lost(None)
        return len(instants), ended.result()

    return asyncio.run(hear())


@given(st.lists(st.integers(0, 400), max_size=6))
def test_tokens_are_counted_however_bytes_arrive(cuts):
    answer = b"HTTP/1.1 200 OK\r\n\r\n4c\r\n" + piece("a") + b"\r\n" + piece("b", "data: {") + b"data: [DONE]\n\n"
    assert heard(answer, cuts) == (3, None)


def test_an_answer_that_breaks_off_says_so():
    count, why = heard(b"HTTP/1.1 200 OK\r\n\r\n" + piece("a"), ())
    assert count == 1
    assert "broke" in why
    count, why = heard(b'HTTP/1.1 200 OK\r\n\r\ndata: {"error": {"message": "no"}}\n\n', ())
    assert count == 0
    assert "no" in why


def test_others_are_who_is_left():
    before = Reading(of={"a": 1.0, "b": 2.0}, machine=10.0)
    after = Reading(of={"a": 2.0, "b": 2.5}, machine=14.0)
    assert after.since(before, 2.0) == {"a": 0.5, "b": 0.25, "others": 1.25}


@pytest.mark.slow
def test_every_way_passes_the_checker(tmp_path):
    from benchmarks.moves import PAIRS, Way, a_problem, first_plan, in_this_way, on, slots_for, switch_of
    from benchmarks.reconfiguration import SHAPE, order
    from planner.solve import Request, solve
    from specs.problem import Running
    from tests.checkpoints import make_checkpoint
    from tests.processes.cluster import LLM, attrs

    problem = a_problem(make_checkpoint(tmp_path / "llm", **SHAPE), PAIRS[0], slots_for(8), 125_000_000)
    first = first_plan(problem)
    (pipeline,) = first.plan.pipelines
    assert pipeline.slots == slots_for(8)
    assert [stage.place for stage in pipeline.stages] == ["n0/cpu0", "n1/cpu0"]
    running = Running(pipeline=pipeline, live_requests=8, live_tokens=8 * 1024)
    wanted = attrs.evolve(on(problem, PAIRS[1]), running=(running,))
    stays = tuple((LLM, holding.place) for holding in problem.holdings)
    planned = solve(wanted, Request(parent=first.plan, generation=2, stays=stays)).verified
    found = {way: switch_of(in_this_way(planned, way)).hand_over for way in Way if way is not Way.RESTART}
    assert found[Way.RECOMPUTE] is None
    assert found[Way.STOP_AND_COPY].rest_tokens_max == pipeline.slots * pipeline.request_tokens_max
    assert found[Way.ROUNDS].rest_tokens_max < 1024
    assert set(order(1)) == set(Way)
    assert order(3).count(Way.ROUNDS) == 3
