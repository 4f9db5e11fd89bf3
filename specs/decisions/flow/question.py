"""A movement: items with holders and wanters on a place graph.

Multicast is one item that many want; an adapter to many likewise; in an allgather every memory holds an item that all
others want; an alltoall has one item for each pair; a scatter, a gather and a reshuffle of layers are lists of items
with other holders and wanters each.

The language of movement is that of plans.  A *hop* moves a whole piece of an item from one memory to another over a
route that crosses switches only.  The first and the last link of a route are its *ports*: every link that begins or
ends at a memory is a port, and it carries one hop at a time.  Links between switches are shared up to their capacity.
"""

from collections.abc import Iterable, Iterator

import attrs

from specs import fields
from specs.cluster import Cluster, Link, LinkId, Place, PlaceId, PlaceKind
from specs.units import Bytes


@attrs.frozen(kw_only=True)
class Item:
    """Bytes that some memories hold and others want."""

    name: str = fields.name()
    bytes: Bytes = fields.positive()
    holders: tuple[PlaceId, ...]
    wanters: tuple[PlaceId, ...]
    pieces_max: int = 1  # into how many pieces a schedule may cut it; 1: it moves whole, as a blob does

    @property
    def receivers(self) -> tuple[PlaceId, ...]:
        """Wanters that do not hold it."""
        held = set(self.holders)
        return tuple(place for place in self.wanters if place not in held)


@attrs.frozen(kw_only=True)
class Movement:
    """What is to move where.  `faults_of_question` must be empty before anything else is asked."""

    memories: tuple[PlaceId, ...]  # every other end of a link is a switch
    links: tuple[Link, ...]
    items: tuple[Item, ...]
    # Memories that may take pieces of items that they do not want, and pass them on.  Room for them is the caller's.
    relays: tuple[PlaceId, ...] = ()
    # True: a port is busy until the piece is held at the other end, as the daemons' receipts have it.  False: a port
    # is free again once the bytes have passed it, and latency is on the wire.
    latency_holds_ports: bool = True

    @property
    def demand_bytes(self) -> Bytes:
        """Bytes that must arrive, summed over items and receivers."""
        return Bytes(sum(item.bytes * len(item.receivers) for item in self.items))


def movement_in(
    cluster: Cluster, items: Iterable[Item], relays: Iterable[PlaceId] = (), *, latency_holds_ports: bool = True
) -> Movement:
    """Ask for a movement over the place graph of a cluster."""
    return Movement(
        memories=tuple(place.id for place in cluster.places if place.kind is not PlaceKind.SWITCH),
        links=cluster.links,
        items=tuple(items),
        relays=tuple(relays),
        latency_holds_ports=latency_holds_ports,
    )


def as_cluster(movement: Movement) -> Cluster:
    """Give the place graph the form of a cluster: memories as hosts, everything else as switches."""
    memories = dict.fromkeys(movement.memories)
    ends = dict.fromkeys(end for link in movement.links for end in (link.source, link.destination))
    places = [Place(id=place, kind=PlaceKind.HOST, memory_bytes=Bytes(1)) for place in memories]
    places += [Place(id=place, kind=PlaceKind.SWITCH, memory_bytes=Bytes(0)) for place in ends if place not in memories]
    return Cluster(name="movement", device_kinds=(), nodes=(), places=tuple(places), links=movement.links)


def links_by_id(movement: Movement) -> dict[LinkId, Link]:
    """Index the links."""
    return {link.id: link for link in movement.links}


def faults_of_question(movement: Movement) -> Iterator[str]:
    """Yield, one sentence each, why a movement means nothing."""
    memories = set(movement.memories)
    yield from _repeated("memory", movement.memories)
    yield from _repeated("link", (link.id for link in movement.links))
    yield from _repeated("item", (item.name for item in movement.items))
    for link in movement.links:
        if link.source == link.destination:
            yield f"link {link.id} leads from {link.source} to itself"
    for place in movement.relays:
        if place not in memories:
            yield f"relay {place} is not a memory of the movement"
    for item in movement.items:
        if item.pieces_max < 1:
            yield f"item {item.name} may be cut into {item.pieces_max} pieces; at least 1 is needed"
        if not item.holders and item.wanters:
            yield f"item {item.name} is wanted but held nowhere"
        yield from _repeated(f"holder of {item.name}", item.holders)
        yield from _repeated(f"wanter of {item.name}", item.wanters)
        for place in (*item.holders, *item.wanters):
            if place not in memories:
                yield f"item {item.name} names {place}, which is not a memory of the movement"


def _repeated(what: str, names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield f"{what} {name} is named twice"
        seen.add(name)
