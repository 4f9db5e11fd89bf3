"""Fabrics and random questions for the tests of schedules in steps and rounds."""

from hypothesis import strategies as st

from specs.decisions.rounds.question import Chunks, Fabric, Link, Question, Shared

# The NVLink matrix of a DGX-1, as in SCCL's `topologies/nvidia.py`.
DGX1 = Fabric.from_matrix(
    (
        (0, 2, 1, 1, 2, 0, 0, 0),
        (2, 0, 1, 2, 0, 1, 0, 0),
        (1, 1, 0, 2, 0, 0, 2, 0),
        (1, 2, 2, 0, 0, 0, 0, 1),
        (2, 0, 0, 0, 0, 2, 1, 1),
        (0, 1, 0, 0, 2, 0, 1, 2),
        (0, 0, 2, 0, 1, 1, 0, 2),
        (0, 0, 0, 1, 1, 2, 2, 0),
    )
)


def ring(nodes: int) -> Fabric:
    """Links to both neighbours, one chunk per round."""
    ends = sorted({(i, (i + shift) % nodes) for i in range(nodes) for shift in (1, nodes - 1)})
    return Fabric(nodes=nodes, links=tuple(Link(source=a, destination=b, chunks_per_round=1) for a, b in ends))


def switch(nodes: int, ports: int) -> Fabric:
    """A crossbar: every node sends and receives at most so many chunks per round."""
    others = {node: [other for other in range(nodes) if other != node] for node in range(nodes)}
    links = tuple(Link(source=a, destination=b, chunks_per_round=ports) for a in range(nodes) for b in others[a])
    shared = [Shared(name=f"out{a}", links=tuple((a, b) for b in others[a]), chunks_per_round=ports) for a in others]
    shared += [Shared(name=f"in{b}", links=tuple((a, b) for a in others[b]), chunks_per_round=ports) for b in others]
    return Fabric(nodes=nodes, links=links, shared=tuple(shared))


def two_rings_of_four() -> Fabric:
    """Rings 0-3 and 4-7; every node reaches those of the other ring, one chunk per round for all of a ring together."""
    nodes = range(8)
    near = {(a, b) for a in nodes for b in nodes if a // 4 == b // 4 and (a - b) % 4 in (1, 3)}
    far = {(a, b) for a in nodes for b in nodes if a // 4 != b // 4}
    links = tuple(Link(source=a, destination=b, chunks_per_round=1) for a, b in sorted(near | far))
    shared = [
        Shared(name=f"up{side}", links=tuple(ends for ends in sorted(far) if ends[0] // 4 == side), chunks_per_round=1)
        for side in (0, 1)
    ]
    return Fabric(nodes=8, links=links, shared=tuple(shared))


@st.composite
def questions(draw: st.DrawFn, *, nodes_max: int = 4, chunks_max: int = 4, steps_max: int = 3) -> Question:
    """Small questions of any kind: sparse or dense, with and without shared capacities, several holders."""
    nodes = draw(st.integers(2, nodes_max))
    pairs = [(a, b) for a in range(nodes) for b in range(nodes) if a != b]
    ends = draw(st.lists(st.sampled_from(pairs), unique=True, min_size=1))
    links = tuple(Link(source=a, destination=b, chunks_per_round=draw(st.integers(1, 2))) for a, b in sorted(ends))
    shared = ()
    if len(ends) > 1 and draw(st.booleans()):
        members = draw(st.lists(st.sampled_from(sorted(ends)), unique=True, min_size=2, max_size=4))
        shared = (Shared(name="port", links=tuple(members), chunks_per_round=draw(st.integers(1, 2))),)
    some_nodes = st.lists(st.integers(0, nodes - 1), unique=True, min_size=1).map(lambda found: tuple(sorted(found)))
    kinds: list[Chunks] = []
    left = chunks_max
    while left and (not kinds or draw(st.booleans())):
        count = draw(st.integers(1, left))
        held_by = draw(st.one_of(st.integers(0, nodes - 1).map(lambda node: (node,)), some_nodes))
        kinds.append(Chunks(count=count, held_by=held_by, wanted_at=draw(some_nodes)))
        left -= count
    steps = draw(st.integers(1, steps_max))
    fabric = Fabric(nodes=nodes, links=links, shared=shared)
    return Question(fabric=fabric, chunks=tuple(kinds), steps=steps, rounds=steps + draw(st.integers(0, 4)))
