"""Pipelines that run at the start: what a problem refuses, and that they travel."""

import attrs
import pytest

from specs import codec
from specs.errors import InvalidProblem
from specs.problem import Problem
from specs.workload import Slo
from tests.live_plans import LIVE, a_growth
from tests.plans import gpu


def with_running(problem: Problem, **changes: object) -> Problem:
    (row,) = problem.running
    return attrs.evolve(problem, running=(attrs.evolve(row, pipeline=attrs.evolve(row.pipeline, **changes)),))


def with_stage(problem: Problem, **changes: object) -> Problem:
    (stage,) = problem.running[0].pipeline.stages
    return with_running(problem, stages=(attrs.evolve(stage, **changes),))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda problem: attrs.evolve(problem, running=problem.running * 2),
            "running pipeline llm@n0/gpu0 is given twice",
        ),
        (
            lambda problem: with_running(problem, llm="gpt"),
            "running pipeline llm@n0/gpu0 serves LLM gpt, which is not described",
        ),
        (
            lambda problem: attrs.evolve(problem, running=(attrs.evolve(problem.running[0], slots=5),)),
            "running pipeline llm@n0/gpu0 has 5 slots, and room for 4 at most",
        ),
        (lambda problem: with_running(problem, stages=()), "running pipeline llm@n0/gpu0 has no stages"),
        (
            lambda problem: with_stage(problem, place="n0/nic0"),
            "running pipeline llm@n0/gpu0 computes at n0/nic0, which is not a device of the cluster",
        ),
        (
            lambda problem: with_stage(problem, place=gpu(7)),
            "running pipeline llm@n0/gpu0 computes at n7/gpu0, which is not a device of the cluster",
        ),
        (
            lambda problem: with_stage(problem, end_unit=11),
            "running pipeline llm@n0/gpu0 computes units 0 to 11 (exclusive) of llm, which has 10",
        ),
        (
            lambda problem: with_stage(problem, first_unit=10),
            "running pipeline llm@n0/gpu0 computes units 10 to 10 (exclusive) of llm, which has 10",
        ),
        (
            lambda problem: attrs.evolve(
                problem, slos=(Slo(llm="llm", percentile=50, ttft_ns_max=1, tpot_ns_max=1, pause_ns_max=0),)
            ),
            "the SLO of llm allows a pause of 0 ns; at least 1 is meant",
        ),
    ],
)
def test_a_problem_refuses_what_cannot_run(change, sentence):
    problem, _ = a_growth()
    with pytest.raises(InvalidProblem) as refused:
        change(problem)
    assert str(refused.value) == sentence


@pytest.mark.parametrize("name", LIVE)
def test_what_runs_travels_with_its_problem(name):
    problem, plan = LIVE[name]()
    assert codec.decode(Problem, codec.encode(problem)) == problem
    assert codec.decode(type(plan), codec.encode(plan)) == plan
