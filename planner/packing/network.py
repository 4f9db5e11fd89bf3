"""A movement as arrays: memories and links by number, and between memories the routes worth thinking about."""

import heapq
from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from specs.cluster import PlaceId
from specs.decisions.flow.question import Movement
from specs.plan import Route
from specs.units import NANOS_PER_SECOND

Path = tuple[int, ...]  # numbers of links

# How often the search for routes is repeated with the links found so far made dearer.
_ALTERNATIVES = 6


@attrs.frozen(kw_only=True)
class Way:
    """A route between two memories and what it uses."""

    source: int
    destination: int
    links: Path
    width: int  # bytes per second
    latency_ns: int

    @property
    def ports(self) -> tuple[int, ...]:
        """The first and the last link, once if they are the same."""
        return tuple(dict.fromkeys((self.links[0], self.links[-1])))

    @property
    def inside(self) -> Path:
        """The links between switches."""
        return self.links[1:-1]


@attrs.define
class Network:
    """Ways between memories, and what a byte on each uses of each link, in nanoseconds."""

    movement: Movement
    memory: dict[PlaceId, int]
    ways: list[Way]
    # One row for each use of a link by a way, rows of a way together.
    use_link: NDArray[np.int64]
    use_ns: NDArray[np.float64]  # per byte: one over the way's width at ports, over the capacity inside
    first_use: NDArray[np.int64]  # of each way
    pair: NDArray[np.int64]  # source * memories + destination, ascending

    def costs(self, prices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Price of a byte on each way."""
        found: NDArray[np.float64] = np.add.reduceat(prices[self.use_link] * self.use_ns, self.first_use)
        return found

    def cheapest(self, costs: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Between each two memories: the least cost (infinite where no way leads), and the way that has it."""
        size = len(self.memory)
        order = np.lexsort((costs, self.pair))
        pairs, first = np.unique(self.pair[order], return_index=True)
        matrix = np.full(size * size, np.inf)
        which = np.full(size * size, -1, dtype=np.int64)
        matrix[pairs] = costs[order[first]]
        which[pairs] = order[first]
        return matrix.reshape(size, size), which.reshape(size, size)

    def route(self, way: int) -> Route:
        """Spell a way out as a route."""
        return Route(links=tuple(self.movement.links[link].id for link in self.ways[way].links))

    @classmethod
    def of_ways(cls, movement: Movement, memory: dict[PlaceId, int], ways: list[Way]) -> "Network":
        """Work out what ways, ordered by their ends, use."""
        use_link: list[int] = []
        use_ns: list[float] = []
        first_use: list[int] = []
        for way in ways:
            first_use.append(len(use_link))
            for link in way.ports:
                use_link.append(link)
                use_ns.append(NANOS_PER_SECOND / way.width)
            for link in way.inside:
                use_link.append(link)
                use_ns.append(NANOS_PER_SECOND / movement.links[link].bytes_per_second)
        return cls(
            movement=movement,
            memory=memory,
            ways=ways,
            use_link=np.array(use_link, dtype=np.int64),
            use_ns=np.array(use_ns),
            first_use=np.array(first_use, dtype=np.int64),
            pair=np.array([way.source * len(memory) + way.destination for way in ways], dtype=np.int64),
        )


def network(movement: Movement) -> Network:
    """Find the ways of a movement: for each pair the quickest one, and others that avoid links already used."""
    memory = {place: number for number, place in enumerate(movement.memories)}
    number = dict(memory)
    for link in movement.links:
        for end in (link.source, link.destination):
            number.setdefault(end, len(number))
    after: list[list[tuple[int, int]]] = [[] for _ in number]
    for index, link in enumerate(movement.links):
        after[number[link.source]].append((index, number[link.destination]))
    takers = {place for item in movement.items for place in item.receivers} | set(movement.relays)
    senders = takers | {place for item in movement.items for place in item.holders}
    ways: list[Way] = []
    for place in movement.memories:
        if place in senders:
            ways += _ways_from(movement, after, memory[place], {memory[taker] for taker in takers})
    ways.sort(key=lambda way: (way.source, way.destination, way.latency_ns, way.links))
    return Network.of_ways(movement, memory, ways)


def _ways_from(
    movement: Movement, after: Sequence[Sequence[tuple[int, int]]], source: int, takers: set[int]
) -> list[Way]:
    memories = len(movement.memories)
    quickness = [1 + 10**15 // link.bytes_per_second for link in movement.links]
    dear = dict.fromkeys(range(len(movement.links)), 1)
    found: dict[Path, int] = {}
    for _ in range(_ALTERNATIVES):
        fresh = {
            path: place
            for place, path in _paths(after, source, memories, [cost * dear[i] for i, cost in enumerate(quickness)])
            if place in takers and path not in found
        }
        if not fresh:
            break
        found.update(fresh)
        for link in dict.fromkeys(link for path in fresh for link in path):
            dear[link] *= 2
    return [way_of(movement, source, place, path) for path, place in found.items()]


def _paths(
    after: Sequence[Sequence[tuple[int, int]]], source: int, memories: int, cost: Sequence[int]
) -> list[tuple[int, Path]]:
    """Cheapest path over switches from one memory to each other (Dijkstra's algorithm)."""
    done: dict[int, Path] = {}
    queue: list[tuple[int, Path, int]] = [(0, (), source)]
    while queue:
        total, path, place = heapq.heappop(queue)
        if place in done:
            continue
        done[place] = path
        if place < memories and place != source:
            continue
        for link, far in after[place]:
            if far not in done:
                heapq.heappush(queue, (total + cost[link], (*path, link), far))
    return [(place, path) for place, path in done.items() if place < memories and place != source]


def way_of(movement: Movement, source: int, place: int, path: Path) -> Way:
    """Describe a path of links between two memories."""
    links = [movement.links[link] for link in path]
    return Way(
        source=source,
        destination=place,
        links=path,
        width=min(link.bytes_per_second for link in links),
        latency_ns=sum(link.latency_ns for link in links),
    )
