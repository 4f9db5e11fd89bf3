"""The most rounds that can be proved necessary: by distance, by a cut, by prices."""

from collections.abc import Sequence
from math import ceil

import attrs

from planner.rounds.cuts import best_cut
from planner.rounds.deliveries import priced_by_deliveries
from planner.rounds.relaxation import relaxed
from planner.rounds.symmetry import Symmetry
from planner.search import Search
from specs.decisions.rounds.bounds import (
    Toll,
    Unreachable,
    broken,
    divisions,
    growth_rounds_bound,
    refuted,
    rounds_allowed,
    steps_bound,
    toll,
)
from specs.decisions.rounds.certificate import Certificate, Method
from specs.decisions.rounds.question import Question
from specs.witness import Witness

_PRICE_LISTS_MAX = 12
_DIVISIONS_MAX = 20_000
_NEAR = 1e-6


def strongest_proof(
    question: Question, group: Sequence[Symmetry], search: Search, known: tuple[Witness, ...] = ()
) -> Certificate:
    """Prove as many rounds as possible; the simplest method among equally strong ones.

    One price list comes from the relaxation in which steps last fractions of rounds, unless good ones are known.  When
    whole rounds can be divided over the steps so that it stands, one more list is sought against that division, and so
    on until one stands against all prices, or more rounds are proved necessary than the question allows.
    """
    needed = steps_bound(question)
    if isinstance(needed, Unreachable) or needed > question.steps:
        return Certificate(rounds=None, method=Method.CLOSED_FORM)
    simple = _simple(question)
    if simple.rounds is None or simple.rounds > question.rounds:
        return simple
    priced = [_Priced(each, _known(toll(question, each))) for each in known]
    if not known:
        found = relaxed(question, group, search)
        if found is not None and ceil(found.value - _NEAR) > simple.rounds:
            priced.append(_Priced(found.prices, _known(toll(question, found.prices))))
    priced += _refutations(question, group, search, priced, simple.rounds)
    return _claim(question, simple, priced)


def _simple(question: Question) -> Certificate:
    """What is proved without prices."""
    closed = Certificate(rounds=growth_rounds_bound(question), method=Method.CLOSED_FORM)
    cut = best_cut(question)
    if cut.rounds_per_copy is None:
        return Certificate(rounds=None, method=Method.CUT, witnesses=(cut.witness,))
    rounds = ceil(cut.rounds_per_copy)
    assert closed.rounds is not None
    return Certificate(rounds=rounds, method=Method.CUT, witnesses=(cut.witness,)) if rounds > closed.rounds else closed


@attrs.frozen
class _Priced:
    """A price list and what it proves."""

    prices: Witness
    toll: Toll


def _refutations(
    question: Question, group: Sequence[Symmetry], search: Search, priced: Sequence[_Priced], least: int
) -> list[_Priced]:
    """Refute one division of the rounds after another."""
    more: list[_Priced] = []
    tolls = [each.toll for each in priced]
    least = max(least, rounds_allowed(tolls, question.steps))
    while least <= question.rounds and len(more) < _PRICE_LISTS_MAX and not search.over():
        if refuted(tolls, question.steps, least):
            least += 1
            continue
        standing = _standing(tolls, question.steps, least)
        found = None if standing is None else _refutation(question, group, search, standing)
        if found is None:
            break
        more.append(found)
        tolls.append(found.toll)
    return more


def _refutation(
    question: Question, group: Sequence[Symmetry], search: Search, division: tuple[int, ...]
) -> _Priced | None:
    """Find prices that this division of rounds cannot pay: of chunks that split, else of whole deliveries."""
    for find in (relaxed, priced_by_deliveries):
        found = find(question, group, search, division=division)
        if found is not None and found.value >= 1 + _NEAR:
            against = _known(toll(question, found.prices))
            if broken([against], division):
                return _Priced(found.prices, against)
    return None


def _standing(tolls: Sequence[Toll], steps: int, rounds: int) -> tuple[int, ...] | None:
    """Find a division of the rounds that breaks no toll; None when there is none, or none early in a long list."""
    for tried, division in enumerate(divisions(rounds, steps)):
        if tried > _DIVISIONS_MAX:
            return None
        if not broken(tolls, division):
            return division
    return None


def _claim(question: Question, simple: Certificate, priced: Sequence[_Priced]) -> Certificate:
    """Claim what the checker derives, with one list if that proves it; what is simpler to see is not worth a list."""
    rounds = rounds_allowed([each.toll for each in priced], question.steps)
    if simple.rounds is not None and rounds <= simple.rounds:
        return simple
    if rounds_allowed([priced[0].toll], question.steps) == rounds:
        priced = priced[:1]
    return Certificate(rounds=rounds, method=Method.DUAL, witnesses=tuple(each.prices for each in priced))


def _known(found: Toll | Unreachable) -> Toll:
    """Take what is there: distances were looked at before, so no chunk needs more steps."""
    assert not isinstance(found, Unreachable)
    return found
