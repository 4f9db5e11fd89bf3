"""Every way in which a schedule of hops is wrong: form first, then the rules CAUSE, PORT, LINK and FULL of plans."""

import itertools
from collections.abc import Iterator

import attrs

from specs.cluster import Link, LinkId, PlaceId
from specs.decisions.flow.answer import Delivery, Hop
from specs.decisions.flow.question import Movement, links_by_id
from specs.plan import Route
from specs.units import Nanos, duration_ns


@attrs.frozen(kw_only=True)
class _Way:
    """What matters of a route: its ends, its ports, its links inside and its latency."""

    source: PlaceId
    destination: PlaceId
    send_port: LinkId
    receive_port: LinkId
    inside: tuple[LinkId, ...]
    width: int  # bytes per second of its narrowest link
    latency_ns: Nanos


def faults(movement: Movement, delivery: Delivery) -> Iterator[str]:
    """Yield one sentence for each fault: where, what, what instead.

    References first; when those are broken nothing else can be said.  Takes time in proportion to hops.
    """
    links = links_by_id(movement)
    broken = [*_broken_pieces(movement, delivery), *_broken_references(movement, links, delivery)]
    yield from broken
    if broken:
        return
    ways = [_way(links, route) for route in delivery.routes]
    yield from _held_before_sent(movement, delivery, ways)
    yield from _ports_take_turns(movement, delivery, ways)
    yield from _links_carry(movement, links, delivery, ways)
    yield from _wanters_filled(movement, delivery, ways)


def _broken_pieces(movement: Movement, delivery: Delivery) -> Iterator[str]:
    cut: list[list[int]] = [[] for _ in movement.items]
    for number, piece in enumerate(delivery.pieces):
        if not 0 <= piece.item < len(movement.items):
            yield f"piece {number} is of item {piece.item}, the movement has {len(movement.items)} items"
            continue
        cut[piece.item].append(piece.bytes)
        if piece.bytes < 1:
            yield f"piece {number} has {piece.bytes} bytes; at least 1 is needed"
    for item, sizes in zip(movement.items, cut, strict=True):
        if sum(sizes) != item.bytes:
            yield f"the pieces of {item.name} have {sum(sizes)} bytes together, the item has {item.bytes}"
        if len(sizes) > item.pieces_max:
            yield f"{item.name} is cut into {len(sizes)} pieces, at most {item.pieces_max} are allowed"


def _broken_references(movement: Movement, links: dict[LinkId, Link], delivery: Delivery) -> Iterator[str]:
    memories = set(movement.memories)
    for number, route in enumerate(delivery.routes):
        yield from _broken_route(memories, links, number, route)
    previous = 0
    for number, hop in enumerate(delivery.hops):
        if not 0 <= hop.piece < len(delivery.pieces):
            yield f"hop {number} moves piece {hop.piece}, there are {len(delivery.pieces)} pieces"
        if not 0 <= hop.route < len(delivery.routes):
            yield f"hop {number} takes route {hop.route}, there are {len(delivery.routes)} routes"
        if hop.bytes_per_second < 1 or hop.start_ns < 0:
            yield f"hop {number} starts at {hop.start_ns} ns at {hop.bytes_per_second} bytes/s; 0 and 1 are the least"
        if hop.start_ns < previous:
            yield f"hop {number} starts at {hop.start_ns} ns, but the one before it at {previous} ns: hops are in order"
        previous = hop.start_ns


def _broken_route(memories: set[PlaceId], links: dict[LinkId, Link], number: int, route: Route) -> Iterator[str]:
    unknown = [link for link in route.links if link not in links]
    if unknown or not route.links:
        yield f"route {number} crosses {unknown[0] if unknown else 'nothing'}, which is not a link of the movement"
        return
    path = [links[link] for link in route.links]
    for near, far in itertools.pairwise(path):
        if near.destination != far.source:
            yield f"route {number}: {near.id} ends at {near.destination}, but {far.id} begins at {far.source}"
        elif near.destination in memories:
            yield f"route {number} passes through {near.destination}, a memory; routes cross switches only"
    for what, end in (("begins", path[0].source), ("ends", path[-1].destination)):
        if end not in memories:
            yield f"route {number} {what} at {end}, which is not a memory"
    if len(set(route.links)) < len(route.links):
        yield f"route {number} crosses a link twice"
    if path[0].source == path[-1].destination:
        yield f"route {number} leads from {path[0].source} back to it"


