"""Routes on graphs small enough to know them by heart."""

import itertools

import pytest

from planner.routes import NoRoute, Routes
from specs.cluster import PlaceKind
from tests.builders import GIGABYTE, a_cluster
from tests.hash_seeds import printed
from tests.place_graphs import Wiring, islands, star, two_racks


def path(cluster, source, destination):
    """The places that a route passes, both ends included."""
    routes = Routes(cluster)
    links = [routes.links[link] for link in routes.route(source, destination).links]
    assert all(near.destination == far.source for near, far in itertools.pairwise(links))
    return [links[0].source, *(link.destination for link in links)]


def test_star():
    assert path(star(3), "n0/gpu0", "n2/gpu0") == ["n0/gpu0", "n0/nic0", "leaf", "n2/nic0", "n2/gpu0"]


def test_two_racks():
    cluster = two_racks(2)
    assert path(cluster, "n0/gpu0", "n1/gpu0") == ["n0/gpu0", "n0/nic0", "leaf0", "n1/nic0", "n1/gpu0"]
    crossing = path(cluster, "n0/gpu0", "n3/gpu0")
    assert crossing == ["n0/gpu0", "n0/nic0", "leaf0", "spine0", "leaf1", "n3/nic0", "n3/gpu0"]


def test_rate_and_latency_are_those_of_the_path():
    routes = Routes(two_racks(2, uplink=GIGABYTE // 4))
    route = routes.route("n0/gpu0", "n3/gpu0")
    assert routes.rate(route) == GIGABYTE // 4
    assert routes.latency_ns(route) == 4 * 1000
    assert routes.rate(routes.route("n0/gpu0", "n1/gpu0")) == GIGABYTE


def test_an_island_uses_nvlink_inside_and_the_nic_outside():
    cluster = islands(2)
    assert path(cluster, "n0/gpu0", "n0/gpu1") == ["n0/gpu0", "n0/nvlink", "n0/gpu1"]
    assert path(cluster, "n0/host", "n0/gpu1") == ["n0/host", "n0/pcie", "n0/gpu1"]
    outside = ["n0/ssd", "n0/pcie", "n0/nic0", "leaf", "n1/nic0", "n1/pcie", "n1/gpu1"]
    assert path(cluster, "n0/ssd", "n1/gpu1") == outside


def test_of_two_links_between_the_same_places_the_quicker():
    wiring = Wiring()
    near, far = wiring.device("n0/gpu0"), wiring.device("n1/gpu0")
    for switch, rate in (("slow", 1), ("quick", 3), ("middle", 2)):
        wiring.switch(switch)
        wiring.cable(near, switch, rate * GIGABYTE)
        wiring.cable(switch, far, rate * GIGABYTE)
    assert path(wiring.cluster(), near, far) == [near, "quick", far]
    wiring.cable(near, far, 2 * GIGABYTE)
    assert path(wiring.cluster(), near, far) == [near, far]


@pytest.mark.parametrize("cluster", [star(4), two_racks(2, spines=2), islands(2)], ids=["star", "racks", "islands"])
def test_no_route_passes_through_a_memory(cluster):
    memories = {place.id for place in cluster.places if place.kind is not PlaceKind.SWITCH}
    for source, destination in itertools.permutations(sorted(memories), 2):
        places = path(cluster, source, destination)
        assert (places[0], places[-1]) == (source, destination)
        assert not memories & set(places[1:-1])
        assert len(set(places)) == len(places)


def test_a_way_through_a_third_memory_is_no_route_but_reaches():
    wiring = Wiring()
    first, second, third = (wiring.device(f"n{number}/gpu0") for number in range(3))
    wiring.wire(first, second)
    wiring.wire(second, third)
    routes = Routes(wiring.cluster())
    assert routes.route(first, second).links == (f"{first}>{second}",)
    with pytest.raises(NoRoute, match=f"^no path of links leads from {first} to {third}$"):
        routes.route(first, third)
    assert routes.reaches(first, third)
    with pytest.raises(NoRoute):
        routes.route(second, first)
    assert not routes.reaches(second, first)


def test_switches_in_a_ring_end_the_search():
    wiring = Wiring()
    near, far = wiring.device("n0/gpu0"), wiring.device("n1/gpu0")
    for name in ("a", "b", "c", "x"):
        wiring.switch(name)
    for one, next_ in (("a", "b"), ("b", "c"), ("c", "a")):
        wiring.wire(one, next_)
    wiring.wire(near, "a")
    wiring.wire("x", far)
    with pytest.raises(NoRoute):
        Routes(wiring.cluster()).route(near, far)
    wiring.wire("c", "x")
    assert path(wiring.cluster(), near, far) == [near, "a", "b", "c", "x", far]


_EQUAL_PATHS = """
from planner.routes import Routes
from tests.place_graphs import Wiring
wiring = Wiring()
for leaf in ("leaf0", "leaf1"):
    wiring.switch(leaf)
    for number in range(20):  # far more memories than switches
        wiring.cable(wiring.device(f"{leaf}-n{number}/gpu0"), leaf)
for number in range(6):
    wiring.switch(f"spine{number}")
    wiring.cable("leaf0", f"spine{number}")
    wiring.cable("leaf1", f"spine{number}")
print(Routes(wiring.cluster()).route("leaf0-n0/gpu0", "leaf1-n7/gpu0"))
"""


def test_equal_paths_are_told_apart_in_the_same_way_by_every_process():
    assert printed(_EQUAL_PATHS)


def test_many_nodes():
    cluster = a_cluster(1024)
    routes = Routes(cluster)
    for number in range(1, 1024):
        for step in (1, 2, 4, 8, 16):
            far = (number + step) % 1024
            links = routes.route(f"n{number}/gpu0", f"n{far}/gpu0").links
            assert (links[0].split("/")[0], len(links)) == (f"n{number}", 4)
