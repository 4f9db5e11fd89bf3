"""Machines that hold runs of layers, where links are the limit: simulated annealing over rows of stages.

A row is judged by its shortage at a wanted flow: what its stages compute too little, and what too little passes the
borders between them.  A row without a shortage is routed, and a little more than it serves is wanted next.
"""

from collections.abc import Callable
from itertools import pairwise
from math import inf, log
from random import Random

import attrs

from planner.search import Search
from specs.decisions.layout.spans import ENTRY, EXIT, Question, Span

Plain = list[tuple[int, tuple[int, ...]]]  # per stage: layers, and machines by their places in the question
Routed = Callable[[list[Span]], int]  # routes spans, keeps them if they are the best, and says what they serve

_HOT, _COLD = 0.05, 0.001
_RAISE = 100  # what is wanted next is more by one part in so many
_TEAM = 4  # machines that are brought together in one stage
_CARRY = 4  # stages that change places together
_OWN = 4  # layers of a new stage
_UNLIMITED = 1 << 50


@attrs.define(eq=False)
class _Stage:
    """Machines that hold the same k layers.  One object for each content of a walk."""

    layers: int
    machines: tuple[int, ...]
    rate: int
    passes: "dict[_Stage, int]" = attrs.field(factory=dict, init=False)  # most that flows from here to another


_Row = list[_Stage]


