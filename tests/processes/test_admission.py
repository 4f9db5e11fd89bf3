"""What a daemon refuses, over HTTP and on its port for peers; and that nothing of it hurts."""

import json
import shutil
import signal
import socket
import time
from random import Random

import attrs
import httpx
import pytest
from safetensors import safe_open

from specs import codec, journal
from specs.problem import Holding, Target
from tests.processes.cluster import (
    LLM,
    adopt,
    complete,
    completion,
    daemons,
    document,
    make_plan,
    make_problem,
    text_of,
    wait_for,
    wait_until_complete,
    weights_bytes,
)

FAST = 10**9


def pair(problem, plan):
    return b'{"plan":' + codec.encode(plan) + b',"problem":' + codec.encode(problem) + b"}"


def refusals(verified):
    """Documents, the status that refuses each, and words of the sentence."""
    problem, plan = verified.problem, verified.plan
    good = json.loads(document(verified))
    child = attrs.evolve(plan, generation=2, parent=codec.digest(plan))
    faster = list(plan.steps)
    index = next(i for i, step in enumerate(plan.steps) if hasattr(step, "bytes_per_second"))
    faster[index] = attrs.evolve(faster[index], bytes_per_second=10 * FAST)
    elsewhere = attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, name="elsewhere"))
    return {
        "garbage": (b"\x00\xffgarbage", 400, "UTF-8"),
        "no JSON": (b"{", 400, "not JSON"),
        "no plan": (b"{}", 400, '"problem" and "plan"'),
        "deep": (b"[" * 100_000, 400, "deep"),
        "other format": (json.dumps(good | {"plan": good["plan"] | {"format": 99}}).encode(), 400, "format"),
        "unknown key": (json.dumps(good | {"plan": good["plan"] | {"extra": 1}}).encode(), 400, "unknown key"),
        "too fast": (pair(problem, attrs.evolve(child, steps=tuple(faster))), 422, "LINK"),
        "other problem": (pair(attrs.evolve(problem, name="other"), child), 422, "FOR"),
        "other cluster": (pair(elsewhere, attrs.evolve(child, problem=codec.digest(elsewhere))), 409, "serves cluster"),
        "stale": (pair(problem, attrs.evolve(plan, provenance=attrs.evolve(plan.provenance, seed=7))), 409, "gen"),
        "no child": (pair(problem, attrs.evolve(plan, generation=2, parent="0" * 64)), 409, "does not follow"),
    }


def test_what_is_refused_changes_nothing(checkpoint, oracle, tmp_path):
    verified = make_plan(make_problem(checkpoint, 2, rate=FAST), blocks=4)
    right = oracle.answer("still here", 8)
    with daemons(verified.problem, checkpoint, tmp_path) as running:
        source, receiver = running
        assert source.get("/health").status_code == 503
        adopt(running, verified)
        wait_until_complete(running)
        for name, (body, status, words) in refusals(verified).items():
            answer = source.put(body)
            assert (name, answer.status_code) == (name, status), answer.text
            assert words in answer.json()["error"]["message"], name
        refused = [record for record in source.records() if isinstance(record.what, journal.Refused)]
        assert len(refused) == len(refusals(verified))
        adopt(running, verified)  # the same again is no news
        assert oversized(source) == 413
        for daemon in running:
            talk_nonsense(daemon, verified)
        for daemon in running:
            assert daemon.status()["plan"]["digest"] == codec.digest(verified.plan)
            assert text_of(completion(daemon, "still here", 8)) == right
        hang_up(receiver)
        wait_for(lambda: not receiver.status()["requests"]["running"], "the request is cancelled", seconds=60)
        wait_for(lambda: not source.status()["requests"]["led_here"], "and its pipeline knows it", seconds=60)


def oversized(daemon):
    """Announce a body beyond the limit; the answer comes before it is sent."""
    port = httpx.URL(daemon.url).port
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        head = f"PUT /plan HTTP/1.1\r\nHost: n\r\nContent-Length: {codec.DOCUMENT_BYTES_MAX + 1}\r\n\r\n"
        sock.sendall(head.encode())
        return int(sock.recv(4096).split()[1])


def talk_nonsense(daemon, verified):
    """Send what is not HTTP to the port for people and what is not a peer's to the port for peers."""
    address = next(node.address for node in verified.problem.cluster.nodes if node.id == daemon.name)
    ports = httpx.URL(daemon.url).port, int(address.rpartition(":")[2])
    for port in ports:
        for nonsense in (
            b"",
            b"\n" * 100,
            Random(5).randbytes(5000),
            b"GET / HTTP/1.1\r\n\r\n",
            b"HFT1" + b"\xff" * 100,
        ):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
                try:
                    sock.sendall(nonsense)
                    sock.shutdown(socket.SHUT_WR)
                    sock.settimeout(0.2)
                    sock.recv(100)
                except OSError:
                    pass  # it may hang up at any time


def hang_up(daemon):
    """Take a few pieces of a long answer and leave."""
    body = {"model": LLM, "prompt": "a", "max_tokens": 120, "stream": True, "ignore_eos": True}
    with httpx.stream("POST", daemon.url + "/v1/completions", json=body, timeout=30) as answer:
        assert answer.status_code == 200
        assert daemon.status()["requests"]["running"] == 1
        next(answer.iter_lines())


