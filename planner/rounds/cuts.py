"""Sets of nodes that too many chunks must enter."""

from collections.abc import Iterator
from fractions import Fraction

import attrs

from specs.decisions.rounds.bounds import Unreachable, cut_rounds_per_copy
from specs.decisions.rounds.question import Node, Question
from specs.witness import Price, Witness

_EVERY_SET_MAX_NODES = 10


@attrs.frozen(kw_only=True)
class Cut:
    """A set of nodes, and what it proves."""

    witness: Witness
    rounds_per_copy: Fraction | None  # None: nothing can enter that must


def best_cut(question: Question) -> Cut:
    """Find the cut that proves most rounds per copy of the chunks; it is the same for any number of steps.

    Among all sets of nodes when there are few; else among single nodes, all but one, and runs of consecutive nodes
    whose length divides the number of nodes (the members of a chassis are usually numbered that way).
    """
    best = Cut(witness=(), rounds_per_copy=Fraction(0))
    for members in _candidates(question.fabric.nodes):
        witness: Witness = tuple(Price(name=name, amount=1) for name in sorted(map(str, members)))
        rate = cut_rounds_per_copy(question, witness)
        if isinstance(rate, Unreachable):
            return Cut(witness=witness, rounds_per_copy=None)
        if best.rounds_per_copy is not None and rate > best.rounds_per_copy:
            best = Cut(witness=witness, rounds_per_copy=rate)
    return best


def _candidates(nodes: int) -> Iterator[tuple[Node, ...]]:
    """Small sets first, so that the simplest of equally good cuts is named."""
    if nodes <= _EVERY_SET_MAX_NODES:
        sets = [tuple(node for node in range(nodes) if chosen >> node & 1) for chosen in range(1, 2**nodes - 1)]
        yield from sorted(sets, key=lambda members: (len(members), members))
        return
    for length in range(1, nodes):
        if length == nodes - 1:
            yield from (tuple(node for node in range(nodes) if node != without) for without in range(nodes))
        elif nodes % length == 0:
            yield from (tuple(range(first, first + length)) for first in range(0, nodes, length))
