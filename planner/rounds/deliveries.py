"""Prices of shared capacities, from whole deliveries.

The relaxation splits chunks into flows, and half a chunk over each of two uplinks serves some that neither serves
whole.  Here only prices of the shared capacities are sought, the uplinks and ports of a fabric, and against those the
checker knows what a delivery really costs (`specs.decisions.rounds.delivery`).  The linear program is over deliveries:
least stretch of the rounds so that some mixture of deliveries keeps within every shared capacity in every step.  Its
duals are prices, the cheapest delivery at them is the next column, and when none is cheaper, they are the best there
are (Dantzig and Wolfe 1960).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
from ortools.linear_solver import pywraplp

from planner.rounds.relaxation import Relaxed, whole
from planner.rounds.symmetry import Symmetry
from planner.search import Search
from specs.decisions.rounds.delivery import EXACT_TARGETS_MAX, Unaffordable, cheapest_delivery, dear_targets
from specs.decisions.rounds.question import Chunks, LinkEnds, Question

_COLUMNS_MAX = 60
_SCALE = 10**6
_STEPS_PER_DELIVERY = 20_000

_Use = tuple[int, ...]  # of each group of capacities in each step, by one chunk


@attrs.frozen
class _Row:
    """Shared capacities that symmetries turn into each other, in one step."""

    names: tuple[str, ...]
    step: int
    chunks: int  # that all of them together take in the rounds of the step
    crossing: Counter[LinkEnds]  # how many of them a link belongs to


def priced_by_deliveries(
    question: Question, group: Sequence[Symmetry], search: Search, division: Sequence[int]
) -> Relaxed | None:
    """Find prices of shared capacities that refute this division of rounds into steps, if any do.

    None when nothing is shared, or what deliveries cost at such prices cannot be told exactly.
    """
    rows = list(_rows(question, group, division))
    kinds = [
        (index, chunks)
        for index, chunks in enumerate(question.chunks)
        if chunks.targets and not any(each.kinds[index] < index for each in group)
    ]
    if not rows or not all(_can_be_told(question, chunks, rows) for _, chunks in kinds):
        return None
    sizes = [len({each.kinds[index] for each in group}) * chunks.count for index, chunks in kinds]
    master = _Master(rows, sizes)
    search.uses("ortools")
    stretch, prices = 0.0, [1.0 / (len(rows) * row.chunks) for row in rows]
    for _ in range(_COLUMNS_MAX):
        fresh = [master.add(kind, _cheapest(question, chunks, rows, prices)) for kind, (_, chunks) in enumerate(kinds)]
        if not any(fresh) or not search.spend(_STEPS_PER_DELIVERY * len(kinds)):
            break
        stretch, prices = master.solve()
        if not any(prices):
            break  # there are deliveries that need nothing shared
    amounts = {(name, row.step): price for row, price in zip(rows, prices, strict=True) for name in row.names}
    return Relaxed(value=stretch, prices=whole(amounts))


def _rows(question: Question, group: Sequence[Symmetry], division: Sequence[int]) -> Iterator[_Row]:
    named = {(tuple(sorted(each.links)), each.chunks_per_round): each for each in question.fabric.shared}
    for shared in question.fabric.shared:
        images = [tuple(sorted(each.ends(ends) for ends in shared.links)) for each in group]
        orbit = {named[image, shared.chunks_per_round].name: image for image in images}
        if shared.name != min(orbit):
            continue
        crossing = Counter(ends for links in orbit.values() for ends in links)
        for step, rounds in enumerate(division):
            chunks = shared.chunks_per_round * len(orbit) * rounds
            yield _Row(names=tuple(sorted(orbit)), step=step, chunks=chunks, crossing=crossing)


def _can_be_told(question: Question, chunks: Chunks, rows: Sequence[_Row]) -> bool:
    """Say whether so few targets need a shared capacity that the checker knows the cost exactly."""
    shared = {(ends, row.step) for row in rows for ends in row.crossing}
    price = lambda ends, step: int((ends, step) in shared)
    return len(dear_targets(question.fabric, chunks, question.steps, price)) <= EXACT_TARGETS_MAX


def _cheapest(question: Question, chunks: Chunks, rows: Sequence[_Row], prices: Sequence[float]) -> _Use:
    """Find what one of the cheapest deliveries uses.

    Only its cost can be asked for.  So each price becomes a multiple of a large number, plus a power of `base` for its
    row: what those sum to is less than the large number, and its digits count the uses of each row.
    """
    base = 1 + question.fabric.nodes * question.steps * max(max(row.crossing.values()) for row in rows)
    large = base ** len(rows)
    paid: dict[tuple[LinkEnds, int], int] = {}
    for number, (row, price) in enumerate(zip(rows, prices, strict=True)):
        amount = round(price * _SCALE / max(prices)) * large + base**number
        for ends, times in row.crossing.items():
            paid[ends, row.step] = paid.get((ends, row.step), 0) + times * amount
    cost = cheapest_delivery(question.fabric, chunks, question.steps, lambda ends, step: paid.get((ends, step), 0))
    assert not isinstance(cost, Unaffordable)  # distances were looked at before
    return tuple(cost // base**number % base for number in range(len(rows)))


class _Master:
    """The linear program over the deliveries found so far."""

    def __init__(self, rows: Sequence[_Row], sizes: Sequence[int]) -> None:
        self._sizes = sizes
        self._solver: Any = pywraplp.Solver.CreateSolver("GLOP")
        infinity = self._solver.infinity()
        stretch = self._solver.NumVar(0, infinity, "")
        self._solver.Minimize(stretch)
        self._load = [self._solver.Constraint(-infinity, 0) for _ in rows]
        for row, constraint in zip(rows, self._load, strict=True):
            constraint.SetCoefficient(stretch, -row.chunks)
        self._given = [self._solver.Constraint(1, 1) for _ in sizes]
        self._known: set[tuple[int, _Use]] = set()

    def add(self, kind: int, use: _Use) -> bool:
        """Take a delivery in; say whether it is new."""
        if (kind, use) in self._known:
            return False
        self._known.add((kind, use))
        share = self._solver.NumVar(0, self._solver.infinity(), "")
        self._given[kind].SetCoefficient(share, 1)
        for constraint, times in zip(self._load, use, strict=True):
            constraint.SetCoefficient(share, times * self._sizes[kind])
        return True

    def solve(self) -> tuple[float, list[float]]:
        """Give the stretch and the price of each row."""
        status = self._solver.Solve()
        assert status == pywraplp.Solver.OPTIMAL  # every kind has a delivery, and rounds can be stretched
        return self._solver.Objective().Value(), [abs(row.dual_value()) for row in self._load]