@attrs.define(kw_only=True)
class Walk:
    """The steps from row to row, for one question."""

    question: Question
    depth: int | None  # most stages
    rng: Random
    _rates: list[tuple[int, ...]] = attrs.field(init=False)  # per machine, by layers held, from 0 on; the ends are last
    _links: list[list[int]] = attrs.field(init=False)  # per machine, to each; the last are from ENTRY, and to EXIT
    _stages: dict[tuple[int, tuple[int, ...]], _Stage] = attrs.field(factory=dict, init=False)
    _ends: _Stage = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        machines = self.question.machines
        longest = max(len(machine.millitokens_per_second) for machine in machines)
        own = [machine.millitokens_per_second for machine in machines]
        self._rates = [(0, *rates, *[0] * (longest - len(rates))) for rates in own] + [(_UNLIMITED,) * (longest + 1)]
        names = [machine.name for machine in machines]
        carries = {ends: link.millitokens_per_second for ends, link in self.question.link.items()}
        self._links = [[carries.get((one, other), 0) for other in (*names, EXIT)] for one in (*names, ENTRY)]
        self._ends = self._stage(0, (len(machines),))

    def anneal(self, first: Plain, wanted: int, steps: int, search: Search, routed: Routed) -> None:
        """Walk so many steps from a row, and hand every row without a shortage, and the last, to `routed`."""
        row = [self._stage(layers, machines) for layers, machines in first]
        missing = self._shortage(row, wanted)
        for step in range(steps):
            if missing == 0:
                wanted = max(wanted, routed(self._spans(row)))
                wanted += wanted // _RAISE + 1
                missing = self._shortage(row, wanted)
            if not search.spend():
                break
            heat = wanted * _HOT * (_COLD / _HOT) ** (step / steps)
            after = self._step(row)
            if after is None or (self.depth is not None and len(after) > self.depth):
                continue
            allowed = missing - heat * log(1 - self.rng.random())
            then = self._shortage(after, wanted, allowed)
            if then <= allowed:
                row, missing = after, then
        routed(self._spans(row))

    def _stage(self, layers: int, machines: tuple[int, ...]) -> _Stage:
        key = (layers, machines)
        if key not in self._stages:
            self._stages[key] = _Stage(layers, machines, sum(self._rates[machine][layers] for machine in machines))
        return self._stages[key]

    def _shortage(self, row: _Row, wanted: int, allowed: float = inf) -> int:
        """Add up what is missing, or as much of it as is more than allowed."""
        missing = 0
        for one, other in pairwise((self._ends, *row, self._ends)):
            most = one.passes.get(other)
            if most is None:
                most = one.passes[other] = self._most(one, other)
            if most < wanted:
                missing += wanted - most
            if one.rate < wanted:
                missing += wanted - one.rate
            if missing > allowed:
                break
        return missing

    def _most(self, one: _Stage, other: _Stage) -> int:
        """Bound what flows from one stage to the next: what the machines of each can send, and take."""
        if len(one.machines) == len(other.machines) == 1:  # as a rule
            return min(one.rate, self._links[one.machines[0]][other.machines[0]], other.rate)
        links = [[self._links[a][b] for b in other.machines] for a in one.machines]
        sent = sum(min(self._rates[a][one.layers], sum(row)) for a, row in zip(one.machines, links, strict=True))
        into: list[int] = [sum(column) for column in zip(*links, strict=True)]
        taken: list[int] = [
            min(self._rates[b][other.layers], most) for b, most in zip(other.machines, into, strict=True)
        ]
        return min(sent, sum(taken))

    def _spans(self, row: _Row) -> list[Span]:
        placed: list[Span] = []
        first = 0
        for stage in row:
            end = first + stage.layers
            able = [machine for machine in stage.machines if self._rates[machine][stage.layers]]
            names = [self.question.machines[machine].name for machine in able]
            placed += [Span(machine=name, first_layer=first, end_layer=end) for name in names]
            first = end
        return placed

    def _step(self, row: _Row) -> _Row | None:
        """Change a row at random; None when the change cannot be made."""
        kind = self.rng.randrange(20)
        if kind < 6:
            return self._exchange(row)
        if kind < 10:
            return self._shift(row[:], self.rng.randrange(len(row)), self.rng.randrange(len(row)))
        if kind < 15:
            return self._carry(row)
        return self._send(row)

    def _exchange(self, row: _Row) -> _Row | None:
        """Exchange the places of two machines, one of which may have none."""
        one, other = self.rng.randrange(len(self._rates) - 1), self.rng.randrange(len(self._rates) - 1)
        after = row[:]
        changed = False
        for place, stage in enumerate(row):
            if (one in stage.machines) != (other in stage.machines):
                gone, come = (one, other) if one in stage.machines else (other, one)
                after[place] = self._stage(stage.layers, tuple(sorted({*stage.machines} - {gone} | {come})))
                changed = True
        return after if changed else None

    def _shift(self, row: _Row, giver: int, taker: int, many: int = 1) -> _Row | None:
        """Give layers of one stage to another."""
        gives, takes = row[giver], row[taker]
        if giver == taker or gives.layers <= many or takes.layers + many >= len(self._rates[0]):
            return None
        row[giver] = self._stage(gives.layers - many, gives.machines)
        row[taker] = self._stage(takes.layers + many, takes.machines)
        return row

    def _carry(self, row: _Row) -> _Row:
        """Carry some stages, in their order or the reverse, to another place."""
        start = self.rng.randrange(len(row))
        end = start + self.rng.randint(1, _CARRY)
        rest = row[:start] + row[end:]
        place = self.rng.randint(0, len(rest))
        return rest[:place] + row[start:end][:: self.rng.choice((1, 1, -1))] + rest[place:]

    def _send(self, row: _Row) -> _Row | None:
        """Send a machine to another stage or to a new one; stages share what layers are left or missing."""
        machine = self.rng.randrange(len(self._rates) - 1)
        after: _Row = []
        left = 0  # layers that nobody holds
        for stage in row:
            if machine not in stage.machines:
                after.append(stage)
            elif len(stage.machines) == 1:
                left = stage.layers
            else:
                after.append(self._stage(stage.layers, tuple(m for m in stage.machines if m != machine)))
        if not after:
            return None
        if self.rng.randrange(2):
            place = self.rng.randrange(len(after))
            if len(after[place].machines) >= _TEAM:
                return None
            after[place] = self._stage(after[place].layers, tuple(sorted((*after[place].machines, machine))))
        else:
            layers = self.rng.randint(1, min(_OWN, len(self._rates[0]) - 1))
            left -= layers
            after.insert(self.rng.randint(0, len(after)), self._stage(layers, (machine,)))
        return self._level(after, left)

    def _level(self, row: _Row, left: int) -> _Row | None:
        """Spread layers that are left, or take those that are missing, one by one."""
        for _ in range(abs(left)):
            place = self.rng.randrange(len(row))
            layers = row[place].layers + (1 if left > 0 else -1)
            if not 0 < layers < len(self._rates[0]):
                return None
            row[place] = self._stage(layers, row[place].machines)
        return row