def _way(links: dict[LinkId, Link], route: Route) -> _Way:
    path = [links[link] for link in route.links]
    return _Way(
        source=path[0].source,
        destination=path[-1].destination,
        send_port=path[0].id,
        receive_port=path[-1].id,
        inside=route.links[1:-1],
        width=min(link.bytes_per_second for link in path),
        latency_ns=Nanos(sum(link.latency_ns for link in path)),
    )


def _held_before_sent(movement: Movement, delivery: Delivery, ways: list[_Way]) -> Iterator[str]:
    """CAUSE: the source holds the piece before the hop starts."""
    held_from: dict[tuple[int, PlaceId], int] = {}
    for hop in delivery.hops:
        at = (hop.piece, ways[hop.route].destination)
        held_from[at] = min(held_from.get(at, hop.end_ns), hop.end_ns)
    for number, piece in enumerate(delivery.pieces):
        held_from.update(((number, place), 0) for place in movement.items[piece.item].holders)
    for number, hop in enumerate(delivery.hops):
        source = ways[hop.route].source
        since = held_from.get((hop.piece, source))
        if since is None or since > hop.start_ns:
            when = "never holds it" if since is None else f"holds it only from {since} ns"
            yield f"hop {number} sends piece {hop.piece} from {source} at {hop.start_ns} ns, which {when}"


def _ports_take_turns(movement: Movement, delivery: Delivery, ways: list[_Way]) -> Iterator[str]:
    """PORT: a link that begins or ends at a memory carries one hop at a time."""
    free_ns: dict[LinkId, int] = {}
    for number, hop in enumerate(delivery.hops):
        way = ways[hop.route]
        until = hop.end_ns if movement.latency_holds_ports else hop.end_ns - way.latency_ns
        for port in {way.send_port: None, way.receive_port: None}:
            if free_ns.get(port, 0) > hop.start_ns:
                yield f"hop {number} starts at {hop.start_ns} ns, but port {port} is busy until {free_ns[port]} ns"
            free_ns[port] = max(free_ns.get(port, 0), until)


def _links_carry(movement: Movement, links: dict[LinkId, Link], delivery: Delivery, ways: list[_Way]) -> Iterator[str]:
    """LINK: no hop beats its rate, no rate the route's width, and links inside carry no more than their capacity."""
    changes: dict[LinkId, list[tuple[int, int]]] = {}
    for number, hop in enumerate(delivery.hops):
        way, size = ways[hop.route], delivery.pieces[hop.piece].bytes
        least = duration_ns(size, hop.bytes_per_second) + way.latency_ns
        if hop.end_ns - hop.start_ns < least:
            yield f"hop {number} takes {hop.end_ns - hop.start_ns} ns; {size} bytes need {least} ns on its route"
        if hop.bytes_per_second > way.width:
            yield f"hop {number} runs at {hop.bytes_per_second} bytes/s, its route carries {way.width}"
        until = hop.end_ns if movement.latency_holds_ports else hop.end_ns - way.latency_ns
        for link in way.inside:
            changes.setdefault(link, []).extend(((hop.start_ns, hop.bytes_per_second), (until, -hop.bytes_per_second)))
    for link_id, found in changes.items():
        load, capacity = 0, links[link_id].bytes_per_second
        for at_ns, change in sorted(found):  # at one instant, what ends makes room first: its change is negative
            load += change
            if load > capacity:
                yield f"link {link_id} carries {load} bytes/s at {at_ns} ns, its capacity is {capacity}"
                break


def _wanters_filled(movement: Movement, delivery: Delivery, ways: list[_Way]) -> Iterator[str]:
    """FULL: every wanter ends with every piece; nobody receives one twice, or one that it holds or may not take."""
    relays = set(movement.relays)
    may_take = [relays | set(item.wanters) for item in movement.items]
    holders = [set(item.holders) for item in movement.items]
    arrived: dict[tuple[int, PlaceId], Hop] = {}
    for number, hop in enumerate(delivery.hops):
        item, place = delivery.pieces[hop.piece].item, ways[hop.route].destination
        if place in holders[item]:
            yield f"hop {number} sends piece {hop.piece} to {place}, which holds it from the start"
        elif (hop.piece, place) in arrived:
            yield f"hop {number} sends piece {hop.piece} to {place} a second time"
        elif place not in may_take[item]:
            yield f"hop {number} sends piece {hop.piece} to {place}, which neither wants nor relays it"
        arrived[hop.piece, place] = hop
    for number, piece in enumerate(delivery.pieces):
        for place in movement.items[piece.item].receivers:
            if (number, place) not in arrived:
                yield f"{place} never receives piece {number} of {movement.items[piece.item].name}"
