"""Daemons are killed at random moments of reconfigurations: no wrong token, and the cluster always serves again."""

from types import SimpleNamespace

import attrs
import pytest

from tests.processes.cluster import adopt, daemons
from tests.processes.kill_rounds.clients import NO_HOLDER, Answer, Judge
from tests.processes.kill_rounds.draws import Asked, Deed, Draws, Fault, first_plan
from tests.processes.kill_rounds.rounds import Rounds

ROUNDS = 50


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(4))
def test_a_cluster_lives_through_two_hundred_kills(seed, checkpoint, oracle, tmp_path):
    first = first_plan(checkpoint)
    with daemons(first.problem, checkpoint, tmp_path) as running:
        adopt(running, first)
        rounds = Rounds(seed, first, running, oracle, tmp_path)
        for number in range(ROUNDS):
            rounds.carry_out(number)
    assert rounds.counts["answers"] > ROUNDS
    assert rounds.replayed().breaches == ()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_nobody_holds_any_more_is_read_again_and_a_whole_cluster_starts_again(
    checkpoint, oracle, tmp_path, monkeypatch
):
    """First all that hold a copy are killed but the node with the checkpoint, which has given its own up; then all."""
    first = first_plan(checkpoint)
    drawn = Draws.of(0, 0, first.problem)
    at = {"fault": Fault.KILL_HOLDERS, "deed": Deed.ADOPTED, "anybody": 1}
    with daemons(first.problem, checkpoint, tmp_path) as running:
        adopt(running, first)
        rounds = Rounds(0, first, running, oracle, tmp_path)
        for number, places in enumerate((["n1/cpu0"], [f"n{node}/cpu0" for node in range(4)])):
            wish = attrs.evolve(drawn.wishes[0], places=tuple(places), depth_max=1 + number)
            draws = attrs.evolve(drawn, wishes=(wish,), gives_up_the_source=True, **at)
            monkeypatch.setattr(Draws, "of", lambda *_, draws=draws: draws)
            rounds.carry_out(number)
            print(*rounds.story, sep="\n")
    assert rounds.counts["the LLM was loaded again"] == rounds.counts["the whole cluster was started again"] == 1


def judged(harmed=(), may_lack=False, **said):
    """What is wrong with an answer at n1 to which the oracle says two tokens."""
    judge = Judge(SimpleNamespace(greedy=lambda prompt, tokens: [7, 8], text=lambda tokens: "right"))
    answer = Answer(asked=Asked(prompt="a", tokens=2), front="n1", **said)
    return list(judge.judge(answer, harmed=set(harmed), may_lack=may_lack))


@pytest.mark.parametrize(
    ("harmed", "may_lack", "said"),
    [
        ((), False, {"text": "right", "counted": 2, "endings": ["length"]}),
        ((), True, {"text": "ri", "error": f"every pipeline has closed, and {NO_HOLDER}"}),
        (("n1",), False, {"text": "ri", "error": "ReadError('')"}),
    ],
)
def test_what_is_right(harmed, may_lack, said):
    assert judged(harmed, may_lack, **said) == []


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
        ((), {"text": "ri", "error": f"every pipeline has closed, and {NO_HOLDER}"}),
    ],
)
def test_what_is_wrong(harmed, said):
    (sentence,) = judged(harmed, **said)
    assert "n1" in sentence


def test_a_round_is_drawn_from_its_seed_and_number(checkpoint):
    problem = first_plan(checkpoint).problem
    assert Draws.of(3, 7, problem) == Draws.of(3, 7, problem) != Draws.of(3, 8, problem)


def test_rounds_differ_in_all_that_they_may(checkpoint):
    problem = first_plan(checkpoint).problem
    drawn = [Draws.of(0, number, problem) for number in range(200)]
    assert {each.deed for each in drawn} == set(Deed)
    assert {each.fault for each in drawn} == set(Fault)
