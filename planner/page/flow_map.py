"""What a drawing of the flow consists of: tiles of nodes, vertices of places, edges of links, each with its sums.

Few nodes are shown place by place; more are shown node by node, with equal places of a node as one; very many are
shown as groups of equal nodes, with their number.  Whatever is drawn as one is summed; no link is left out of a sum.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import attrs

from planner.description.node_groups import group_nodes
from planner.description.wording import say_names
from planner.flow import WHOLE_PPM, Bottleneck, Flow, LinkFlow
from specs.cluster import Cluster, Link, LinkId, NodeId, Place, PlaceId, PlaceKind
from specs.invariants.facts import Facts
from specs.units import NANOS_PER_SECOND, Bytes, BytesPerSecond

TILES_MAX = 48  # more nodes than this are drawn as groups of equal ones
DETAILED_MAX = 16  # more tiles than this show equal places of a node as one
_DIGITS = re.compile(r"[0-9]+")


@attrs.frozen(kw_only=True)
class Tile:
    """A node, or equal nodes as one."""

    nodes: tuple[NodeId, ...]
    rack: str | None


@attrs.frozen(kw_only=True)
class Vertex:
    """A place, or equal places as one."""

    name: str  # without the node
    kind: PlaceKind
    tile: int | None  # absent: a switch of the network
    places: tuple[PlaceId, ...]
    holds: int  # of its places, how many hold some LLM at the start
    wants: int  # of its places, how many are to hold one


@attrs.frozen(kw_only=True)
class Edge:
    """The links from one vertex to another."""

    source: int
    destination: int
    links: tuple[LinkId, ...]
    used: int  # links that carry anything
    bytes: Bytes  # of all links together
    bytes_per_second: BytesPerSecond  # of all links together
    mean_ppm: int  # bytes, of what all links could carry
    hottest: LinkFlow  # the least idle of the links
    binds: int  # links of it that are bottlenecks


@attrs.frozen(kw_only=True)
class FlowMap:
    """Everything that is drawn, in a fixed order."""

    tiles: tuple[Tile, ...]
    vertices: tuple[Vertex, ...]
    edges: tuple[Edge, ...]
    inside: tuple[LinkFlow, ...]  # links with both ends in one vertex: they are not drawn


def flow_map(facts: Facts, flow: Flow, bottlenecks: Sequence[Bottleneck]) -> FlowMap:
    """Group nodes, places and links so that a person can read the drawing."""
    tiles = make_tiles(facts)
    vertices = _vertices(facts, tiles)
    number = {place: index for index, vertex in enumerate(vertices) for place in vertex.places}
    binding = {each.link for found in bottlenecks for each in found.links}
    grouped: dict[tuple[int, int], list[tuple[Link, LinkFlow]]] = defaultdict(list)
    inside = []
    for link, each in zip(facts.problem.cluster.links, flow.links, strict=True):
        ends = number[link.source], number[link.destination]
        if ends[0] == ends[1]:
            inside.append(each)
        else:
            grouped[ends].append((link, each))
    return FlowMap(
        tiles=tiles,
        vertices=vertices,
        edges=tuple(_edge(ends, rows, flow, binding) for ends, rows in grouped.items()),
        inside=tuple(inside),
    )


def _edge(ends: tuple[int, int], rows: Sequence[tuple[Link, LinkFlow]], flow: Flow, binding: set[LinkId]) -> Edge:
    size = sum(each.bytes for _, each in rows)
    capacity = sum(link.bytes_per_second for link, _ in rows)
    return Edge(
        source=ends[0],
        destination=ends[1],
        links=tuple(link.id for link, _ in rows),
        used=sum(each.transfers > 0 for _, each in rows),
        bytes=Bytes(size),
        bytes_per_second=BytesPerSecond(capacity),
        mean_ppm=size * NANOS_PER_SECOND * WHOLE_PPM // max(capacity * flow.duration_ns, 1),
        hottest=max((each for _, each in rows), key=lambda each: (each.taken_ppm, each.mean_ppm)),
        binds=sum(link.id in binding for link, _ in rows),
    )


# --- nodes to tiles --------------------------------------------------------------------------------------------------


def make_tiles(facts: Facts) -> tuple[Tile, ...]:
    """Give every node a tile, or every group of equal nodes; where even these are too many, whatever their rack."""
    nodes = facts.problem.cluster.nodes
    if len(nodes) <= TILES_MAX:
        return tuple(Tile(nodes=(node.id,), rack=node.rack) for node in nodes)
    groups = group_nodes(facts.problem)
    if len(groups) <= TILES_MAX:
        return tuple(Tile(nodes=group.nodes, rack=group.rack) for group in groups)
    merged: dict[object, list[NodeId]] = {}
    for group in groups:
        # Links that leave a node count by their rates alone, not by the switch to which they lead.
        wires = tuple(
            attrs.evolve(
                each,
                source="" if each.leaves_node and each.source in facts.places else each.source,
                destination="" if each.leaves_node and each.destination in facts.places else each.destination,
            )
            for each in group.links
        )
        merged.setdefault((group.places, wires), []).extend(group.nodes)
    return tuple(Tile(nodes=tuple(found), rack=None) for found in merged.values())


# --- places to vertices ----------------------------------------------------------------------------------------------


def _vertices(facts: Facts, tiles: Sequence[Tile]) -> tuple[Vertex, ...]:
    cluster = facts.problem.cluster
    tile_of = {node: index for index, tile in enumerate(tiles) for node in tile.nodes}
    detailed = len(tiles) <= DETAILED_MAX
    grouped: dict[tuple[object, ...], list[Place]] = {}
    switches = _switch_keys(cluster, tile_of, apart=detailed and len(cluster.nodes) <= TILES_MAX)
    for place in cluster.places:
        if place.node is None:
            grouped.setdefault(switches[place.id], []).append(place)
            continue
        name = place.id.removeprefix(f"{place.node}/")
        key = name if detailed else _DIGITS.sub("", name)
        grouped.setdefault((tile_of[place.node], place.kind, key), []).append(place)
    holders = {holding.place for holding in facts.problem.holdings}
    wanted = {target.place for target in facts.problem.targets}
    return tuple(
        Vertex(
            name=_name(places),
            kind=places[0].kind,
            tile=None if places[0].node is None else tile_of[places[0].node],
            places=tuple(place.id for place in places),
            holds=sum(place.id in holders for place in places),
            wants=sum(place.id in wanted for place in places),
        )
        for places in grouped.values()
    )


def _name(places: Sequence[Place]) -> str:
    if places[0].node is None:
        return say_names(place.id for place in places)
    return say_names(dict.fromkeys(place.id.removeprefix(f"{place.node}/") for place in places))


def _switch_keys(cluster: Cluster, tile_of: Mapping[NodeId, int], *, apart: bool) -> dict[PlaceId, tuple[object, ...]]:
    """Tell which switches of the network are drawn as one: those that join the same tiles and switches alike."""
    node_of = {place.id: place.node for place in cluster.places}
    shared = [place.id for place in cluster.places if place.node is None]
    if apart:
        return {place: (place,) for place in shared}
    joined: dict[PlaceId, set[tuple[str, int]]] = {place: set() for place in shared}
    for link in cluster.links:
        for near, far in _both_ways(link):
            if near in joined:
                node = node_of[far]
                other = f"tile {tile_of[node]}" if node is not None else f"switch {_DIGITS.sub('', far)}"
                joined[near].add((other, link.bytes_per_second))
    return {place: (_DIGITS.sub("", place), tuple(sorted(joined[place]))) for place in shared}


def _both_ways(link: Link) -> Iterable[tuple[PlaceId, PlaceId]]:
    return (link.source, link.destination), (link.destination, link.source)
