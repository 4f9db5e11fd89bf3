"""Requests that outlive the pipeline on which they began: they go on in another, and no token changes."""

import time
from concurrent.futures import ThreadPoolExecutor

import attrs

from specs import journal
from tests.processes.cluster import (
    adopt,
    complete,
    completion,
    daemons,
    make_plan,
    make_problem,
    over_nodes,
    records_of,
    text_of,
    wait_until_complete,
    weights_bytes,
)

PROMPTS = ("Order is law", "times are predictions, and every request keeps its tokens", "a")
TOKENS = 180
CLIENTS = 2  # at each front, one of them greedy: more would wait for a slot, and what has not begun cannot move
SAMPLED = {"temperature": 0.9, "top_p": 0.95, "ignore_eos": True}


@attrs.frozen
class Asked:
    """One request at one front."""

    node: str
    prompt: str
    seed: int | None  # None: greedy
    began_ns: int
    ended_ns: int
    text: str


def ask(daemon, prompt, seed):
    began = time.time_ns()
    more = {"ignore_eos": True} if seed is None else {**SAMPLED, "seed": seed}
    text = text_of(completion(daemon, prompt, TOKENS, **more))
    return Asked(daemon.name, prompt, seed, began, time.time_ns(), text)


def ask_until_complete(daemon, client):
    """Ask one after the other, always greedily or always with a seed; several clients keep every pipeline busy."""
    asked = []
    while not complete(daemon):
        number = len(asked)
        asked.append(ask(daemon, PROMPTS[number % len(PROMPTS)], None if client % 2 else 2**63 - 1 - number))
    return asked


def test_requests_go_on_through_switches(checkpoint, tmp_path):
    problem = make_problem(checkpoint, 4, rate=weights_bytes(checkpoint) // 8, context=256)
    verified = make_plan(problem, blocks=8)
    with daemons(problem, checkpoint, tmp_path) as running:
        adopt(running, verified)
        clients = [(daemon, client) for daemon in running for client in range(CLIENTS)]
        with ThreadPoolExecutor(len(clients)) as pool:
            asked = [each for found in pool.map(lambda pair: ask_until_complete(*pair), clients) for each in found]
        wait_until_complete(running)
        moved = [each for each in asked if was_moved(each, running, over_nodes(verified))]
        assert {each.seed is None for each in moved} == {True, False}, "both a greedy and a sampled request moved"
        known = {}
        for each in asked:
            key = each.prompt, each.seed
            if key not in known:
                known[key] = ask(running[0], *key).text
            assert each.text == known[key], each


def was_moved(asked, running, distributed):
    """Tell whether the request's first pipeline, one over nodes, closed between its first token and its last."""
    first = min(
        (record for record in records_of(running, journal.FirstToken) if record.node == asked.node),
        key=lambda record: abs(record.at_unix_ns - record.what.waited_ns - asked.began_ns),
    )
    return first.what.pipeline in distributed and any(
        record.what.pipeline == first.what.pipeline and first.at_unix_ns < record.at_unix_ns < asked.ended_ns
        for record in records_of(running, journal.Closed)
    )
