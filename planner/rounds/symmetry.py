"""Symmetries of a question: renumberings of the nodes that change neither links, capacities nor what is wanted.

Among them a group is sought that moves every node and every kind of chunks (but for its identity): then a schedule that
is the same under the group is given by the sends of one kind out of each orbit, and prices by one carrier out of each.
The relaxation loses nothing by this: the mean of all images of an optimum is an optimum.  A search for symmetric
schedules may miss others, so only what it finds counts.
"""

from collections.abc import Iterator, Sequence

import attrs

from specs.decisions.rounds.question import Chunks, LinkEnds, Node, Question

_TRIES_MAX = 20_000  # assignments of one node, in all


@attrs.frozen(kw_only=True)
class Symmetry:
    """One renumbering."""

    nodes: tuple[Node, ...]  # where each node goes
    kinds: tuple[int, ...]  # where each kind of chunks goes, by its index in the question

    def ends(self, ends: LinkEnds) -> LinkEnds:
        """Where a link goes."""
        return (self.nodes[ends[0]], self.nodes[ends[1]])


def identity(question: Question) -> Symmetry:
    """The renumbering that changes nothing."""
    return Symmetry(nodes=tuple(range(question.fabric.nodes)), kinds=tuple(range(len(question.chunks))))


def free_group(question: Question) -> tuple[Symmetry, ...]:
    """Find a commutative group of symmetries, its identity first, of which no other fixes a node or kind that moves.

    Not always the largest: it is grown one generator at a time, with a limit on the work.
    """
    group: tuple[Symmetry, ...] = (identity(question),)
    search = _Generators(question)
    for image in range(1, question.fabric.nodes):
        if any(each.nodes[0] == image for each in group):
            continue
        generator = search.commuting(group, image)
        if generator is not None:
            group = search.grown(group, generator)
    return group


class _Generators:
    """A search for one more generator."""

    def __init__(self, question: Question) -> None:
        fabric = question.fabric
        self._question = question
        self._nodes = range(fabric.nodes)
        self._capacity = [
            [fabric.by_ends[source, to].chunks_per_round if (source, to) in fabric.by_ends else 0 for to in self._nodes]
            for source in self._nodes
        ]
        self._shared = sorted((sorted(each.links), each.chunks_per_round) for each in fabric.shared)
        # Kinds with the same nodes have no symmetry that tells them apart: such a question has none.
        self._kind_of = {(each.count, each.held_by, each.wanted_at): i for i, each in enumerate(question.chunks)}
        self._tries_left = _TRIES_MAX if len(self._kind_of) == len(question.chunks) else 0

    def commuting(self, group: Sequence[Symmetry], image: Node) -> Symmetry | None:
        """Find a symmetry that takes node 0 to `image`, commutes with the group and makes a free group with it."""
        orbits = sorted({min(each.nodes[node] for each in group) for node in self._nodes})
        for nodes in self._extended(group, orbits, {}, image):
            found = self._whole(tuple(nodes[node] for node in self._nodes))
            if found is not None and self.grown(group, found):
                return found
        return None

    def _extended(
        self, group: Sequence[Symmetry], orbits: Sequence[Node], begun: dict[Node, Node], image: Node | None
    ) -> Iterator[dict[Node, Node]]:
        """Give images to the first node of each orbit; commuting settles those of the others."""
        if not orbits:
            yield begun
            return
        for to in self._nodes if image is None else (image,):
            if self._tries_left == 0:
                return
            self._tries_left -= 1
            added = {each.nodes[orbits[0]]: each.nodes[to] for each in group}
            nodes = begun | added
            moves = all(node != image for node, image in added.items())
            if moves and len(set(nodes.values())) == len(nodes) and self._keeps_links(nodes, added):
                yield from self._extended(group, orbits[1:], nodes, None)

    def _keeps_links(self, nodes: dict[Node, Node], added: dict[Node, Node]) -> bool:
        capacity = self._capacity
        return all(
            capacity[a][b] == capacity[to][nodes[b]] and capacity[b][a] == capacity[nodes[b]][to]
            for a, to in added.items()
            for b in nodes
        )

    def _whole(self, nodes: tuple[Node, ...]) -> Symmetry | None:
        """Say what becomes of the kinds; None when shared capacities or kinds are not kept."""
        turned = (
            (sorted((nodes[a], nodes[b]) for a, b in each.links), each.chunks_per_round)
            for each in self._question.fabric.shared
        )
        if sorted(turned) != self._shared:
            return None
        kinds = [self._kind_of.get(_moved(chunks, nodes)) for chunks in self._question.chunks]
        known = tuple(kind for kind in kinds if kind is not None)
        return Symmetry(nodes=nodes, kinds=known) if len(known) == len(kinds) else None

    def grown(self, group: Sequence[Symmetry], generator: Symmetry) -> tuple[Symmetry, ...]:
        """All products of the group with powers of the generator; nothing when one of them is not free."""
        power, products = generator, list(group)
        while power.nodes not in {each.nodes for each in group}:
            products += [_after(each, power) for each in group]
            power = _after(generator, power)
        return tuple(products) if all(self._is_free(each) for each in products[1:]) else ()

    def _is_free(self, symmetry: Symmetry) -> bool:
        kinds = (i for i, chunks in enumerate(self._question.chunks) if chunks.targets)
        return all(symmetry.nodes[i] != i for i in self._nodes) and all(symmetry.kinds[i] != i for i in kinds)


def _moved(chunks: Chunks, nodes: Sequence[Node]) -> tuple[int, tuple[Node, ...], tuple[Node, ...]]:
    held_by, wanted_at = (tuple(sorted(nodes[i] for i in each)) for each in (chunks.held_by, chunks.wanted_at))
    return chunks.count, held_by, wanted_at


def _after(second: Symmetry, first: Symmetry) -> Symmetry:
    """First one renumbering, then the other."""
    return Symmetry(
        nodes=tuple(second.nodes[node] for node in first.nodes),
        kinds=tuple(second.kinds[kind] for kind in first.kinds),
    )
