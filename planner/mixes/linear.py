"""Linear programs of unit mixes: prices for bounds, cuts that exclude a mix, and how a mix divides the load.

Floating point stays in here: prices become whole numbers that `specs.decisions.mix.bounds` works with exactly, and
flows become whole requests that `specs.decisions.mix.checks` checks.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import attrs
from ortools.linear_solver import pywraplp

from specs.decisions.mix.bounds import cut_sides, limits, units_max
from specs.decisions.mix.checks import load_is_served, weights
from specs.decisions.mix.question import HOUR_NS, Flow, MixQuestion, Phase
from specs.units import INTEGER_MAX
from specs.witness import Price, Witness

_PRICE_DIGITS = 10**12
_CUT_DIGITS = 10**9
_PERIOD_MAX = 10**6
_DENOMINATOR_MAX = 1000
_MARGIN_PERIOD_HOURS = 1000
_WHOLE_ENOUGH = 1e-6


@attrs.frozen(kw_only=True)
class Served:
    """A division of the load in whole requests."""

    flows: tuple[Flow, ...]
    period_hours: int


@attrs.frozen(kw_only=True)
class Relaxed:
    """What the linear relaxation says."""

    prices: Witness  # for `price_bound`
    up: dict[str, int]  # its units, rounded up: they serve, but may not keep every limit


class _Program:
    """A linear program with the flows of all units, on which every question here builds."""

    def __init__(self, question: MixQuestion) -> None:
        self.question = question
        self.solver = pywraplp.Solver.CreateSolver("GLOP")
        self.up: list[pywraplp.Variable] = []
        self.flows = [
            [self.solver.NumVar(0, self.solver.infinity(), "") for _ in unit.abilities] for unit in question.units
        ]

    def serve(self, wanted: Mapping[str, float], *, short: bool) -> list[pywraplp.Constraint]:
        """Demand d:  sum of the flows that cover d  >=  wanted_d;  with `short`, what is missing is minimised."""
        rows = []
        for demand in self.question.demands:
            row = self.solver.Constraint(float(wanted[demand.name]), self.solver.infinity())
            for unit, flows in zip(self.question.units, self.flows, strict=True):
                for ability, flow in zip(unit.abilities, flows, strict=True):
                    if demand.name in ability.covers:
                        row.SetCoefficient(flow, 1)
            if short:
                missing = self.solver.NumVar(0, self.solver.infinity(), "")
                row.SetCoefficient(missing, 1)
                self.solver.Objective().SetCoefficient(missing, 1 / max(1.0, wanted[demand.name]))
            rows.append(row)
        return rows

    def busy(self, index: int, units: float) -> pywraplp.Constraint:
        """Unit u:  sum of flow * request_ns / H  <=  units that are up."""
        row = self.solver.Constraint(-self.solver.infinity(), units)
        for ability, flow in zip(self.question.units[index].abilities, self.flows[index], strict=True):
            row.SetCoefficient(flow, ability.request_ns / HOUR_NS)
        return row

    def count_units(self, *, priced: bool) -> list[pywraplp.Constraint]:
        """Let the number of each unit be free, within every limit; `priced`: minimise the value.  Give the rows."""
        rows = limits(self.question)
        built = [self.solver.Constraint(-self.solver.infinity(), row.amount) for row in rows]
        of_value = weights(self.question, self.question.objective)
        for index, unit in enumerate(self.question.units):
            up = self.solver.NumVar(0, units_max(self.question, unit), "")
            self.up.append(up)
            start = self.solver.NumVar(0, self.solver.infinity(), "")
            stop = self.solver.NumVar(0, self.solver.infinity(), "")
            self.busy(index, 0).SetCoefficient(up, -1)
            balance = self.solver.Constraint(unit.running, unit.running)  # up - starts + stops = running
            for variable, sign, part in ((up, 1, 0), (start, -1, 1), (stop, 1, 2)):
                balance.SetCoefficient(variable, sign)
                if priced:
                    self.solver.Objective().SetCoefficient(variable, of_value[unit.name][part])
                for constraint, row in zip(built, rows, strict=True):
                    constraint.SetCoefficient(variable, row.weights[unit.name][part])
        return built

    def requests(self) -> list[list[float]]:
        """The flows found, per unit and ability, in requests per hour."""
        return [[max(0.0, flow.solution_value()) for flow in flows] for flows in self.flows]

    def optimal(self) -> bool:
        """Minimise; False when there is no answer or the solver gave up."""
        self.solver.Objective().SetMinimization()
        return bool(self.solver.Solve() == pywraplp.Solver.OPTIMAL)


def relax(question: MixQuestion) -> Relaxed | None:
    """Let units be fractions; None when even so there is no answer."""
    program = _Program(question)
    demands = program.serve(_wanted(question, last=True), short=False)
    rows = program.count_units(priced=True)
    if not program.optimal():
        return None
    named = _named_prices(question, demands, rows) | {"value": 1.0}
    up = {
        unit.name: min(units_max(question, unit), math.ceil(count.solution_value() - _WHOLE_ENOUGH))
        for unit, count in zip(question.units, program.up, strict=True)
    }
    return Relaxed(prices=_whole(named, min(_PRICE_DIGITS, INTEGER_MAX / 2 / max(named.values()))), up=up)


def infeasibility_prices(question: MixQuestion) -> Witness | None:
    """Prices for `proves_infeasible`, from the mix that keeps every limit and leaves the least unserved."""
    program = _Program(question)
    demands = program.serve(_wanted(question, last=True), short=True)
    rows = program.count_units(priced=False)
    if not program.optimal():
        return None
    named = _named_prices(question, demands, rows)
    return _whole(named, _CUT_DIGITS / max((1e-30, *named.values())))


def divide(question: MixQuestion, up: Mapping[str, int], *, last: bool) -> Served | Witness | None:
    """Divide the load among units: whole requests, or a cut that shows that these units cannot; None: neither found.

    After the last phase all of the demand is served, else the floors.  Requests that come out in simple fractions are
    whole over a few hours; else a little more than is wanted is divided and rounded down.
    """
    program = _Program(question)
    demands = program.serve(_wanted(question, last=last), short=True)
    for index, unit in enumerate(question.units):
        program.busy(index, up[unit.name])
    if not program.optimal():
        return None
    named = _named_prices(question, demands, ())
    cut = in_least_terms(_whole(named, _CUT_DIGITS / max((1e-30, *named.values()))))
    if excludes(question, cut, up, last=last):
        return cut
    served = _fractions(question, program.requests())
    if _serves(question, served, up, last=last):
        return served
    return _with_margin(question, up, last=last)


def excludes(question: MixQuestion, cut: Witness, up: Mapping[str, int], *, last: bool) -> bool:
    """Whether a cut shows that these units cannot serve what they must."""
    of_unit, wanted, floors = cut_sides(question, cut)
    return sum(of_unit[name] * count for name, count in up.items()) < (wanted if last else floors)


def in_least_terms(prices: Witness) -> Witness:
    """Divide prices by what divides all of them; they mean the same."""
    divisor = math.gcd(*(price.amount for price in prices))
    return tuple(Price(name=price.name, amount=price.amount // divisor) for price in prices)


def _with_margin(question: MixQuestion, up: Mapping[str, int], *, last: bool) -> Served | None:
    period = _MARGIN_PERIOD_HOURS
    margin = sum(len(unit.abilities) for unit in question.units) / period
    program = _Program(question)
    wanted = _wanted(question, last=last)
    program.serve({name: amount + (margin if amount else 0) for name, amount in wanted.items()}, short=False)
    for index, unit in enumerate(question.units):
        program.busy(index, up[unit.name])
    if not program.optimal():
        return None
    whole = [[math.floor(requests * period) for requests in of_unit] for of_unit in program.requests()]
    served = Served(flows=_flows(question, whole), period_hours=period)
    return served if _serves(question, served, up, last=last) else None


def _fractions(question: MixQuestion, found: list[list[float]]) -> Served:
    exact = [[Fraction(requests).limit_denominator(_DENOMINATOR_MAX) for requests in of_unit] for of_unit in found]
    period = math.lcm(*(requests.denominator for of_unit in exact for requests in of_unit))
    period = period if period <= _PERIOD_MAX else 1
    whole = [[math.floor(requests * period) for requests in of_unit] for of_unit in exact]
    return Served(flows=_flows(question, whole), period_hours=period)


def _flows(question: MixQuestion, whole: list[list[int]]) -> tuple[Flow, ...]:
    return tuple(
        Flow(unit=unit.name, ability=index, requests=requests)
        for unit, of_unit in zip(question.units, whole, strict=True)
        for index, requests in enumerate(of_unit)
        if requests
    )


def _serves(question: MixQuestion, served: Served, up: Mapping[str, int], *, last: bool) -> bool:
    phase = Phase(starts=(), stops=(), flows=served.flows, period_hours=served.period_hours)
    return not any(load_is_served(question, "", phase, dict(up), last=last))


def _wanted(question: MixQuestion, *, last: bool) -> dict[str, float]:
    return {d.name: float(d.requests_per_hour if last else d.floor_per_hour) for d in question.demands}


def _named_prices(
    question: MixQuestion, demands: Sequence[pywraplp.Constraint], rows: Sequence[pywraplp.Constraint]
) -> dict[str, float]:
    """Dual values as prices: of demands as they are, of limits with their sign turned."""
    prices = {f"demand:{d.name}": max(0.0, row.dual_value()) for d, row in zip(question.demands, demands, strict=True)}
    for limit, row in zip(limits(question), rows, strict=False):  # none when units are given
        prices[limit.name] = max(0.0, -row.dual_value())
    return prices


def _whole(prices: Mapping[str, float], scale: float) -> Witness:
    whole = {name: round(price * scale) for name, price in prices.items()}
    return tuple(Price(name=name, amount=amount) for name, amount in sorted(whole.items()) if amount > 0)
