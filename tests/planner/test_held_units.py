"""What devices hold of a service's LLM and no stage computes with."""

import attrs
import pytest

from planner.cutting import cut_for
from planner.held_units import without_idle
from planner.routes import Routes
from specs.plan import Pipeline, Stage
from specs.problem import Holding
from tests.builders import a_problem


@pytest.fixture
def asked():
    """Two nodes; the first holds the LLM and is to compute its first units only."""
    problem = a_problem(2, 1)
    llm = problem.llms[0]
    stages = tuple(
        Stage(place=place, first_unit=first, end_unit=end, kv_bytes=0, workspace_bytes=0)
        for place, first, end in (("n0/gpu0", 0, 5), ("n1/gpu0", 5, len(llm.units)))
    )
    pipeline = Pipeline(id="p", llm=llm.id, stages=stages, slots=1, request_tokens_max=64, iteration_tokens_max=64)
    blobs = cut_for(problem, llm, Routes(problem.cluster), 4, None, [pipeline])
    return problem, {llm.id: blobs}, [pipeline]


def held_at(problem, blobs, place):
    return {
        blob.id
        for llm, cut in blobs.items()
        for blob in cut
        if any(each.has(blob) for each in problem.holdings if (each.llm, each.place) == (llm, place))
    }


def test_what_is_idle_and_held_elsewhere_is_left_out(asked):
    problem, blobs, pipelines = asked
    llm = problem.llms[0].id
    problem = attrs.evolve(problem, holdings=(*problem.holdings, Holding(llm=llm, place="n1/gpu0")))
    left = without_idle(problem, blobs, pipelines, ())
    first, second = held_at(left, blobs, "n0/gpu0"), held_at(left, blobs, "n1/gpu0")
    everything = {blob.id for blob in blobs[llm]}
    assert first < everything
    assert second < everything
    assert first | second == everything


def test_the_only_copy_is_not_idle(asked):
    problem, blobs, pipelines = asked
    left = without_idle(problem, blobs, pipelines, ())
    assert held_at(left, blobs, "n0/gpu0") == {blob.id for cut in blobs.values() for blob in cut}


def test_a_copy_that_stays_is_not_left_out(asked):
    problem, blobs, pipelines = asked
    llm = problem.llms[0].id
    problem = attrs.evolve(problem, holdings=(*problem.holdings, Holding(llm=llm, place="n1/gpu0")))
    left = without_idle(problem, blobs, pipelines, ((llm, "n0/gpu0"),))
    assert held_at(left, blobs, "n0/gpu0") == {blob.id for blob in blobs[llm]}
    assert held_at(left, blobs, "n1/gpu0") < {blob.id for blob in blobs[llm]}
