"""Routes over the place graph: for each pair of memories the path whose links one after another are quickest."""

import itertools

import networkx as nx

from specs.cluster import Cluster, Link, LinkId, PlaceId, PlaceKind
from specs.plan import Route
from specs.timing import links_by_id, route_latency_ns
from specs.units import BytesPerSecond, Nanos

# Paths are compared by the time that a large blob needs on each link in turn, in nanoseconds; a link more costs at
# least one, so that among equally fast paths the shortest wins.
_PROBE_BYTES = 2**30


class NoRoute(Exception):
    """No path of links leads from one memory to another."""


class Routes:
    """Finds routes and remembers them.  Bytes pass through switches only, never through a third memory."""

    def __init__(self, cluster: Cluster) -> None:
        self.links: dict[LinkId, Link] = links_by_id(cluster)
        self._switches = {place.id for place in cluster.places if place.kind is PlaceKind.SWITCH}
        self._graph = nx.DiGraph()
        self._graph.add_nodes_from(place.id for place in cluster.places)
        for link in cluster.links:
            cost = 1 + _PROBE_BYTES * 1_000_000_000 // link.bytes_per_second
            known = self._graph.get_edge_data(link.source, link.destination)
            if known is None or cost < known["cost"]:
                self._graph.add_edge(link.source, link.destination, cost=cost, link=link.id)
        # Not a subgraph of networkx: its edges come in the order of a set, and order decides between equal paths.
        self._core = nx.DiGraph()
        self._core.add_nodes_from(place.id for place in cluster.places if place.id in self._switches)
        for near, far, data in self._graph.edges(data=True):
            if near in self._switches and far in self._switches:
                self._core.add_edge(near, far, **data)
        self._found: dict[tuple[PlaceId, PlaceId], Route] = {}
        self._between: dict[tuple[PlaceId, PlaceId], list[PlaceId] | None] = {}

    def route(self, source: PlaceId, destination: PlaceId) -> Route:
        """Find the route between two memories.  Raises NoRoute."""
        known = self._found.get((source, destination))
        if known is None:
            known = self._found[source, destination] = self._search(source, destination)
        return known

    def reaches(self, source: PlaceId, destination: PlaceId) -> bool:
        """Say whether links lead from one memory to another, be it through other memories."""
        return bool(nx.has_path(self._graph, source, destination))

    def rate(self, route: Route) -> BytesPerSecond:
        """Give the capacity of the route's narrowest link."""
        return min(self.links[link].bytes_per_second for link in route.links)

    def latency_ns(self, route: Route) -> Nanos:
        """Sum the latencies of the route's links."""
        return route_latency_ns(self.links, route)

    def _search(self, source: PlaceId, destination: PlaceId) -> Route:
        """Compare every way to leave the source, cross the switches and enter the destination."""
        options: list[tuple[int, tuple[LinkId, ...]]] = []
        if self._graph.has_edge(source, destination):
            edge = self._graph.edges[source, destination]
            options.append((edge["cost"], (edge["link"],)))
        for exit_switch in self._graph.successors(source):
            for entry_switch in self._graph.predecessors(destination):
                inner = self._cross(exit_switch, entry_switch)
                if inner is None:
                    continue
                first = self._graph.edges[source, exit_switch]
                last = self._graph.edges[entry_switch, destination]
                cost = first["cost"] + last["cost"] + sum(self._cost(link) for link in inner)
                options.append((cost, (first["link"], *inner, last["link"])))
        if not options:
            raise NoRoute(f"no path of links leads from {source} to {destination}")
        return Route(links=min(options)[1])

    def _cost(self, link: LinkId) -> int:
        cost: int = self._graph.edges[self.links[link].source, self.links[link].destination]["cost"]
        return cost

    def _cross(self, first: PlaceId, last: PlaceId) -> tuple[LinkId, ...] | None:
        """Find the best path between two switches over switches; None when there is none."""
        if first not in self._switches or last not in self._switches:
            return None
        # Switches inside nodes, and NICs, have one way on and one way back.  Following those leaves few pairs of
        # switches to search between, however many nodes there are.
        head, tail = [first], [last]
        while head[-1] != last and len(head) <= len(self._switches):
            onward = [place for place in self._core.successors(head[-1]) if place not in head[-2:]]
            if len(onward) != 1:
                break
            head += onward
        while tail[-1] != head[-1] and len(tail) <= len(self._switches):
            before = [place for place in self._core.predecessors(tail[-1]) if place not in tail[-2:]]
            if len(before) != 1:
                break
            tail += before
        middle = self._shortest(head[-1], tail[-1])
        if middle is None:
            return None
        path = [*head, *middle[1:], *reversed(tail[:-1])]
        return tuple(self._core.edges[a, b]["link"] for a, b in itertools.pairwise(path))

    def _shortest(self, first: PlaceId, last: PlaceId) -> list[PlaceId] | None:
        if (first, last) not in self._between:
            try:
                _, path = nx.bidirectional_dijkstra(self._core, first, last, weight="cost")
                self._between[first, last] = path
            except nx.NetworkXNoPath:
                self._between[first, last] = None
        return self._between[first, last]
