"""The sends of a kind of chunks that can matter to any schedule, by distance."""

from collections.abc import Iterator

import attrs

from specs.decisions.rounds.bounds import distances
from specs.decisions.rounds.question import Chunks, Fabric, Link, LinkEnds, Node


@attrs.frozen
class UsefulSends:
    """Links and steps, from 0, over which one of the chunks may be worth sending; ordered.

    The source can hold it before the step; the destination does not hold it from the start; and from the destination
    some target, perhaps itself, can be reached in the steps that are left.
    """

    fabric: Fabric
    chunks: Chunks
    steps: int

    def __iter__(self) -> Iterator[tuple[LinkEnds, int]]:
        yield from self.towards(self.chunks.targets)

    def towards(self, targets: tuple[Node, ...]) -> Iterator[tuple[LinkEnds, int]]:
        """Only those from which one of these targets can still be reached."""
        reached = distances(self.fabric, self.chunks.held_by)
        wanting = distances(_reversed(self.fabric), targets)
        for link in self.fabric.links:
            if link.destination in self.chunks.held_by or link.source not in reached or link.destination not in wanting:
                continue
            for step in range(reached[link.source], self.steps - wanting[link.destination]):
                yield link.ends, step


def _reversed(fabric: Fabric) -> Fabric:
    turned = tuple(
        Link(source=link.destination, destination=link.source, chunks_per_round=link.chunks_per_round)
        for link in fabric.links
    )
    return Fabric(nodes=fabric.nodes, links=turned)
