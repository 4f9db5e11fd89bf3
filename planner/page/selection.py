"""What a page shows: all of a small plan, the first nodes of a large one."""

import attrs

from specs.blobs import BlobId
from specs.cluster import NodeId, PlaceId
from specs.invariants.facts import Facts
from specs.plan import Pipeline
from specs.ports import Hop

NODES_MAX = 64  # a page with more lanes is neither read nor quickly drawn
PIPELINES_MAX = 200


@attrs.frozen(kw_only=True)
class Memory:
    """A place that holds, sends or receives blobs."""

    place: PlaceId
    node: NodeId | None
    held: frozenset[BlobId]  # at the start
    ever: frozenset[BlobId]  # what it holds at some time


@attrs.frozen(kw_only=True)
class Selection:
    """The parts of a plan that a page shows, each in a fixed order."""

    nodes: tuple[NodeId, ...]
    hidden: tuple[NodeId, ...]
    memories: tuple[Memory, ...]  # of shown nodes and of no node
    hops: tuple[Hop, ...]  # transfers with an end among the memories
    pipelines: tuple[Pipeline, ...]  # with a stage on a shown node
    pipelines_hidden: int


def select(facts: Facts, nodes_max: int = NODES_MAX) -> Selection:
    """Choose, in the cluster's order: nodes that hold an LLM at the start, then those that hold a part, the others."""
    node_of = {place.id: place.node for place in facts.problem.cluster.places}
    names = [node.id for node in facts.problem.cluster.nodes]
    whole = {node_of[holding.place] for holding in facts.problem.holdings if holding.whole}
    holders = {node_of[holding.place] for holding in facts.problem.holdings}
    ordered = sorted(names, key=lambda name: (name not in whole, name not in holders))
    chosen = set(ordered[:nodes_max])
    nodes = tuple(name for name in names if name in chosen)
    memories = _memories(facts, chosen)
    places = {memory.place for memory in memories}
    hops = tuple(hop for hop in facts.hops if hop.source in places or hop.destination in places)
    activated = facts.opened_ns
    pipelines = [
        each
        for each in facts.pipelines.values()
        if each.id in activated and any(node_of[stage.place] in chosen for stage in each.stages)
    ][:PIPELINES_MAX]
    return Selection(
        nodes=nodes,
        hidden=tuple(name for name in names if name not in chosen),
        memories=memories,
        hops=hops,
        pipelines=tuple(pipelines),
        pipelines_hidden=len(activated) - len(pipelines),
    )


def _memories(facts: Facts, nodes: set[NodeId]) -> tuple[Memory, ...]:
    held: dict[PlaceId, set[BlobId]] = {}
    for blob, place in facts.held_at_start:
        held.setdefault(place, set()).add(blob)
    ever = {place: set(blobs) for place, blobs in held.items()}
    for hop in facts.hops:
        ever.setdefault(hop.source, set())
        ever.setdefault(hop.destination, set()).add(hop.transfer.blob)
    return tuple(
        Memory(
            place=place.id,
            node=place.node,
            held=frozenset(held.get(place.id, ())),
            ever=frozenset(ever[place.id]),
        )
        for place in facts.problem.cluster.places
        if place.id in ever and (place.node is None or place.node in nodes)
    )
