"""How many of each pipeline: a linear program for prices of devices, and the same in whole pipelines."""

from collections.abc import Mapping

import attrs
from ortools.linear_solver import pywraplp
from ortools.sat.python import cp_model

from planner.layouts import loads
from planner.layouts.linear import program, solved
from planner.search import STEPS_PER_DETERMINISTIC_SECOND, Search
from specs.decisions.layout.exhausted import Option
from specs.decisions.layout.question import Question
from specs.decisions.layout.values import Objective

_STEPS = 3 * STEPS_PER_DETERMINISTIC_SECOND  # of a choice for which nobody has set a limit


_FEW = 60  # options that are tried first
_ROUGH = 1e-6  # of a linear program
_SHARE = 0.8  # of what is left of a run's limits


@attrs.frozen(kw_only=True)
class Relaxed:
    """The choice in fractions of pipelines."""

    value: float  # millitokens/s, or what is spent
    device: tuple[float, ...]  # dual price of a device of each group, never negative
    demand: float  # dual price of a millitoken/s; 1 where the rate is the objective
    unit: float  # dual price of a unit to be loaded
    seat: Mapping[loads.Run, float]  # dual price of devices that hold a run together
    chosen: tuple[float, ...]  # per option

    def load(self, run: loads.Run) -> float:
        """What loading a stage costs on the best devices for it, at these prices."""
        saved = (self.unit * run.kept(there) - price for there, price in self.seat.items() if run.kept(there))
        return self.unit * run.units - max(0.0, max(saved, default=0.0))


def spend(question: Question, objective: Objective) -> list[int]:
    """What a device of each group counts in what is spent."""
    return [group.cost_per_hour if objective is Objective.COST else 1 for group in question.groups]


def relaxed(question: Question, options: list[Option], objective: Objective, search: Search) -> Relaxed | None:
    """Solve the linear program over pipelines; None when they cannot meet the demand, or not in time."""
    solver = program(search)
    many = [solver.NumVar(0.0, solver.infinity(), "") for _ in options]
    rows = [
        solver.Add(sum(option.counts[g] * x for option, x in zip(options, many, strict=True)) <= group.devices)
        for g, group in enumerate(question.groups)
    ]
    rate = sum(option.rate_millitokens_per_second / 1e6 * x for option, x in zip(options, many, strict=True))
    unit_row = None
    seat_rows: dict[loads.Run, pywraplp.Constraint] = {}
    if question.limits.moved_units is not None:
        unit_row, seat_rows = loads.limit(
            question, options, many, lambda most: solver.NumVar(0.0, most, ""), solver.Add
        )
    demand_row = None
    if objective in (Objective.COST, Objective.DEVICES):
        demand_row = solver.Add(rate >= question.limits.demand_millitokens_per_second / 1e6)
        each = spend(question, objective)
        costs = [sum(a * b for a, b in zip(each, option.counts, strict=True)) for option in options]
        solver.Minimize(sum(cost * x for cost, x in zip(costs, many, strict=True)))
    else:
        solver.Maximize(rate)
    if not solved(solver, search):
        return None
    scale = 1.0 if demand_row is not None else 1e6
    return Relaxed(
        value=solver.Objective().Value() * scale,
        device=tuple(abs(row.dual_value()) * scale for row in rows),
        demand=1.0 if demand_row is None else demand_row.dual_value() / 1e6,
        unit=0.0 if unit_row is None else abs(unit_row.dual_value()) * scale,
        seat={
            run: abs(seat_rows[run].dual_value()) * scale if run in seat_rows else 0.0 for run in loads.held(question)
        },
        chosen=tuple(x.solution_value() for x in many),
    )


