"""Memories gathered into islands: what bounds see of them is what leaves an island, and what enters it.

An island is a memory alone, or all memories that hang together by links of some capacity or more.  A hop between two
islands leaves every set of places that holds the one and not the other, over a link that leaves the set: so what an
island sends is at most what the links out of such a set carry, each as far as a route through it is wide.
"""

from collections.abc import Iterator, Mapping, Sequence

import attrs

from specs import capacity
from specs.cluster import Cluster, Link, PlaceId
from specs.decisions.flow.question import Movement, as_cluster

_Sets = Mapping[PlaceId, set[PlaceId]]  # for each place, the places of its set


@attrs.frozen(kw_only=True)
class Island:
    """Upper bounds for all hops between an island and others, in bytes per second."""

    sends: int
    takes: int
    ports: int  # links out of its memories from which routes lead to other islands
    widest_out: int  # of one hop
    widest_in: int


@attrs.frozen(kw_only=True)
class Terrain:
    """One way to see a movement's memories as islands."""

    islands: tuple[Island, ...]
    island_of: Mapping[PlaceId, int]  # of each memory
    latency_ns: int  # no route has less
    latency_holds_ports: bool


def terrains(movement: Movement) -> Iterator[Terrain]:
    """Yield every memory as an island of its own, then what hangs together by links of each capacity that occurs.

    Links of several capacities may gather the same memories, with more switches or less: all of these sets count.
    There must be a link.
    """
    cluster = as_cluster(movement)
    ways: dict[tuple[int, ...], list[_Sets]] = {}
    for width in (None, *sorted({link.bytes_per_second for link in movement.links}, reverse=True)):
        sets = _hanging_together(movement, width)
        number: dict[int, int] = {}
        key = tuple(number.setdefault(id(sets[place]), len(number)) for place in movement.memories)
        ways.setdefault(key, []).append(sets)
    for key, found in ways.items():
        alone = max(key, default=0) == len(key) - 1
        sets_seen = found[:1] if alone and _one_link_each(movement) else found  # what that link carries says all
        if max(key, default=0) > 0:
            yield _terrain(movement, cluster, dict(zip(movement.memories, key, strict=True)), sets_seen)


def _one_link_each(movement: Movement) -> bool:
    """Say whether one link at most leads out of every memory, and one into it."""
    alone = set(movement.memories)
    out = [link.source for link in movement.links if link.source in alone]
    into = [link.destination for link in movement.links if link.destination in alone]
    return len(set(out)) == len(out) and len(set(into)) == len(into)


def _hanging_together(movement: Movement, width: int | None) -> dict[PlaceId, set[PlaceId]]:
    """Give each place all that links of a capacity or more join to it, directly or not; None: no link is that wide."""
    together: dict[PlaceId, set[PlaceId]] = {place: {place} for place in movement.memories}
    for link in movement.links:
        for end in (link.source, link.destination):
            together.setdefault(end, {end})
        near, far = together[link.source], together[link.destination]
        if width is not None and link.bytes_per_second >= width and near is not far:
            small, large = sorted((near, far), key=len)
            large |= small
            for place in small:
                together[place] = large
    return together


def _terrain(movement: Movement, cluster: Cluster, island_of: Mapping[PlaceId, int], found: Sequence[_Sets]) -> Terrain:
    """Measure islands by each of the sets that they lie in: the least counts."""
    heads: dict[int, PlaceId] = {}
    for place, island in island_of.items():
        heads.setdefault(island, place)
    sent: list[dict[int, list[int]]] = []
    taken: list[dict[int, list[int]]] = []
    for sets in found:
        drawn = _drawn_together(cluster, sets, heads)
        out, into = capacity.sending_ports(drawn), capacity.receiving_ports(drawn)
        sent.append({island: out[head] for island, head in heads.items()})
        taken.append({island: into[head] for island, head in heads.items()})
    ports = _ports(movement, island_of)
    islands = tuple(
        Island(
            sends=min(sum(each[island]) for each in sent),
            takes=min(sum(each[island]) for each in taken),
            ports=ports[island],
            widest_out=min(max(each[island], default=0) for each in sent),
            widest_in=min(max(each[island], default=0) for each in taken),
        )
        for island in heads
    )
    latency = min(link.latency_ns for link in movement.links)
    held = movement.latency_holds_ports
    return Terrain(islands=islands, island_of=island_of, latency_ns=latency, latency_holds_ports=held)


def _drawn_together(cluster: Cluster, sets: _Sets, heads: Mapping[int, PlaceId]) -> Cluster:
    """Draw each set that has memories together in its head: what is left are links between sets."""
    name = {member: head for head in heads.values() for member in sets[head]}
    kept = (place for place in cluster.places if name.get(place.id, place.id) == place.id)
    links: list[Link] = []
    for link in cluster.links:
        source, destination = name.get(link.source, link.source), name.get(link.destination, link.destination)
        if source != destination:
            same = (source, destination) == (link.source, link.destination)
            links.append(link if same else attrs.evolve(link, source=source, destination=destination))
    return attrs.evolve(cluster, places=tuple(kept), links=tuple(links))


def _ports(movement: Movement, island_of: Mapping[PlaceId, int]) -> dict[int, int]:
    """Count the links out of each island's memories from which routes lead to other islands."""
    reached = _reached(movement, island_of)
    found = dict.fromkeys(island_of.values(), 0)
    for link in movement.links:
        if link.source in island_of:
            island = island_of[link.source]
            found[island] += any(other != island for other in reached.get(link.destination, ()))
    return found


def _reached(movement: Movement, island_of: Mapping[PlaceId, int]) -> dict[PlaceId, set[int]]:
    """Say of each place which islands are there, or over switches only: two at most, so that one is another's."""
    before: dict[PlaceId, list[PlaceId]] = {}
    for link in movement.links:
        if link.source not in island_of:
            before.setdefault(link.destination, []).append(link.source)
    found: dict[PlaceId, set[int]] = {}
    waiting = list(island_of.items())
    while waiting:
        place, island = waiting.pop()
        known = found.setdefault(place, set())
        if len(known) < 2 and island not in known:
            known.add(island)
            waiting += [(near, island) for near in before.get(place, ())]
    return found
