"""A clean schedule has no faults; each way to break it is found, and named."""

import attrs
import pytest

from specs.cluster import Cluster, Place, PlaceKind
from specs.decisions.flow.answer import Delivery, Hop, Piece
from specs.decisions.flow.faults import faults
from specs.decisions.flow.question import Movement, faults_of_question, movement_in
from specs.decisions.flow.values import Objective, value
from specs.plan import Route
from tests.movements import GIGABYTE, item, link, mesh, star

# m0 sends a to m1 over the hub and then b; m1 passes a on to m2; c needs no moving.
ITEMS = [item("a", ["m0"], ["m1", "m2"]), item("b", ["m0"], ["m1"]), item("c", ["m2"], ["m2"])]
QUESTION = star([1, 1, 1], ITEMS, latency_ns=50)
TO_1, TO_2 = Route(links=("m0>hub", "hub>m1")), Route(links=("m1>hub", "hub>m2"))
PIECES = tuple(Piece(item=index, bytes=1000) for index in range(3))


def hop(piece, route, start, end=None, rate=GIGABYTE):
    return Hop(
        piece=piece, route=route, bytes_per_second=rate, start_ns=start, end_ns=start + 1100 if end is None else end
    )


CLEAN = Delivery(pieces=PIECES, routes=(TO_1, TO_2), hops=(hop(0, 0, 0), hop(0, 1, 1100), hop(1, 0, 1100)))


def with_hops(*hops):
    return attrs.evolve(CLEAN, hops=tuple(sorted(hops, key=lambda each: each.start_ns)))


def with_route(*links):
    return attrs.evolve(CLEAN, routes=(TO_1, TO_2, Route(links=links)))


def test_a_clean_schedule_has_no_faults():
    assert list(faults(QUESTION, CLEAN)) == []
    assert value(QUESTION, CLEAN, Objective.ALL) == 2200
    assert value(QUESTION, CLEAN, Objective.COVER) == 2200
    assert value(QUESTION, CLEAN, Objective.RAMP) == 1000 * (1100 + 2200 + 2200)


BROKEN = {
    "of item 7": attrs.evolve(CLEAN, pieces=(*PIECES, Piece(item=7, bytes=1))),
    "has 0 bytes": attrs.evolve(CLEAN, pieces=(*PIECES[:2], Piece(item=2, bytes=0))),
    "bytes together, the item has": attrs.evolve(CLEAN, pieces=(*PIECES[:2], Piece(item=2, bytes=999))),
    "at most 1 are allowed": attrs.evolve(
        CLEAN, pieces=(*PIECES[:2], Piece(item=2, bytes=400), Piece(item=2, bytes=600))
    ),
    "moves piece 9": with_hops(hop(9, 0, 0)),
    "takes route 9": with_hops(hop(0, 9, 0)),
    "0 and 1 are the least": with_hops(hop(0, 0, 0, rate=0)),
    "hops are in order": attrs.evolve(CLEAN, hops=(hop(0, 0, 5), hop(0, 1, 0))),
    "not a link of the movement": with_route("m0>hub", "nowhere"),
    "crosses nothing": with_route(),
    "but m1>hub begins at m1": with_route("m0>hub", "m1>hub"),
    "passes through m1": with_route("m0>hub", "hub>m1", "m1>hub", "hub>m2"),
    "begins at hub": with_route("hub>m1"),
    "ends at hub": with_route("m0>hub"),
    "back to it": with_route("m0>hub", "hub>m0"),
    "holds it only from": with_hops(hop(0, 0, 0), hop(0, 1, 1099), hop(1, 0, 1100)),
    "never holds it": with_hops(hop(0, 0, 0), hop(0, 1, 1100), hop(1, 0, 1100), hop(2, 0, 2200)),
    "is busy until": with_hops(hop(0, 0, 0), hop(0, 1, 1100), hop(1, 0, 1099)),
    "need 1100 ns on its route": with_hops(hop(0, 0, 0, 1099), hop(0, 1, 1100), hop(1, 0, 1100)),
    "its route carries": with_hops(hop(0, 0, 0, rate=2 * GIGABYTE), hop(0, 1, 1100), hop(1, 0, 1100)),
    "never receives piece 1": with_hops(hop(0, 0, 0), hop(0, 1, 1100)),
    "a second time": with_hops(hop(0, 0, 0), hop(0, 1, 1100), hop(1, 0, 1100), hop(0, 0, 2200)),
    "which neither wants nor relays": with_hops(hop(0, 0, 0), hop(0, 1, 1100), hop(1, 0, 1100), hop(1, 1, 2200)),
    "which holds it from the start": attrs.evolve(
        with_hops(hop(0, 0, 0), hop(0, 1, 1100), hop(1, 0, 1100), hop(0, 2, 2200)),
        routes=(TO_1, TO_2, Route(links=("m1>hub", "hub>m0"))),
    ),
}


