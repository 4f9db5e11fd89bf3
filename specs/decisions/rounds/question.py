"""The question: links, chunks, and the steps and rounds that a schedule may take."""

from functools import cached_property

import attrs

from specs import fields
from specs.errors import InvalidProblem

Node = int  # 0 .. nodes - 1
LinkEnds = tuple[Node, Node]  # source, destination


@attrs.frozen(kw_only=True)
class Link:
    """A directed link; full duplex is two of them."""

    source: Node = fields.natural()
    destination: Node = fields.natural()
    chunks_per_round: int = fields.positive()

    @property
    def ends(self) -> LinkEnds:
        """Source and destination."""
        return (self.source, self.destination)

    @property
    def name(self) -> str:
        """The name by which witnesses speak of the link."""
        return f"{self.source}>{self.destination}"


@attrs.frozen(kw_only=True)
class Shared:
    """Links that share a capacity besides their own: the port of a switch, a bus, an uplink."""

    name: str = fields.name()
    links: tuple[LinkEnds, ...]
    chunks_per_round: int = fields.positive()


@attrs.frozen(kw_only=True)
class Fabric:
    """Nodes and what joins them.  Raises InvalidProblem when it contradicts itself."""

    nodes: int = fields.positive()
    links: tuple[Link, ...]  # at most one from a node to another
    shared: tuple[Shared, ...] = ()  # names differ, also from those of links

    def __attrs_post_init__(self) -> None:
        for link in self.links:
            if link.source == link.destination or max(link.ends) >= self.nodes:
                raise InvalidProblem(f"link {link.name}: two different nodes from 0 to {self.nodes - 1} are needed")
        for shared in self.shared:
            for ends in shared.links:
                if ends not in self.by_ends:
                    raise InvalidProblem(f"shared capacity {shared.name}: there is no link {ends[0]}>{ends[1]}")
        names = [carrier.name for carrier in self.carriers]
        if len(set(names)) != len(names):
            twice = min(name for name in names if names.count(name) > 1)
            raise InvalidProblem(f"{twice} is there twice: each link and each shared capacity has a name of its own")

    @cached_property
    def by_ends(self) -> dict[LinkEnds, Link]:
        """Each link by its source and destination."""
        return {link.ends: link for link in self.links}

    @cached_property
    def carriers(self) -> tuple[Shared, ...]:
        """Everything with a capacity: each link alone, then the shared ones."""
        alone = (
            Shared(name=each.name, links=(each.ends,), chunks_per_round=each.chunks_per_round) for each in self.links
        )
        return (*alone, *self.shared)

    @staticmethod
    def from_matrix(matrix: tuple[tuple[int, ...], ...], shared: tuple[Shared, ...] = ()) -> "Fabric":
        """Read `matrix[source][destination]` as chunks per round; 0 is no link."""
        links = tuple(
            Link(source=source, destination=destination, chunks_per_round=capacity)
            for source, row in enumerate(matrix)
            for destination, capacity in enumerate(row)
            if capacity
        )
        return Fabric(nodes=len(matrix), links=links, shared=shared)


@attrs.frozen(kw_only=True)
class Chunks:
    """Equal chunks that begin at the same nodes and are wanted at the same nodes."""

    count: int = fields.positive()
    held_by: tuple[Node, ...]  # ascending, at least one; each holds all of these chunks
    wanted_at: tuple[Node, ...]  # ascending; a holder may be among them

    @property
    def targets(self) -> tuple[Node, ...]:
        """The nodes that each of these chunks has yet to reach."""
        return tuple(node for node in self.wanted_at if node not in self.held_by)


@attrs.frozen(kw_only=True)
class Question:
    """What is asked: a schedule of exactly so many steps, in at most so many rounds.

    Chunks are numbered from 0 in the order of `chunks`: first all of the first kind, then all of the second, and so on.
    Raises InvalidProblem when it contradicts itself.
    """

    fabric: Fabric
    chunks: tuple[Chunks, ...]
    steps: int = fields.positive()
    rounds: int = fields.positive()  # of all steps together; a step lasts at least one

    def __attrs_post_init__(self) -> None:
        for index, chunks in enumerate(self.chunks):
            for nodes in (chunks.held_by, chunks.wanted_at):
                if list(nodes) != sorted(set(nodes)) or any(not 0 <= node < self.fabric.nodes for node in nodes):
                    raise InvalidProblem(f"chunks {index}: nodes {nodes}: ascending, from 0, of the fabric are needed")
            if not chunks.held_by:
                raise InvalidProblem(f"chunks {index}: nobody holds them at first")

    @cached_property
    def kind_of(self) -> tuple[Chunks, ...]:
        """What each chunk is, by its number."""
        return tuple(chunks for chunks in self.chunks for _ in range(chunks.count))
