"""Why no mix is better: integer prices, and an exhausted search between the price bound and the best value.

What is assumed of every mix, and of nothing else: the rules of `checks.faults` after its last phase.  So both bounds
hold for any number of phases; a mix that only the order of changes keeps from being better has a gap.

Prices in a witness, all in the same scale, which is free:

    value             what one unit of the objective is worth; without it the prices bound nothing
    demand:NAME       for a request per hour of this demand
    devices:KIND      for a device of this kind that a unit has
    changes, cost     for a unit of what is limited

Exact integers; every division rounds against the bound.
"""

import math
from collections.abc import Iterator

import attrs

from specs.decisions.mix.checks import weights
from specs.decisions.mix.question import HOUR_NS, MixQuestion, Objective, Unit
from specs.units import ceil_div
from specs.witness import Witness

_CUT_SCALE = 10**9  # keeps the rounding of a cut below a thousand-millionth of its price


@attrs.frozen(kw_only=True)
class Limit:
    """Something that a mix may use up to an amount: devices of a kind, changes, cost."""

    name: str  # of its price
    amount: int
    weights: dict[str, tuple[int, int, int]]  # per unit: of one in the end, of a start, of a stop


def limits(question: MixQuestion) -> tuple[Limit, ...]:
    """Give everything that is limited, under the name of its price."""
    found = [
        Limit(
            name=f"devices:{supply.kind}",
            amount=supply.available,
            weights={
                unit.name: (sum(part.count for part in unit.devices if part.kind == supply.kind), 0, 0)
                for unit in question.units
            },
        )
        for supply in question.supplies
    ]
    stated = ((question.changes_max, Objective.CHANGES), (question.cost_max, Objective.COST))
    for amount, objective in stated:
        if amount is not None:
            found.append(Limit(name=str(objective), amount=amount, weights=weights(question, objective)))
    return tuple(found)


