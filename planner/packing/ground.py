"""What a swarm moves on: places and blobs by number, the racks that they stand in, and the routes between them.

A set of places is an integer with their bits set: a thousand places are intersected in one operation.
"""

from collections.abc import Iterable, Iterator, Sequence

import attrs

from planner.routes import NoRoute, Routes
from specs.capacity import capacities
from specs.cluster import Cluster, Link, LinkId, PlaceId, PlaceKind
from specs.plan import Route
from specs.timing import transfer_ns
from specs.units import Bytes, BytesPerSecond, Nanos

# Size, holders and those who want it, of each blob.
Wants = Sequence[tuple[Bytes, Sequence[PlaceId], Sequence[PlaceId]]]


@attrs.frozen(kw_only=True)
class Way:
    """A route with what acting needs of it."""

    route: Route
    first: LinkId
    last: LinkId
    inner: tuple[LinkId, ...]
    rate: BytesPerSecond
    latency_ns: Nanos

    def takes_ns(self, size: Bytes) -> int:
        """Time from the start of a transfer until its destination holds the blob."""
        return transfer_ns(size, self.rate, self.latency_ns)


class Racks:
    """Memories gathered under the lowest switch that joins several; one that shares none is a rack of its own."""

    def __init__(self, memories: Sequence[PlaceId], links: Sequence[Link]) -> None:
        neighbours: dict[PlaceId, dict[PlaceId, None]] = {}
        for link in links:
            for near, far in ((link.source, link.destination), (link.destination, link.source)):
                neighbours.setdefault(near, {})[far] = None
        height: dict[PlaceId, int] = dict.fromkeys(memories, 0)
        order = list(memories)
        for place in order:
            for far in neighbours.get(place, ()):
                if far not in height:
                    height[far] = height[place] + 1
                    order.append(far)
        below: dict[PlaceId, dict[PlaceId, None]] = {place: {place: None} for place in memories}
        above: dict[PlaceId, PlaceId] = {}
        for switch in order[len(memories) :]:
            below[switch] = {}
            for near in neighbours[switch]:
                if height[near] < height[switch]:
                    below[switch] |= below[near]
            if len(below[switch]) > 1:
                for place in below[switch]:
                    above.setdefault(place, switch)
        found: dict[PlaceId, list[PlaceId]] = {}
        for place in memories:
            found.setdefault(above.get(place, place), []).append(place)
        self.members: list[list[PlaceId]] = list(found.values())
        self._single = {place for place, members in below.items() if len(members) == 1}

    def is_private(self, link: Link) -> bool:
        """Say whether a link leads to or from one memory alone."""
        return link.source in self._single or link.destination in self._single


class Ground:
    """Places by number, neighbours next to each other; what they hold and want; ways, found when first asked for."""

    def __init__(self, cluster: Cluster, routes: Routes, wants: Wants, *, latency_holds_ports: bool = True) -> None:
        self.latency_holds_ports = latency_holds_ports
        named = {place for _, holders, wanting in wants for place in (*holders, *wanting)}
        memories = [place.id for place in cluster.places if place.kind is not PlaceKind.SWITCH and place.id in named]
        racks = Racks(memories, cluster.links)
        self._private = {link.id for link in cluster.links if racks.is_private(link)}
        sources = _pure_sources(wants)
        groups = [[place for place in members if place not in sources] for members in racks.members]
        # Each blob should leave a place that only sends as seldom as can be: such places are racks of their own.
        groups = [group for group in groups if group] + [[place] for place in sources]
        self.places: tuple[PlaceId, ...] = tuple(place for group in groups for place in group)
        number = {place: index for index, place in enumerate(self.places)}
        self.racks = [set_of(number[place] for place in group) for group in groups]
        self.rack_of = [index for index, group in enumerate(groups) for _ in group]
        self.sizes = [size for size, _, _ in wants]
        self.holders = [set_of(number[place] for place in holders) for _, holders, _ in wants]
        self.wanting = [set_of(number[place] for place in wanting) for _, _, wanting in wants]
        self.capacity = {link.id: int(link.bytes_per_second) for link in cluster.links}
        able = capacities(cluster)
        self.receives = [int(able[place].receive) for place in self.places]  # no way to a place is wider
        self.sends = [int(able[place].send) for place in self.places]
        self.ways_out, self.ways_in = [0] * len(number), [0] * len(number)
        for link in cluster.links:
            if link.source in number:
                self.ways_out[number[link.source]] += 1
            if link.destination in number:
                self.ways_in[number[link.destination]] += 1
        rates = sorted(set(self.receives), reverse=True)
        # Who sends, and who receives, at each rate, the fastest first; others can do all.
        self.classes = [(_at_rate(self.sends, rate), _at_rate(self.receives, rate)) for rate in rates]
        self.one_port = max((*self.ways_out, *self.ways_in), default=0) <= 1
        self._routes = routes
        self._ways: dict[tuple[int, int], Way | None] = {}
        self._doors: dict[tuple[int, int], tuple[LinkId, ...]] = {}

    def way(self, source: int, destination: int) -> Way | None:
        """Find the route between two places; None when there is none."""
        pair = source, destination
        if pair not in self._ways:
            try:
                route = self._routes.route(self.places[source], self.places[destination])
            except NoRoute:
                self._ways[pair] = None
            else:
                self._ways[pair] = Way(
                    route=route,
                    first=route.links[0],
                    last=route.links[-1],
                    inner=route.links[1:-1],
                    rate=self._routes.rate(route),
                    latency_ns=self._routes.latency_ns(route),
                )
        return self._ways[pair]

    def doors(self, source: int, destination: int) -> tuple[LinkId, ...]:
        """Give the links that ways between the racks of two places share, as one of these ways has them."""
        pair = self.rack_of[source], self.rack_of[destination]
        if pair not in self._doors:
            way = self.way(source, destination)
            self._doors[pair] = () if way is None else tuple(each for each in way.inner if each not in self._private)
        return self._doors[pair]


def _pure_sources(wants: Wants) -> dict[PlaceId, None]:
    """Name the places that hold every blob that anybody wants."""
    wanted = [holders for _, holders, wanting in wants if wanting]
    if not wanted:
        return {}
    everything = set(wanted[0]).intersection(*wanted)
    return {place: None for place in wanted[0] if place in everything}


def _at_rate(rates: Sequence[int], rate: int) -> int:
    return set_of(number for number, each in enumerate(rates) if each == rate)


def set_of(numbers: Iterable[int]) -> int:
    """Make a set."""
    found = 0
    for number in numbers:
        found |= 1 << number
    return found


def members(numbers: int) -> Iterator[int]:
    """Yield the members of a set, ascending."""
    while numbers:
        lowest = numbers & -numbers
        yield lowest.bit_length() - 1
        numbers ^= lowest
