"""Requests that decode go over to another pipeline with their KV, token for token, whatever goes wrong."""

import asyncio

import attrs
import pytest

from executor.pipelines import arrival, departure
from specs.handing_over import shared_kv
from specs.plan import KvPath
from tests.executor.engine.oracle import greedy
from tests.executor.pipelines.hand_over_nodes import NEW, OLD, Nodes
from tests.plans import activations

PROMPTS = ((5, 60, 70, 9), (3, 4, 5, 6, 7, 8, 9, 10, 11), (100, 90, 80), (42, 17, 8, 99, 55))
TOKENS = 24


@pytest.fixture(scope="module")
def expected(checkpoint):
    return [greedy(checkpoint, prompt, TOKENS) for prompt in PROMPTS]


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(departure, "TICK_SECONDS", 0.02)
    monkeypatch.setattr(arrival, "TICK_SECONDS", 0.02)


def run(nodes, test):
    async def whole():
        async with asyncio.timeout(60), nodes.serving():
            return await test()

    return asyncio.run(whole())


def adopt_without_new_one(nodes):
    """What daemons do when they adopt a plan that does not name the successor any more."""
    plan = attrs.evolve(nodes.plan, pipelines=(nodes.old,), steps=activations(nodes.old))
    nodes.leader(OLD).abort_hand_over()
    for node in nodes.nodes.values():
        node.host.adopt(nodes.problem, plan, node.store)
        if NEW in node.leaders:
            node.leaders.pop(NEW).close()


async def until(condition):
    while not condition():  # noqa: ASYNC110 - the nodes' own tasks run meanwhile
        await asyncio.sleep(0.001)


async def ask(nodes, prompts=PROMPTS, tokens=TOKENS, at_least=4):
    """Ask, and wait until every request has so many tokens."""
    told = [[] for _ in prompts]
    answers = [
        asyncio.create_task(nodes.answer(prompt, tokens, told=heard))
        for prompt, heard in zip(prompts, told, strict=True)
    ]
    await until(lambda: all(len(heard) >= at_least for heard in told))
    return answers


def tokens_of(answers):
    return [[token for token, _ in answer] for answer in answers]


WAYS = {
    "two stages into one": ("n0 n1", "n2"),
    "one stage into two": ("n2", "n0 n1"),
    "other stages, one on a node of before": ("n0 n1", "n1 n2"),
    "three stages into two on the same nodes": ("n0 n1 n2", "n1 n0"),
    "within one node": ("n1", "n1"),
}


@pytest.mark.parametrize("way", WAYS)
def test_requests_go_on_token_for_token_from_copied_kv(way, checkpoint, llm, blobs, expected):
    nodes = Nodes(checkpoint, llm, blobs, *WAYS[way])

    async def test():
        answers = await ask(nodes)
        nodes.hand_over()
        return await asyncio.gather(*answers)

    answers = run(nodes, test)
    assert tokens_of(answers) == expected
    (receipt,) = nodes.receipts
    assert (receipt.copied, receipt.recomputed) == (len(PROMPTS), 0)
    assert receipt.halted_ns > 0
    old = [[token for token, pipeline in answer if pipeline == OLD] for answer in answers]
    # No token is computed twice: each but the last of every answer once, in one pipeline or the other.
    assert nodes.computed[OLD] == sum(len(p) + len(o) - 1 for p, o in zip(PROMPTS, old, strict=True))
    assert nodes.computed[NEW] == sum(TOKENS - len(heard) for heard in old)
    per_token = sum(shared_kv(llm, nodes.old, nodes.new).values())
    assert receipt.bytes >= nodes.computed[OLD] * per_token
    assert [count for _, count in nodes.front.pauses.buckets()][-1] == len(PROMPTS)
    assert nodes.leader(NEW).live == 0


def test_rounds_are_copied_while_the_old_pipeline_decodes(checkpoint, llm, blobs, expected):
    """The paths are slow, so that tokens are computed while a round is under way."""
    nodes = Nodes(checkpoint, llm, blobs, *WAYS["two stages into one"])
    slow = tuple(KvPath(old_stage=stage, new_stage=0, route=0, bytes_per_second=10**6) for stage in (0, 1))

    async def test():
        answers = await ask(nodes)
        nodes.hand_over(rest_tokens_max=4, rounds_max=30, paths=slow)
        return await asyncio.gather(*answers)

    assert tokens_of(run(nodes, test)) == expected
    (receipt,) = nodes.receipts
    assert receipt.copied == len(PROMPTS)
    assert 1 <= receipt.rounds <= 30


def test_sampled_requests_go_on_with_the_same_tokens(checkpoint, llm, blobs):
    nodes = Nodes(checkpoint, llm, blobs, *WAYS["one stage into two"])

    async def test():
        alone = [token for token, _ in await nodes.answer(PROMPTS[0], TOKENS, seed=7)]
        told = []
        answer = asyncio.create_task(nodes.answer(PROMPTS[0], TOKENS, seed=7, told=told))
        await until(lambda: len(told) >= 4)
        nodes.hand_over()
        return alone, await answer

    alone, answer = run(nodes, test)
    assert [token for token, _ in answer] == alone
    assert {pipeline for _, pipeline in answer} == {OLD, NEW}


