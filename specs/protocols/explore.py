"""Breadth-first exploration of everything that a small protocol can do.

A protocol is given by its first states and its successors.  `ALWAYS` properties must hold in every reachable state,
`SOMETIMES` properties in at least one (so that a protocol that does nothing does not pass), and from every reachable
state a good state must be reachable by moves that are no faults (so that nothing gets stuck).  Where moreover no run of
such moves goes on for ever, every run that meets no further fault ends, and ends well.  Breadth first, the trace to a
broken property is as short as any.  The number of states is part of the result: a test asserts it, so that no
change of meaning goes unseen.  (The form is stateright's: properties, exact counts, discoveries.)
"""

from array import array
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

import attrs

S = TypeVar("S", bound=Hashable)


@attrs.frozen
class Move(Generic[S]):
    """One thing that may happen next."""

    label: str  # for the reader of a trace
    state: S
    is_fault: bool = False


@attrs.frozen(kw_only=True)
class Trace(Generic[S]):
    """A shortest way from a first state to one that matters."""

    about: str
    labels: tuple[str, ...]
    end: S

    def __str__(self) -> str:
        """Number the moves, one line each."""
        lines = [f"{self.about}, after {len(self.labels)} moves:"]
        lines += [f"  {number:3}. {label}" for number, label in enumerate(self.labels, start=1)]
        return "\n".join(lines)


@attrs.frozen(kw_only=True)
class Found(Generic[S]):
    """What an exploration found.  `broken`, `stuck` and `endless` are None when nothing is wrong."""

    states: int
    moves: int
    broken: Trace[S] | None  # an ALWAYS property that does not hold: then nothing further was explored
    stuck: Trace[S] | None  # a state from which no good state is reachable without faults
    endless: Trace[S] | None  # a state to which a run without faults may come back
    witnesses: Mapping[str, Trace[S]]  # of SOMETIMES properties
    unwitnessed: tuple[str, ...]

    @property
    def is_right(self) -> bool:
        """Tell whether everything asked for holds."""
        return self.broken is None and self.stuck is None and self.endless is None and not self.unwitnessed


class TooManyStates(Exception):
    """The protocol has more states than the caller wished to explore."""


class _Seen(Generic[S]):
    """The states reached so far, numbered in the order in which they were reached, and the moves between them."""

    def __init__(self) -> None:
        self.states: list[S] = []
        self.numbers: dict[S, int] = {}
        self.parents: list[tuple[int, str]] = []
        self.calm_from = array("q")  # moves that are no faults: from calm_from[i] to calm_to[i]
        self.calm_to = array("q")

    def number(self, state: S, parent: int, label: str) -> int:
        """Number a state, and note how it was reached if it is new."""
        number = self.numbers.setdefault(state, len(self.states))
        if number == len(self.states):
            self.states.append(state)
            self.parents.append((parent, label))
        return number

    def trace(self, number: int, about: str) -> Trace[S]:
        """Walk back to a first state."""
        end = self.states[number]
        labels: list[str] = []
        while True:
            parent, label = self.parents[number]
            if parent < 0:
                return Trace(about=about, labels=tuple(reversed(labels)), end=end)
            labels.append(label)
            number = parent


def explore(
    init: Iterable[S],
    successors: Callable[[S], Iterable[Move[S]]],
    *,
    always: Mapping[str, Callable[[S], bool]],
    sometimes: Mapping[str, Callable[[S], bool]],
    good: Callable[[S], bool],
    states_max: int = 1_000_000,
) -> Found[S]:
    """Explore every state that is reachable from `init`.  Raises TooManyStates."""
    seen: _Seen[S] = _Seen()
    for state in init:
        seen.number(state, -1, "")
    witnesses: dict[str, Trace[S]] = {}
    broken: Trace[S] | None = None
    moves = 0
    current = 0
    while current < len(seen.states) and broken is None:
        state = seen.states[current]
        broken = next((seen.trace(current, about) for about, holds in always.items() if not holds(state)), None)
        for about, holds in sometimes.items():
            if about not in witnesses and holds(state):
                witnesses[about] = seen.trace(current, about)
        for move in successors(state):
            moves += 1
            following = seen.number(move.state, current, move.label)
            if not move.is_fault:
                seen.calm_from.append(current)
                seen.calm_to.append(following)
        if len(seen.states) > states_max:
            raise TooManyStates(f"more than {states_max} states are reachable")
        current += 1
    stuck = endless = None
    if broken is None:
        stuck = _first_stuck(seen, [good(state) for state in seen.states])
        endless = _first_endless(seen)
    return Found(
        states=len(seen.states),
        moves=moves,
        broken=broken,
        stuck=None if stuck is None else seen.trace(stuck, "no good state is reachable"),
        endless=None if endless is None else seen.trace(endless, "a run without faults may come back here"),
        witnesses=witnesses,
        unwitnessed=tuple(about for about in sometimes if about not in witnesses),
    )


def _first_stuck(seen: _Seen[S], is_good: Sequence[bool]) -> int | None:
    """Find the first state from which no good one is reachable, walking backwards from the good ones."""
    before: list[list[int]] = [[] for _ in is_good]
    for start, end in zip(seen.calm_from, seen.calm_to, strict=True):
        before[end].append(start)
    hopeful = list(is_good)
    frontier = [number for number, each in enumerate(hopeful) if each]
    while frontier:
        for start in before[frontier.pop()]:
            if not hopeful[start]:
                hopeful[start] = True
                frontier.append(start)
    return next((number for number, each in enumerate(hopeful) if not each), None)


def _first_endless(seen: _Seen[S]) -> int | None:
    """Find the first state on, or between, cycles of moves without faults: what is left once all ends are cut off."""
    cyclic = _without_ends(seen.calm_to, seen.calm_from, [True] * len(seen.states))
    cyclic = _without_ends(seen.calm_from, seen.calm_to, cyclic)
    return next((number for number, each in enumerate(cyclic) if each), None)


def _without_ends(starts: Sequence[int], ends: Sequence[int], alive: list[bool]) -> list[bool]:
    """Strike out every state that no move from a state that is left leads to, again and again (Kahn, 1962)."""
    after: list[list[int]] = [[] for _ in alive]
    entries = [0] * len(alive)
    for start, end in zip(starts, ends, strict=True):
        if alive[start] and alive[end]:
            after[start].append(end)
            entries[end] += 1
    left = list(alive)
    frontier = [number for number, each in enumerate(alive) if each and entries[number] == 0]
    while frontier:
        number = frontier.pop()
        left[number] = False
        for end in after[number]:
            entries[end] -= 1
            if entries[end] == 0:
                frontier.append(end)
    return left