def units_max(question: MixQuestion, unit: Unit) -> int:
    """How many of a unit the devices allow; at least those that run."""
    available = {supply.kind: supply.available for supply in question.supplies}
    return min(available[part.kind] // part.count for part in unit.devices)


def worth(unit: Unit, prices: dict[str, int]) -> int:
    """What one unit's time is worth at most in an hour, at prices per request of each demand, rounded up.

    Its time is spent best on the one ability that earns most per nanosecond:  H max over abilities of P / request_ns,
    with P the prices of the demands that the ability covers.
    """
    earned = (
        ceil_div(HOUR_NS * sum(prices.get(name, 0) for name in ability.covers), ability.request_ns)
        for ability in unit.abilities
    )
    return max(earned, default=0)


def price_bound(question: MixQuestion, witness: Witness) -> int:
    """No mix without faults has a smaller value of the question's objective; 0 when the prices say nothing.

    Let n_u units be up in the end, with s_u starts and t_u stops:  n_u = running_u + s_u - t_u,  so
    s_u >= max(0, n_u - running_u) and t_u >= max(0, running_u - n_u).  For prices p >= 0 per demand, q >= 0 per limit
    and c > 0 for the value, a mix without faults loses nothing when demands met and limits kept are priced:

        c value  >=  c value + sum_d p_d (D_d - served_d) + sum_i q_i (used_i - limit_i).

    What units of u serve is worth at most `worth` each (their time is limited), so the right side is at least

        sum_d p_d D_d  -  sum_i q_i limit_i  +  sum_u f_u(n_u),
        f_u(n) = (c run_u + sum_i q_i run_ui - worth_u) n + up_u max(0, n - running_u) + down_u max(0, running_u - n),

    where up_u and down_u are the priced starts and stops.  f_u is linear between its ends 0 and `units_max` and its
    kink at running_u, so it is least at one of the three.  The value is a whole multiple of the greatest common
    divisor of its weights, so the quotient is rounded up to the next.
    """
    scale = _amounts(witness).get("value", 0)
    if scale == 0:
        return 0
    step = math.gcd(*(weight for of_unit in weights(question, question.objective).values() for weight in of_unit))
    if step == 0:
        return 0
    return max(0, ceil_div(_Priced.of(question, witness).least(), scale * step) * step)


def proves_infeasible(question: MixQuestion, witness: Witness) -> bool:
    """Whether the prices show that no mix is without faults.

    `price_bound` without a price for the value:  0 >= sum_d p_d D_d - sum_i q_i limit_i + sum_u min f_u  for any mix
    without faults, so a positive right side leaves none.
    """
    return "value" not in _amounts(witness) and _Priced.of(question, witness).least() > 0


def none_below(
    question: MixQuestion, below: int, witness: Witness, cuts: tuple[Witness, ...], nodes_max: int
) -> int | None:
    """Search all mixes of value less than `below`: how many were looked at, if there is none; None: not shown.

    Counts of units are fixed one unit after the other.  A partial mix is left when any of these shows that nothing
    without faults and of value less than `below` completes it:

    - value and limits, which all are budgets: weights are not negative, so what is fixed uses at least its own part;
    - prices: the sum in `price_bound`, with f_u of what is fixed and min f_u of the rest, exceeds c (below - 1);
    - a cut: prices p per demand.  All of the demand is worth sum_d p_d D_d, units fixed serve at most `worth` each, and
      the rest may use only what remains of a budget, at the best rate of worth for budget among them.

    A whole mix that no reason excludes, or more than `nodes_max` counts tried, and nothing is shown.
    """
    return _Exhaustion(question, below, witness, cuts, nodes_max).run()


def cut_sides(question: MixQuestion, cut: Witness) -> tuple[dict[str, int], int, int]:
    """Give a cut as an inequality over mixes: worth of each unit, worth of all demands, worth of the floors.

    Every mix without faults has  sum_u worth_u n_u >= demands  after the last phase, and >= floors after any other.
    """
    prices = _demand_prices(cut, _CUT_SCALE)
    wanted = sum(prices.get(demand.name, 0) * demand.requests_per_hour for demand in question.demands)
    floors = sum(prices.get(demand.name, 0) * demand.floor_per_hour for demand in question.demands)
    return {unit.name: worth(unit, prices) for unit in question.units}, wanted, floors


def _amounts(witness: Witness) -> dict[str, int]:
    return {price.name: price.amount for price in witness}


def _demand_prices(witness: Witness, scale: int = 1) -> dict[str, int]:
    mark = "demand:"
    return {price.name[len(mark) :]: price.amount * scale for price in witness if price.name.startswith(mark)}


def _spent(weight: tuple[int, int, int], count: int, running: int) -> int:
    """What a count of a unit uses at least: of what is up, of starts, of stops."""
    return weight[0] * count + weight[1] * max(0, count - running) + weight[2] * max(0, running - count)


@attrs.frozen
class _Priced:
    """The right side of `price_bound`'s inequality, apart by unit."""

    fixed: int  # sum_d p_d D_d - sum_i q_i limit_i
    slopes: tuple[tuple[int, int, int], ...]  # per unit: of f_u for each unit up, start and stop
    kinks: tuple[tuple[int, int], ...]  # per unit: running, the most that may be up

    @classmethod
    def of(cls, question: MixQuestion, witness: Witness) -> "_Priced":
        amounts = _amounts(witness)
        prices = _demand_prices(witness)
        rows = limits(question)
        of_value = weights(question, question.objective)
        fixed = sum(prices.get(demand.name, 0) * demand.requests_per_hour for demand in question.demands)
        fixed -= sum(amounts.get(row.name, 0) * row.amount for row in rows)
        slopes = []
        for unit in question.units:
            up, start, stop = (
                amounts.get("value", 0) * of_value[unit.name][part]
                + sum(amounts.get(row.name, 0) * row.weights[unit.name][part] for row in rows)
                for part in range(3)
            )
            slopes.append((up - worth(unit, prices), start, stop))
        kinks = tuple((unit.running, units_max(question, unit)) for unit in question.units)
        return cls(fixed, tuple(slopes), kinks)

    def at(self, index: int, count: int) -> int:
        """f_u at a count of the unit with this index."""
        return _spent(self.slopes[index], count, self.kinks[index][0])

    def least_of(self, index: int) -> int:
        """The least of f_u: at an end or at its kink."""
        running, most = self.kinks[index]
        return min(self.at(index, count) for count in (0, running, most))

    def least(self) -> int:
        """What no mix without faults goes below."""
        return self.fixed + sum(self.least_of(index) for index in range(len(self.slopes)))


@attrs.frozen
class _Cut:
    """A cut; and for each budget and unit the best rate of worth for budget from that unit on, as (worth, budget).

    A rate for a budget of 0 has no end.
    """

    worth: tuple[int, ...]
    wanted: int
    best: tuple[tuple[tuple[int, int], ...], ...]

    @classmethod
    def of(cls, question: MixQuestion, cut: Witness, budgets: tuple[Limit, ...]) -> "_Cut":
        of_unit, wanted, _ = cut_sides(question, cut)
        best = []
        for budget in budgets:
            rates = [(0, 1)]
            for unit in reversed(question.units):
                earned, spent = of_unit[unit.name], budget.weights[unit.name][0]
                ahead = rates[0]
                rates.insert(0, (earned, spent) if earned * ahead[1] > ahead[0] * spent else ahead)
            best.append(tuple(rates))
        return cls(tuple(of_unit[unit.name] for unit in question.units), wanted, tuple(best))


class _Exhaustion:
    """The search of `none_below`.  The first budget is that of the value."""

    def __init__(
        self, question: MixQuestion, below: int, witness: Witness, cuts: tuple[Witness, ...], nodes_max: int
    ) -> None:
        of_value = Limit(name="value", amount=below - 1, weights=weights(question, question.objective))
        self.budgets = (of_value, *limits(question))
        self.nodes_max = nodes_max
        self.nodes = 0
        self.units = question.units
        self.priced = _Priced.of(question, witness)
        self.ceiling = _amounts(witness).get("value", 0) * (below - 1)
        self.cuts = tuple(_Cut.of(question, cut, self.budgets) for cut in cuts)

    def run(self) -> int | None:
        rooms = tuple(budget.amount for budget in self.budgets)
        needs = tuple(cut.wanted for cut in self.cuts)
        return self.nodes if self._closed(0, self.priced.least(), rooms, needs) else None

    def _closed(self, index: int, priced: int, rooms: tuple[int, ...], needs: tuple[int, ...]) -> bool:
        """Whether no completion of a partial mix counts: `index` units are fixed, this much is left of everything."""
        if priced > self.ceiling or min(rooms) < 0 or self._cut_off(index, rooms, needs):
            return True
        if index == len(self.units):
            return False
        unit = self.units[index]
        rest = priced - self.priced.least_of(index)
        for count, at in self._counts(index, rest, rooms):
            if self.nodes >= self.nodes_max:
                return False
            self.nodes += 1
            left_rooms = tuple(
                room - _spent(budget.weights[unit.name], count, unit.running)
                for room, budget in zip(rooms, self.budgets, strict=True)
            )
            left_needs = tuple(need - cut.worth[index] * count for need, cut in zip(needs, self.cuts, strict=True))
            if not self._closed(index + 1, rest + at, left_rooms, left_needs):
                return False
        return True

    def _cut_off(self, index: int, rooms: tuple[int, ...], needs: tuple[int, ...]) -> bool:
        for cut, need in zip(self.cuts, needs, strict=True):
            if need > 0:
                for room, rates in zip(rooms, cut.best, strict=True):
                    earned, spent = rates[index]
                    if need * spent > earned * room:
                        return True
        return False

    def _counts(self, index: int, rest: int, rooms: tuple[int, ...]) -> Iterator[tuple[int, int]]:
        """Counts of one unit that neither its own price nor its own use of a budget excludes, with f_u there.

        f_u is convex (starts and stops are not cheaper than nothing), so they are an interval around its least.
        """
        running, top = self.priced.kinks[index]
        for room, budget in zip(rooms, self.budgets, strict=True):
            of_one = budget.weights[self.units[index].name][0]
            if of_one:
                top = min(top, room // of_one)
        least = min((0, min(running, top), top), key=lambda count: self.priced.at(index, count))
        for counts in (range(least, top + 1), range(least - 1, -1, -1)):
            for count in counts:
                at = self.priced.at(index, count)
                if rest + at > self.ceiling:
                    break
                yield count, at
