"""Small unit-mix questions, and the exact fluid test of whether units can serve, written without the product's code."""

import itertools
from fractions import Fraction

from hypothesis import strategies as st

from specs.decisions.mix.question import (
    HOUR_NS,
    Ability,
    Demand,
    DeviceCount,
    Flow,
    Mix,
    MixQuestion,
    Objective,
    Phase,
    Supply,
    Unit,
    UnitCount,
)


def a_unit(name, *abilities, devices=(("gpu", 1),), cost=1, running=0, start_cost=0, stop_cost=0):
    """Abilities are (demands, requests per hour); the rate must divide an hour."""
    return Unit(
        name=name,
        abilities=tuple(Ability(covers=tuple(covers), request_ns=HOUR_NS // rate) for covers, rate in abilities),
        devices=tuple(DeviceCount(kind=kind, count=count) for kind, count in devices),
        cost=cost,
        start_cost=start_cost,
        stop_cost=stop_cost,
        running=running,
    )


def a_question(units, demands, supplies, objective=Objective.DEVICES, **limits):
    """Demands are (name, requests per hour, floor); supplies are (kind, available)."""
    return MixQuestion(
        units=tuple(units),
        demands=tuple(Demand(name=n, requests_per_hour=wanted, floor_per_hour=floor) for n, wanted, floor in demands),
        supplies=tuple(Supply(kind=kind, available=available) for kind, available in supplies),
        objective=objective,
        **{"hours": 1, "phases_max": 1} | limits,
    )


def a_phase(starts=(), stops=(), flows=(), period_hours=1):
    return Phase(
        starts=tuple(UnitCount(unit=unit, count=count) for unit, count in starts),
        stops=tuple(UnitCount(unit=unit, count=count) for unit, count in stops),
        flows=tuple(Flow(unit=unit, ability=ability, requests=requests) for unit, ability, requests in flows),
        period_hours=period_hours,
    )


def a_mix(*phases):
    return Mix(phases=phases)


@st.composite
def questions(draw, phases_max=2):
    """Up to three unit shapes of up to two abilities, up to two demands, two kinds, few devices."""
    names = ["p", "d"][: draw(st.integers(1, 2))]
    kinds = ["a100", "l4"][: draw(st.integers(1, 2))]
    supplies = [(kind, draw(st.integers(0, 4))) for kind in kinds]
    left = dict(supplies)
    covers = [tuple(subset) for size in (1, 2) for subset in itertools.combinations(names, size)]
    units = []
    for index in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(kinds))
        devices = draw(st.integers(1, 2))
        running = draw(st.integers(0, min(2, left[kind] // devices)))
        left[kind] -= running * devices
        rates = st.sampled_from([1, 2, 3, 4, 5, 6, 8, 9])
        abilities = draw(st.lists(st.tuples(st.sampled_from(covers), rates), min_size=1, max_size=2))
        costs = [draw(st.integers(0, 5)) for _ in range(3)]
        unit = a_unit(f"u{index}", *abilities, devices=((kind, devices),), running=running, cost=costs[0])
        units.append(
            Unit(
                name=unit.name,
                abilities=unit.abilities,
                devices=unit.devices,
                cost=costs[0],
                start_cost=costs[1],
                stop_cost=costs[2],
                running=running,
            )
        )
    demands = []
    for name in names:
        wanted = draw(st.integers(0, 12))
        demands.append((name, wanted, draw(st.integers(0, wanted))))
    return a_question(
        units,
        demands,
        supplies,
        objective=draw(st.sampled_from(list(Objective))),
        hours=draw(st.integers(1, 3)),
        phases_max=draw(st.integers(1, phases_max)),
        changes_max=draw(st.one_of(st.none(), st.integers(0, 5))),
        cost_max=draw(st.one_of(st.none(), st.integers(0, 40))),
    )


def serves(question, up, *, last):
    """Whether units can serve, exactly: a polygon of (p, d) rates is the sum of each unit's, tested by directions.

    What one unit can serve is the convex hull of 0 and its abilities' points; the sum over units holds the wanted point
    (or one above it) exactly when no direction with weights >= 0 separates them, and the directions that matter are
    normal to an edge between two of the points of one unit, or to an axis.
    """
    names = [demand.name for demand in question.demands]
    wanted = [demand.requests_per_hour if last else demand.floor_per_hour for demand in question.demands]
    points = {
        unit.name: [
            tuple(Fraction(HOUR_NS, a.request_ns) * (name in a.covers) for name in names) for a in unit.abilities
        ]
        for unit in question.units
    }
    if len(names) == 1:
        directions = [(Fraction(1),)]
    else:
        directions = [(Fraction(1), Fraction(0)), (Fraction(0), Fraction(1))]
        for of_unit in points.values():
            for (x, y), (v, w) in itertools.combinations(of_unit, 2):
                for normal in ((y - w, v - x), (w - y, x - v)):
                    if min(normal) >= 0:
                        directions.append(normal)

    def dot(direction, point):
        return sum(a * b for a, b in zip(direction, point, strict=True))

    return all(
        sum(up[name] * max(dot(direction, point) for point in of_unit) for name, of_unit in points.items())
        >= dot(direction, wanted)
        for direction in directions
    )


def every_count(question):
    """Every number of units that the devices allow."""
    available = {supply.kind: supply.available for supply in question.supplies}
    names = [unit.name for unit in question.units]
    ranges = [range(available[unit.devices[0].kind] // unit.devices[0].count + 1) for unit in question.units]
    for counts in itertools.product(*ranges):
        up = dict(zip(names, counts, strict=True))
        if fits(question, up):
            yield up


def fits(question, up):
    used = {supply.kind: 0 for supply in question.supplies}
    for unit in question.units:
        for part in unit.devices:
            used[part.kind] += part.count * up[unit.name]
    return all(used[supply.kind] <= supply.available for supply in question.supplies)


def best_value(question):
    """The least value over every sequence of states with as many phases as allowed; None: there is none.

    A phase leads from one state to another through the larger of both in every unit, which must fit.
    """
    start = {unit.name: unit.running for unit in question.units}
    states = list(every_count(question))
    reached = [(start, 0, 0)]  # state, changes, cost of changes: every one that may matter
    best = None
    for _ in range(question.phases_max):
        following = []
        for before, changes, cost in reached:
            for after in states:
                if not fits(question, {name: max(before[name], after[name]) for name in after}):
                    continue
                moved, paid = changes, cost
                for unit in question.units:
                    step = after[unit.name] - before[unit.name]
                    moved += abs(step)
                    paid += step * unit.start_cost if step > 0 else -step * unit.stop_cost
                total = paid + question.hours * sum(unit.cost * after[unit.name] for unit in question.units)
                if question.changes_max is not None and moved > question.changes_max:
                    continue
                if serves(question, after, last=True) and (question.cost_max is None or total <= question.cost_max):
                    devices = sum(part.count * after[u.name] for u in question.units for part in u.devices)
                    of = {Objective.DEVICES: devices, Objective.CHANGES: moved, Objective.COST: total}
                    best = of[question.objective] if best is None else min(best, of[question.objective])
                if serves(question, after, last=False):
                    following.append((after, moved, paid))
        reached = undominated(following)
    return best


def undominated(reached):
    kept = {}
    for state, changes, cost in reached:
        key = tuple(state.items())
        others = kept.setdefault(key, [])
        if not any(c <= changes and p <= cost for c, p in others):
            others[:] = [(c, p) for c, p in others if not (changes <= c and cost <= p)] + [(changes, cost)]
    return [(dict(key), changes, cost) for key, pairs in kept.items() for changes, cost in pairs]
