"""Sets of places that much must enter through little: the witnesses of `specs.decisions.flow.bounds.cut_bound_ns`.

For one receiver the worst set is a minimum cut, and raising the time to what that cut needs, again and again, ends at
the least time in which the receiver can be served (Dinkelbach 1967).  When all memories want everything, the worst
receiver's cut is the bound that packing trees meets (Edmonds 1973).  Otherwise the other items that must enter the same
set count too; and sets that hang together by wide links (a node, a rack) are tried as they are.
"""

from collections.abc import Iterable, Iterator, Sequence

from ortools.graph.python import max_flow

from planner.search import Search
from specs.cluster import PlaceId
from specs.decisions.flow.bounds import cut_bound_ns
from specs.decisions.flow.question import Movement
from specs.decisions.flow.values import Objective
from specs.units import NANOS_PER_SECOND
from specs.witness import Price, Witness

# Beyond so many receivers only one of each sort is asked for its minimum cut.
_RECEIVERS_MAX = 64
_FULL_CHECKS = 12
_FLOW_UNITS = 2**44
_ROUNDS_MAX = 12


def worst_cut(movement: Movement, objective: Objective, search: Search) -> tuple[int, Witness]:
    """Find a cut with a large bound; (0, ()) when nothing must enter anything."""
    measure = _Measure(movement, objective)
    seen: dict[frozenset[str], float] = {}
    for members in (*_islands(movement), *_minimum_cuts(movement, measure, objective, search)):
        if members not in seen:
            seen[members] = measure.ns(members)
    best = 0
    witness: Witness = ()
    ranked = sorted(seen, key=lambda members: (-seen[members], sorted(members)))
    for members in ranked[:_FULL_CHECKS]:
        trial = tuple(Price(name=place, amount=1) for place in sorted(members))
        if seen[members] > 0 and (bound := cut_bound_ns(movement, trial, objective)) > best:
            best, witness = bound, trial
    return best, witness


class _Measure:
    """Bytes that must enter a set over the capacity into it, quickly: items are taken by holders and wanters."""

    def __init__(self, movement: Movement, objective: Objective) -> None:
        self._all = objective is not Objective.COVER
        self._into: dict[str, list[tuple[str, int]]] = {}
        for link in movement.links:
            self._into.setdefault(link.destination, []).append((link.source, link.bytes_per_second))
        sorts: dict[tuple[tuple[PlaceId, ...], tuple[PlaceId, ...]], int] = {}
        for item in movement.items:
            sorts[item.holders, item.wanters] = sorts.get((item.holders, item.wanters), 0) + item.bytes
        self._sorts = [(frozenset(holders), frozenset(wanters), size) for (holders, wanters), size in sorts.items()]

    def ns(self, members: frozenset[str]) -> float:
        """Time that a set needs; 0 where nothing must enter, or nothing can."""
        entering = sum(size for holders, wanters, size in self._sorts if self._enters(holders, wanters, members))
        capacity = sum(rate for place in members for source, rate in self._into.get(place, ()) if source not in members)
        return entering * NANOS_PER_SECOND / capacity if capacity else 0.0

    def _enters(self, holders: frozenset[str], wanters: frozenset[str], members: frozenset[str]) -> bool:
        if not holders.isdisjoint(members) or not wanters:
            return False
        return not wanters.isdisjoint(members) if self._all else wanters <= members


def _islands(movement: Movement) -> Iterator[frozenset[str]]:
    """Yield what hangs together by links of some capacity or more, for every capacity; memories alone; the rest."""
    places = dict.fromkeys(end for link in movement.links for end in (link.source, link.destination))
    holders = {place for item in movement.items for place in item.holders}
    for place in movement.memories:
        yield frozenset((place,))
    yield frozenset(place for place in places if place not in holders)
    yield frozenset(place for place in movement.memories if place not in holders)
    for width in sorted({link.bytes_per_second for link in movement.links}):
        above = {place: place for place in places}

        def top(place: PlaceId, above: dict[PlaceId, PlaceId] = above) -> PlaceId:
            while above[place] != place:
                above[place] = place = above[above[place]]
            return place

        for link in movement.links:
            if link.bytes_per_second >= width:
                above[top(link.source)] = top(link.destination)
        groups: dict[PlaceId, list[PlaceId]] = {}
        for place in places:
            groups.setdefault(top(place), []).append(place)
        for group in groups.values():
            if 1 < len(group) < len(places):
                yield frozenset(group)


def _minimum_cuts(
    movement: Movement, measure: _Measure, objective: Objective, search: Search
) -> Iterator[frozenset[str]]:
    least_ns = 1.0
    for sinks in _sinks(movement, objective):
        for _ in range(_ROUNDS_MAX):
            if not search.spend(50):
                return
            members = _too_little_enters(movement, sinks, least_ns)
            if members is None:
                break
            yield members
            needed = measure.ns(members)
            if needed <= least_ns * (1 + 1e-9):
                break
            least_ns = needed


def _sinks(movement: Movement, objective: Objective) -> Iterable[tuple[PlaceId, ...]]:
    """Whom to cut off: each receiver, or one of each sort; for the first cover all wanters of an item together."""
    if objective is Objective.COVER:
        return dict.fromkeys(item.wanters for item in movement.items if item.receivers)
    receivers = dict.fromkeys(place for item in movement.items for place in item.receivers)
    if len(receivers) <= _RECEIVERS_MAX:
        return [(place,) for place in receivers]
    rates: dict[PlaceId, list[int]] = {}
    for link in movement.links:
        rates.setdefault(link.destination, []).append(link.bytes_per_second)
    sorts = {tuple(sorted(rates.get(place, ()))): place for place in receivers}
    return [(place,) for place in sorts.values()]


def _too_little_enters(movement: Movement, sinks: Sequence[PlaceId], time_ns: float) -> frozenset[str] | None:
    """Find a set around the sinks through whose links less gets in that time than must; None when all gets in."""
    number: dict[str, int] = {}
    for link in movement.links:
        for end in (link.source, link.destination):
            number.setdefault(end, len(number))
    places = list(number)
    source, sink = len(number), len(number) + 1
    wanted = [
        item
        for item in movement.items
        if set(sinks) & set(item.wanters) and not set(sinks) & set(item.holders) and set(item.holders) & number.keys()
    ]
    total = sum(item.bytes for item in wanted)
    if not total or not all(place in number for place in sinks):
        return None
    unit = total / _FLOW_UNITS
    flow = max_flow.SimpleMaxFlow()
    for link in movement.links:
        amount = link.bytes_per_second * time_ns / NANOS_PER_SECOND
        flow.add_arc_with_capacity(
            number[link.source], number[link.destination], min(2 * _FLOW_UNITS, int(amount / unit))
        )
    demand = 0
    for index, item in enumerate(wanted, start=sink + 1):
        units = max(1, int(item.bytes / unit))
        demand += units
        flow.add_arc_with_capacity(source, index, units)
        for place in item.holders:
            if place in number:
                flow.add_arc_with_capacity(index, number[place], units)
    for place in sinks:
        flow.add_arc_with_capacity(number[place], sink, 2 * _FLOW_UNITS)
    status = flow.solve(source, sink)
    if status != flow.OPTIMAL or flow.optimal_flow() >= demand * (1 - 1e-9):
        return None
    reached = set(flow.get_source_side_min_cut())
    return frozenset(place for index, place in enumerate(places) if index not in reached)
