"""What would have to give when there is no schedule: each limit alone, by how much."""

from math import gcd

import attrs

from planner.rounds.schedule import Impossible, Scheduled, schedule
from planner.search import Search
from specs.decisions.rounds.answer import value
from specs.decisions.rounds.bounds import Unreachable, cut_rounds_per_copy, steps_bound
from specs.decisions.rounds.certificate import Certificate, Method
from specs.decisions.rounds.question import Question


@attrs.frozen(kw_only=True)
class Relief:
    """One limit that alone would have to give, and how far; `needed` is shown by a schedule."""

    limit: str  # "rounds", "steps" or "copies"
    allowed: int
    needed: int
    sentence: str


@attrs.frozen(kw_only=True)
class Conflict:
    """Why there is no schedule, and each way out alone; no way out was found for limits that are not named."""

    sentence: str
    reliefs: tuple[Relief, ...]


def conflict(question: Question, impossible: Impossible, search: Search) -> Conflict:
    """Say what stands against a schedule, and what rounds, steps or number of chunks would let one be."""
    found = [_rounds(question, search), _steps(question, search), _copies(question, search)]
    return Conflict(sentence=_reason(question, impossible.proof), reliefs=tuple(each for each in found if each))


def _reason(question: Question, proof: Certificate) -> str:
    needed = steps_bound(question)
    if isinstance(needed, Unreachable):
        return needed.sentence
    if needed > question.steps:
        return f"some chunk has {needed} links to cross, one per step; {question.steps} steps are allowed"
    least = f"{question.steps} steps need {proof.rounds} rounds or more; {question.rounds} are allowed"
    if proof.method is Method.CUT:
        rate = cut_rounds_per_copy(question, proof.witnesses[0])
        assert not isinstance(rate, Unreachable)  # distances are finite
        nodes = ", ".join(price.name for price in proof.witnesses[0])
        return f"{least}: what must enter nodes {{{nodes}}} takes {rate} rounds of all links into them"
    return f"{least}, by {proof.method}"


def _rounds(question: Question, search: Search) -> Relief | None:
    # One round for each arrival, and one for each step, is always enough.
    enough = question.steps + sum(each.count * len(each.targets) for each in question.chunks)
    outcome = schedule(attrs.evolve(question, rounds=max(enough, question.rounds)), search)
    if not isinstance(outcome, Scheduled):
        return None
    needed = value(outcome.answer)
    sentence = f"{needed} rounds instead of {question.rounds} would do"
    return Relief(limit="rounds", allowed=question.rounds, needed=needed, sentence=sentence)


def _steps(question: Question, search: Search) -> Relief | None:
    for steps in range(question.steps + 1, question.rounds + 1):
        if search.over():
            break
        if isinstance(schedule(attrs.evolve(question, steps=steps), search), Scheduled):
            sentence = f"{steps} steps instead of {question.steps} would do, in the same rounds"
            return Relief(limit="steps", allowed=question.steps, needed=steps, sentence=sentence)
    return None


def _copies(question: Question, search: Search) -> Relief | None:
    """Take the chunks as so many copies of the smallest set in the same proportions."""
    copies = gcd(*(each.count for each in question.chunks))
    for fewer in range(copies - 1, 0, -1):
        if search.over():
            break
        chunks = tuple(attrs.evolve(each, count=each.count // copies * fewer) for each in question.chunks)
        if isinstance(schedule(attrs.evolve(question, chunks=chunks), search), Scheduled):
            sentence = f"{fewer} instead of {copies} copies of the chunks would do"
            return Relief(limit="copies", allowed=copies, needed=fewer, sentence=sentence)
    return None
