"""From hops between islands to hops between memories: what lands in an island spreads inside it."""

import contextlib
import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence

from planner.packing.exchange import Archipelago, Lane, Move, exchanges
from planner.routes import NoRoute, Routes
from planner.search import Search
from specs.cluster import LinkId, PlaceId
from specs.decisions.flow.answer import Delivery, Hop, Piece
from specs.decisions.flow.islands import Terrain, terrains
from specs.decisions.flow.question import Movement
from specs.plan import Route
from specs.units import Bytes, Nanos

# Hops between islands beyond which ports are too many to be acted out one by one.
_HOPS_MAX = 2_500


def spread_out(movement: Movement, routes: Routes, search: Search, bound_ns: int) -> Iterator[Delivery]:
    """Yield schedules by exchanges between islands, or between memories where there are none.

    All items must move whole and need no relays.  Yields nothing when some are not reached.
    """
    terrain = nested(movement, routes) or next(terrains(movement), None)
    if terrain is None or _hops(movement, terrain) > _HOPS_MAX:
        return
    with contextlib.suppress(NoRoute):
        islands = Archipelago(movement, terrain, routes)
        for moves in exchanges(islands, search, bound_ns):
            yield _delivery(movement, _Spreading(islands).of(moves))


def nested(movement: Movement, routes: Routes) -> Terrain | None:
    """Find islands of several memories of which each could pass all on inside that enters the island; the fewest.

    All of an island want or hold what any does: it does not matter where an item lands.
    """
    named = {place for item in movement.items for place in (*item.holders, *item.wanters)}
    for terrain in sorted(terrains(movement), key=lambda terrain: len(terrain.islands)):
        groups: dict[int, list[PlaceId]] = {}
        for place in movement.memories:
            if place in named:
                groups.setdefault(terrain.island_of[place], []).append(place)
        pairs = [(island, group[0], group[1]) for island, group in groups.items() if len(group) > 1]
        try:
            wide = [routes.rate(routes.route(a, b)) >= terrain.islands[island].takes for island, a, b in pairs]
        except NoRoute:
            continue
        if len(groups) > 1 and wide and all(wide) and _alike(movement, terrain, groups):
            return terrain
    return None


def _alike(movement: Movement, terrain: Terrain, groups: Mapping[int, Sequence[PlaceId]]) -> bool:
    sorts = dict.fromkeys((item.holders, item.wanters) for item in movement.items)
    for holders, wanters in sorts:
        involved = {*holders, *wanters}
        if any(not involved.issuperset(groups[island]) for island in {terrain.island_of[place] for place in involved}):
            return False
    return True


def _hops(movement: Movement, terrain: Terrain) -> int:
    """Count the hops between islands."""
    entered = (
        len({terrain.island_of[place] for place in item.wanters} - {terrain.island_of[place] for place in item.holders})
        for item in movement.items
    )
    return sum(entered)


