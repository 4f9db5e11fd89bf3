"""Slots come and go in real stages on several nodes, while requests are served: the same tokens, no request refused."""

import asyncio
import random

import pytest

from executor.pipelines import arrival, departure, resizing
from specs.timing import stage_kv_bytes
from tests.executor.engine.oracle import greedy
from tests.executor.pipelines.hand_over_nodes import NEW, OLD, Nodes
from tests.executor.pipelines.test_hand_over import ask, run, tokens_of, until

PROMPTS = tuple(tuple(3 + (7 * number + position) % 90 for position in range(3 + number)) for number in range(9))
TOKENS = 12


@pytest.fixture(scope="module")
def expected(checkpoint):
    return [greedy(checkpoint, prompt, TOKENS) for prompt in PROMPTS]


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    for module in (departure, arrival):
        monkeypatch.setattr(module, "TICK_SECONDS", 0.02)
    monkeypatch.setattr(resizing, "_AGAIN_SECONDS", 0.01)


class Losing:
    """Loses words about resizes, and no others: whatever else is lost breaks a connection."""

    def __init__(self, chance):
        self.chance, self.lost = chance, 0

    def __call__(self, _teller, _hearer, frame):
        is_lost = b"esize" in frame[:200] and self.chance.random() < 0.4
        self.lost += is_lost
        return is_lost


def caches(nodes, pipeline):
    found = []
    for index, stage in enumerate(pipeline.stages):
        host = nodes[stage.place.partition("/")[0]].host
        found.append(host.stage(pipeline.id, index).cache)
    return found


def check(nodes, pipeline):
    leader = nodes.leader(pipeline.id)
    for cache in caches(nodes, pipeline):
        assert leader._batcher.slots * pipeline.request_tokens_max <= cache.kv_tokens
    if not leader.resizing.is_under_way:
        most = leader.resizing.slots * pipeline.request_tokens_max
        assert all(cache.written_tokens <= cache.kv_tokens == most for cache in caches(nodes, pipeline))


@pytest.mark.parametrize("way", ["n1", "n2 n0", pytest.param("n0 n1 n2", marks=pytest.mark.slow)])
def test_tokens_are_the_same_through_resizes_whatever_words_are_lost(way, checkpoint, llm, blobs, expected):
    chance = random.Random(way)
    lose = Losing(chance)
    nodes = Nodes(checkpoint, llm, blobs, way, "n2", lose=lose)

    async def test():
        leader, done = nodes.leader(OLD), []
        answers = [asyncio.create_task(nodes.answer(prompt, TOKENS)) for prompt in PROMPTS]
        while not all(answer.done() for answer in answers):
            leader.resizing.begin(chance.randint(1, nodes.old.slots), lambda: done.append(True))
            for _ in range(chance.randint(1, 12)):
                await asyncio.sleep(0.002)
                check(nodes, nodes.old)
            if chance.random() < 0.2:
                leader.resizing.abort()
        await until(lambda: not leader.resizing.is_under_way)
        check(nodes, nodes.old)
        assert done
        return await asyncio.gather(*answers)

    assert tokens_of(run(nodes, test)) == expected
    assert lose.lost or way == "n1"


def test_memory_that_was_given_back_is_another_s_until_it_is_free_again(checkpoint, llm, blobs, expected):
    nodes = Nodes(checkpoint, llm, blobs, "n0 n1", "n2")

    async def test():
        store, leader, done = nodes["n1"].store, nodes.leader(OLD), []
        place, stage = "n1/gpu0", nodes.old.stages[1]
        before = store.used_bytes(place)
        answers = await ask(nodes, PROMPTS, TOKENS, at_least=0)
        leader.resizing.begin(1, lambda: done.append(1))
        await until(lambda: done == [1])
        freed = before - store.used_bytes(place)
        assert freed == stage.kv_bytes - stage_kv_bytes(llm, nodes.old, stage, 1)
        store._memory_bytes[place] = before
        store.take(place, freed, "a blob")
        leader.resizing.begin(nodes.old.slots, lambda: done.append(nodes.old.slots))
        for answer in answers[:3]:
            await answer
        assert leader._batcher.slots == 1
        store.give_back(place, freed)
        await until(lambda: len(done) == 2)
        assert store.used_bytes(place) == before
        return await asyncio.gather(*answers)

    assert tokens_of(run(nodes, test)) == expected


def test_guests_of_a_hand_over_have_slots_in_force_and_no_others(checkpoint, llm, blobs, expected):
    """The successor has two slots: two requests go on from their KV, the others are computed again, after them."""
    nodes = Nodes(checkpoint, llm, blobs, "n0 n1", "n2")

    async def test():
        leader, done = nodes.leader(NEW), []
        leader.resizing.begin(2, lambda: done.append(2))
        await until(lambda: done == [2])
        answers = await ask(nodes, PROMPTS[:4], TOKENS, at_least=2)
        nodes.hand_over()
        await until(lambda: nodes.receipts)
        leader.resizing.begin(4, lambda: done.append(4))
        found = await asyncio.gather(*answers)
        await until(lambda: len(done) == 2)
        return found

    assert tokens_of(run(nodes, test)) == expected[:4]
    (receipt,) = nodes.receipts
    assert (receipt.copied, receipt.recomputed) == (2, 2)
