"""What no schedule of hops beats: cuts, distances, and what memories can take.

A hop is active from its start for its *window*: bytes over rate, and the route's latency where it holds the ports.  Two
facts carry all proofs.

SHIFT.  A hop takes bytes / rate + latency or longer.  Cut the last L ns off every hop, L being the least latency of
the routes in question: the rates over what remains still amount to its bytes, and all of it lies within [0, T - L].
So bytes that must cross links of C bytes per second together need T >= bytes / C + L.

ENTER.  If a memory of a set X wants an item that no memory in X holds, each byte of it crosses some link into X: its
first hop that ends in X begins outside.

All results are rounded down.  Memories that relay are free to do so in all of them.
"""

import heapq
from collections.abc import Iterable, Mapping

from specs import capacity
from specs.cluster import PlaceId
from specs.decisions.flow.question import Item, Movement, as_cluster
from specs.decisions.flow.values import Objective
from specs.units import NANOS_PER_SECOND
from specs.witness import Witness


def cut_bound_ns(movement: Movement, witness: Witness, objective: Objective = Objective.ALL) -> int:
    """Bound the time by the bytes that must enter a set of places; the witness names its members, each with amount 1.

    Let X be the members.  Items that must enter: held in no memory of X and wanted in X (for the first cover: by
    wanters that are all in X, as only then some byte of each must enter).  By ENTER and SHIFT the last of their
    bytes lands in X no sooner than t = bytes / capacity of the links into X + the least latency from a memory outside
    X, over switches, up to and over such a link: the first hop of a piece that lands in X begins outside.

    For completion there is more: the piece that lands last is of one of these items, and at t it lands in X for the
    first time.  Every memory of X that wants it gets it at t or later at some *landing*, a memory that a link into X
    leads to over switches of X only, or from a landing by further hops.  So the least, over the items, of the longest
    way from the nearest landing to a wanter in X, in latency alone, comes on top.

    Names that are no places count for nothing.  0 when nothing must enter.  Raises ValueError when bytes must enter
    X and no link leads there, which no schedule can do, and for the ramp, which is no time.
    """
    if objective is Objective.RAMP:
        raise ValueError("a cut bounds a time; the ramp is not a time")
    inside = {price.name for price in witness if price.amount}
    entering = [item for item in movement.items if _must_enter(item, inside, objective)]
    if not entering:
        return 0
    doors = [link for link in movement.links if link.destination in inside and link.source not in inside]
    before = _latency_over_switches(movement, inside)
    if not any(link.source in before for link in doors):
        raise ValueError(f"{entering[0].name} must enter the members of the cut, and no link leads there")
    total = sum(item.bytes for item in entering)
    bound = total * NANOS_PER_SECOND // sum(link.bytes_per_second for link in doors)
    bound += min(before[link.source] + link.latency_ns for link in doors if link.source in before)
    if objective is Objective.COVER:
        return bound
    reach = _latency_from_landings(movement, inside, [link.destination for link in doors])
    tails = [max(reach.get(place, 0) for place in item.receivers if place in inside) for item in entering]
    return bound + min(tails)


def _must_enter(item: Item, inside: set[str], objective: Objective) -> bool:
    if not item.wanters or any(place in inside for place in item.holders):
        return False
    wanting = [place in inside for place in item.wanters]
    return all(wanting) if objective is Objective.COVER else any(wanting)


def _latency_over_switches(movement: Movement, inside: set[str]) -> dict[PlaceId, int]:
    """Least latency from memories outside X to each place, by ways that pass switches only."""
    memories = set(movement.memories)
    after: dict[PlaceId, list[tuple[PlaceId, int]]] = {}
    for link in movement.links:
        if link.destination not in memories and (link.source not in memories or link.source not in inside):
            after.setdefault(link.source, []).append((link.destination, link.latency_ns))
    return _nearest(after, [(0, place) for place in movement.memories if place not in inside])


