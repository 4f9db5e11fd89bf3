"""Daemons are killed at random moments of reconfigurations: no wrong token, and the cluster always serves again."""

from types import SimpleNamespace

import pytest

from tests.processes.cluster import adopt, daemons
from tests.processes.kill_draws import Client, Draws, first_plan
from tests.processes.kill_rounds import NO_HOLDER, Answer, Rounds

ROUNDS = 50


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(4))
def test_a_cluster_lives_through_two_hundred_kills(seed, checkpoint, oracle, tmp_path):
    first = first_plan(checkpoint)
    with daemons(first.problem, checkpoint, tmp_path) as running:
        adopt(running, first)
        rounds = Rounds(seed, first.problem, running, oracle)
        for number in range(ROUNDS):
            rounds.carry_out(number)
    assert rounds.counts["answers"] > ROUNDS


def judged(harmed=(), **said):
    """What is wrong with an answer at n1 to which the oracle says two tokens."""
    oracle = SimpleNamespace(greedy=lambda prompt, tokens: [7, 8], text=lambda tokens: "right")
    rounds = Rounds(0, None, (), oracle)
    rounds.harmed |= set(harmed)
    client = Client(front=1, after_s=0, prompt="a", tokens=2)
    return list(rounds.judge(Answer(client=client, front="n1", **said)))


@pytest.mark.parametrize(
    ("harmed", "said"),
    [
        ((), {"text": "right", "counted": 2, "endings": ["length"]}),
        ((), {"text": "ri", "error": f"every pipeline has closed, and {NO_HOLDER}"}),
        (("n1",), {"text": "ri", "error": "ReadError('')"}),
    ],
)
def test_what_is_right(harmed, said):
    assert judged(harmed, **said) == []


@pytest.mark.parametrize(
    ("harmed", "said"),
    [
        ((), {"text": "wrong", "counted": 2, "endings": ["length"]}),
        ((), {"text": "right", "counted": 3, "endings": ["length"]}),
        ((), {"text": "right", "counted": 2, "endings": []}),
        ((), {"text": "right", "counted": 2, "endings": ["length", "length"]}),
        (("n1",), {"text": "wr", "error": "ReadError('')"}),
        (("n1",), {"text": "right", "endings": ["length"], "error": "ReadError('')"}),
        (("n2",), {"text": "ri", "error": "ReadError('')"}),
        ((), {"text": "rong", "error": f"every pipeline has closed, and {NO_HOLDER}"}),
    ],
)
def test_what_is_wrong(harmed, said):
    (sentence,) = judged(harmed, **said)
    assert "n1" in sentence


def test_a_round_is_drawn_from_its_seed_and_number(checkpoint):
    problem = first_plan(checkpoint).problem
    assert Draws.of(3, 7, problem) == Draws.of(3, 7, problem) != Draws.of(3, 8, problem)
