"""Requests that decode go over to another pipeline with their KV, token for token, whatever goes wrong."""

import asyncio

import pytest
import torch
import transformers

from executor.pipelines import arrival, departure
from specs.handing_over import shared_kv
from tests.executor.pipelines.hand_over_nodes import NEW, OLD, Nodes

PROMPTS = ((5, 60, 70, 9), (3, 4, 5, 6, 7, 8, 9, 10, 11), (100, 90, 80), (42, 17, 8, 99, 55))
TOKENS = 24


@pytest.fixture(scope="module")
def expected(checkpoint):
    llm = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    torch.set_num_threads(1)
    answers = []
    for prompt in PROMPTS:
        ids = torch.tensor([prompt])
        out = llm.generate(ids, max_new_tokens=TOKENS, do_sample=False, pad_token_id=0, eos_token_id=None)
        answers.append(out[0][ids.shape[1] :].tolist())
    return answers


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(departure, "TICK_SECONDS", 0.02)
    monkeypatch.setattr(arrival, "TICK_SECONDS", 0.02)


def run(nodes, test):
    async def whole():
        async with asyncio.timeout(60), nodes.serving():
            return await test()

    return asyncio.run(whole())


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
