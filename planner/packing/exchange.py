"""Whole items exchanged between islands of memories, and spread inside each as they arrive.

Where memories hang together by wide links - the GPUs of a node on NVLink - an item should enter the island once, over
whichever of its ports is idle, and then spread.  So hops between islands are acted out in time, an item being rare as
few islands have it; hops inside follow, each as early as its ports allow.  Memories that hang together with no others
are islands too: then this is a swarm that knows nothing of racks, but is quick, and is tried with many tastes.
"""

import contextlib
import heapq
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from planner.packing.ground import members, set_of
from planner.routes import NoRoute, Routes
from planner.search import Search
from specs.cluster import LinkId, PlaceId
from specs.decisions.flow.islands import Terrain
from specs.decisions.flow.question import Movement
from specs.plan import Route
from specs.timing import transfer_ns
from specs.units import Bytes, BytesPerSecond, Nanos

# Work for all tastes, at most and for each hop, and of a step: pairs of islands looked at, a hop as much as so many.
_WORK_MAX = 1_500_000
_WORK_FOR_HOP = 6_000
_WORK_PER_HOP = 50
_WORK_PER_STEP = 1_000
# How much chance moves an item's rarity, in copies, and the need of an island, as a share.
_KEYS = (0.0, 1.0, 2.0, 4.0)
_JITTERS = (0.0, 0.1, 0.5)
_CHANGED = (1, 2, 4)
_FRESH = 0.5  # the share of tastes that do not follow the best


@attrs.frozen(kw_only=True)
class Lane:
    """A route between memories."""

    source: PlaceId
    destination: PlaceId
    route: Route
    first: LinkId
    last: LinkId
    inner: tuple[LinkId, ...]
    rate: BytesPerSecond
    latency_ns: Nanos

    def takes_ns(self, size: Bytes) -> int:
        """Time from the start of a hop until its destination holds the item."""
        return transfer_ns(size, self.rate, self.latency_ns)


@attrs.frozen(kw_only=True)
class Move:
    """An item crosses a lane."""

    item: int
    lane: Lane
    start_ns: int
    end_ns: int


@attrs.frozen(kw_only=True)
class Taste:
    """Which of several hops goes first: what chance adds to the copies of each item, and how much to needs.

    Those that lack most receive first, by bytes; by time, so that slow islands come first; or the fast ones first, who
    can pass on soonest.
    """

    keys: tuple[float, ...]
    jitter: float
    fast_first: int  # the power of an island's rate: -1, 0, 1
    seed: int


class Archipelago:
    """Islands by number, lanes between them and inside; sets of islands are integers with their bits set."""

    def __init__(self, movement: Movement, terrain: Terrain, routes: Routes) -> None:
        self.sizes = [item.bytes for item in movement.items]
        named = {place for item in movement.items for place in (*item.holders, *item.wanters)}
        groups: dict[int, list[PlaceId]] = {}
        for place in movement.memories:
            if place in named:
                groups.setdefault(terrain.island_of[place], []).append(place)
        self.members = list(groups.values())
        self.takes = [terrain.islands[island].takes for island in groups]
        self.island_of = {place: number for number, group in enumerate(self.members) for place in group}
        self.holders: list[Mapping[int, frozenset[PlaceId]]] = []
        self.wanters: list[Mapping[int, tuple[PlaceId, ...]]] = []
        for item in movement.items:
            self.holders.append({i: frozenset(places) for i, places in self._by_island(item.holders).items()})
            self.wanters.append({i: tuple(places) for i, places in self._by_island(item.receivers).items()})
        self.capacity = {link.id: int(link.bytes_per_second) for link in movement.links}
        self._routes = routes
        self._lanes: dict[tuple[PlaceId, PlaceId], Lane] = {}
        self._lanes_between: dict[tuple[int, int], list[Lane]] = {}
        out = Counter(link.source for link in movement.links)
        into = Counter(link.destination for link in movement.links)
        islands = range(len(self.members))
        self.sending = [
            self._count(self._links_of(a, out), ([each.first for each in self.lanes(a, b)] for b in islands if a != b))
            for a in islands
        ]
        self.receiving = [
            self._count(self._links_of(b, into), ([each.last for each in self.lanes(a, b)] for a in islands if a != b))
            for b in islands
        ]

    def _links_of(self, island: int, links: Mapping[PlaceId, int]) -> int:
        return sum(links[place] for place in self.members[island])

    def _count(self, most: int, used: Iterable[Sequence[LinkId]]) -> int:
        """Count different links, of which there are at most so many; once they are all there, no lane more is found."""
        seen: set[LinkId] = set()
        for some in used:
            seen.update(some)
            if len(seen) == most:
                break
        return len(seen)

    def _by_island(self, places: Sequence[PlaceId]) -> dict[int, list[PlaceId]]:
        found: dict[int, list[PlaceId]] = {}
        for place in places:
            found.setdefault(self.island_of[place], []).append(place)
        return found

    def lane(self, source: PlaceId, destination: PlaceId) -> Lane:
        """Give the route between two memories.  Raises NoRoute."""
        pair = source, destination
        if pair not in self._lanes:
            route = self._routes.route(*pair)
            rate, latency = self._routes.rate(route), self._routes.latency_ns(route)
            self._lanes[pair] = Lane(
                source=source,
                destination=destination,
                route=route,
                first=route.links[0],
                last=route.links[-1],
                inner=route.links[1:-1],
                rate=rate,
                latency_ns=latency,
            )
        return self._lanes[pair]

    def lanes(self, here: int, there: int) -> list[Lane]:
        """Give each memory of an island one lane to another island, the quickest, ends as different as can be."""
        if (here, there) not in self._lanes_between:
            self._lanes_between[here, there] = self._between(here, there)
        return self._lanes_between[here, there]

    def _between(self, here: int, there: int) -> list[Lane]:
        used: dict[PlaceId, int] = {}
        found: list[Lane] = []
        for source in self.members[here]:
            lanes = []
            for destination in self.members[there]:
                with contextlib.suppress(NoRoute):
                    lanes.append(self.lane(source, destination))
            if not lanes:
                continue
            best = min(lanes, key=lambda lane: (-lane.rate, lane.latency_ns, used.get(lane.destination, 0)))
            used[best.destination] = used.get(best.destination, 0) + 1
            found.append(best)
        return found

    def inside_ns(self, item: int, island: int) -> int:
        """Time for an item between two members of an island."""
        group = self.members[island]
        if len(group) < 2:
            return 0
        return self.lane(group[0], group[1]).takes_ns(self.sizes[item])


