"""Steady states, trees, pieces, swarms: each part alone, on movements whose answer is known."""

import itertools

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.collectives import allgather, alltoall, broadcast, dgx1, dgx2, islands, ndv2, parents
from planner.packing.cuts import worst_cut
from planner.packing.ground import Racks
from planner.packing.move import Moved, Stuck, move, price_witness
from planner.packing.network import network
from planner.packing.rounding import planted
from planner.packing.steady import classes_of, loads, steady_state
from planner.packing.trees import Wish, cheapest_tree
from planner.search import Search
from specs.decisions.flow.bounds import cut_bound_ns
from specs.decisions.flow.faults import faults
from specs.decisions.flow.growth import growth_bound_ns
from specs.decisions.flow.prices import price_bound_ns
from specs.decisions.flow.question import Movement, faults_of_question
from specs.decisions.flow.values import Objective
from tests.hash_seeds import printed
from tests.movements import BYTES, GIGABYTE, item, link, mesh, multicast, star

GB = 10**9

STEADY_MS = {
    "NDv2 x2 allgather": (ndv2(2).movement(allgather(ndv2(2), GB)), 40.0),
    "NDv2 x4 allgather": (ndv2(4).movement(allgather(ndv2(4), GB)), 60.0),
    "DGX2 x2 allgather": (dgx2().movement(allgather(dgx2(), GB)), 7.75),
    "DGX-1 broadcast, 6 links": (dgx1().movement(broadcast(dgx1(), GB)), 1000 / 150),
    "NDv2 x2 alltoall": (ndv2(2).movement(alltoall(ndv2(2), GB), relays=True), 320.0),
    "unequal NICs": (islands((50, 25, 12, 25)).movement(broadcast(islands((50, 25, 12, 25)), 8 * GB)), 8000 / 12),
}


@pytest.mark.parametrize("name", STEADY_MS)
def test_the_steady_state_meets_the_worst_cut_and_the_prices_prove_it(name):
    movement, best_ms = STEADY_MS[name]
    assert not list(faults_of_question(movement))
    net = network(movement)
    steady = steady_state(net, classes_of(movement, net), Search(), 300)
    assert steady.time_ns / 1e6 == pytest.approx(best_ms, rel=1e-3)
    bound, witness = worst_cut(movement, Objective.ALL, Search())
    assert bound == cut_bound_ns(movement, witness)
    assert best_ms * 1e6 * 0.999 <= bound
    assert price_bound_ns(movement, price_witness(movement, steady)) >= best_ms * 1e6 * 0.995
    assert sum(steady.shares) == pytest.approx(len(steady.classes))


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 5), st.data())
def test_the_cheapest_tree_is_the_cheapest_of_all(nodes, data):
    costs = np.array([[data.draw(st.integers(1, 9)) for _ in range(nodes)] for _ in range(nodes)], dtype=float)
    tree = cheapest_tree(costs, Wish(holders=(0,), receivers=tuple(range(1, nodes)), relays=()))
    assert tree is not None
    held = {0}
    for source, place in tree:
        assert source in held
        assert place not in held
        held.add(place)
    best = np.inf
    for above in itertools.product(range(nodes), repeat=nodes - 1):
        chain = dict(enumerate(above, start=1))
        reached = {0}
        for _ in range(nodes):
            reached |= {place for place, parent in chain.items() if parent in reached}
        if len(reached) == nodes:
            best = min(best, sum(costs[parent, place] for place, parent in chain.items()))
    assert sum(costs[hop] for hop in tree) == best


def test_relays_that_feed_nobody_are_cut_off():
    costs = np.array([[9.0, 1.0, 9.0, 9.0], [9.0, 9.0, 1.0, 9.0], [9.0, 9.0, 9.0, 9.0], [9.0, 9.0, 9.0, 9.0]])
    assert cheapest_tree(costs, Wish(holders=(0,), receivers=(2,), relays=(1, 3))) == ((0, 1), (1, 2))
    unreachable = np.full((2, 2), np.inf)
    assert cheapest_tree(unreachable, Wish(holders=(0,), receivers=(1,), relays=())) is None


def test_whole_pieces_load_links_hardly_more_than_shares_do():
    movement = dgx2().movement(allgather(dgx2(), GB))
    net = network(movement)
    steady = steady_state(net, classes_of(movement, net), Search(), 300)
    busy = sum(each.piece.bytes * loads(net, each.ways) for each in planted(net, steady, 64))
    assert max(busy) <= steady.time_ns * 1.005