def whole(
    question: Question, options: list[Option], objective: Objective, search: Search, bound: int | None = None
) -> list[int] | None:
    """Choose whole pipelines: how many of each option.  One that is as good as the bound ends the search.

    TPOT and TTFT are the largest of the options chosen.  None when there is no choice that meets the demand.
    """
    model = cp_model.CpModel()
    most = [
        min(
            (group.devices // took for took, group in zip(option.counts, question.groups, strict=True) if took),
            default=0,
        )
        for option in options
    ]
    many = [model.new_int_var(0, top, "") for top in most]
    for g, group in enumerate(question.groups):
        model.add(sum(o.counts[g] * x for o, x in zip(options, many, strict=True) if o.counts[g]) <= group.devices)
        _pack(question, options, many, model, group.name)
    if question.limits.moved_units is not None:
        loads.limit(question, options, many, lambda most: model.new_int_var(0, most, ""), model.add)
    rates = [option.rate_millitokens_per_second for option in options]
    rate = sum(each * x for each, x in zip(rates, many, strict=True))
    demand = max(1, question.limits.demand_millitokens_per_second)
    if objective is not Objective.GOODPUT:
        model.add(rate >= demand)
    match objective:
        case Objective.GOODPUT:
            most_rate = sum(each * top for each, top in zip(rates, most, strict=True))
            _minimize(model, -rate, (-most_rate if bound is None else -bound, -demand))
        case Objective.COST | Objective.DEVICES:
            costs = _each(question, options, objective)
            spent = sum(cost * x for cost, x in zip(costs, many, strict=True))
            _minimize(model, spent, (bound or 0, sum(cost * top for cost, top in zip(costs, most, strict=True))))
        case Objective.TPOT | Objective.TTFT:
            times = [option.tpot_ns if objective is Objective.TPOT else option.ttft_ns for option in options]
            slowest = model.new_int_var(0, max(times, default=0), "slowest")
            for time, x, top in zip(times, many, most, strict=True):
                if top:
                    used = model.new_bool_var("")
                    model.add(x <= top * used)
                    model.add(slowest >= time).only_enforce_if(used)
            _minimize(model, slowest, (bound or 0, max(times, default=0)))
    solver, status = search.part(_STEPS).cp_sat(model, share=_SHARE)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    return [solver.value(x) for x in many]


def _minimize(model: cp_model.CpModel, what: cp_model.LinearExprT, limits: tuple[int, int]) -> None:
    """Minimize what lies between limits; nothing is found where the first is above the second."""
    # The limit of a variable ends the search; a rule of the same content does not.
    least = model.new_int_var(limits[0], max(limits), "least")
    model.add(least == what)
    model.minimize(least)


def best_whole(
    question: Question, options: list[Option], objective: Objective, search: Search, bound: int | None = None
) -> list[int] | None:
    """Choose whole pipelines as `whole` does, from few options first.

    Then from those that may be part of a better choice: one whose reduced cost is more than what lies between the
    linear program and the choice from few cannot.
    """
    additive = objective not in (Objective.TPOT, Objective.TTFT)
    linear = relaxed(question, options, objective, search) if additive and len(options) > _FEW else None
    if linear is None:
        return whole(question, options, objective, search, bound)
    reduced = [_reduced(question, option, objective, linear) for option in options]
    order = sorted(range(len(options)), key=reduced.__getitem__)
    chosen, able = whole(question, [options[index] for index in order[:_FEW]], objective, search, bound), len(order)
    if chosen is not None:
        each = _each(question, options, objective)
        reached = sum(each[index] * many for index, many in zip(order, chosen, strict=False))
        able = sum(1 for cost in reduced if cost <= abs(reached - linear.value) + _ROUGH * abs(linear.value))
    if able > _FEW:
        chosen = whole(question, [options[index] for index in order[:able]], objective, search, bound) or chosen
    if chosen is None:
        return None
    found = dict(zip(order, chosen, strict=False))
    return [found.get(index, 0) for index in range(len(options))]


def promising(
    question: Question, options: list[Option], objective: Objective, search: Search, count: int
) -> list[Option]:
    """Take so many options, those with the least reduced cost where moves are not limited; the first where in doubt."""
    if len(options) <= count:
        return options
    free = attrs.evolve(question, limits=attrs.evolve(question.limits, moved_units=None))
    additive = objective if objective in (Objective.COST, Objective.DEVICES) else Objective.GOODPUT
    linear = relaxed(free, options, additive, search)
    if linear is None:
        return options[:count]
    reduced = [_reduced(free, option, additive, linear) for option in options]
    return [options[index] for index in sorted(range(len(options)), key=reduced.__getitem__)[:count]]


def _each(question: Question, options: list[Option], objective: Objective) -> list[int]:
    """What one of each option adds to the objective."""
    if objective is Objective.GOODPUT:
        return [option.rate_millitokens_per_second for option in options]
    each = spend(question, objective)
    return [sum(a * b for a, b in zip(each, option.counts, strict=True)) for option in options]


def _reduced(question: Question, option: Option, objective: Objective, linear: Relaxed) -> float:
    """By how much the linear program's value is worse, at least, for each one of an option."""
    spent = 0 if objective is Objective.GOODPUT else _each(question, [option], objective)[0]
    taken = sum(price * count for price, count in zip(linear.device, option.counts, strict=True))
    loaded = sum(linear.load(run) for run in loads.runs(question, option.replica)) if linear.unit else 0.0
    return spent + taken + loaded - linear.demand * option.rate_millitokens_per_second


def greedy(question: Question, options: list[Option]) -> list[int]:
    """Take pipelines while there are devices for them, those with the best rate per part of what is left first."""
    left = [group.devices for group in question.groups]
    many = [0] * len(options)
    order = sorted(
        range(len(options)),
        key=lambda i: (
            -options[i].rate_millitokens_per_second
            // sum(
                1000 * took // group.devices + 1 for took, group in zip(options[i].counts, question.groups, strict=True)
            )
        ),
    )
    for index in order:
        while all(took <= have for took, have in zip(options[index].counts, left, strict=True)):
            many[index] += 1
            left = [have - took for took, have in zip(options[index].counts, left, strict=True)]
    return many


def _pack(
    question: Question, options: list[Option], many: list[cp_model.IntVar], model: cp_model.CpModel, group: str
) -> None:
    """A node of n devices has room for n // k shapes of k; a shape of j of its devices takes the room of j // k."""
    has = question.group[group]
    sizes = sorted({shape.devices for shape in question.shapes if shape.group == group and shape.devices > 1})
    nodes = [has.per_node] * (has.devices // has.per_node) + [has.devices % has.per_node]
    for size in sizes:
        takes = [
            sum(
                len(stage.devices) // size
                for stage in option.replica.stages
                if question.shape[stage.shape].group == group
            )
            for option in options
        ]
        model.add(sum(take * x for take, x in zip(takes, many, strict=True) if take) <= sum(n // size for n in nodes))
