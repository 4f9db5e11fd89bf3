import attrs
from hypothesis import given
from hypothesis import strategies as st

from planner.description.hardware import Nics, NodeKind, Ssd
from planner.description.place_graph import node_graph
from specs.cluster import Cluster, Node, Place, PlaceKind
from specs.problem import Problem
from specs.profile import Profile
from tests.builders import TOY

RATES = st.integers(1, 10**12)
KINDS = st.builds(
    NodeKind,
    kind=st.sampled_from(["cpu", "toy"]),
    devices=st.just(1),
    device_bytes=st.just(10**9),
    nics=st.lists(
        st.builds(
            Nics,
            count=st.integers(1, 4),
            bytes_per_second=RATES,
            latency_ns=st.just(5),
            switches=st.sampled_from([("leaf0",), ("leaf0", "leaf1")]),
        ),
        max_size=2,
    ).map(tuple),
    pcie_bytes_per_second=RATES,
    pcie_switches=st.none(),
    nvlink_bytes_per_second=st.none() | RATES,
    memory_bytes=st.just(10**9),
    ssd=st.none()
    | st.builds(Ssd, size_bytes=st.just(7), read_bytes_per_second=RATES, write_bytes_per_second=st.none()),
    rack=st.none(),
)


def cluster_of(places, links):
    switches = tuple(Place(id=f"leaf{index}", kind=PlaceKind.SWITCH, memory_bytes=0) for index in range(2))
    cpu = attrs.evolve(TOY, name="cpu")
    return Cluster(name="c", device_kinds=(TOY, cpu), nodes=(Node(id="n"),), places=(*switches, *places), links=links)


@given(KINDS, st.integers(1, 8), st.sampled_from([None, 1, 2, 4]))
def test_every_node_is_a_sound_part_of_a_cluster(kind, devices, switches):
    devices = 1 if kind.kind == "cpu" else devices
    kind = attrs.evolve(kind, devices=devices, pcie_switches=switches if switches and devices % switches == 0 else None)
    places, links = node_graph("n", kind)
    # A problem refuses clusters that contradict themselves.
    Problem(
        name="p",
        cluster=cluster_of(places, links),
        llms=(),
        workloads=(),
        slos=(),
        profile=Profile(rates=()),
        holdings=(),
        targets=(),
    )
    assert sum(place.kind is PlaceKind.DEVICE for place in places) == devices
    reached, waiting = set(), [places[0].id]
    while waiting:
        here = waiting.pop()
        reached.add(here)
        waiting += [link.destination for link in links if link.source == here and link.destination not in reached]
    # Everything can be reached from the first device but what is only read from.
    assert {place.id for place in places if place.kind is not PlaceKind.SSD} <= reached
