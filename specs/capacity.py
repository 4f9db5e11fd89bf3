"""How fast a memory can send to, and receive from, the other memories of a cluster at most.

A route runs from one memory over switches to another, and is as wide as its narrowest link.  All results are upper
bounds on what transfers can do: each link out of (or into) a memory counts with the widest route that begins (or ends)
with it, and links inside that several routes share are counted in full for each.
"""

import heapq
from collections.abc import Sequence

import attrs

from specs.cluster import Cluster, Link, PlaceId, PlaceKind
from specs.units import BytesPerSecond


@attrs.frozen(kw_only=True)
class Capacity:
    """Upper bounds for one memory, over all its links together."""

    send: BytesPerSecond
    receive: BytesPerSecond


def capacities(cluster: Cluster) -> dict[PlaceId, Capacity]:
    """Bound what each memory can send and receive; 0 where no route leads."""
    sent, received = sending_ports(cluster), receiving_ports(cluster)
    return {
        place: Capacity(send=BytesPerSecond(sum(sent[place])), receive=BytesPerSecond(sum(received[place])))
        for place in sent
    }


def sending_ports(cluster: Cluster) -> dict[PlaceId, list[int]]:
    """Give the widest route's bytes per second for each link out of each memory; 0 where no route begins."""
    return _by_memory(cluster, _widest_by_link(cluster, reverse=False))


def receiving_ports(cluster: Cluster) -> dict[PlaceId, list[int]]:
    """Give the widest route's bytes per second for each link into each memory; 0 where no route ends."""
    return _by_memory(cluster, _widest_by_link(cluster, reverse=True))


def widest_bytes_per_second(cluster: Cluster) -> BytesPerSecond:
    """Width of the widest route between two different memories; 0 when there is none."""
    return BytesPerSecond(max((width for _, width in _widest_by_link(cluster, reverse=False)), default=0))


def _by_memory(cluster: Cluster, widths: Sequence[tuple[PlaceId, int]]) -> dict[PlaceId, list[int]]:
    found: dict[PlaceId, list[int]] = {place.id: [] for place in cluster.places if place.kind is not PlaceKind.SWITCH}
    for place, width in widths:
        found[place].append(width)
    return found


def _widest_by_link(cluster: Cluster, *, reverse: bool) -> list[tuple[PlaceId, int]]:
    """For each link out of a memory (reversed: into one): that memory, and the widest route that begins with the link.

    From every switch the two widest ways to two different memories are found, widest first, as Dijkstra's algorithm
    finds shortest ways; two, because a route must not lead back to the memory where it began.
    """
    memories = {place.id for place in cluster.places if place.kind is not PlaceKind.SWITCH}
    near_and_far = [
        (link.destination, link.source) if reverse else (link.source, link.destination) for link in cluster.links
    ]
    before: dict[PlaceId, list[tuple[PlaceId, Link]]] = {}
    for (near, far), link in zip(near_and_far, cluster.links, strict=True):
        before.setdefault(far, []).append((near, link))
    ways: dict[PlaceId, dict[PlaceId, int]] = {}  # for each place, up to two memories and how wide the way there is
    queue: list[tuple[int, PlaceId, PlaceId]] = []
    for memory in sorted(memories):
        queue += [
            (-link.bytes_per_second, near, memory) for near, link in before.get(memory, ()) if near not in memories
        ]
    heapq.heapify(queue)
    while queue:
        width, switch, memory = heapq.heappop(queue)
        known = ways.setdefault(switch, {})
        if memory in known or len(known) == 2:
            continue
        known[memory] = -width
        for near, link in before.get(switch, ()):
            if near not in memories:
                heapq.heappush(queue, (-min(-width, link.bytes_per_second), near, memory))
    found: list[tuple[PlaceId, int]] = []
    for (near, far), link in zip(near_and_far, cluster.links, strict=True):
        if near in memories:
            onward = ways.get(far, {}) if far not in memories else {far: link.bytes_per_second}
            widths = [min(width, link.bytes_per_second) for memory, width in onward.items() if memory != near]
            found.append((near, max(widths, default=0)))
    return found
