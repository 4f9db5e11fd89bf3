"""The optimum of a small placement question by going through every holding: a bound that needs no witness."""

from collections.abc import Iterator
from itertools import combinations

from specs.decisions.placement.holding import Layout
from specs.decisions.placement.nouns import Copy, Item, Question, Tier

STATES_MAX = 100_000


class TooManyStates(Exception):
    """The space is larger than what a checker is asked to go through."""


def optimum(question: Question, states_max: int = STATES_MAX) -> int | None:
    """Return the least value of all answers; None: there is no answer.  Raises TooManyStates.

    Goes through the sets of copies of each item, item by item, adapters right after their base.  Left out are only
    sets that do not fit, adapters on devices without their base, and what already costs as much as the best answer.
    """
    return _Walk(question, states_max).run()


def places(layout: Layout, item: Item, boundless: frozenset[str] = frozenset()) -> tuple[Copy, ...]:
    """Every copy of an item that could be, by itself, in the order of the question.

    `boundless` memories take any item.
    """
    copies: list[Copy] = []
    for pool in layout.question.pools:
        parts = item.devices if pool.tier is Tier.DEVICE else 1
        fit = [
            memory.id
            for memory in pool.memories
            if layout.may_keep(item, memory.id)
            and (memory.id in boundless or layout.bytes_at(item, memory.id) <= memory.bytes)
        ]
        copies += [Copy(item=item.id, memories=chosen) for chosen in combinations(fit, parts)]
    return tuple(copies)


class _Walk:
    def __init__(self, question: Question, states_max: int) -> None:
        self._layout = Layout(question)
        bases = [item for item in question.items if item.base is None]
        self._order = [member for base in bases for member in self._layout.family(base)]
        self._places = {item.id: places(self._layout, item) for item in question.items}
        self._room: dict[str, int] = dict(self._layout.memory_bytes)
        self._copies: dict[str, list[Copy]] = {}
        self._left = states_max
        self._best: int | None = None

    def run(self) -> int | None:
        self._visit(0, 0, 0)
        return self._best

    def _visit(self, index: int, value: int, moved: int) -> None:
        most = self._layout.question.moved_bytes_max
        if (self._best is not None and value >= self._best) or (most is not None and moved > most):
            return
        if index == len(self._order):
            self._best = value
            return
        item = self._order[index]
        self._copies[item.id] = []
        for copies in self._sets(item, 0):
            self._left -= 1
            if self._left < 0:
                raise TooManyStates
            cost = self._layout.cost(item, self._copies)
            if cost is not None:
                more = sum(self._layout.moved_bytes(copy) for copy in copies)
                self._visit(index + 1, value + cost, moved + more)
        del self._copies[item.id]

    def _sets(self, item: Item, first: int) -> Iterator[list[Copy]]:
        """Sets of copies that fit, each held while it is looked at."""
        held = self._copies[item.id]
        yield held
        for position in range(first, len(self._places[item.id])):
            copy = self._places[item.id][position]
            if self._fits(item, copy):
                self._take(item, copy, 1)
                held.append(copy)
                yield from self._sets(item, position + 1)
                held.pop()
                self._take(item, copy, -1)

    def _fits(self, item: Item, copy: Copy) -> bool:
        taken = {memory for other in self._copies[item.id] for memory in other.memories}
        if any(memory in taken or self._room[memory] < self._layout.bytes_at(item, memory) for memory in copy.memories):
            return False
        if item.base is None or self._layout.pool(copy).tier is not Tier.DEVICE:
            return True
        return any(other.memories == copy.memories for other in self._copies[item.base])

    def _take(self, item: Item, copy: Copy, sign: int) -> None:
        for memory in copy.memories:
            self._room[memory] -= sign * self._layout.bytes_at(item, memory)