def test_a_prompt_goes_on_where_it_is(checkpoint, llm, blobs, expected):
    """Iterations of few tokens: the prompt is half computed when it is handed over."""
    nodes = Nodes(checkpoint, llm, blobs, *WAYS["two stages into one"])
    leader = {}

    async def test():
        leader["old"] = nodes.leader(OLD)
        batcher = leader["old"]._batcher
        batcher.limits = attrs.evolve(batcher.limits, tokens_per_iteration=2)
        answer = asyncio.create_task(nodes.answer(PROMPTS[1], TOKENS))
        await until(lambda: any(each.computed >= 2 for each in batcher.live()))
        nodes.front._open |= {NEW}  # and not by `openings`, which submits anew what has no token yet
        nodes.hand_over()
        return await answer

    answer = run(nodes, test)
    assert [token for token, _ in answer] == expected[1]
    assert {pipeline for _, pipeline in answer} == {NEW}
    assert nodes.receipts[0].copied == 1
    assert nodes.computed[OLD] + nodes.computed[NEW] == len(PROMPTS[1]) + TOKENS - 1
    assert nodes.computed[OLD] < len(PROMPTS[1])


def test_requests_without_a_seat_are_computed_again(checkpoint, llm, blobs, expected):
    nodes = Nodes(checkpoint, llm, blobs, *WAYS["two stages into one"], slots=2)

    async def test():
        answers = await ask(nodes)
        nodes.hand_over()
        return await asyncio.gather(*answers)

    assert tokens_of(run(nodes, test)) == expected
    assert [(each.copied, each.recomputed) for each in nodes.receipts] == [(2, 2)]


def test_short_contexts_are_computed_again(checkpoint, llm, blobs, expected):
    nodes = Nodes(checkpoint, llm, blobs, *WAYS["two stages into one"])

    async def test():
        answers = await ask(nodes)
        nodes.hand_over(copy_tokens_min=10**6)
        return await asyncio.gather(*answers)

    assert tokens_of(run(nodes, test)) == expected
    assert [(each.copied, each.recomputed) for each in nodes.receipts] == [(0, len(PROMPTS))]


def test_an_aborted_hand_over_leaves_the_old_pipeline_serving(checkpoint, llm, blobs, expected):
    """It is aborted again and again, at whatever point it is, and then done."""
    nodes = Nodes(checkpoint, llm, blobs, *WAYS["other stages, one on a node of before"])

    async def test():
        answers = await ask(nodes)
        for turns in (0, 3, 6, 9):
            nodes.hand_over()
            for _ in range(turns):
                await asyncio.sleep(0)
            nodes.leader(OLD).abort_hand_over()
            await asyncio.sleep(0.005)
        return await asyncio.gather(*answers)

    answers = run(nodes, test)
    assert tokens_of(answers) == expected
    assert {pipeline for answer in answers for _, pipeline in answer} == {OLD}
    assert nodes.receipts == []


@pytest.mark.parametrize("kind", ["invitation", "kv", "seats", "held", "hosting", "copykv"])
def test_messages_that_are_lost_are_sent_again(kind, checkpoint, llm, blobs, expected):
    lost = []

    def lose(_teller, _hearer, frame):
        if f'"kind":"{kind}"'.encode() in frame.replace(b'"kind":"invited"', b'"kind":"invitation"') and len(lost) < 2:
            lost.append(frame)
            return True
        return False

    nodes = Nodes(checkpoint, llm, blobs, "n2 n1", "n0 n1", lose=lose)

    async def test():
        answers = await ask(nodes)
        nodes.hand_over()
        return await asyncio.gather(*answers)

    assert tokens_of(run(nodes, test)) == expected
    assert len(lost) == 2
    assert [(each.copied, each.recomputed) for each in nodes.receipts] == [(len(PROMPTS), 0)]


def test_kv_that_comes_damaged_is_not_written_and_comes_again(checkpoint, llm, blobs, expected):
    damaged = []

    def damage(frame):
        if b'"kind":"kv"' in bytes(frame[:9999]) and len(damaged) < 2:
            damaged.append(frame)
            frame[-1] ^= 1

    nodes = Nodes(checkpoint, llm, blobs, *WAYS["two stages into one"], damage=damage)

    async def test():
        answers = await ask(nodes)
        nodes.hand_over()
        return await asyncio.gather(*answers)

    assert tokens_of(run(nodes, test)) == expected
    assert len(damaged) == 2
    assert [(each.copied, each.recomputed) for each in nodes.receipts] == [(len(PROMPTS), 0)]


def test_the_death_of_the_target_leaves_the_old_pipeline_serving(checkpoint, llm, blobs, expected):
    nodes = Nodes(checkpoint, llm, blobs, "n2 n0", "n1")

    async def test():
        answers = await ask(nodes)
        nodes.dead.add("n1")
        nodes.hand_over()
        await asyncio.sleep(0.1)
        nodes.leader(OLD).abort_hand_over()  # the core has seen that the successor is lost
        return await asyncio.gather(*answers)

    answers = run(nodes, test)
    assert tokens_of(answers) == expected
    assert {pipeline for answer in answers for _, pipeline in answer} == {OLD}