def test_who_cannot_be_reached_is_named():
    broken = mesh([(0, 1, 1, 0), (2, 1, 1, 0)], [item("a", ["m0"], ["m1", "m2"])])
    stuck = move(broken, Search())
    assert isinstance(stuck, Stuck)
    assert stuck.missing == (("a", "m2"),)
    assert stuck.sentences == ("no way leads a from any of its holders to m2",)


def test_what_everybody_holds_moves_nowhere():
    moved = move(star([1, 1], [item("a", ["m0", "m1"], ["m1"])]), Search())
    assert isinstance(moved, Moved)
    assert (moved.value, moved.bound.bound, moved.gap, moved.delivery.hops) == (0, 0, 0.0, ())


def test_the_search_ends_when_told_to():
    movement = ndv2(2).movement(allgather(ndv2(2), GB))
    search = Search()
    search.stop()
    moved = move(movement, search)
    assert isinstance(moved, Moved)
    assert not list(faults(movement, moved.delivery))
    assert search.cut_short


def test_spent_steps_give_the_same_schedule_in_every_process():
    program = (
        "from benchmarks.collectives import allgather, ndv2\n"
        "from planner.packing.move import move\n"
        "from planner.search import Search\n"
        "import hashlib\n"
        "graph = ndv2(2)\n"
        "moved = move(graph.movement(allgather(graph, 10**9)), Search(steps_max=100_000))\n"
        "print(hashlib.sha256(repr(moved).encode()).hexdigest())\n"
    )
    assert printed(program)


def fat_tree(racks_count, per_rack, uplink, rates=(GIGABYTE,)):
    """Nodes with one NIC on leaves, which join on one spine."""
    links, memories = [], []
    for rack in range(racks_count):
        leaf = f"leaf{rack}"
        links += [link(leaf, "spine", uplink), link("spine", leaf, uplink)]
        for seat in range(per_rack):
            node = f"n{rack * per_rack + seat}"
            memories.append(f"{node}/gpu")
            rate = rates[seat % len(rates)]
            links += [
                link(f"{node}/gpu", f"{node}/nic", 4 * GIGABYTE),
                link(f"{node}/nic", f"{node}/gpu", 4 * GIGABYTE),
            ]
            links += [link(f"{node}/nic", leaf, rate), link(leaf, f"{node}/nic", rate)]
    return tuple(memories), tuple(links)


def multicast_in(graph, blocks):
    memories, links = graph
    items = tuple(item(f"b{number}", memories[:1], memories[1:]) for number in range(blocks))
    return Movement(memories=memories, links=links, items=items)


def test_racks_are_what_shares_the_lowest_switch():
    movement = multicast_in(fat_tree(3, 4, GIGABYTE), 1)
    assert [len(members) for members in Racks(movement.memories, movement.links).members] == [4, 4, 4]
    pair = mesh([(0, 1, 1, 0)], multicast(2, 1))
    assert Racks(pair.memories, pair.links).members == [["m0"], ["m1"]]


@pytest.mark.parametrize("rates", [(GIGABYTE,), (GIGABYTE, 2 * GIGABYTE)])
def test_a_swarm_over_narrow_uplinks_has_no_faults_and_is_near_its_bound(rates):
    movement = multicast_in(fat_tree(8, 16, 4 * GIGABYTE, rates), 32)
    moved = move(movement, Search(steps_max=20_000))
    assert isinstance(moved, Moved)
    assert not list(faults(movement, moved.delivery))
    assert moved.made_by.startswith("swarm")
    assert moved.gap <= (0.03 if len(rates) == 1 else 0.2)


def test_many_memories_on_wide_links_take_what_growth_allows():
    movement = multicast_in(fat_tree(8, 16, 16 * GIGABYTE), 6)
    moved = move(movement, Search())
    assert isinstance(moved, Moved)
    assert moved.value == moved.bound.bound == growth_bound_ns(movement) == BYTES * (6 - 1 + 7)
    assert moved.made_by == "binomial pipelines"


def test_many_memories_that_no_route_joins_are_not_moved():
    movement = multicast_in(fat_tree(8, 16, GIGABYTE), 1)
    cut_off = attrs.evolve(movement, links=tuple(each for each in movement.links if each.destination != "n9/gpu"))
    assert isinstance(move(cut_off, Search()), Stuck)


def test_textbook_trees():
    assert parents("chain", 4) == [0, 1, 2]
    assert parents("binary", 6) == [0, 0, 1, 1, 2]
    assert parents("binomial", 8) == [0, 0, 1, 0, 1, 2, 3]
