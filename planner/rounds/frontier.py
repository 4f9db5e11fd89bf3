"""How few rounds per copy every number of steps allows: the trade of latency against throughput, with proofs.

A point is a number of copies of all chunks, of steps and of rounds.  Few steps are quick for small chunks; few rounds
per copy are quick for large ones.  The `Floor` of a number of steps holds for any number of copies, so that a point on
its floor is optimal among all schedules of that many steps, and one on the floor of the best cut among all schedules.
"""

from fractions import Fraction
from math import ceil

import attrs

from planner.rounds.cuts import best_cut
from planner.rounds.relaxation import relaxed
from planner.rounds.schedule import Outcome, Scheduled, schedule
from planner.rounds.symmetry import free_group
from planner.search import Search
from specs.decisions.rounds.answer import Answer, value
from specs.decisions.rounds.bounds import Unreachable, steps_bound, toll
from specs.decisions.rounds.certificate import Certificate, Method
from specs.decisions.rounds.question import Chunks, Fabric, Question
from specs.witness import Witness


@attrs.frozen(kw_only=True)
class Floor:
    """No schedule of so many steps takes fewer rounds per copy, however many copies it moves."""

    steps: int
    rounds_per_copy: Fraction
    method: Method
    witness: Witness  # a cut or a price list, for the question with one copy

    def rounds(self, copies: int) -> int:
        """Rounds that so many copies need at least."""
        return max(self.steps, ceil(copies * self.rounds_per_copy))

    @property
    def prices(self) -> tuple[Witness, ...]:
        """The price list, if that is what proves the floor."""
        return (self.witness,) if self.method is Method.DUAL else ()

    def proof(self, rounds: int) -> Certificate:
        """Claim what `rounds` says for any number of copies."""
        if rounds == self.steps:
            return Certificate(rounds=rounds, method=Method.CLOSED_FORM)
        return Certificate(rounds=rounds, method=self.method, witnesses=(self.witness,))


@attrs.frozen(kw_only=True)
class Point:
    """What was found for a number of copies and of steps."""

    copies: int
    steps: int
    outcome: Outcome

    @property
    def rounds_per_copy(self) -> Fraction | None:
        """None when no schedule was found."""
        return Fraction(value(self.outcome.answer), self.copies) if isinstance(self.outcome, Scheduled) else None


@attrs.frozen(kw_only=True)
class Frontier:
    """Floors by steps; for each, points for 1, 2, .. copies until one is on the floor."""

    floors: tuple[Floor, ...]
    points: tuple[Point, ...]
    fewest_steps_proved: int  # by distance

    @property
    def best(self) -> tuple[Point, ...]:
        """The points with fewer rounds per copy than all points of fewer or equally many steps before them."""
        kept: dict[int, Point] = {}
        least: Fraction | None = None
        for point in self.points:
            rate = point.rounds_per_copy
            if rate is not None and (least is None or rate < least):
                least = rate
                kept[point.steps] = point
        return tuple(kept.values())


def frontier(
    fabric: Fabric, one_copy: tuple[Chunks, ...], search: Search, *, steps_max: int, copies_max: int
) -> Frontier | Unreachable:
    """Find the fewest rounds for each number of steps and copies, up to where more steps or copies gain nothing."""
    fewest = steps_bound(Question(fabric=fabric, chunks=one_copy, steps=1, rounds=1))
    if isinstance(fewest, Unreachable):
        return fewest
    floors: list[Floor] = []
    points: list[Point] = []
    for steps in range(fewest, max(fewest, steps_max) + 1):
        floors.append(_floor(Question(fabric=fabric, chunks=one_copy, steps=steps, rounds=steps), search))
        points += _points(fabric, one_copy, floors[-1], search, copies_max)
        if floors[-1].method is Method.CUT or search.over():
            break  # the cut holds for any number of steps
    return Frontier(floors=tuple(floors), points=tuple(points), fewest_steps_proved=fewest)


def _floor(question: Question, search: Search) -> Floor:
    cut = best_cut(question)
    rate = cut.rounds_per_copy
    assert rate is not None  # distances are finite: some link enters every set
    floor = Floor(steps=question.steps, rounds_per_copy=rate, method=Method.CUT, witness=cut.witness)
    found = relaxed(question, free_group(question), search, step_rounds_min=0)
    if found is not None:
        priced = toll(question, found.prices)
        assert not isinstance(priced, Unreachable)  # there are as many steps as the distance
        if priced.rounds_per_copy > rate:
            rate = priced.rounds_per_copy
            floor = Floor(steps=question.steps, rounds_per_copy=rate, method=Method.DUAL, witness=found.prices)
    return floor


def _points(fabric: Fabric, one_copy: tuple[Chunks, ...], floor: Floor, search: Search, copies_max: int) -> list[Point]:
    points: list[Point] = []
    while len(points) < copies_max:
        points += _together(fabric, one_copy, floor, search, range(len(points) + 1, copies_max + 1))
        if points[-1].rounds_per_copy == floor.rounds_per_copy or search.over():
            break
    return points


def _together(fabric: Fabric, one_copy: tuple[Chunks, ...], floor: Floor, search: Search, copies: range) -> list[Point]:
    """Find the point of the fewest copies; with it those of all copies for which the floor allows as few rounds.

    A schedule of more copies is one of fewer: those left out are not sent.  So one is sought of the most such copies;
    if there is none, the fewest are asked about alone.
    """
    least = floor.rounds(copies[0])
    alike = [many for many in copies if floor.rounds(many) == least]
    if len(alike) > 1:
        found = schedule(_question(fabric, one_copy, alike[-1], floor.steps, least), search, floor.prices)
        if isinstance(found, Scheduled):
            proof = floor.proof(least)
            return [
                Point(
                    copies=many,
                    steps=floor.steps,
                    outcome=Scheduled(answer=_of_fewer(found.answer, one_copy, alike[-1], many), proof=proof),
                )
                for many in alike
            ]
    question = _question(fabric, one_copy, copies[0], floor.steps, least)
    # One round for each send that there can be is always enough.
    enough = floor.steps + sum(each.count * len(each.targets) for each in question.chunks)
    outcome = schedule(attrs.evolve(question, rounds=max(least, enough)), search, floor.prices)
    return [Point(copies=copies[0], steps=floor.steps, outcome=outcome)]


def _question(fabric: Fabric, one_copy: tuple[Chunks, ...], copies: int, steps: int, rounds: int) -> Question:
    chunks = tuple(attrs.evolve(each, count=each.count * copies) for each in one_copy)
    return Question(fabric=fabric, chunks=chunks, steps=steps, rounds=rounds)


def _of_fewer(answer: Answer, one_copy: tuple[Chunks, ...], copies: int, fewer: int) -> Answer:
    """Leave the last copies of each kind out, and number the others afresh."""
    renumbered: dict[int, int] = {}
    first = 0
    for each in one_copy:
        for chunk in range(each.count * fewer):
            renumbered[first + chunk] = len(renumbered)
        first += each.count * copies
    sends = (attrs.evolve(send, chunk=renumbered[send.chunk]) for send in answer.sends if send.chunk in renumbered)
    return attrs.evolve(answer, sends=tuple(sorted(sends)))
