"""Every message has its rightful sender, and from any other it is not taken."""

import attrs
import pytest

from executor import kv_traffic, traffic
from executor.engine.request import SamplingParams
from executor.senders import Senders
from planner.outcome import Planned
from planner.solve import Request, solve
from specs.protocols.kv_hand_over_nouns import Chunk, HandOverId, Held, Hosting, Invitation, Path, Seats
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


def test_tokens_come_from_the_last_stage_and_then_from_the_leader_who_says_how_many_slots_there_are(world):
    senders, pipeline, first, last = world
    assert senders_of(senders, traffic.SampledTokens(pipeline=pipeline, iteration=0, tokens=())) == {last}
    assert senders_of(senders, traffic.Interrupted(pipeline=pipeline)) == {first, last}
    order = traffic.ResizeStage(pipeline=pipeline, stage=1, number=1, slots=1)
    assert senders_of(senders, order) == {first}
    for stage, rightful in ((0, {first}), (1, {last}), (2, set())):
        assert senders_of(senders, traffic.StageResized(pipeline=pipeline, stage=stage, number=1)) == rightful
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


def test_hand_overs_are_told_by_their_own_leaders_and_stages(world):
    senders, pipeline, first, last = world
    leaving = HandOverId(old=pipeline, new="none", number=1)
    coming = HandOverId(old="none", new=pipeline, number=1)
    path = Path(old_stage=1, new_stage=0)
    chunk = Chunk(id=leaving, path=path, request="n3:1", seat=0, start=0, end=1)
    for message, rightful in (
        (kv_traffic.Invited(invitation=Invitation(id=leaving, edition=1)), {first}),
        (kv_traffic.CopyKv(id=leaving, path=path, rows=()), {first}),
        (kv_traffic.HandedOver(id=leaving, guests=()), {first}),
        (kv_traffic.Kv(chunks=(chunk,), digest=DIGEST, is_last=True), {last}),
        (
            kv_traffic.Kv(
                chunks=(attrs.evolve(chunk, path=Path(old_stage=2, new_stage=0)),), digest=DIGEST, is_last=True
            ),
            set(),
        ),
        (kv_traffic.Invited(invitation=Invitation(id=coming, edition=1)), set()),
        (Hosting(id=coming), {first}),
        (Seats(pipeline=pipeline, stage=1, edition=1), {first}),
        (Held(pipeline=pipeline, stage=1, edition=1), {last}),
        (Held(pipeline=pipeline, stage=2, edition=1), set()),
        (kv_traffic.Resume(id=coming, guests=()), {"n0", "n1", "n2", "n3"}),
    ):
        assert senders_of(senders, message) == rightful, message


def test_anybody_may_ask(world):
    senders, pipeline, *_ = world
    everybody = {"n0", "n1", "n2", "n3"}
    assert senders_of(senders, traffic.AskCanary(llm="llm")) == everybody
    assert senders_of(senders, traffic.AskFile(llm="llm", digest=DIGEST)) == everybody
    assert senders_of(senders, traffic.Cancel(pipeline=pipeline, request="n3:1")) == everybody
