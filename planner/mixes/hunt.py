"""The search for the best unit mix: whole numbers and cuts in turn.

Benders' decomposition.  CP-SAT chooses whole units per phase, knowing the load only by cuts (each: what units are
worth at some prices of the demands must reach what the demands are worth); a small linear program either divides the
load among those units or gives the cut that excludes them.  The cuts are also what the checker needs to see that no
mix is better.
"""

import attrs
from ortools.sat.python import cp_model

from planner.mixes.encoding import Encoding, Moves
from planner.mixes.linear import Served, divide, in_least_terms
from planner.search import Search
from specs.decisions.mix.checks import faults, weights
from specs.decisions.mix.question import Mix, MixQuestion, Phase, UnitCount
from specs.witness import Price, Witness

_ALONE_MAX = 8  # demands; of more, few matter by themselves, and those are found


@attrs.define
class Hunt:
    """A search for mixes of one question, with every cut found so far."""

    question: MixQuestion
    search: Search
    cuts: list[Witness] = attrs.field(factory=list)
    unsettled: bool = False  # some mix was neither shown to serve nor excluded
    solver: str | None = None

    def best(self, phases: int, *, free: str | None = None) -> tuple[Mix | None, int | None]:
        """Give the best mix, and what CP-SAT says no mix goes below; None and None: it says that there is none.

        `free` minimises the devices of that kind instead, beyond what the question has.
        """
        encoding = Encoding(self.question, phases, free=free)
        for cut in self.cuts:
            encoding.add_cut(cut)
        word = 0
        while True:
            solver, status = self.search.cp_sat(encoding.model)
            self.solver = next(used for used in self.search.solvers if used.startswith("ortools/"))
            if status == cp_model.INFEASIBLE:
                return None, None
            if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
                return None, word
            word = int(solver.best_objective_bound) // encoding.objective_scale
            moves = encoding.decode(solver)
            found = self._divided(moves)
            if isinstance(found, Mix) or found is None:
                self.unsettled |= found is None
                return found, word
            for cut in found:
                encoding.add_cut(cut)
            self.cuts += found
            if self.search.over():
                return None, word

    def at_once(self, up: dict[str, int]) -> Mix | None:
        """Give the mix that comes to these units, or fewer, in one phase; None: these do not serve within every limit.

        Units that are not needed are left out one by one, the dearest first.
        """
        served = divide(self.question, up, last=True)
        of_value = weights(self.question, self.question.objective)
        for name in sorted(up, key=lambda name: (-of_value[name][0], name)):
            fewer = up | {name: up[name] - 1}
            if fewer[name] >= 0 and self.search.spend():
                found = divide(self.question, fewer, last=True)
                up, served = (fewer, found) if isinstance(found, Served) else (up, served)
        if not isinstance(served, Served):
            return None
        running = {unit.name: unit.running for unit in self.question.units}
        starts = {name: max(0, count - running[name]) for name, count in up.items()}
        stops = {name: max(0, running[name] - count) for name, count in up.items()}
        mix = _mix(Moves(starts=(starts,), stops=(stops,), up=(up,)), [served])
        return None if any(faults(self.question, mix)) else mix

    def _divided(self, moves: Moves) -> Mix | list[Witness] | None:
        """Divide the load of every phase; the cuts that show that some cannot be; None: neither."""
        served: list[Served] = []
        cuts: list[Witness] = []
        for index, up in enumerate(moves.up):
            found = divide(self.question, up, last=index + 1 == len(moves.up))
            if found is None or found in self.cuts:  # CP-SAT's coarser form of a cut let the same mix through again
                return None
            if isinstance(found, Served):
                served.append(found)
            elif found not in cuts:
                cuts.append(found)
        return cuts or _mix(moves, served)


def first_cuts(question: MixQuestion, prices: Witness | None) -> list[Witness]:
    """Give cuts to begin with: a few demands each by itself, all alike, and the prices of the linear relaxation."""
    names = sorted(f"demand:{demand.name}" for demand in question.demands)
    cuts: list[Witness] = [(Price(name=name, amount=1),) for name in names] if len(names) <= _ALONE_MAX else []
    cuts.append(tuple(Price(name=name, amount=1) for name in names))
    if prices is not None:
        cuts.append(in_least_terms(tuple(price for price in prices if price.name in names)))
    return [cut for index, cut in enumerate(cuts) if cut and cut not in cuts[:index]]


def _mix(moves: Moves, served: list[Served]) -> Mix:
    """Leave out phases without moves, except the last."""
    phases = []
    for index, (starts, stops, found) in enumerate(zip(moves.starts, moves.stops, served, strict=True)):
        phase = Phase(starts=_counts(starts), stops=_counts(stops), flows=found.flows, period_hours=found.period_hours)
        if phase.starts or phase.stops or index + 1 == len(served):
            phases.append(phase)
    return Mix(phases=tuple(phases))


def _counts(of_units: dict[str, int]) -> tuple[UnitCount, ...]:
    return tuple(UnitCount(unit=name, count=count) for name, count in of_units.items() if count)
