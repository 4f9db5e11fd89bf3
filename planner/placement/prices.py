"""The linear relaxation of a placement question over classes of pools: prices for a bound, and what to hold where.

Families (an LLM and its adapters) are tied only by room and by the limit on moved bytes, and inside a family the
states of adapters follow the base's.  So this relaxation is as strong as the Lagrangian bound that its prices give.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import attrs
from ortools.linear_solver import pywraplp

from planner.placement.patterns import Cutting, cutting
from planner.placement.states import ItemChoices, PoolClass, State, classes_of, part_in
from planner.search import Search
from specs.decisions.placement.bounds import UNIT_BYTES
from specs.decisions.placement.holding import Layout
from specs.decisions.placement.nouns import MOVED, Item
from specs.decisions.placement.prices import surcharge
from specs.units import INTEGER_MAX
from specs.witness import Price, Witness

_GIB = 2**30
_NAME_MAX = 180  # of a pool: the name of its surcharges is longer
_FEASIBILITY_SCALE = 10**6  # whole prices for a proof that counts nothing else


@attrs.frozen(kw_only=True)
class Relaxed:
    """What the relaxation says."""

    classes: tuple[PoolClass, ...]
    witness: Witness
    states: Mapping[str, State]  # of each item, rounded; empty when no state permits some item, or none was found
    feasible: bool  # room for all, as far as the relaxation can tell

    @property
    def scarce(self) -> frozenset[str]:
        """Pools whose bytes have a price."""
        priced = {price.name for price in self.witness}
        return frozenset(pool.id for group in self.classes for pool in group.pools if pool.id in priced)

    @property
    def moved_price(self) -> int:
        """The price of moved bytes; 0 where they are not limited."""
        return next((price.amount for price in self.witness if price.name == MOVED), 0)


def relax(layout: Layout, search: Search) -> Relaxed:
    """Solve the relaxation; when room is lacking, find prices that show it."""
    classes = classes_of(layout)
    families = [_Family(layout, classes, item) for item in layout.question.items if item.base is None]
    unknown = Relaxed(classes=classes, witness=(), states={}, feasible=True)
    if not all(family.columns for family in families):
        return unknown
    search.uses("ortools")
    program = _Program(layout, classes, families, for_room=False)
    if program.solve(search):
        return program.relaxed(feasible=True)
    program = _Program(layout, classes, families, for_room=True)
    if program.solve(search):
        return program.relaxed(feasible=False)
    return unknown


@attrs.frozen
class _Column:
    """A state of a base, and for its start the states of each adapter."""

    state: State
    group: int  # of states that are alike to adapters


class _Family:
    def __init__(self, layout: Layout, classes: Sequence[PoolClass], base: Item) -> None:
        self.base = base
        self.adapters = layout.adapters.get(base.id, [])
        choices = [ItemChoices(layout, classes, adapter, adapter.hot_copies) for adapter in self.adapters]
        most = max(member.hot_copies for member in (base, *self.adapters))
        states = ItemChoices(layout, classes, base, most).states(hot=True, cold=True)
        kinds: dict[int | None, int] = {}  # None: on devices; else the start of the base
        self.of_adapters: list[list[list[State]]] = []  # group, adapter
        self.columns: list[_Column] = []
        for state in states:
            kind = None if state.device_copies else state.start_ns
            if kind not in kinds:
                kinds[kind] = len(kinds)
                hot = kind is None
                self.of_adapters.append([c.states(hot=hot, cold=True, base_ns=kind or 0) for c in choices])
            if all(self.of_adapters[kinds[kind]]):
                self.columns.append(_Column(state, kinds[kind]))


class _Program:
    """minimise value, or (for room) the bytes that are lacking, subject to room in each class and to moved bytes.

    Room has two sides: bytes, and for each size places for parts of that size in patterns by which memories are cut.
    """

    def __init__(
        self, layout: Layout, classes: tuple[PoolClass, ...], families: list[_Family], *, for_room: bool
    ) -> None:
        self._layout = layout
        self._classes = classes
        self._families = families
        self._for_room = for_room
        self._solver = pywraplp.Solver.CreateSolver("GLOP")
        self._objective = self._solver.Objective()
        self._objective.SetMinimization()
        self._rows = [self._solver.Constraint(-self._solver.infinity(), group.bytes / _GIB) for group in classes]
        most = layout.question.moved_bytes_max
        self._moved = None if most is None else self._solver.Constraint(-self._solver.infinity(), most / _GIB)
        if for_room:
            for row in [*self._rows, *([] if self._moved is None else [self._moved])]:
                self._lacking(row, 1)
        names = [pool.id for group in classes for pool in group.pools]
        self._nameable = not any("@" in name or len(name) > _NAME_MAX for name in names)  # surcharges, without doubt
        self._cuttings = [self._cutting(group) for group in classes]
        self._large = [self._slots(each) for each in self._cuttings]
        self._scale = self._value_scale()
        self._variables: dict[str, list[tuple[State, int, pywraplp.Variable]]] = {}
        for family in families:
            self._add(family)

    def _cutting(self, group: PoolClass) -> Cutting:
        items = self._layout.question.items if self._nameable else ()
        return cutting(group.pools, (part_in(item, group.tier)[0] for item in items))

    def _slots(self, cut: Cutting) -> list[pywraplp.Constraint]:
        """For each size: parts that reach it are no more than the places for such parts in the patterns chosen."""
        rows = [self._solver.Constraint(-self._solver.infinity(), 0) for _ in cut.sizes]
        for count, patterns in cut.kinds if rows else ():
            memories = self._solver.Constraint(-self._solver.infinity(), count)
            for pattern in patterns:
                variable = self._solver.NumVar(0, self._solver.infinity(), "")
                memories.SetCoefficient(variable, 1)
                for index, row in enumerate(rows):
                    row.SetCoefficient(variable, -sum(pattern[index:]))
        for size, row in zip(cut.sizes, rows, strict=True) if self._for_room else ():
            self._lacking(row, size / _GIB)
        return rows

    def _lacking(self, row: pywraplp.Constraint, cost: float) -> None:
        lacking = self._solver.NumVar(0, self._solver.infinity(), "")
        row.SetCoefficient(lacking, -1)
        self._objective.SetCoefficient(lacking, cost)

    def solve(self, search: Search) -> bool:
        """Whether an optimum was found."""
        left_s = search.left_s()
        if left_s is not None:
            self._solver.SetTimeLimit(max(1, int(left_s * 1000)))
        return bool(self._solver.Solve() == pywraplp.Solver.OPTIMAL)

    def relaxed(self, *, feasible: bool) -> Relaxed:
        """Whole prices from the duals, and for each item the state with the largest share."""
        unit = UNIT_BYTES[self._layout.question.objective] * self._scale / _GIB
        factor = _FEASIBILITY_SCALE if self._for_room else unit
        amounts: dict[str, int] = {}
        for group, row in zip(self._classes, self._rows, strict=True):
            amounts.update((pool.id, _whole(-row.dual_value() * factor)) for pool in group.pools)
        for group, cut, rows in zip(self._classes, self._cuttings, self._large, strict=True):
            duals = accumulate(-row.dual_value() * factor for row in rows)
            for size, dual in zip(cut.sizes, duals, strict=True):
                amounts.update((surcharge(pool.id, size), _whole(dual)) for pool in group.pools)
        if self._moved is not None:
            amounts[MOVED] = _whole(-self._moved.dual_value() * factor)
        witness = tuple(Price(name=name, amount=amount) for name, amount in sorted(amounts.items()) if amount)
        states: dict[str, State] = {}
        for family in self._families:
            self._round(family, states)
        return Relaxed(classes=self._classes, witness=witness, states=states, feasible=feasible)

    def _value_scale(self) -> float:
        """One GiB's worth of value, about: keeps the solver's numbers near one."""
        values = [column.state.value for family in self._families for column in family.columns]
        return max(1.0, sum(values) / max(1, len(values)))

    def _add(self, family: _Family) -> None:
        of_base = [(column.state, column.group) for column in family.columns]
        one = self._solver.Constraint(1, 1)
        variables = [self._variable(state, group, family.base) for state, group in of_base]
        for variable in variables:
            one.SetCoefficient(variable, 1)
        for group in sorted({group for _, group in of_base}):
            for adapter, states in zip(family.adapters, family.of_adapters[group], strict=True):
                follows = self._solver.Constraint(0, 0)
                beside = self._solver.Constraint(-self._solver.infinity(), 0)  # copies on devices: no more than bases
                for (base_state, of), variable in zip(of_base, variables, strict=True):
                    if of == group:
                        follows.SetCoefficient(variable, -1)
                        beside.SetCoefficient(variable, -base_state.device_copies)
                for state in states:
                    variable = self._variable(state, group, adapter)
                    follows.SetCoefficient(variable, 1)
                    beside.SetCoefficient(variable, state.device_copies)

    def _variable(self, state: State, group: int, item: Item) -> pywraplp.Variable:
        variable = self._solver.NumVar(0, self._solver.infinity(), "")
        for index, size in state.room:
            self._rows[index].SetCoefficient(variable, size / _GIB)
        for index, count in state.copies:
            size, parts = part_in(item, self._classes[index].tier)
            for row in self._large[index][: self._cuttings[index].reached(size)]:
                row.SetCoefficient(variable, count * parts)
        if self._moved is not None:
            self._moved.SetCoefficient(variable, state.moved_bytes / _GIB)
        if not self._for_room:
            self._objective.SetCoefficient(variable, state.value / self._scale)
        self._variables.setdefault(item.id, []).append((state, group, variable))
        return variable

    def _round(self, family: _Family, states: dict[str, State]) -> None:
        shares: dict[int, float] = {}
        for _, group, variable in self._variables[family.base.id]:
            shares[group] = shares.get(group, 0.0) + variable.solution_value()
        chosen = max(shares, key=lambda group: (shares[group], -group))
        for item in (family.base, *family.adapters):
            of_group = [(state, v.solution_value()) for state, group, v in self._variables[item.id] if group == chosen]
            states[item.id] = max(of_group, key=lambda pair: pair[1])[0]


def _whole(price: float) -> int:
    return min(INTEGER_MAX, max(0, int(price)))
