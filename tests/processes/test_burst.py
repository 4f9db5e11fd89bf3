"""Many clients at once while the LLM is still on its way: every one is answered, and right."""

import itertools
import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from specs import journal
from tests.processes.cluster import (
    LLM,
    adopt,
    daemons,
    make_plan,
    make_problem,
    over_nodes,
    records_of,
    text_of,
    wait_until_complete,
    weights_bytes,
)

QUESTIONS = tuple((f"The node sends block {number}. " * (1 + number % 4), 4 + number) for number in range(20))
CONNECTIONS, REQUESTS = 32, 360


def test_a_burst_while_loading(checkpoint, oracle, tmp_path):
    answers = [oracle.answer(*question) for question in QUESTIONS]
    verified = make_plan(make_problem(checkpoint, 4, rate=weights_bytes(checkpoint) // 3), blocks=8)
    with daemons(verified.problem, checkpoint, tmp_path) as running:
        adopt(running, verified)

        def ask(connection: int) -> list[tuple[int, str]]:
            with httpx.Client(base_url=running[connection % len(running)].url, timeout=120) as client:
                return [
                    (number % len(QUESTIONS), text_of(_ask(client, *QUESTIONS[number % len(QUESTIONS)])))
                    for number in range(connection, REQUESTS, CONNECTIONS)
                ]

        with ThreadPoolExecutor(CONNECTIONS) as pool:
            given = list(itertools.chain.from_iterable(pool.map(ask, range(CONNECTIONS))))
        assert len(given) == REQUESTS
        assert [pair for pair in given if pair[1] != answers[pair[0]]] == []
        served = {record.what.pipeline for record in records_of(running, journal.FirstToken)}
        assert served & over_nodes(verified), "some were answered by nodes that each held a part of the LLM"
        wait_until_complete(running)
        for daemon in running:
            assert daemon.status()["requests"] == {"running": 0, "waiting": 0, "by_pipeline": {}, "led_here": {}}


def _ask(client, prompt, max_tokens):
    body = {"model": LLM, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0}
    return client.post("/v1/completions", content=json.dumps(body))


def test_the_openai_client_while_loading(checkpoint, oracle, tmp_path):
    verified = make_plan(make_problem(checkpoint, 3, rate=weights_bytes(checkpoint) // 3), blocks=8)
    with daemons(verified.problem, checkpoint, tmp_path) as running:
        adopt(running, verified)
        for daemon in running[1:]:
            with openai.OpenAI(base_url=daemon.url + "/v1", api_key="none", max_retries=0) as client:
                _use(client, oracle)
        wait_until_complete(running)


def _use(client, oracle):
    plain = {"model": LLM, "temperature": 0}
    right = oracle.answer("Which bytes move", 16)
    stream = client.completions.create(**plain, prompt="Which bytes move", max_tokens=16, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == right
    several = client.completions.create(**plain, prompt="Which bytes move", max_tokens=16, n=2, logprobs=2)
    assert [choice.text for choice in several.choices] == [right, right]
    assert all(-50 < value <= 0 for value in several.choices[0].logprobs.token_logprobs)
    end = right[5:8]
    stopped = client.completions.create(**plain, prompt="Which bytes move", max_tokens=16, stop=end)
    assert stopped.choices[0].text == right[: right.index(end)]
    assert stopped.choices[0].finish_reason == "stop"
    messages = [{"role": "user", "content": "order is law"}]
    whole = client.chat.completions.create(**plain, messages=messages, max_tokens=12)
    chunks = client.chat.completions.create(**plain, messages=messages, max_tokens=12, stream=True)
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert streamed == whole.choices[0].message.content
    chosen = {"model": LLM, "prompt": "a", "max_tokens": 8, "temperature": 1.5, "seed": 2**63 - 1}
    first, second = (client.completions.create(**chosen).choices[0].text for _ in range(2))
    assert first == second
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="nobody", prompt="a")
    with pytest.raises(openai.BadRequestError):
        client.completions.create(**plain, prompt="a", max_tokens=1000)
