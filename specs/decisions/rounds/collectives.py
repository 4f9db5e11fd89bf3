"""The textbook collectives that only move data, as chunks with holders and destinations.

`count` is the number of chunks per unit: per node for Allgather and Gather, per destination for Scatter, per pair for
Alltoall, in all for Broadcast.
"""

from specs.decisions.rounds.question import Chunks, Node


def allgather(nodes: int, count: int) -> tuple[Chunks, ...]:
    """Every node has chunks that all others want."""
    everyone = tuple(range(nodes))
    return tuple(Chunks(count=count, held_by=(node,), wanted_at=everyone) for node in everyone)


def broadcast(nodes: int, count: int, root: Node) -> tuple[Chunks, ...]:
    """The root has chunks that all others want."""
    return (Chunks(count=count, held_by=(root,), wanted_at=tuple(range(nodes))),)


def gather(nodes: int, count: int, root: Node) -> tuple[Chunks, ...]:
    """Every node has chunks that the root wants."""
    return tuple(Chunks(count=count, held_by=(node,), wanted_at=(root,)) for node in range(nodes))


def scatter(nodes: int, count: int, root: Node) -> tuple[Chunks, ...]:
    """The root has chunks for each node."""
    return tuple(Chunks(count=count, held_by=(root,), wanted_at=(node,)) for node in range(nodes))


def alltoall(nodes: int, count: int) -> tuple[Chunks, ...]:
    """Every node has chunks for each other node."""
    return tuple(
        Chunks(count=count, held_by=(source,), wanted_at=(destination,))
        for source in range(nodes)
        for destination in range(nodes)
        if source != destination
    )