def exchanges(islands: Archipelago, search: Search, bound_ns: int) -> Iterator[list[Move]]:
    """Yield moves between islands by one taste after another, those that end before all earlier ones.

    Stops when one ends by the bound, when limits say so, or after so much work.  Yields nothing where some are not
    reached.
    """
    chance = random.Random(search.seed)  # noqa: S311 - ties, no secrets
    best = Taste(keys=(0.0,) * len(islands.sizes), jitter=0.0, fast_first=0, seed=0)
    end_ns: int | None = None
    work, work_max = 0, min(_WORK_MAX, _WORK_FOR_HOP * sum(len(each) for each in islands.wanters))
    while work < max(1, work_max):
        taste = _varied(best, chance) if work else best
        acting = _Acting(islands, taste)
        moves = acting.act(end_ns)
        work += acting.work
        search.spend(acting.work // _WORK_PER_STEP)
        if moves is not None:
            best, end_ns = taste, max((move.end_ns for move in moves), default=0)
            yield moves
        if search.over() or end_ns is None or end_ns <= bound_ns:
            return


def _varied(best: Taste, chance: random.Random) -> Taste:
    """Draw new keys, or change a few of the best."""
    if chance.random() < _FRESH:
        scale = chance.choice(_KEYS)
        keys = [chance.random() * scale for _ in best.keys]
    else:
        keys = list(best.keys)
        for _ in range(chance.choice(_CHANGED)):
            keys[chance.randrange(len(keys))] = (1.5 * chance.random() - 0.5) * _KEYS[-1]
    fast_first = chance.choice((-1, 0, 1)) if chance.random() < _FRESH else best.fast_first
    return Taste(keys=tuple(keys), jitter=chance.choice(_JITTERS), fast_first=fast_first, seed=chance.getrandbits(30))


@attrs.define
class _Held:
    """Since when an island has an item: at the memory where it landed, and at the others."""

    landings: frozenset[PlaceId]
    landed_ns: int
    spread_ns: int

    def at(self, place: PlaceId, now: int) -> bool:
        return now >= (self.landed_ns if place in self.landings else self.spread_ns)


class _Acting:
    """Hops between islands, acted out: whenever ports fall idle, the rarest items first, one hop of each in turn."""

    def __init__(self, islands: Archipelago, taste: Taste) -> None:
        self._islands, self._taste = islands, taste
        self._chance = random.Random(taste.seed)  # noqa: S311 - ties, no secrets
        self._held = [
            {island: self._since(item, island, places, 0) for island, places in holders.items()}
            for item, holders in enumerate(islands.holders)
        ]
        self._wanting = [
            sum(1 << island for island in wanters if island not in holders)
            for wanters, holders in zip(islands.wanters, islands.holders, strict=True)
        ]
        self._copies = [len(holders) for holders in islands.holders]  # and what is on its way
        self._sending, self._receiving = list(islands.sending), list(islands.receiving)
        # An island that nothing leads to takes nothing, whatever its weight.
        self._weight = [rate**taste.fast_first if rate else 0.0 for rate in islands.takes]
        self._lacks, self._has = [0] * len(islands.members), [0] * len(islands.members)
        for item, wanting in enumerate(self._wanting):
            for island in members(wanting):
                self._lacks[island] += islands.sizes[item]
            for island in self._held[item]:
                self._has[island] += 1
        self._busy: set[LinkId] = set()
        self._closed: set[tuple[int, int]] = set()  # pairs of islands without a free lane at this instant
        self._room = dict(islands.capacity)
        self._events: list[tuple[int, int]] = []  # when, number of the move that lands; or -1: an item has spread
        self._moves: list[Move] = []
        self._now = self._end_ns = 0
        self.work = _WORK_PER_HOP

    def act(self, before_ns: int | None) -> list[Move] | None:
        """Give the moves in the order of their starts; None when they do not all end before an instant."""
        while True:
            while self._choose():
                pass
            if not self._events:
                return None if any(self._wanting) else self._moves
            if before_ns is not None and self._end_ns >= before_ns:
                return None
            self._now = self._events[0][0]
            self._closed.clear()
            while self._events and self._events[0][0] <= self._now:
                _, number = heapq.heappop(self._events)
                if number >= 0:
                    self._land(self._moves[number])

    def _since(self, item: int, island: int, landings: frozenset[PlaceId], now: int) -> _Held:
        whole = len(landings) == len(self._islands.members[island])
        return _Held(landings, now, now + (0 if whole else self._islands.inside_ns(item, island)))

    def _choose(self) -> bool:
        """Start one hop at most of each item that can start one, the rarest first; say whether any did."""
        able_out = set_of(island for island, ports in enumerate(self._sending) if ports)
        able_in = set_of(island for island, ports in enumerate(self._receiving) if ports)
        found = False
        keys, copies = self._taste.keys, self._copies
        waiting = (item for item, wanting in enumerate(self._wanting) if wanting & able_in)
        for item in sorted(waiting, key=lambda item: (copies[item] + keys[item], item)):
            move = self._find(item, able_out)
            if move is not None:
                self._start(move)
                found = True
        return found

    def _find(self, item: int, able_out: int) -> Move | None:
        """Serve an island that lacks most from one that has least else to send."""
        chance, jitter = self._chance.random, self._taste.jitter
        held = self._held[item]
        senders = [island for island in held if able_out >> island & 1 and self._sending[island]]
        takers = [island for island in members(self._wanting[item]) if self._receiving[island]]
        if not senders or not takers:
            return None
        senders.sort(key=lambda island: (self._has[island] * (1 + jitter * chance()), island))
        takers.sort(key=lambda island: (-self._lacks[island] * self._weight[island] * (1 + jitter * chance()), island))
        for there in takers:
            self.work += len(senders)
            for here in senders:
                if (here, there) in self._closed:
                    continue
                lane = self._open(held[here], here, there)
                if lane is not None:
                    end = self._now + lane.takes_ns(self._islands.sizes[item])
                    return Move(item=item, lane=lane, start_ns=self._now, end_ns=end)
        return None

    def _open(self, held: _Held, here: int, there: int) -> Lane | None:
        """Give a lane that is free, from where the item landed if there is one."""
        second, closed = None, True
        for lane in self._islands.lanes(here, there):
            if lane.first in self._busy or lane.last in self._busy:
                continue
            if any(self._room[link] < lane.rate for link in lane.inner):
                continue
            closed = False
            if lane.source in held.landings and held.at(lane.source, self._now):
                return lane
            if second is None and held.at(lane.source, self._now):
                second = lane
        if closed:  # to all items, until something has landed
            self._closed.add((here, there))
        return second

    def _start(self, move: Move) -> None:
        lane, size = move.lane, self._islands.sizes[move.item]
        here, there = self._islands.island_of[lane.source], self._islands.island_of[lane.destination]
        self._busy |= {lane.first, lane.last}
        for link in lane.inner:
            self._room[link] -= lane.rate
        self._sending[here] -= 1
        self._receiving[there] -= 1
        self._wanting[move.item] &= ~(1 << there)
        self._copies[move.item] += 1
        self._lacks[there] -= size
        heapq.heappush(self._events, (move.end_ns, len(self._moves)))
        self._moves.append(move)
        self.work += _WORK_PER_HOP
        self._end_ns = max(self._end_ns, move.end_ns)

    def _land(self, move: Move) -> None:
        lane = move.lane
        here, there = self._islands.island_of[lane.source], self._islands.island_of[lane.destination]
        self._busy -= {lane.first, lane.last}
        for link in lane.inner:
            self._room[link] += lane.rate
        self._sending[here] += 1
        self._receiving[there] += 1
        self._has[there] += 1
        held = self._held[move.item][there] = self._since(move.item, there, frozenset((lane.destination,)), self._now)
        if held.spread_ns > self._now:
            heapq.heappush(self._events, (held.spread_ns, -1))