@pytest.mark.parametrize("damage", ["flipped", "truncated"])
def test_a_checkpoint_that_was_damaged_after_planning_is_never_served(damage, checkpoint, tmp_path):
    copy = tmp_path / "checkpoint"
    shutil.copytree(checkpoint, copy)
    verified = make_plan(make_problem(copy, 2, rate=FAST), blocks=4)
    (weights,) = copy.glob("*.safetensors")
    content = bytearray(weights.read_bytes())
    if damage == "flipped":
        content[-1] ^= 1
        with safe_open(weights, framework="pt") as file:
            names = list(file.offset_keys())
        words = f"tensor {names[-1]} is not the one that was planned"
    else:
        del content[-1000:]
        words = "not a whole safetensors file"
    weights.write_bytes(content)
    with daemons(verified.problem, copy, tmp_path) as running:
        source, receiver = running
        answer = source.put(document(verified))
        assert answer.status_code == 422
        assert words in answer.json()["error"]["message"]
        assert receiver.put(document(verified)).status_code == 200
        time.sleep(1)
        for daemon in running:
            assert daemon.get("/health").status_code == 503
        assert source.status()["plan"] is None
        assert receiver.status()["blobs"]["held"] == 0
        kinds = {type(record.what) for daemon in running for record in daemon.records()}
        for_replay = {journal.Started, journal.LearntOfPlans, journal.LearntUnderPlan}
        assert kinds - for_replay == {journal.Refused, journal.Adopted}


def streamed(lines):
    """Put together the text of a streamed completion."""
    pieces = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    return "".join(piece["choices"][0]["text"] for piece in pieces)


def test_a_following_plan_takes_over_and_requests_go_on(checkpoint, oracle, tmp_path):
    whole = make_problem(checkpoint, 3, rate=FAST, context=256)
    first, second = (Target(llm=LLM, place=f"n{index}/cpu0") for index in (1, 2))
    problem = attrs.evolve(whole, targets=(first,))
    verified = make_plan(problem, blocks=4)
    holding = Holding(llm=LLM, place=first.place)
    following = attrs.evolve(problem, holdings=(*problem.holdings, holding), targets=(second,))
    successor = make_plan(following, blocks=4, parent=verified.plan)
    assert (successor.plan.generation, successor.plan.parent) == (2, codec.digest(verified.plan))
    with daemons(problem, checkpoint, tmp_path) as running:
        adopt(running, verified)
        wait_until_complete(running)
        body = {"model": LLM, "prompt": "a", "max_tokens": 250, "stream": True, "ignore_eos": True}
        body["temperature"] = 0
        with httpx.stream("POST", running[2].url + "/v1/completions", json=body, timeout=30) as answer:
            lines = answer.iter_lines()
            first = next(lines)
            adopt(running, successor)
            text = streamed([first, *lines])
        wait_until_complete(running)
        assert text == text_of(completion(running[0], "a", 250, ignore_eos=True))
        for daemon in running:
            assert daemon.status()["plan"]["generation"] == 2
            assert daemon.get("/health").status_code == 200
            assert text_of(completion(daemon, "afterwards", 12)) == oracle.answer("afterwards", 12)
        held = {place for daemon in running for place, size in daemon.status()["memory_bytes_used"].items() if size}
        assert held == {f"n{index}/cpu0" for index in range(3)}


def test_a_port_that_is_taken_refuses_the_plan(checkpoint, tmp_path):
    verified = make_plan(make_problem(checkpoint, 2, rate=FAST), blocks=4)
    port = int(verified.problem.cluster.nodes[0].address.rpartition(":")[2])
    with daemons(verified.problem, checkpoint, tmp_path) as running, socket.create_server(("127.0.0.1", port)):
        answer = running[0].put(document(verified))
        assert answer.status_code == 422
        assert "cannot listen" in answer.json()["error"]["message"]
        assert running[0].get("/health").status_code == 503


def test_a_node_that_sleeps_through_its_loss_serves_no_wrong_token(checkpoint, oracle, tmp_path):

    problem = make_problem(checkpoint, 3, rate=weights_bytes(checkpoint) // 3)
    verified = make_plan(problem, blocks=8)
    right = oracle.answer("good morning", 8)
    with daemons(problem, checkpoint, tmp_path) as running:
        adopt(running, verified)
        source, victim, other = running
        wait_for(lambda: victim.status()["blobs"]["held"] >= 2, "the victim holds two blobs", seconds=60)
        victim.signal(signal.SIGSTOP)
        for daemon in (source, other):
            wait_for(lambda daemon=daemon: victim.name in daemon.status()["lost"], "the loss is noticed", seconds=60)
            wait_for(lambda daemon=daemon: daemon.status()["phase"] != "transferring", "it is done", seconds=60)
        victim.signal(signal.SIGCONT)
        for _ in range(20):
            answer = completion(victim, "good morning", 8)
            assert answer.status_code in (200, 503), answer.text
            assert answer.status_code == 503 or text_of(answer) == right
            time.sleep(0.2)
        wait_for(lambda: len(victim.status()["lost"]) == 2, "the victim learns that it was given up", seconds=60)
        assert not complete(victim)
        assert victim.get("/health").status_code == 503
        for daemon in (source, other):
            assert text_of(completion(daemon, "good morning", 8)) == right