class _Spreading:
    """Hops in the order of time: those between islands as planned, those inside as soon as an item has landed.

    Each starts as soon as its item, its ports and the links inside its route allow after all hops booked before.
    """

    def __init__(self, islands: Archipelago) -> None:
        self._islands = islands
        self._free_ns: dict[LinkId, int] = {}  # ports
        self._carried: dict[LinkId, list[tuple[int, int, int]]] = {}  # by links inside routes: start, end, rate
        self._held_ns: list[dict[PlaceId, int]] = [{} for _ in islands.sizes]
        self._moves: list[Move] = []

    def of(self, moves: Sequence[Move]) -> list[Move]:
        """Book the moves between islands and those inside."""
        needs = {(move.item, move.lane.source) for move in moves}
        landed = [(0, item, island) for item, holders in enumerate(self._islands.holders) for island in holders]
        for item, holders in enumerate(self._islands.holders):
            self._held_ns[item] = {place: 0 for places in holders.values() for place in sorted(places)}
        # When, 0: an item has landed in an island or 1: a hop is planned; then which.
        queue = [(now, 0, item, island) for now, item, island in landed]
        queue += [(move.start_ns, 1, number, 0) for number, move in enumerate(moves)]
        heapq.heapify(queue)
        waiting: dict[tuple[int, int], list[int]] = {}  # hops planned before their item has landed
        while queue:
            now, planned, number, island = heapq.heappop(queue)
            if not planned:
                self._spread(number, island, needs)
                for each in waiting.pop((number, island), ()):
                    heapq.heappush(queue, (now, 1, each, 0))
                continue
            move = moves[number]
            here, there = (self._islands.island_of[place] for place in (move.lane.source, move.lane.destination))
            if move.lane.source not in self._held_ns[move.item]:
                waiting.setdefault((move.item, here), []).append(number)
                continue
            heapq.heappush(queue, (self._book(move.item, move.lane), 0, move.item, there))
        return sorted(self._moves, key=lambda move: move.start_ns)

    def _spread(self, item: int, island: int, needs: Collection[tuple[int, PlaceId]]) -> None:
        """Bring an item to all in the island who want it, first to who sends it on; else whatever hop ends soonest."""
        held = self._held_ns[item]
        wanting = [place for place in self._islands.wanters[item].get(island, ()) if place not in held]
        sending = [place for place in wanting if (item, place) in needs]
        for group in (sending, [place for place in wanting if place not in sending]):
            while group:
                senders = [place for place in self._islands.members[island] if place in held]
                lanes = [self._islands.lane(sender, place) for place in group for sender in senders]
                ends = [self._start_ns(item, lane) + lane.takes_ns(self._size(item)) for lane in lanes]
                lane = lanes[ends.index(min(ends))]
                self._book(item, lane)
                group.remove(lane.destination)

    def _size(self, item: int) -> Bytes:
        return self._islands.sizes[item]

    def _start_ns(self, item: int, lane: Lane) -> int:
        return max(self._held_ns[item][lane.source], *(self._free_ns.get(port, 0) for port in (lane.first, lane.last)))

    def _book(self, item: int, lane: Lane) -> int:
        """Give a hop its times, and its end back."""
        start, takes = self._start_ns(item, lane), lane.takes_ns(self._size(item))
        late = True
        while late:
            late = False
            for link in lane.inner:
                free = self._room_from(link, start, takes, lane.rate)
                late = late or free > start
                start = free
        for port in (lane.first, lane.last):
            self._free_ns[port] = start + takes
        for link in lane.inner:
            self._carried.setdefault(link, []).append((start, start + takes, lane.rate))
        self._held_ns[item][lane.destination] = start + takes
        self._moves.append(Move(item=item, lane=lane, start_ns=start, end_ns=start + takes))
        return start + takes

    def _room_from(self, link: LinkId, start: int, takes: int, rate: int) -> int:
        """Find the first instant at which a link has room for a rate, for so long."""
        room = self._islands.capacity[link] - rate
        while True:
            beside = [each for each in self._carried.get(link, ()) if start < each[1] and each[0] < start + takes]
            begins = [start, *(begin for begin, _, _ in beside if begin > start)]
            loads = (sum(each[2] for each in beside if each[0] <= at < each[1]) for at in begins)
            if all(load <= room for load in loads):
                return start
            start = min(end for _, end, _ in beside)


def _delivery(movement: Movement, moves: Sequence[Move]) -> Delivery:
    number: dict[Route, int] = {}
    hops = tuple(
        Hop(
            piece=move.item,
            route=number.setdefault(move.lane.route, len(number)),
            bytes_per_second=move.lane.rate,
            start_ns=Nanos(move.start_ns),
            end_ns=Nanos(move.end_ns),
        )
        for move in moves
    )
    pieces = tuple(Piece(item=index, bytes=item.bytes) for index, item in enumerate(movement.items))
    return Delivery(pieces=pieces, routes=tuple(number), hops=hops)
