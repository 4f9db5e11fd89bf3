"""Exchanges between islands: no faults whatever the graph, and near the bound where nodes have several ports."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.packing.move import move
from planner.packing.spreading import nested, spread_out
from planner.routes import Routes
from planner.search import Search
from specs.decisions.flow.faults import faults
from specs.decisions.flow.growth import growth_bound_ns
from specs.decisions.flow.question import Movement, as_cluster
from specs.decisions.flow.values import Objective, value
from tests.movements import BYTES, GIGABYTE, item, link, mesh, multicast, star


def nodes(count, gpus, items, *, inside=20, shared=False):
    """Nodes of GPUs on a wide switch; rail i joins GPU i of all nodes, or all share a NIC narrower than their links."""
    links = []
    for node in range(count):
        for gpu in range(gpus):
            name = f"n{node}/g{gpu}"
            out = (f"n{node}/nic", 2) if shared else (f"rail{gpu}", 1)
            for far, rate in ((f"n{node}/wide", inside), out):
                links += [link(name, far, rate * GIGABYTE), link(far, name, rate * GIGABYTE)]
        if shared:
            links += [link(f"n{node}/nic", "net", GIGABYTE), link("net", f"n{node}/nic", GIGABYTE)]
    memories = tuple(f"n{node}/g{gpu}" for node in range(count) for gpu in range(gpus))
    return Movement(memories=memories, links=tuple(links), items=tuple(items(memories)))


def everywhere(holders, sizes):
    """Items that some memories hold and all others want."""
    return lambda memories: [
        item(f"i{n}", holders, [each for each in memories if each not in holders], size) for n, size in enumerate(sizes)
    ]


def made(movement, steps=100):
    routes = Routes(as_cluster(movement))
    return list(spread_out(movement, routes, Search(steps_max=steps), 0))


def test_an_item_enters_each_node_once_and_spreads_inside():
    movement = nodes(4, 4, everywhere([f"n0/g{gpu}" for gpu in range(4)], [BYTES] * 8))
    delivery = made(movement)[-1]
    assert not list(faults(movement, delivery))
    rails = [hop for hop in delivery.hops if any("rail" in each for each in delivery.routes[hop.route].links)]
    assert len(rails) == 8 * 3
    # Eight blocks over four rails: two ticks to leave, one more to reach all nodes; the rest is inside.
    assert growth_bound_ns(movement) == 3 * BYTES
    assert value(movement, delivery, Objective.ALL) <= 3 * BYTES + 4 * BYTES // 20 * 2


def test_a_node_whose_gpus_share_a_nic_takes_items_one_after_another():
    movement = nodes(3, 2, everywhere(["n0/g0"], [BYTES] * 4), shared=True)
    moved = move(movement, Search(steps_max=5_000))
    assert moved.value <= 1.05 * moved.bound.bound
    assert moved.bound.bound == (4 - 1 + 2) * BYTES


def test_islands_are_nodes_that_pass_on_inside_what_enters():
    wide = nodes(3, 2, everywhere(["n0/g0"], [BYTES]))
    terrain = nested(wide, Routes(as_cluster(wide)))
    assert terrain is not None
    assert len(terrain.islands) == 3
    narrow = nodes(3, 4, everywhere(["n0/g0"], [BYTES]), inside=2)  # four rails bring twice of what goes on inside
    assert nested(narrow, Routes(as_cluster(narrow))) is None
    partly = nodes(3, 2, lambda _: [item("i", ["n0/g0"], ["n0/g1", "n1/g0"]), item("j", ["n0/g0"], ["n1/g1"])])
    assert nested(partly, Routes(as_cluster(partly))) is None  # not all of a node want what some do
    alone = star([1, 1, 2], multicast(3, 2))
    assert nested(alone, Routes(as_cluster(alone))) is None


def test_the_same_steps_give_the_same_schedules():
    movement = nodes(3, 2, everywhere(["n0/g0"], [BYTES, 3 * BYTES, 2 * BYTES]))
    assert made(movement) == made(movement)


RATES = st.sampled_from([1, 2, 4])


@st.composite
def movements(draw):
    count = draw(st.integers(2, 4))
    shape = draw(st.sampled_from(["nodes", "shared", "star", "mesh"]))
    sizes = draw(st.lists(st.sampled_from([1, 2, 3]).map(lambda size: size * BYTES), min_size=1, max_size=4))

    def items(memories):
        found = []
        for number, size in enumerate(sizes):
            holders = draw(st.lists(st.sampled_from(memories), min_size=1, max_size=3, unique=True))
            wanters = draw(st.lists(st.sampled_from(memories), max_size=6, unique=True))
            found.append(item(f"i{number}", holders, wanters, size))
        return found

    if shape in {"nodes", "shared"}:
        return nodes(
            count, draw(st.integers(1, 3)), items, inside=draw(st.sampled_from([2, 8])), shared=shape == "shared"
        )
    latency = draw(st.sampled_from([0, 40]))
    memories = [f"m{number}" for number in range(count)]
    if shape == "star":
        return star([draw(RATES) for _ in memories], items(memories), latency)
    pairs = [(a, b) for a in range(count) for b in range(count) if a != b]
    return mesh([(a, b, draw(RATES), latency) for a, b in pairs], items(memories), held=draw(st.booleans()))


@settings(max_examples=25, deadline=None)
@given(movements())
def test_no_exchange_has_faults(movement):
    for delivery in made(movement, steps=3):
        assert not list(faults(movement, delivery))
        assert value(movement, delivery, Objective.ALL) >= growth_bound_ns(movement)


@pytest.mark.parametrize("rates", [[1, 1, 1, 1], [4, 1, 1, 1]])
def test_exchanges_of_single_memories_are_near_the_bound(rates):
    movement = star(rates, multicast(4, 6))
    best = min(value(movement, delivery, Objective.ALL) for delivery in made(movement))
    assert best <= 1.2 * growth_bound_ns(movement)
