"""Routes over the place graph: for each pair of memories the path whose links one after another are quickest."""

import heapq
import itertools
from collections.abc import Iterable, Mapping, Sequence

import attrs

from specs.cluster import Cluster, Link, LinkId, PlaceId, PlaceKind
from specs.plan import Route
from specs.timing import links_by_id, route_latency_ns
from specs.units import BytesPerSecond, Nanos

# Paths are compared by the time that a large blob needs on each link in turn, in nanoseconds; a link more costs at
# least one, so that among equally fast paths the shortest wins.
_PROBE_BYTES = 2**30


class NoRoute(Exception):
    """No path of links leads from one memory to another."""


@attrs.frozen
class _Edge:
    """The quickest of the links from one place to another."""

    cost: int
    link: LinkId


@attrs.define
class _Graph:
    """Places joined by edges; both ways round, in the order of the cluster's links."""

    onward: dict[PlaceId, dict[PlaceId, _Edge]] = attrs.field(factory=dict)
    back: dict[PlaceId, dict[PlaceId, _Edge]] = attrs.field(factory=dict)

    def join(self, source: PlaceId, destination: PlaceId, edge: _Edge) -> None:
        """Add an edge, or put a quicker one in its place."""
        self.onward.setdefault(source, {})[destination] = edge
        self.back.setdefault(destination, {})[source] = edge

    def after(self, place: PlaceId) -> Mapping[PlaceId, _Edge]:
        """Edges out of a place, by where they lead."""
        return self.onward.get(place, {})

    def before(self, place: PlaceId) -> Mapping[PlaceId, _Edge]:
        """Edges into a place, by where they come from."""
        return self.back.get(place, {})


class Routes:
    """Finds routes and remembers them.  Bytes pass through switches only, never through a third memory."""

    def __init__(self, cluster: Cluster) -> None:
        self.links: dict[LinkId, Link] = links_by_id(cluster)
        self._switches = {place.id for place in cluster.places if place.kind is PlaceKind.SWITCH}
        self._graph = _Graph()
        self._core = _Graph()  # of switches alone
        for link in cluster.links:
            edge = _Edge(1 + _PROBE_BYTES * 1_000_000_000 // link.bytes_per_second, link.id)
            known = self._graph.after(link.source).get(link.destination)
            if known is not None and known.cost <= edge.cost:
                continue
            self._graph.join(link.source, link.destination, edge)
            if link.source in self._switches and link.destination in self._switches:
                self._core.join(link.source, link.destination, edge)
        self._found: dict[tuple[PlaceId, PlaceId], Route] = {}
        self._ways_back: dict[PlaceId, dict[PlaceId, PlaceId]] = {}
        self._reached: dict[PlaceId, frozenset[PlaceId]] = {}

    def route(self, source: PlaceId, destination: PlaceId) -> Route:
        """Find the route between two memories.  Raises NoRoute."""
        known = self._found.get((source, destination))
        if known is None:
            known = self._found[source, destination] = self._search(source, destination)
        return known

    def reaches(self, source: PlaceId, destination: PlaceId) -> bool:
        """Say whether links lead from one memory to another, be it through other memories."""
        if source not in self._reached:
            seen, front = {source}, [source]
            while front:
                fresh = [place for place in self._graph.after(front.pop()) if place not in seen]
                seen.update(fresh)
                front += fresh
            self._reached[source] = frozenset(seen)
        return destination in self._reached[source]

    def rate(self, route: Route) -> BytesPerSecond:
        """Give the capacity of the route's narrowest link."""
        return min(self.links[link].bytes_per_second for link in route.links)

    def latency_ns(self, route: Route) -> Nanos:
        """Sum the latencies of the route's links."""
        return route_latency_ns(self.links, route)

    def _search(self, source: PlaceId, destination: PlaceId) -> Route:
        """Compare every way to leave the source, cross the switches and enter the destination."""
        options: list[tuple[int, tuple[LinkId, ...]]] = []
        direct = self._graph.after(source).get(destination)
        if direct is not None:
            options.append((direct.cost, (direct.link,)))
        for exit_switch, first in self._graph.after(source).items():
            for entry_switch, last in self._graph.before(destination).items():
                inner = self._cross(exit_switch, entry_switch)
                if inner is not None:
                    cost = first.cost + last.cost + sum(edge.cost for edge in inner)
                    options.append((cost, (first.link, *(edge.link for edge in inner), last.link)))
        if not options:
            raise NoRoute(f"no path of links leads from {source} to {destination}")
        return Route(links=min(options)[1])

    def _cross(self, first: PlaceId, last: PlaceId) -> tuple[_Edge, ...] | None:
        """Find the best path between two switches over switches; None when there is none."""
        if first not in self._switches or last not in self._switches:
            return None
        # Switches inside nodes, and NICs, have one way on and one way back.  Following those leaves few pairs of
        # switches to search between, however many nodes there are.
        head, tail = [first], [last]
        while head[-1] != last and len(head) <= len(self._switches):
            onward = _only(self._core.after(head[-1]), head[-2:])
            if onward is None:
                break
            head.append(onward)
        while tail[-1] != head[-1] and len(tail) <= len(self._switches):
            before = _only(self._core.before(tail[-1]), tail[-2:])
            if before is None:
                break
            tail.append(before)
        middle = self._shortest(head[-1], tail[-1])
        if middle is None:
            return None
        path = [*head, *middle[1:], *reversed(tail[:-1])]
        return tuple(self._core.after(a)[b] for a, b in itertools.pairwise(path))

    def _shortest(self, first: PlaceId, last: PlaceId) -> list[PlaceId] | None:
        if first not in self._ways_back:
            self._ways_back[first] = self._quickest_from(first)
        back = self._ways_back[first]
        if last not in back:
            return None
        path = [last]
        while path[-1] != first:
            path.append(back[path[-1]])
        return path[::-1]

    def _quickest_from(self, first: PlaceId) -> dict[PlaceId, PlaceId]:
        """Find the quickest ways to all switches (Dijkstra 1959): where each one's last edge comes from."""
        back: dict[PlaceId, PlaceId] = {}
        ripe: list[tuple[int, int, PlaceId, PlaceId]] = [(0, 0, first, first)]
        order = itertools.count(1)  # of equally quick ways, the one found first
        while ripe:
            cost, _, place, via = heapq.heappop(ripe)
            if place in back:
                continue
            back[place] = via
            for onward, edge in self._core.after(place).items():
                if onward not in back:
                    heapq.heappush(ripe, (cost + edge.cost, next(order), onward, place))
        return back


def _only(places: Iterable[PlaceId], besides: Sequence[PlaceId]) -> PlaceId | None:
    """Give the only place that there is besides some; None when there is none, or another."""
    first, second = itertools.islice(itertools.chain((p for p in places if p not in besides), (None, None)), 2)
    return first if second is None else None
