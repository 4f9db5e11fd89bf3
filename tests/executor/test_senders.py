"""Every message has its rightful sender, and from any other it is not taken."""

import pytest

from executor import traffic
from executor.engine.request import SamplingParams
from executor.senders import Senders
from planner.outcome import Planned
from planner.solve import Request, solve
from tests.builders import a_problem

CHOICE = traffic.Choice.of(SamplingParams())
DIGEST = "0" * 64


@pytest.fixture(scope="module")
def world():
    problem = a_problem(4)
    outcome = solve(problem, Request(blocks=8))
    assert isinstance(outcome, Planned)
    plan = outcome.verified.plan
    pipeline = next(each for each in plan.pipelines if len(each.stages) == 2)
    first, last = (stage.place.split("/")[0] for stage in pipeline.stages)
    return Senders(problem, plan, {"n3:1": "n2"}.get), pipeline.id, first, last


def senders_of(senders, message):
    return {node for node in ("n0", "n1", "n2", "n3") if senders.may(node, message)}


def test_iterations_come_from_the_stage_before(world):
    senders, pipeline, first, _ = world
    for stage, rightful in ((1, {first}), (2, set())):
        message = traffic.Forward(pipeline=pipeline, stage=stage, iteration=0, width=1, entries=())
        assert senders_of(senders, message) == rightful


def test_tokens_come_from_the_last_stage_and_then_from_the_leader(world):
    senders, pipeline, first, last = world
    assert senders_of(senders, traffic.SampledTokens(pipeline=pipeline, iteration=0, tokens=())) == {last}
    assert senders_of(senders, traffic.Interrupted(pipeline=pipeline)) == {first, last}
    token = traffic.Token(request="n3:1", index=0, chosen=traffic.Chosen(token=1))
    assert senders_of(senders, token) == {"n2"}
    assert senders_of(senders, traffic.Returned(request="n3:1", shut=False)) == {"n2"}
    assert senders_of(senders, traffic.Returned(request="n3:2", shut=False)) == set()


def test_canaries_come_from_sources_and_files_from_anybody(world):
    senders, *_ = world
    assert senders_of(senders, traffic.FileIs(llm="llm", digest=DIGEST)) == {"n0", "n1", "n2", "n3"}
    assert senders_of(senders, traffic.CanaryIs(llm="llm", prompt=(1,), tokens=(1,))) == {"n0"}
    assert senders_of(senders, traffic.CanaryIs(llm="other", prompt=(1,), tokens=(1,))) == set()


def test_nobody_speaks_for_an_unknown_pipeline(world):
    senders, *_ = world
    assert senders_of(senders, traffic.SampledTokens(pipeline="none", iteration=0, tokens=())) == set()


def test_anybody_may_ask(world):
    senders, pipeline, *_ = world
    everybody = {"n0", "n1", "n2", "n3"}
    assert senders_of(senders, traffic.AskCanary(llm="llm")) == everybody
    assert senders_of(senders, traffic.AskFile(llm="llm", digest=DIGEST)) == everybody
    assert senders_of(senders, traffic.Cancel(pipeline=pipeline, request="n3:1")) == everybody
