"""A daemon without a cluster: refusals are written down and change nothing; without a plan nothing is promised."""

import asyncio
from unittest.mock import Mock

import attrs
import pytest

from executor import shell
from executor.api.serving import Adopted, Failed, GenerationRequest, Phase, Refusal, Refused
from executor.daemon import Daemon
from executor.errors import OutOfMemory
from executor.store import Store
from specs import codec, journal
from specs.decisions.speculation.lengths import Load, geometric
from specs.drafting import Drafting
from specs.plan import Resize
from specs.profile import Profile
from specs.state import RunningNode
from specs.timing import stage_kv_bytes
from tests.plans import certified
from tests.processes.cluster import document, make_plan, make_problem, with_service


@pytest.fixture(scope="module")
def verified(checkpoint):
    return make_plan(make_problem(checkpoint, 2, rate=10**9), blocks=2)


def with_daemon(tmp_path, test, checkpoints=None, node="n0"):
    async def run():
        daemon = Daemon(node, checkpoints or {}, tmp_path)
        try:
            async with asyncio.timeout(60):
                await test(daemon)
        finally:
            await daemon.close()

    asyncio.run(run())
    text = "".join(path.read_text() for path in sorted((tmp_path / "journal").iterdir()))
    for_replay = journal.Started, journal.LearntOfPlans, journal.LearntUnderPlan
    return [record.what for record in journal.read_lines(text) if not isinstance(record.what, for_replay)]


def a_request(llm="tiny"):
    return GenerationRequest(
        id="cmpl-1",
        llm=llm,
        prompt_tokens=(1, 2),
        max_tokens=4,
        temperature=None,
        top_p=1.0,
        seed=0,
        logprobs=None,
        ignore_eos=True,
    )


def test_without_a_plan(tmp_path):
    async def test(daemon):
        assert not daemon.health().ok
        assert daemon.llms() == ()
        nothing = {"generation_max": 0, "accepted": None, "declined": []}
        assert daemon.status() == {"node": "n0", "plan": None, "next": nothing}
        assert daemon.document() is None
        assert daemon.state() == RunningNode(node="n0", plan=None, generation_max=0, held=(), leads=())
        assert (daemon.load().running, daemon.load().waiting) == (0, 0)
        assert [event async for event in daemon.generate(a_request())] == [
            Failed("this node has no plan yet", retryable=True)
        ]

    assert with_daemon(tmp_path, test) == []


def test_refusals_are_written_down_and_change_nothing(tmp_path, verified):
    stranger = attrs.evolve(
        verified.problem.cluster,
        nodes=tuple(attrs.evolve(node, address="nowhere") for node in verified.problem.cluster.nodes),
    )
    problem = attrs.evolve(verified.problem, cluster=stranger)
    plan = attrs.evolve(verified.plan, problem=codec.digest(problem))
    bodies = {
        Refusal.MALFORMED: b"garbage",
        Refusal.REJECTED: document(verified).replace(b'"slots":4', b'"slots":5'),
    }

    async def test(daemon):
        for kind, body in bodies.items():
            refused = await daemon.adopt(body)
            assert isinstance(refused, Refused)
            assert refused.kind is kind
        no_address = await daemon.adopt(
            b'{"plan":' + codec.encode(plan) + b',"problem":' + codec.encode(problem) + b"}"
        )
        assert no_address.reasons == ("the address of n0 is 'nowhere'; host:port is wanted",)
        # n0 is the source, but no checkpoint was given to this daemon.
        nothing_here = await daemon.adopt(document(verified))
        assert nothing_here.kind is Refusal.REJECTED
        assert "holds tiny" in nothing_here.reasons[0]
        assert "it does not" in nothing_here.reasons[0]
        assert daemon.status()["plan"] is None

    reasons = [record.reason for record in with_daemon(tmp_path, test)]
    assert [reason.partition(":")[0] for reason in reasons] == ["malformed", "rejected", "rejected", "rejected"]


def test_a_node_without_a_plan_waits_for_those_that_have_one(tmp_path, verified):
    """n1 is new in the cluster: it accepts, tells n0 (which is not there), and takes a later plan in its place."""
    plans = [attrs.evolve(verified.plan, generation=number, parent="ab" * 32) for number in (2, 3)]

    async def test(daemon):
        transports = []
        for plan in plans:
            body = b'{"plan":' + codec.encode(plan) + b',"problem":' + codec.encode(verified.problem) + b"}"
            answer = await daemon.adopt(body)
            assert answer == Adopted(generation=plan.generation, digest=codec.digest(plan), phase=Phase.ACCEPTED)
            accepted = daemon.status()["next"]["accepted"]
            assert accepted == {
                "digest": answer.digest,
                "generation": plan.generation,
                "nodes": ["n0", "n1"],
                "awaited": ["n0"],
            }
            transports.append(daemon._run._equipment.transport)
        assert transports[0] is transports[1], "whoever had found it finds it still"
        assert daemon.status()["plan"] is None
        assert not daemon.health().ok

    kinds = {type(record) for record in with_daemon(tmp_path, test, node="n1")}
    assert journal.Accepted in kinds
    assert journal.Adopted not in kinds
    assert (tmp_path / "generation").read_text() == "3"