def _latency_from_landings(movement: Movement, inside: set[str], first: Iterable[PlaceId]) -> dict[PlaceId, int]:
    """Least latency to each place from the nearest landing, over any links; 0 at landings and at what leads to them.

    Ways may leave X and come back: that only makes the result smaller.
    """
    memories = set(movement.memories)
    after: dict[PlaceId, list[tuple[PlaceId, int]]] = {}
    for link in movement.links:
        after.setdefault(link.source, []).append((link.destination, link.latency_ns))
    queue: list[tuple[int, PlaceId]] = []
    seen: set[PlaceId] = set()
    reached = list(first)
    while reached:  # on entry bytes cross switches of X at the least latency already counted: 0 more
        place = reached.pop()
        if place in seen:
            continue
        seen.add(place)
        queue.append((0, place))
        if place not in memories:
            reached += [far for far, _ in after.get(place, ()) if far in inside]
    heapq.heapify(queue)
    return _nearest(after, queue)


def distance_bound_ns(movement: Movement, objective: Objective = Objective.ALL) -> int:
    """Bound the time by how far items are from those who want them: no witness.

    A hop takes no less than its route's latencies, and for an item that moves whole also its bytes over the widest
    link of the cluster.  The least sum of such hops from a holder is counted: for completion to the farthest wanter,
    for the first cover to the nearest, of the item with the most.  0 for what is not reachable at all.
    """
    if objective is Objective.RAMP:
        raise ValueError("a distance bounds a time; the ramp is not a time")
    widest = max((link.bytes_per_second for link in movement.links), default=1)
    memories = set(movement.memories)
    bound = 0
    known: dict[tuple[tuple[PlaceId, ...], int], dict[PlaceId, int]] = {}
    for item in movement.items:
        cost = item.bytes * NANOS_PER_SECOND // widest if item.pieces_max == 1 else 0
        key = (item.holders, cost)
        if key not in known:
            after: dict[PlaceId, list[tuple[PlaceId, int]]] = {}
            for link in movement.links:
                extra = cost if link.source in memories else 0
                after.setdefault(link.source, []).append((link.destination, link.latency_ns + extra))
            known[key] = _nearest(after, [(0, place) for place in item.holders])
        covered = any(place in item.holders for place in item.wanters)
        found = [known[key].get(place, 0) for place in item.receivers]
        if found and objective is Objective.ALL:
            bound = max(bound, *found)
        elif found and not covered:
            bound = max(bound, min(found))
    return bound


def _nearest(
    after: Mapping[PlaceId, Iterable[tuple[PlaceId, int]]], queue: list[tuple[int, PlaceId]]
) -> dict[PlaceId, int]:
    """Least cost to each place from those in the queue (Dijkstra's algorithm)."""
    found: dict[PlaceId, int] = {}
    heapq.heapify(queue)
    while queue:
        cost, place = heapq.heappop(queue)
        if place in found:
            continue
        found[place] = cost
        for far, more in after.get(place, ()):
            if far not in found:
                heapq.heappush(queue, (cost + more, far))
    return found


def ramp_bound(movement: Movement) -> int:
    """Bound the ramp, in byte-ns: no witness.

    A receiver takes its pieces one after another as far as its capacity C goes (`specs.capacity`): in order of arrival
    the j-th arrives no sooner than the sum of all up to it, over C, by SHIFT plus the least latency.  So a receiver of
    B bytes contributes at least (B^2 + the squares of its whole items) / (2 C) + B times the least latency of a link.
    """
    able = capacity.capacities(as_cluster(movement))
    latency = min((link.latency_ns for link in movement.links), default=0)
    total: dict[PlaceId, int] = {}
    squares: dict[PlaceId, int] = {}
    for item in movement.items:
        for place in item.receivers:
            total[place] = total.get(place, 0) + item.bytes
            squares[place] = squares.get(place, 0) + (item.bytes**2 if item.pieces_max == 1 else 0)
    return sum(
        (amount**2 + squares[place]) * NANOS_PER_SECOND // (2 * able[place].receive) + amount * latency
        for place, amount in total.items()
        if able[place].receive
    )
