"""The CP-SAT encoding of unit mixes: whole units per phase, the load only by its cuts.

Each constraint stands under the sentence of `specs.decisions.mix.checks.faults` that it keeps.
"""

from collections.abc import Mapping

import attrs
from ortools.sat.python import cp_model

from specs.decisions.mix.bounds import cut_sides, limits, units_max
from specs.decisions.mix.checks import weights
from specs.decisions.mix.question import MixQuestion, Objective
from specs.units import ceil_div
from specs.witness import Witness

# A cut's sides are cut down to about this size for CP-SAT, against the cut: it may let a mix through, never lose one.
_CUT_SIDE_MAX = 10**12
_OBJECTIVE_MAX = 2**60

Sum = cp_model.LinearExpr | int


@attrs.frozen(kw_only=True)
class Moves:
    """What an answer of the solver says: per phase, how many of each unit start, stop and are up at its end."""

    starts: tuple[dict[str, int], ...]
    stops: tuple[dict[str, int], ...]
    up: tuple[dict[str, int], ...]


class Encoding:
    """A model of one question for a number of phases, with what it minimises: first `weighed`, then the changes."""

    def __init__(self, question: MixQuestion, phases: int, *, free: str | None = None) -> None:
        """Minimise the question's objective; or, with `free`, how many devices of that kind there must be."""
        self.question = question
        self.model = cp_model.CpModel()
        self.starts: list[dict[str, cp_model.IntVar]] = []
        self.stops: list[dict[str, cp_model.IntVar]] = []
        self.up: list[dict[str, cp_model.IntVar]] = []
        self.supplies: dict[str, Sum] = {s.kind: s.available for s in question.supplies}
        if free is not None:
            self.supplies[free] = self.model.new_int_var(0, _available(question, free), "supply")
        before: Mapping[str, Sum] = {unit.name: unit.running for unit in question.units}
        for index in range(phases):
            before = self._phase(index, before)
        self._limits_kept()
        self._minimise(free)

    def _minimise(self, free: str | None) -> None:
        changes = self._total(weights(self.question, Objective.CHANGES))
        if free is not None:
            self.model.minimize(self.supplies[free])
            self.objective_scale = 1
            return
        weighed = weights(self.question, self.question.objective)
        most = self.changes_max
        fits = max((max(of_unit) for of_unit in weighed.values()), default=0) * most * (most + 1) < _OBJECTIVE_MAX
        self.objective_scale = most + 1 if fits else 1  # ties broken only where that cannot overflow
        self.model.minimize(self.objective_scale * self._total(weighed) + (changes if fits else 0))

    @property
    def changes_max(self) -> int:
        """No phase starts or stops more units than the devices hold."""
        return len(self.up) * 2 * sum(units_max(self.question, unit) for unit in self.question.units)

    def add_cut(self, cut: Witness) -> None:
        """Demand and floors:  sum over units of worth * up  >=  what all of the load is worth."""
        of_unit, wanted, floors = cut_sides(self.question, cut)
        shrink = max(1, max(wanted, *of_unit.values()) // _CUT_SIDE_MAX)
        for index, up in enumerate(self.up):
            side = wanted if index + 1 == len(self.up) else floors
            terms = [ceil_div(of_unit[name], shrink) * count for name, count in up.items()]
            self.model.add(cp_model.LinearExpr.sum(terms) >= side // shrink)

    def decode(self, solver: cp_model.CpSolver) -> Moves:
        """Read the solver's answer."""

        def read(found: list[dict[str, cp_model.IntVar]]) -> tuple[dict[str, int], ...]:
            return tuple({name: solver.value(variable) for name, variable in each.items()} for each in found)

        return Moves(starts=read(self.starts), stops=read(self.stops), up=read(self.up))

    def _phase(self, index: int, before: Mapping[str, Sum]) -> dict[str, cp_model.IntVar]:
        """Starts first, within the devices; then stops, of what is up."""
        most = {unit.name: units_max(self.question, unit) for unit in self.question.units}

        def variables(what: str) -> dict[str, cp_model.IntVar]:
            return {name: self.model.new_int_var(0, top, f"{what}[{index},{name}]") for name, top in most.items()}

        starts, stops, up = variables("starts"), variables("stops"), variables("up")
        for name in most:
            self.model.add(up[name] == before[name] + starts[name] - stops[name])
        for supply in self.question.supplies:
            parts: list[Sum] = [
                part.count * (before[unit.name] + starts[unit.name])
                for unit in self.question.units
                for part in unit.devices
                if part.kind == supply.kind
            ]
            self.model.add(cp_model.LinearExpr.sum(parts) <= self.supplies[supply.kind])
        self.starts.append(starts)
        self.stops.append(stops)
        self.up.append(up)
        return up

    def _limits_kept(self) -> None:
        """Changes and cost:  what they weigh over all phases  <=  what is allowed."""
        for limit in limits(self.question):
            if not limit.name.startswith("devices:"):
                self.model.add(self._total(limit.weights) <= limit.amount)

    def _total(self, weighed: Mapping[str, tuple[int, int, int]]) -> Sum:
        terms: list[Sum] = []
        for name, (up, start, stop) in weighed.items():
            terms.append(up * self.up[-1][name])
            terms += [start * starts[name] for starts in self.starts]
            terms += [stop * stops[name] for stops in self.stops]
        return cp_model.LinearExpr.sum(terms)


def _available(question: MixQuestion, kind: str) -> int:
    return next(supply.available for supply in question.supplies if supply.kind == kind)
