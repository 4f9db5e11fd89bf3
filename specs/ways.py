"""Ways of hidden states between devices: they are small, so the quickest links count, through whatever places."""

import heapq

import attrs

from specs.cluster import Cluster, Link, PlaceId
from specs.units import INTEGER_MAX


@attrs.frozen(kw_only=True)
class Hop:
    """The way of hidden states between two devices."""

    latency_ns: int
    bytes_per_second: int  # 0: they stay where they are


_STAY = Hop(latency_ns=0, bytes_per_second=0)


class NoWay(Exception):
    """No links lead from one stage's device to the next."""


class Ways:
    """Quickest ways between memories, over any links, by latency and then by width."""

    def __init__(self, cluster: Cluster) -> None:
        self._out: dict[PlaceId, list[Link]] = {}
        for link in cluster.links:
            self._out.setdefault(link.source, []).append(link)

    def hop(self, source: PlaceId, destination: PlaceId) -> Hop:
        """Find the way with the least latency; of those, the widest.  Raises NoWay."""
        if source == destination:
            return _STAY
        queue = [(0, -INTEGER_MAX, source)]
        reached = set()
        while queue:
            latency, width, place = heapq.heappop(queue)
            if place == destination:
                return Hop(latency_ns=latency, bytes_per_second=-width)
            if place in reached:
                continue
            reached.add(place)
            for link in self._out.get(place, ()):
                step = (latency + link.latency_ns, max(width, -link.bytes_per_second), link.destination)
                heapq.heappush(queue, step)
        raise NoWay(f"no links lead from {source} to {destination}")