def test_requests_of_a_target_that_dies_after_all_are_computed_again(checkpoint, llm, blobs, expected):
    """n1 dies when the front has just been told that everything is there."""
    nodes = Nodes(checkpoint, llm, blobs, "n2 n0", "n1")

    async def test():
        answers = await ask(nodes)
        front = nodes.front
        handed_over = front.handed_over

        def die(message):
            nodes.dead.add("n1")
            handed_over(message)
            front.openings(frozenset({OLD}))  # what would be another open pipeline
            front._shut -= {OLD}
            nodes.leader(OLD)._open = True
            nodes.leader(OLD)._batcher.go_on()
            front.broken("n1")

        front.handed_over = die
        nodes.handed_over = nodes.receipts.append
        nodes.hand_over()
        return await asyncio.gather(*answers)

    assert tokens_of(run(nodes, test)) == expected
    assert nodes.receipts[0].copied == len(PROMPTS)


def test_what_is_cancelled_on_the_way_keeps_no_seat(checkpoint, llm, blobs, expected):
    nodes = Nodes(checkpoint, llm, blobs, *WAYS["two stages into one"])

    async def test():
        answers = await ask(nodes)
        nodes.hand_over(rest_tokens_max=1, rounds_max=5)
        answers[1].cancel()
        kept = [answers[0], *answers[2:]]
        found = await asyncio.gather(*kept)
        await until(lambda: not nodes.leader(NEW)._batcher._guests)
        again = await asyncio.gather(*(nodes.answer(prompt, TOKENS) for prompt in PROMPTS))
        return found, again

    found, again = run(nodes, test)
    assert tokens_of(found) == [expected[0], *expected[2:]]
    assert tokens_of(again) == expected


def test_what_is_aborted_as_often_as_is_tried_is_computed_again(checkpoint, llm, blobs, expected):
    """Three times, as by plans that are accepted and declined; the receipt is of what was begun last."""
    nodes = Nodes(checkpoint, llm, blobs, *WAYS["two stages into one"])

    async def test():
        answers = await ask(nodes)
        departure = nodes.leader(OLD).departure
        for _ in range(3):
            nodes.hand_over()
            await until(lambda: departure.state.current is not None)
            departure._halted_at = 1
            nodes.leader(OLD).abort_hand_over()
        nodes.hand_over()
        return await asyncio.gather(*answers)

    assert tokens_of(run(nodes, test)) == expected
    (receipt,) = nodes.receipts
    assert (receipt.copied, receipt.recomputed, receipt.halted_ns) == (0, len(PROMPTS), 0)


def test_requests_decode_on_when_the_connection_to_the_target_breaks(checkpoint, llm, blobs, expected):
    """Nothing comes from the target once the source has halted; the source hears that the connection broke."""
    halted = []
    nodes = Nodes(checkpoint, llm, blobs, "n2 n0", "n1", lose=lambda teller, *_: teller == "n1" and bool(halted))

    async def test():
        answers = await ask(nodes)
        batcher = nodes.leader(OLD)._batcher
        pause = batcher.pause
        batcher.pause = lambda: (halted.append(True), pause())
        nodes.hand_over()
        await until(lambda: batcher.boundary)
        nodes.leader(OLD).disconnected("n1", member=False)
        assert not batcher.boundary, "it decodes on"
        # The connection is there again, for good: a pause that broke it once more, with nobody to hear of that, would
        # leave requests that are computed again in the new pipeline without an answer for ever.
        batcher.pause = pause
        halted.clear()
        return await asyncio.gather(*answers)

    assert tokens_of(run(nodes, test)) == expected


@pytest.mark.parametrize(("pipeline", "turn"), [(OLD, 1), (NEW, 1), (NEW, 3)], ids=["reads", "opens seats", "writes"])
def test_another_plan_is_adopted_while_a_stage_has_its_turn(checkpoint, llm, blobs, expected, pipeline, turn):
    """A daemon that went on with an order of the plan before would look for a pipeline that there is no more."""
    nodes, turns = Nodes(checkpoint, llm, blobs, *WAYS["one stage into two"]), []

    def watch(host):
        in_turn = host.in_turn

        async def watched(name, index, work):
            loop = asyncio.get_running_loop()

            def work_and_adopt(stage):
                found = work(stage)
                turns.append(name)
                if name == pipeline and turns.count(name) == turn:
                    loop.call_soon_threadsafe(adopt_without_new_one, nodes)
                return found

            return await in_turn(name, index, work_and_adopt)

        host.in_turn = watched

    async def test():
        for node in nodes.nodes.values():
            watch(node.host)
        answers = await ask(nodes)
        nodes.hand_over()
        return await asyncio.gather(*answers)

    answers = run(nodes, test)
    assert tokens_of(answers) == expected
    assert {name for answer in answers for _, name in answer} == {OLD}
    assert turns.count(pipeline) >= turn