@pytest.mark.parametrize("sentence", BROKEN)
def test_every_fault_is_found(sentence):
    found = list(faults(QUESTION, BROKEN[sentence]))
    assert any(sentence in fault for fault in found), found


def shared(capacity):
    """Two pairs of memories whose ways share one link between two hubs."""
    links = [link("m0", "a"), link("m1", "a"), link("a", "b", capacity), link("b", "m2"), link("b", "m3")]
    question = Movement(
        memories=("m0", "m1", "m2", "m3"),
        links=tuple(links),
        items=(item("x", ["m0"], ["m2"]), item("y", ["m1"], ["m3"])),
    )
    delivery = Delivery(
        pieces=PIECES[:2],
        routes=(Route(links=("m0>a", "a>b", "b>m2")), Route(links=("m1>a", "a>b", "b>m3"))),
        hops=(hop(0, 0, 0, 1000), hop(1, 1, 0, 1000)),
    )
    return question, delivery


def test_a_shared_link_carries_its_capacity_and_no_more():
    assert list(faults(*shared(2 * GIGABYTE))) == []
    (fault,) = faults(*shared(2 * GIGABYTE - 1))
    assert fault.startswith("link a>b carries 2000000000 bytes/s at 0 ns")


def test_latency_holds_ports_or_does_not():
    question = mesh([(0, 1, 1, 500)], [item("a", ["m0"], ["m1"]), item("b", ["m0"], ["m1"])], held=False)
    route = (Route(links=("m0>m1",)),)
    delivery = Delivery(pieces=PIECES[:2], routes=route, hops=(hop(0, 0, 0, 1500), hop(1, 0, 1000, 2500)))
    assert list(faults(question, delivery)) == []
    assert any("is busy until" in fault for fault in faults(attrs.evolve(question, latency_holds_ports=True), delivery))
    sooner = attrs.evolve(delivery, hops=(hop(0, 0, 0, 1500), hop(1, 0, 999, 2499)))
    assert any("is busy until 1000" in fault for fault in faults(question, sooner))


def test_the_first_cover_is_when_the_wanters_together_hold_everything():
    items = [item("a", ["m0"], ["m1", "m2"]), item("b", ["m0"], ["m1", "m2"]), item("mine", ["m1"], ["m1", "m2"])]
    question = star([1, 1, 1], items)
    routes = (TO_1, TO_2, Route(links=("m0>hub", "hub>m2")), Route(links=("m2>hub", "hub>m1")))
    hops = (hop(0, 0, 0, 1000), hop(1, 2, 1000, 2000), hop(0, 1, 2000, 3000), hop(1, 3, 2000, 3000))
    delivery = Delivery(pieces=PIECES, routes=routes, hops=(*hops, hop(2, 1, 3000, 4000)))
    assert list(faults(question, delivery)) == []
    assert value(question, delivery, Objective.COVER) == 2000
    assert value(question, delivery, Objective.ALL) == 4000


def test_questions_without_a_meaning():
    question = mesh([(0, 1, 1, 0)], [item("a", [], ["m1"]), item("a", ["m0", "m0"], ["m9"], pieces_max=0)], ["m7"])
    question = attrs.evolve(question, links=(*question.links, attrs.evolve(link("m0", "m1"), destination="m0")))
    found = "\n".join(faults_of_question(question))
    for sentence in (
        "link m0>m1 is named twice",
        "from m0 to itself",
        "item a is named twice",
        "a is wanted but held nowhere",
        "holder of a m0 is named twice",
        "names m9, which is not a memory",
        "cut into 0 pieces",
        "relay m7 is not a memory",
    ):
        assert sentence in found
    assert list(faults_of_question(QUESTION)) == []


def test_a_movement_over_a_cluster_leaves_its_switches_out():
    places = (
        Place(id="a", kind=PlaceKind.HOST, memory_bytes=1),
        Place(id="hub", kind=PlaceKind.SWITCH, memory_bytes=0),
        Place(id="b", kind=PlaceKind.SSD, memory_bytes=1),
    )
    cluster = Cluster(name="c", device_kinds=(), nodes=(), places=places, links=(link("a", "hub"), link("hub", "b")))
    question = movement_in(cluster, [item("x", ["a"], ["b"])])
    assert question.memories == ("a", "b")
    assert question.demand_bytes == 1000
