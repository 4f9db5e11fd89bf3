"""What memories can send and receive, against a walk over every path."""

import attrs
from hypothesis import given
from hypothesis import strategies as st

from specs.capacity import Capacity, capacities, widest_bytes_per_second
from specs.cluster import Cluster, Link, Place, PlaceKind
from tests.builders import TOY, a_cluster

MEMORIES, SWITCHES = ("m0", "m1", "m2"), ("s0", "s1", "s2")


@st.composite
def small_clusters(draw):
    places = [*MEMORIES, *SWITCHES]
    pairs = [(a, b) for a in places for b in places if a != b]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=12))
    return Cluster(
        name="small",
        device_kinds=(TOY,),
        nodes=(),
        places=tuple(
            Place(id=name, kind=PlaceKind.HOST, memory_bytes=1)
            if name in MEMORIES
            else Place(id=name, kind=PlaceKind.SWITCH, memory_bytes=0)
            for name in places
        ),
        links=tuple(
            Link(
                id=f"{a}>{b}",
                source=a,
                destination=b,
                bytes_per_second=draw(st.integers(1, 9)),
                latency_ns=0,
            )
            for a, b in chosen
        ),
    )


def every_path(cluster):
    paths = [[link] for link in cluster.links if link.source in MEMORIES]
    while paths:
        path = paths.pop()
        end = path[-1].destination
        if end in MEMORIES:
            if end != path[0].source:
                yield path
        else:
            visited = {link.source for link in path} | {end}
            paths += [
                [*path, x] for x in cluster.links if x.source == end and x.destination not in visited - {*MEMORIES}
            ]


@given(small_clusters())
def test_capacities_are_those_of_the_widest_paths(cluster):
    paths = list(every_path(cluster))
    widths = [(path[0], path[-1], min(link.bytes_per_second for link in path)) for path in paths]
    for memory in MEMORIES:
        sent = {link.id: 0 for link in cluster.links if link.source == memory}
        received = {link.id: 0 for link in cluster.links if link.destination == memory}
        for first, last, width in widths:
            if first.id in sent:
                sent[first.id] = max(sent[first.id], width)
            if last.id in received:
                received[last.id] = max(received[last.id], width)
        assert capacities(cluster)[memory] == Capacity(send=sum(sent.values()), receive=sum(received.values()))
    assert widest_bytes_per_second(cluster) == max((width for _, _, width in widths), default=0)


def test_the_narrow_link_behind_a_wide_one_counts():
    cluster = a_cluster(3, rate=100)
    assert set(capacities(cluster).values()) == {Capacity(send=100, receive=100)}
    assert widest_bytes_per_second(cluster) == 100


def test_a_lone_memory_reaches_nobody_not_even_itself():
    cluster = a_cluster(1)
    assert set(capacities(cluster).values()) == {Capacity(send=0, receive=0)}
    assert widest_bytes_per_second(attrs.evolve(cluster, links=())) == 0
