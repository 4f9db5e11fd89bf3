"""Why there is no unit mix: each limit that alone, if it gave way, would let one exist, and by how much it must."""

from collections.abc import Iterator

import attrs

from planner.mixes.answer import Conflict
from planner.mixes.hunt import Hunt
from planner.search import Search
from specs.decisions.mix.checks import value
from specs.decisions.mix.question import HOUR_NS, Demand, MixQuestion, Objective, Supply
from specs.units import ceil_div

_PHASES_TRIED = 3
_WHOLE = 1000  # parts per thousand


def conflicts(question: MixQuestion, search: Search) -> tuple[Conflict, ...]:
    """Try each limit by itself; the others stay as they are."""
    return (
        *_devices(question, search),
        *_sums(question, search),
        *_phases(question, search),
        *_loads(question, search),
    )


def _devices(question: MixQuestion, search: Search) -> Iterator[Conflict]:
    for supply in question.supplies:
        plenty = max(_enough(question, supply.kind), supply.available)
        supplies = tuple(
            Supply(kind=other.kind, available=plenty) if other is supply else other for other in question.supplies
        )
        relaxed = attrs.evolve(question, supplies=supplies)
        mix, needs = Hunt(relaxed, search).best(question.phases_max, free=supply.kind)
        if mix is not None and needs is not None:
            has = supply.available
            sentence = f"{needs} devices of kind {supply.kind} are needed, {has} are available: {needs - has} more"
            yield Conflict(limit=f"devices:{supply.kind}", has=has, needs=needs, sentence=sentence)


def _sums(question: MixQuestion, search: Search) -> Iterator[Conflict]:
    """Changes and cost."""
    for has, what, relaxed in (
        (question.changes_max, "changes are", attrs.evolve(question, changes_max=None, objective=Objective.CHANGES)),
        (question.cost_max, "of cost is", attrs.evolve(question, cost_max=None, objective=Objective.COST)),
    ):
        mix = None if has is None else Hunt(relaxed, search).best(question.phases_max)[0]
        if has is not None and mix is not None:
            needs = value(relaxed, mix)
            sentence = f"{needs} {what} needed, {has} allowed: {needs - has} more"
            yield Conflict(limit=str(relaxed.objective), has=has, needs=needs, sentence=sentence)


def _phases(question: MixQuestion, search: Search) -> Iterator[Conflict]:
    has = question.phases_max
    for phases in range(has + 1, has + _PHASES_TRIED + 1):
        mix, _ = Hunt(attrs.evolve(question, phases_max=phases), search).best(phases)
        if mix is not None:
            sentence = f"{phases} phases are needed, {has} allowed"
            yield Conflict(limit="phases", has=has, needs=phases, sentence=sentence)
            return


def _loads(question: MixQuestion, search: Search) -> Iterator[Conflict]:
    """How much of the floors, and of everything that is demanded, could be served."""
    if any(demand.floor_per_hour for demand in question.demands):
        part = _most(question, search, floors_only=True)
        if part is not None:
            sentence = f"the floors can be held only to {part} parts in {_WHOLE} during the changes"
            yield Conflict(limit="floors", has=_WHOLE, needs=part, sentence=sentence)
    part = _most(question, search, floors_only=False)
    if part is not None:
        sentence = f"{part} parts in {_WHOLE} of the demands can be served"
        yield Conflict(limit="demands", has=_WHOLE, needs=part, sentence=sentence)


def _most(question: MixQuestion, search: Search, *, floors_only: bool) -> int | None:
    """Give the largest part per thousand of the load with which a mix exists, by halving; None: not even at 0."""

    def possible(part: int) -> bool:
        demands = tuple(_scaled(demand, part, floors_only=floors_only) for demand in question.demands)
        return Hunt(attrs.evolve(question, demands=demands), search).best(question.phases_max)[0] is not None

    if not possible(0):
        return None
    low, high = 0, _WHOLE
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if possible(middle) else (low, middle)
    return low


def _scaled(demand: Demand, part: int, *, floors_only: bool) -> Demand:
    whole = demand.requests_per_hour
    return attrs.evolve(
        demand,
        requests_per_hour=whole if floors_only else ceil_div(whole * part, _WHOLE),
        floor_per_hour=ceil_div(demand.floor_per_hour * part, _WHOLE),
    )


def _enough(question: MixQuestion, kind: str) -> int:
    """As many devices of a kind as any mix of use has: what runs, and of each unit what serves every demand alone."""
    total = 0
    for unit in question.units:
        count = unit.running
        for demand in question.demands:
            times = [ability.request_ns for ability in unit.abilities if demand.name in ability.covers]
            count += ceil_div(demand.requests_per_hour * min(times, default=0), HOUR_NS)
        total += count * sum(part.count for part in unit.devices if part.kind == kind)
    return total