def test_slots_come_and_go_as_the_plan_says(tmp_path, checkpoint):
    """A pipeline opens with one of its four slots, and has two at the end."""
    problem = with_service(make_problem(checkpoint, 1, rate=10**9), ("n0/cpu0",))
    plan = make_plan(problem, blocks=2).plan
    (own,), (opening,) = plan.pipelines, plan.steps
    resizes = (Resize(id=id_, pipeline=own.id, slots=slots, at_ns=opening.at_ns) for id_, slots in ((1, 3), (2, 2)))
    plan = certified(problem, attrs.evolve(plan, steps=(attrs.evolve(opening, slots=1), *resizes)))
    body = b'{"plan":' + codec.encode(plan) + b',"problem":' + codec.encode(problem) + b"}"

    async def test(daemon):
        assert isinstance(await daemon.adopt(body), Adopted)
        store = daemon._run.shell.store
        while daemon.status()["steps"]["resizes"]["done"] < 2:  # noqa: ASYNC110 - the node's own tasks run meanwhile
            await asyncio.sleep(0.01)
        assert [load.slots for load in daemon.state().leads if load.pipeline == own.id] == [2]
        assert daemon.status()["pipelines"]["slots"][own.id] == 2
        assert daemon.registry.get_sample_value("holdfast_pipeline_slots", {"pipeline": own.id}) == 2
        assert len([event async for event in daemon.generate(a_request())]) == 5
        (llm,), (stage,) = problem.llms, own.stages
        weights = sum(blob.bytes for blob in plan.blobs)
        assert store.used_bytes("n0/cpu0") == weights + stage_kv_bytes(llm, own, stage, 2) + stage.workspace_bytes

    receipts = [each for each in with_daemon(tmp_path, test, {"tiny": checkpoint}) if isinstance(each, journal.Resized)]
    assert [(each.slots_before, each.slots) for each in receipts] == [(1, 3), (3, 2)]


def test_a_single_node_serves_what_it_holds(tmp_path, checkpoint, verified):
    async def test(daemon):
        outcome = await daemon.adopt(document(verified))
        assert outcome == Adopted(generation=1, digest=codec.digest(verified.plan), phase=Phase.ADOPTED)
        assert await daemon.adopt(document(verified)) == outcome, "the same plan again is no news"
        events = [event async for event in daemon.generate(a_request())]
        assert len(events) == 5
        assert daemon.health().ok
        assert [event async for event in daemon.generate(a_request("other"))] == [
            Failed("the plan that has just been adopted does not serve other", retryable=False)
        ]
        stale = attrs.evolve(verified.plan, provenance=attrs.evolve(verified.plan.provenance, seed=9))
        body = b'{"plan":' + codec.encode(stale) + b',"problem":' + codec.encode(verified.problem) + b"}"
        assert (await daemon.adopt(body)).kind is Refusal.STALE
        leaving = daemon.generate(a_request())
        await anext(leaving)
        await leaving.aclose()
        assert daemon.load().running == 0

    kinds = [type(record) for record in with_daemon(tmp_path, test, {"tiny": checkpoint})]
    assert kinds.count(journal.Adopted) == 1
    assert kinds.count(journal.Refused) == 1
    assert kinds.count(journal.FirstToken) == 2


def test_tables_for_drafts_are_named_once_and_change_nothing(tmp_path, checkpoint, verified, caplog):
    load = Load(batch_max=4, draft_ns=0, draft_overhead_ns=0, verify_ns=(10**6,))
    drafting = Drafting(llm="tiny", length_max=0, loads=(load,), acceptances=(geometric(0, 0),), source="made up")
    drafted = make_plan(attrs.evolve(verified.problem, profile=Profile(rates=(), draftings=(drafting,))), blocks=2)
    assert drafted.plan.speculations

    async def test(daemon):
        assert isinstance(await daemon.adopt(document(drafted)), Adopted)
        assert len([event async for event in daemon.generate(a_request())]) == 5

    with_daemon(tmp_path, test, {"tiny": checkpoint})
    said = [record.getMessage() for record in caplog.records if record.name == "executor.run"]
    assert (
        said.count("the plan has tables for drafting tiny; this node decodes without drafts, to the same tokens") == 1
    )


def test_memory_that_is_not_given_fails_the_transfer_and_not_the_daemon(tmp_path, verified, monkeypatch):
    """n1 receives, nobody sends: what is seen is that the daemon lives and says why it waits."""
    monkeypatch.setattr(shell, "_MEMORY_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(Store, "reserve", Mock(side_effect=OutOfMemory("n1/cpu0: nothing is free")))

    async def test(daemon):
        assert isinstance(await daemon.adopt(document(verified)), Adopted)
        for _ in range(6000):
            if "n0" in daemon.status()["lost"]:
                break
            await asyncio.sleep(0.01)
        assert daemon.status()["lost"] == {"n0": "failing"}

    records = with_daemon(tmp_path, test, node="n1")
    failures = [record for record in records if isinstance(record, journal.TransferFailed)]
    assert {failure.reason for failure in failures} == {"n1/cpu0: nothing is free"}
    assert len(failures) == 5
