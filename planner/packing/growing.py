"""Trees grown in time: each piece in turn takes the hops that end soonest, as far as earlier pieces left links free.

Where latency or the number of pieces decides, rather than bytes, these trees are better than those of the steady
state, which knows of neither.  The steady state still has a say: a hop counts as later by what it pays at the prices,
because that is how much longer everything takes when the busiest links carry its bytes.
"""

import heapq
import itertools
from collections.abc import Sequence

import attrs

from planner.packing.network import Network
from planner.packing.rounding import Planted, cut, resting
from planner.packing.steady import Class, Steady
from specs.decisions.flow.answer import Piece
from specs.units import NANOS_PER_SECOND, duration_ns


@attrs.define
class _Ground:
    """When each link is free again after the pieces laid so far, and what hops of the present piece would take."""

    net: Network
    pays_ns: Sequence[float]  # of each way, per byte
    free_ns: list[float]
    onward: list[list[int]]  # ways out of each memory

    def ends_ns(self, way: int, piece: Piece, held_ns: float) -> float:
        """When a hop that may start once the piece is held would end."""
        found = self.net.ways[way]
        start = max(held_ns, *(self.free_ns[link] for link in found.links))
        return start + duration_ns(piece.bytes, found.width) + found.latency_ns

    def take(self, way: int, piece: Piece, end_ns: float) -> None:
        """Keep the links of a hop busy."""
        found = self.net.ways[way]
        until = end_ns if self.net.movement.latency_holds_ports else end_ns - found.latency_ns
        for port in found.ports:
            self.free_ns[port] = max(self.free_ns[port], until)
        for link in found.inside:
            capacity = self.net.movement.links[link].bytes_per_second
            self.free_ns[link] += piece.bytes * NANOS_PER_SECOND / capacity


def grown(net: Network, steady: Steady, pieces: int, weight: float) -> list[Planted]:
    """Cut the items and grow a tree for each piece; `weight` is how much the prices count."""
    total = float(steady.prices.sum()) or 1.0
    onward: list[list[int]] = [[] for _ in net.memory]
    for number, way in enumerate(net.ways):
        onward[way.source].append(number)
    pays = net.costs(steady.prices / total) * weight
    ground = _Ground(
        net=net, pays_ns=[float(cost) for cost in pays], free_ns=[0.0] * len(net.movement.links), onward=onward
    )
    result: list[Planted] = []
    for each, piece, turn in _in_turn(net, steady.classes, pieces):
        takers = {*each.wish.receivers, *each.wish.relays}
        ways = _joined(ground, piece, each, takers) if each.wish.relays else _spread(ground, piece, each, takers)
        result.append(Planted(piece=piece, ways=tuple(ways), turn=turn))
    return [*result, *resting(net)]


def _in_turn(net: Network, classes: Sequence[Class], pieces: int) -> list[tuple[Class, Piece, int]]:
    """List the first piece of every class, then the second of every class, and so on."""
    queues = [
        [piece for item in each.items for piece in cut(net.movement.items[item], item, pieces)] for each in classes
    ]
    rows = itertools.zip_longest(*queues)
    return [
        (each, piece, turn)
        for turn, row in enumerate(rows)
        for each, piece in zip(classes, row, strict=True)
        if piece is not None
    ]


def _spread(ground: _Ground, piece: Piece, each: Class, takers: set[int]) -> list[int]:
    """Take, again and again, the hop to a new receiver that counts as ending soonest.

    Ends only move back as links fill, so an entry of the queue that is still right when it is popped is the least.
    """
    held = dict.fromkeys(each.wish.holders, 0.0)
    queue: list[tuple[float, int]] = []
    result: list[int] = []

    def offer(place: int) -> None:
        for way in ground.onward[place]:
            if ground.net.ways[way].destination in takers and ground.net.ways[way].destination not in held:
                counts = ground.ends_ns(way, piece, held[place]) + ground.pays_ns[way] * piece.bytes
                heapq.heappush(queue, (counts, way))

    for place in each.wish.holders:
        offer(place)
    while queue and len(result) < len(takers):
        counts, way = heapq.heappop(queue)
        found = ground.net.ways[way]
        if found.destination in held:
            continue
        ends = ground.ends_ns(way, piece, held[found.source])
        now = ends + ground.pays_ns[way] * piece.bytes
        if now > counts:
            heapq.heappush(queue, (now, way))
            continue
        ground.take(way, piece, ends)
        held[found.destination] = ends
        result.append(way)
        offer(found.destination)
    return result


def _joined(ground: _Ground, piece: Piece, each: Class, takers: set[int]) -> list[int]:
    """Join the receiver whose way counts as ending soonest, again and again; relays only where a way passes them."""
    held = dict.fromkeys(each.wish.holders, 0.0)
    waiting = set(each.wish.receivers)
    result: list[int] = []
    while waiting:
        path = _soonest(ground, piece, held, takers, waiting)
        for way in path:
            found = ground.net.ways[way]
            ends = ground.ends_ns(way, piece, held[found.source])
            ground.take(way, piece, ends)
            held[found.destination] = ends
            waiting.discard(found.destination)
        result += path
    return result


def _soonest(ground: _Ground, piece: Piece, held: dict[int, float], takers: set[int], waiting: set[int]) -> list[int]:
    came_by: dict[int, int] = {}
    queue: list[tuple[float, float, int, int]] = [(at, at, place, -1) for place, at in held.items()]
    heapq.heapify(queue)
    while queue:
        counts, ends, place, by = heapq.heappop(queue)
        if place in came_by:
            continue
        came_by[place] = by
        if place in waiting:
            path: list[int] = []
            while came_by[place] >= 0:
                path.append(came_by[place])
                place = ground.net.ways[came_by[place]].source
            return path[::-1]
        extra = counts - ends
        for way in ground.onward[place]:
            far = ground.net.ways[way].destination
            if far in takers and far not in came_by and far not in held:
                at = ground.ends_ns(way, piece, ends)
                heapq.heappush(queue, (at + extra + ground.pays_ns[way] * piece.bytes, at, far, way))
    raise ValueError("the steady state found a way to every receiver")
