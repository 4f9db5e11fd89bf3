"""Two daemons in one process: a plan follows while a request streams, and one of them is started again."""

import asyncio

import pytest

from executor import admission
from executor.api.serving import Adopted, GenerationRequest, Phase, TokenEvent
from executor.daemon import Daemon
from planner.outcome import Planned
from planner.reconfiguring.beginning import begin
from planner.solve import solve
from specs import codec
from specs.plan import Transfer
from specs.state import RunningCluster
from tests.processes.cluster import document, make_plan, make_problem, weights_bytes

pytestmark = pytest.mark.slow

LLM = "tiny"
TOKENS = 60


@pytest.fixture(scope="module")
def problem(checkpoint):
    return make_problem(checkpoint, 2, rate=10**9)


def a_request(name):
    return GenerationRequest(
        id=name,
        llm=LLM,
        prompt_tokens=(1, 2, 3),
        max_tokens=TOKENS,
        temperature=None,
        top_p=1.0,
        seed=0,
        logprobs=None,
        ignore_eos=True,
    )


async def tokens_of(daemon, name, begun=None):
    found = []
    async for event in daemon.generate(a_request(name)):
        if isinstance(event, TokenEvent):
            found.append(event.token)
            if begun is not None:
                begun.set()
    return found


async def until(condition, what):
    for _ in range(6000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(what)


def start(path, checkpoint, node):
    return Daemon(node, {LLM: checkpoint} if node == "n0" else {}, path / node)


def cluster_of(daemons):
    problem, plan = admission.read(daemons[0].document())
    return RunningCluster(problem=problem, plan=plan, nodes=tuple(daemon.state() for daemon in daemons))


def with_daemons(path, checkpoint, problem, test, *, blocks=2, complete=True):
    async def run():
        daemons = [start(path, checkpoint, node) for node in ("n0", "n1")]
        try:
            first = make_plan(problem, blocks=blocks)
            for daemon in daemons:
                assert isinstance(await daemon.adopt(document(first)), Adopted)
            if complete:
                await until(lambda: all(daemon.status()["phase"] == "complete" for daemon in daemons), "all is there")
                await until(lambda: len(daemons[0].status()["pipelines"]["open"]) == 2, "both serve")
            await test(daemons, first)
        finally:
            for daemon in daemons:
                await daemon.close()

    asyncio.run(run())


def test_a_plan_follows_and_a_request_notices_nothing(tmp_path, checkpoint, problem):
    async def test(daemons, first):
        right = await tokens_of(daemons[0], "before")
        assert len(right) == TOKENS
        state = daemons[0].state()
        assert codec.decode(type(state), codec.encode(state)) == state
        used = [daemon.status()["memory_bytes_used"] for daemon in daemons]
        begun = begin(cluster_of(daemons), problem)
        outcome = solve(begun.problem, begun.request)
        assert isinstance(outcome, Planned)
        assert len(outcome.verified.problem.running) == 2
        began = asyncio.Event()
        asking = asyncio.create_task(tokens_of(daemons[1], "while", began))
        await began.wait()
        answer = await daemons[0].adopt(document(outcome.verified))
        assert answer.phase is Phase.ACCEPTED
        await until(lambda: all(daemon.status()["plan"]["generation"] == 2 for daemon in daemons), "adopted")
        assert not asking.done(), "the request was under way all the time"
        assert await asking == right
        assert [daemon.status()["memory_bytes_used"] for daemon in daemons] == used, "all is kept, and counted once"
        assert await tokens_of(daemons[1], "after") == right
        assert (await daemons[1].adopt(document(outcome.verified))).phase is Phase.ADOPTED

    with_daemons(tmp_path, checkpoint, problem, test)


def test_a_node_that_is_started_again_is_lost_under_the_plan_that_it_had(tmp_path, checkpoint, problem):
    async def test(daemons, first):
        await daemons[1].close()
        daemons[1] = start(tmp_path, checkpoint, "n1")
        assert (await daemons[1].adopt(document(first))).phase is Phase.ADOPTED
        await until(lambda: daemons[0].status()["lost"] == {"n1": "restarted"}, "its first life is lost")
        await until(lambda: daemons[1].status()["lost"] == {"n0": "mutual"}, "and it knows")
        assert len(await tokens_of(daemons[0], "alone")) == TOKENS
        begun = begin(cluster_of(daemons), problem)
        outcome = solve(begun.problem, begun.request)
        assert isinstance(outcome, Planned), outcome
        assert [each.pipeline.id for each in outcome.verified.problem.running] == ["tiny@n0/cpu0"]
        await daemons[0].adopt(document(outcome.verified))
        await until(lambda: all(daemon.status()["plan"]["generation"] == 2 for daemon in daemons), "adopted")
        await until(lambda: daemons[1].status()["phase"] == "complete", "it has come back")
        assert daemons[0].status()["lost"] == {}

    with_daemons(tmp_path, checkpoint, problem, test)


def test_blobs_on_their_way_are_abandoned_and_those_that_came_are_kept(tmp_path, checkpoint):
    problem = make_problem(checkpoint, 2, rate=weights_bytes(checkpoint) // 4)

    async def test(daemons, first):
        await until(lambda: daemons[1].status()["blobs"]["held"] >= 1, "a blob is there")
        begun = begin(cluster_of(daemons), problem)
        outcome = solve(begun.problem, begun.request)
        assert isinstance(outcome, Planned), outcome
        moved = [step for step in outcome.verified.plan.steps if isinstance(step, Transfer)]
        assert 0 < len(moved) < len(first.plan.blobs)
        await daemons[1].adopt(document(outcome.verified))
        await until(lambda: all(daemon.status()["plan"]["generation"] == 2 for daemon in daemons), "adopted")
        await until(lambda: all(daemon.status()["phase"] == "complete" for daemon in daemons), "all is there")
        await until(lambda: len(daemons[1].status()["pipelines"]["open"]) == 2, "both serve")
        weights = sum(blob.bytes for blob in outcome.verified.plan.blobs)
        pipelines = (*(each.pipeline for each in begun.problem.running), *outcome.verified.plan.pipelines)
        for daemon in daemons:
            ((place, used),) = daemon.status()["memory_bytes_used"].items()
            opened = [each for each in pipelines if each.id in daemon.status()["pipelines"]["open"]]
            stages = [stage for each in opened for stage in each.stages if stage.place == place]
            assert used == weights + sum(stage.kv_bytes + stage.workspace_bytes for stage in stages)
        assert await tokens_of(daemons[1], "after") == await tokens_of(daemons[0], "after")

    with_daemons(tmp_path, checkpoint, problem, test, blocks=4, complete=False)
