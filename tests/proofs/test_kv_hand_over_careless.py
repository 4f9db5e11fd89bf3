"""Careless KV hand-overs: a step without a guard, a step that forgets something, an invariant without a sentence."""

import pytest
from z3 import And, If, Not

from specs.proofs import kv_hand_over_source as source
from specs.proofs import kv_hand_over_target as target
from specs.proofs.kv_hand_over import STEPS, proof
from specs.proofs.kv_hand_over_state import anything, leads, put, via
from specs.proofs.obligations import Verdict, judge

WITHOUT = {
    "give_back: every stage knows": "what a stage may take has the seat",
    "take: its seat is open for it": "OWN: the chunk's guest has the seat",
    "take: nothing is missing before it": "what counts is written",
    "seat: no iteration can write to it": "no iteration writes to a seat",
    "resume: the rest was told": "who has left is not fresh",
    "resume: it has the front's tokens": "who was resumed had left",
    "hand_out: all is there": "handed out is whole",
    "hand_out: no iteration is under way": "what was told last is so",
    "iteration_ends: no more comes than was told": "what was told is to come",
    "welcome: it is not older": "who has left is not fresh",
    "hear: it is not over": "who has left is not fresh",
    "front_is_handed: the front has it in the old pipeline": "a front takes tokens from one place",
}
# These are for progress, or make sure again of what another step has made sure.
NOT_FOR_SAFETY = (
    "answer_seat: every stage knows",
    "set_goals: there are rounds to come",
    "resume: its KV is whole",
    "iteration_begins: it has not halted",
    "iteration_begins: it is not done",
    "iteration_ends: one is under way",
    "front_hears: they were sampled",
    "begin: it is new",
    "begin: its number is above",
    "begin_too_often: it is new",
    "begin_too_often: its number is above",
    "hear_row: a guest",
    "hear_whole: the rest was told",
    "drop: it is there",
    "welcome: the hand-over is under way",
    "refuse: it is not known",
)


def take_of_another_hand_over(w, c):
    """A stage asks whether the seat is open for the request, and not for which hand-over."""
    conditions, after = target.take(w, c)
    i = anything("another hand-over", "HandOver")
    is_open = And(w.opens(w.at(leads(via(c.i, c.m))), i, c.r), w.seat_of(i, c.r) == c.s)
    return {**conditions, "its seat is open for it": is_open}, after


def fail_and_stay_halted(w, c):
    conditions, after = source.fail(w, c)
    return conditions, after.but(halted=w.halted)


def drop_nobody(w, c):
    """The source leader does not see that a request has ended."""
    return {}, w.but(there=put(w.there, c.r, value=False))


def open_and_keep_counts(w, c):
    conditions, after = target.open_seats(w, c)
    return conditions, after.but(count=w.count)


def give_up_and_invite_again(w, c):
    conditions, after = source.give_up(w, c)
    return conditions, after.but(again=w.again)


def close_for_the_edition_before(w, c):
    conditions, after = target.welcome(w, c)
    return conditions, after.but(closes=lambda s: If(Not(w.closing(s)), w.top(), w.closes(s)))


CARELESS = {
    take_of_another_hand_over: ("take", "OWN: the chunk's guest has the seat"),
    fail_and_stay_halted: ("fail", "BACK: iterations are formed again"),
    drop_nobody: ("drop", "guests live"),
    open_and_keep_counts: ("open_seats", "what is closed counts no more"),
    give_up_and_invite_again: ("give_up", "who was a guest is not invited again"),
    close_for_the_edition_before: ("welcome", "a closing seat is closed"),
}


WITHIN_MS = 1_000  # a counterexample is found at once, or not at all


def not_proved(step, taken, sentence, without=""):
    """The case against it, where Z3 gives one: a state that the invariant allows, and one careless step from there."""
    named = f"{step}: {sentence}"
    (obligation,) = (each for each in proof({step: taken}).without(without).obligations() if each.name == named)
    judged = judge(obligation, WITHIN_MS)
    assert judged.verdict is not Verdict.PROVED
    assert bool(judged.counterexample) == (judged.verdict is Verdict.REFUTED)


def is_needed(guard):
    step = guard.split(":")[0]
    left = proof({step: STEPS[step]}).without(guard).obligations()
    found = (each for each in left if each.name.startswith(f"{step}:"))
    return any(judge(each, WITHIN_MS).verdict is not Verdict.PROVED for each in found)


@pytest.mark.parametrize("guard", WITHOUT)
def test_a_step_without_a_guard_is_not_proved(guard):
    step = guard.split(":")[0]
    not_proved(step, STEPS[step], WITHOUT[guard], guard)


@pytest.mark.parametrize("careless", CARELESS, ids=lambda step: step.__name__)
def test_a_careless_step_is_not_proved(careless):
    step, sentence = CARELESS[careless]
    not_proved(step, careless, sentence)


@pytest.mark.slow
def test_every_guard_is_needed_but_these():
    assert {guard for guard in proof().guards() if not is_needed(guard)} == set(NOT_FOR_SAFETY)
    assert set(WITHOUT) < set(proof().guards())


@pytest.mark.parametrize(
    ("sentence", "lost"),
    {
        "guests live": "take: what counts is written",
        "what was told last is so": "take: what counts is written",
        "a closing seat is closed": "give_back: what a stage may take has the seat",
        "no iteration writes to a seat": "iteration_writes: what counts is written",
        "a guest stays once": "welcome: who has left is not fresh",
        "who has halted hands over": "fail: BACK: iterations are formed again",
    }.items(),
)
def test_a_weaker_invariant_is_none(sentence, lost):
    step = lost.split(":")[0]
    not_proved(step, STEPS[step], lost.removeprefix(f"{step}: "), sentence)
