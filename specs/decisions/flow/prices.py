"""What no schedule of hops beats, by prices of links: the general dual, of which a cut is a simple case."""

import heapq
from collections.abc import Iterable, Mapping

import attrs

from specs.cluster import PlaceId
from specs.decisions.flow.question import Item, Movement
from specs.units import NANOS_PER_SECOND
from specs.witness import Witness

# Costs are whole numbers: price times nanoseconds per byte, times 2^_PRECISION, rounded down.
_PRECISION = 30
_SCALE = NANOS_PER_SECOND << _PRECISION

Costs = Mapping[PlaceId, Mapping[PlaceId, int]]  # least cost of a hop: by source, by destination


def price_bound_ns(movement: Movement, witness: Witness) -> int:
    """Bound the completion by prices: the witness names links, each with a price.

    In a schedule of T ns, less the least latency L of a route (SHIFT in `specs.decisions.flow.bounds`), a port is busy
    at most T - L, and a hop of b bytes keeps both of its ports busy for b / its rate >= b / the width of its route.  A
    link inside carries at most capacity times T - L bytes.  Let every link that a hop crosses charge price times b
    over the route's width at ports, and over its own capacity inside.  Then all hops together pay at most
    (T - L) times the sum of the prices.

    And each byte of an item pays at least the least cost of hops that lead it from its holders to every receiver:
    - one receiver: the cheapest way (Dijkstra's algorithm over hops, each at its cheapest route);
    - several: by dual ascent over sets of memories.  As long as some receiver is not joined to the holders by hops of
      which nothing is left to pay, the memories joined to it so have to be entered: all hops into them give up the
      least that is left of any, and the item pays that.  Each hop never gives up more than its cost, so what the item
      pays is at most the cost of its hops.  (Wong 1984.  With every memory wanting the item the result is the cheapest
      spanning arborescence itself: Edmonds 1967.)

    Any prices prove a bound.  Names that are no links count for nothing.  0 when no price is given.
    """
    prices = {price.name: price.amount for price in witness}
    total = sum(prices.get(link.id, 0) for link in movement.links)
    if total == 0:
        return 0
    costs = hop_costs(movement, prices)
    relays = set(movement.relays)
    paid = 0
    known: dict[tuple[tuple[PlaceId, ...], tuple[PlaceId, ...]], int] = {}
    for item in movement.items:
        key = (item.holders, item.wanters)
        if key not in known:
            known[key] = _least_cost(costs, item, relays)
        paid += item.bytes * known[key]
    shortest = min(link.latency_ns for link in movement.links)
    return (paid // total >> _PRECISION) + shortest if paid else 0


@attrs.define
class _Wiring:
    """The links that are wide enough, by the place where they begin."""

    into_memory: dict[PlaceId, list[tuple[PlaceId, int]]] = attrs.field(factory=dict)
    into_switch: dict[PlaceId, list[tuple[PlaceId, int]]] = attrs.field(factory=dict)


def hop_costs(movement: Movement, prices: Mapping[str, int]) -> dict[PlaceId, dict[PlaceId, int]]:
    """Least cost of a hop between every two memories that routes join.

    The width of a route decides what its ports charge.  So for every capacity w that occurs, take the links of at
    least w and let ports charge price / w: exact for routes of width w, too much for wider ones, which have their turn.
    """
    best: dict[PlaceId, dict[PlaceId, int]] = {place: {} for place in movement.memories}
    for width in sorted({link.bytes_per_second for link in movement.links}):
        wiring = _wiring(movement, prices, width)
        for source in movement.memories:
            found = best[source]
            for place, cost in _hops_from(wiring, source).items():
                if place != source and cost < found.get(place, cost + 1):
                    found[place] = cost
    return best


def _wiring(movement: Movement, prices: Mapping[str, int], width: int) -> _Wiring:
    memories = set(movement.memories)
    wiring = _Wiring()
    for link in movement.links:
        if link.bytes_per_second < width:
            continue
        port = link.source in memories or link.destination in memories
        cost = prices.get(link.id, 0) * _SCALE // (width if port else link.bytes_per_second)
        side = wiring.into_memory if link.destination in memories else wiring.into_switch
        side.setdefault(link.source, []).append((link.destination, cost))
    return wiring


def _hops_from(wiring: _Wiring, source: PlaceId) -> dict[PlaceId, int]:
    """Least cost of a route from a memory over switches to every other memory."""
    reached: dict[PlaceId, int] = {}
    done: set[PlaceId] = set()
    queue: list[tuple[int, PlaceId]] = [(0, source)]
    while queue:
        cost, place = heapq.heappop(queue)
        if place in done:
            continue
        done.add(place)
        for memory, more in wiring.into_memory.get(place, ()):
            if cost + more < reached.get(memory, cost + more + 1):
                reached[memory] = cost + more
        for switch, more in wiring.into_switch.get(place, ()):
            if switch not in done:
                heapq.heappush(queue, (cost + more, switch))
    return reached


def _least_cost(costs: Costs, item: Item, relays: set[PlaceId]) -> int:
    receivers = item.receivers
    if not receivers:
        return 0
    takers = {*receivers, *relays} - set(item.holders)
    if len(receivers) == 1:
        return _cheapest_way(costs, item.holders, receivers[0], takers)
    return _dual_ascent(costs, item.holders, receivers, takers)


def _cheapest_way(costs: Costs, holders: Iterable[PlaceId], receiver: PlaceId, takers: set[PlaceId]) -> int:
    queue: list[tuple[int, PlaceId]] = [(0, place) for place in holders]
    heapq.heapify(queue)
    done: set[PlaceId] = set()
    while queue:
        cost, place = heapq.heappop(queue)
        if place == receiver:
            return cost
        if place in done:
            continue
        done.add(place)
        for far, more in costs[place].items():
            if far in takers and far not in done:
                heapq.heappush(queue, (cost + more, far))
    return 0


def _dual_ascent(costs: Costs, holders: Iterable[PlaceId], receivers: Iterable[PlaceId], takers: set[PlaceId]) -> int:
    """Pay for the smallest set that must be entered, again and again; 0 when a receiver cannot be reached.

    Memories are bits: 0 stands for all holders together.
    """
    number = {place: index for index, place in enumerate(sorted(takers), start=1)}
    left: list[dict[int, int]] = [{} for _ in range(len(number) + 1)]  # by destination, by source
    for source, row in costs.items():
        near = 0 if source in holders else number.get(source)
        if near is None:
            continue
        for place, cost in row.items():
            far = number.get(place)
            if far is not None and far != near and cost < left[far].get(near, cost + 1):
                left[far][near] = cost
    free = [sum(1 << near for near, cost in row.items() if cost == 0) for row in left]
    paid = 0
    waiting = [number[place] for place in receivers]
    while waiting:
        joined = {place: _joined_to(free, place) for place in waiting}
        waiting = [place for place in waiting if not joined[place] & 1]
        if not waiting:
            break
        members = min((joined[place] for place in waiting), key=lambda bits: (bits.bit_count(), bits))
        inside = [place for place in range(1, len(left)) if members >> place & 1]
        entering = [(cost, near, far) for far in inside for near, cost in left[far].items() if not members >> near & 1]
        if not entering:
            return 0
        least = min(entering)[0]
        paid += least
        for cost, near, far in entering:
            left[far][near] = cost - least
            if cost == least:
                free[far] |= 1 << near
    return paid


def _joined_to(free: list[int], place: int) -> int:
    """Find all memories from which free hops lead to this one, as bits."""
    members = fresh = 1 << place
    while fresh:
        lowest = fresh & -fresh
        fresh ^= lowest
        new = free[lowest.bit_length() - 1] & ~members
        members |= new
        fresh |= new
    return members
