"""Equal nodes together, so that a thousand of them are one row of a table and one card of a picture."""

from collections.abc import Mapping

import attrs

from specs.cluster import Cluster, DeviceKindName, Link, NodeId, Place, PlaceId, PlaceKind
from specs.problem import Problem
from specs.units import Bytes, BytesPerSecond, Nanos


@attrs.frozen(kw_only=True)
class Role:
    """What becomes of a place."""

    held: tuple[str, ...] = ()  # LLMs, or parts of them, that it holds now
    wanted: tuple[str, ...] = ()  # LLMs that it is to hold


@attrs.frozen(kw_only=True)
class GroupPlace:
    """A place of every node of a group."""

    name: str  # without the node
    kind: PlaceKind
    memory_bytes: Bytes
    device: DeviceKindName | None
    role: Role


@attrs.frozen(kw_only=True)
class GroupLink:
    """A link of every node of a group."""

    source: str  # within the node, or the switch outside
    destination: str
    bytes_per_second: BytesPerSecond
    latency_ns: Nanos
    leaves_node: bool  # one of its ends is outside


@attrs.frozen(kw_only=True)
class NodeGroup:
    """Nodes that are equal but for their names and addresses."""

    nodes: tuple[NodeId, ...]
    rack: str | None
    places: tuple[GroupPlace, ...]
    links: tuple[GroupLink, ...]

    def of_kind(self, kind: PlaceKind) -> tuple[GroupPlace, ...]:
        """Select its places of one kind."""
        return tuple(place for place in self.places if place.kind is kind)


def group_nodes(problem: Problem) -> tuple[NodeGroup, ...]:
    """Group the nodes of a problem, in the order in which they first stand in the cluster."""
    cluster = problem.cluster
    roles = _roles(problem)
    places: dict[NodeId, list[GroupPlace]] = {node.id: [] for node in cluster.nodes}
    node_of: dict[str, NodeId] = {}
    for place in cluster.places:
        if place.node is not None:
            node_of[place.id] = place.node
            places[place.node].append(_group_place(place, roles))
    links = _links_of_nodes(cluster, node_of)
    grouped: dict[tuple[object, ...], list[NodeId]] = {}
    for node in cluster.nodes:
        key = (node.rack, tuple(places[node.id]), tuple(links[node.id]))
        grouped.setdefault(key, []).append(node.id)
    racks = {node.id: node.rack for node in cluster.nodes}
    return tuple(
        NodeGroup(
            nodes=tuple(nodes), rack=racks[nodes[0]], places=tuple(places[nodes[0]]), links=tuple(links[nodes[0]])
        )
        for nodes in grouped.values()
    )


def uplinks(cluster: Cluster) -> tuple[Link, ...]:
    """List the links between places of no node, of each pair the first: a description lists the way up first."""
    shared = {place.id for place in cluster.places if place.node is None}
    found: dict[tuple[PlaceId, PlaceId], Link] = {}
    for link in cluster.links:
        if link.source in shared and link.destination in shared and (link.destination, link.source) not in found:
            found[link.source, link.destination] = link
    return tuple(found.values())


def _roles(problem: Problem) -> dict[str, Role]:
    roles: dict[str, Role] = {}
    for holding in problem.holdings:
        role = roles.get(holding.place, Role())
        held = holding.llm if holding.whole else f"a part of {holding.llm}"
        if held not in role.held:
            roles[holding.place] = attrs.evolve(role, held=(*role.held, held))
    for target in problem.targets:
        role = roles.get(target.place, Role())
        roles[target.place] = attrs.evolve(role, wanted=(*role.wanted, target.llm))
    return roles


def _within(place: str) -> str:
    return place.partition("/")[2]


def _group_place(place: Place, roles: Mapping[str, Role]) -> GroupPlace:
    return GroupPlace(
        name=_within(place.id),
        kind=place.kind,
        memory_bytes=place.memory_bytes,
        device=place.device,
        role=roles.get(place.id, Role()),
    )


def _links_of_nodes(cluster: Cluster, node_of: Mapping[str, NodeId]) -> dict[NodeId, list[GroupLink]]:
    links: dict[NodeId, list[GroupLink]] = {node.id: [] for node in cluster.nodes}
    for link in cluster.links:
        source, destination = node_of.get(link.source), node_of.get(link.destination)
        node = source or destination
        if node is None:
            continue
        links[node].append(
            GroupLink(
                source=_within(link.source) if source else link.source,
                destination=_within(link.destination) if destination else link.destination,
                bytes_per_second=link.bytes_per_second,
                latency_ns=link.latency_ns,
                leaves_node=source is None or destination is None,
            )
        )
    return links
