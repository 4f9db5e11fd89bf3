"""Bounds are worked out by hand, never exceed what a schedule achieves, and claim no more than their witness gives."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.packing.move import Method, Moved, Stuck, move
from planner.search import Search
from specs.decisions.flow.bounds import cut_bound_ns, distance_bound_ns, ramp_bound
from specs.decisions.flow.growth import growth_bound_ns
from specs.decisions.flow.prices import hop_costs, price_bound_ns
from specs.decisions.flow.question import Movement
from specs.decisions.flow.values import Objective
from specs.witness import Price
from tests.movements import BYTES, GIGABYTE, Exhaustive, allgather, alltoall, item, link, mesh, multicast, star


def members(*names):
    return tuple(Price(name=name, amount=1) for name in names)


def priced(**prices):
    return tuple(Price(name=name.replace("_", ">"), amount=amount) for name, amount in sorted(prices.items()))


def test_a_cut_counts_bytes_that_must_enter_over_what_leads_in():
    chain = mesh([(0, 1, 2, 0), (1, 2, 1, 0)], multicast(3, 2))
    assert cut_bound_ns(chain, members("m2")) == 2000
    assert cut_bound_ns(chain, members("m1", "m2")) == 1000
    assert cut_bound_ns(chain, members("m0", "m2")) == 0  # m0 holds everything: nothing must enter
    assert cut_bound_ns(chain, ()) == 0
    assert cut_bound_ns(chain, members("nobody")) == 0


def test_a_cut_adds_latency_to_the_door_and_from_the_landing_on():
    chain = mesh([(0, 1, 1, 30), (1, 2, 1, 5), (1, 3, 1, 7)], multicast(4, 2))
    assert cut_bound_ns(chain, members("m1", "m2", "m3")) == 2000 + 30 + 7
    assert cut_bound_ns(chain, members("m1")) == 2000 + 30
    hub = star([1, 1, 1], multicast(3, 1), latency_ns=10)
    assert cut_bound_ns(hub, members("m1")) == 1000 + 20
    assert cut_bound_ns(hub, members("m1", "hub", "m2")) == 1000 + 20 - 10  # the way on from the hub is not counted


def test_a_cut_bounds_the_first_cover_by_items_whose_wanters_are_all_inside():
    hub = star([1, 1, 1], multicast(3, 2))
    assert cut_bound_ns(hub, members("m1", "m2"), Objective.COVER) == 1000
    assert cut_bound_ns(hub, members("m1"), Objective.COVER) == 0
    with pytest.raises(ValueError, match="not a time"):
        cut_bound_ns(hub, members("m1"), Objective.RAMP)


def test_a_cut_that_nothing_enters_is_no_bound():
    island = mesh([(0, 1, 1, 0), (2, 1, 1, 0)], [item("a", ["m0"], ["m1", "m2"])])
    with pytest.raises(ValueError, match="no link leads there"):
        cut_bound_ns(island, members("m2"))


def test_distances():
    chain = mesh([(0, 1, 1, 30), (1, 2, 2, 5)], [item("a", ["m0"], ["m1", "m2"])])
    assert distance_bound_ns(chain) == 2 * 500 + 35
    assert distance_bound_ns(chain, Objective.COVER) == 500 + 30
    divisible = mesh([(0, 1, 1, 30), (1, 2, 2, 5)], [item("a", ["m0"], ["m1", "m2"], pieces_max=8)])
    assert distance_bound_ns(divisible) == 35


def test_prices_of_one_cut_are_that_cut():
    hub = star([1, 2, 4], alltoall(3))
    assert price_bound_ns(hub, priced(hub_m0=5)) == cut_bound_ns(hub, members("m0")) == 2000


def test_prices_count_what_a_cut_cannot():
    # Every receiver takes its copy from some sender: three copies of 1,000 bytes over four cables, one of them slow.
    slow = star([1, 1, 1, 1], multicast(4, 1))
    senders = [Price(name=f"m{n}>hub", amount=1) for n in range(4)]
    assert price_bound_ns(slow, tuple(senders)) == 750
    # A narrow way keeps a wide port busy for as long as it takes.
    links = mesh([(0, 1, 1, 0)], multicast(2, 1))
    assert price_bound_ns(links, priced(m0_m1=3)) == 1000
    assert price_bound_ns(links, ()) == 0


def test_a_port_is_paid_for_by_the_width_of_the_route():
    wide = (link("m0", "hub", 4 * GIGABYTE), link("hub", "m1"), link("hub", "m2", 2 * GIGABYTE))
    question = mesh([(0, 1, 1, 0)], multicast(2, 1))
    question = type(question)(memories=("m0", "m1", "m2"), links=wide, items=tuple(multicast(3, 1)))
    costs = hop_costs(question, {"m0>hub": 8})
    assert costs["m0"]["m1"] == 2 * costs["m0"]["m2"] == 8 << 30
    assert price_bound_ns(question, priced(m0_hub=8)) == 1500  # 1,000 at 1 and 500 at 2 bytes a nanosecond, in turn


def test_spanning_trees_cost_what_the_cheapest_arborescence_costs():
    edges = [(a, b, 1, 0) for a, b in itertools.permutations(range(4), 2)]
    question = mesh(edges, multicast(4, 1))
    amounts = [3, 9, 4, 1, 7, 2, 8, 2, 6, 5, 3, 1]
    prices = {f"m{a}>m{b}": amount for (a, b, *_), amount in zip(edges, amounts, strict=True)}
    witness = tuple(Price(name=name, amount=prices[name]) for name in sorted(prices))

    def cost(parents):
        total = 0
        for child, parent in enumerate(parents, start=1):
            total += prices[f"m{parent}>m{child}"]
            above, hops = parent, 0
            while above and hops < 4:
                above, hops = parents[above - 1], hops + 1
            if above:
                return 10**9
        return total

    choices = itertools.product(*([p for p in range(4) if p != child] for child in range(1, 4)))
    cheapest = min(cost(parents) for parents in choices)
    assert price_bound_ns(question, witness) == 1000 * cheapest // sum(amounts)


def test_growth_is_the_closed_form_where_ports_are_equal():
    assert growth_bound_ns(star([1] * 8, multicast(8, 5))) == 1000 * (5 - 1 + 3)
    assert growth_bound_ns(star([1] * 3, multicast(3, 1))) == 2000
    assert growth_bound_ns(star([1] * 4, multicast(4, 1, 1)[:0])) == 0
    divisible = [item("a", ["m0"], ["m1", "m2"], pieces_max=4)]
    assert growth_bound_ns(star([1] * 3, divisible)) == 0  # pieces may be as small as they like


def test_the_last_slow_receiver_to_begin_still_needs_its_time():
    # One of the two slow memories gets its first block 500 ns after the start at best.
    one = star([2, 2, 1, 1], multicast(4, 1))
    assert growth_bound_ns(one) == 1500 == Exhaustive(one, Objective.ALL).solve()
    assert growth_bound_ns(star([2, 2, 1, 1], multicast(4, 3))) == 3500
    assert growth_bound_ns(star([2, 2, 1], multicast(3, 3))) == 3000


def test_islands_are_entered_over_few_links_however_many_memories_they_have():
    # Two islands of two memories each: 4 GB/s inside, one link of 1 GB/s from island to island, two blocks to enter.
    inside = [(0, 1, 4, 0), (1, 0, 4, 0), (2, 3, 4, 0), (3, 2, 4, 0)]
    movement = mesh([*inside, (0, 2, 1, 0), (2, 0, 1, 0)], multicast(4, 2))
    assert growth_bound_ns(movement) == 2000
    assert growth_bound_ns(movement) <= Exhaustive(movement, Objective.ALL).solve()
    # Four islands with three links each to others: six hops, and no more than three end in the first 1,000 ns.
    wide = [(a, b, 8, 0) for n in range(4) for a, b in ((2 * n, 2 * n + 1), (2 * n + 1, 2 * n))]
    narrow = [(2 * a, 2 * b, 1, 0) for a in range(4) for b in range(4) if a != b]
    assert growth_bound_ns(mesh([*wide, *narrow], multicast(8, 2))) == 2000


def test_while_a_large_item_leaves_the_others_get_nothing_new():
    # 5 bytes of 7 leave in one hop: all but one receiver have got 2 at most when it ends, and 5 are still to come.
    sizes = [5000, 1000, 1000]
    movement = star([1] * 3, [item(f"i{n}", ["m0"], ["m1", "m2"], size) for n, size in enumerate(sizes)])
    assert growth_bound_ns(movement) == 12000 == Exhaustive(movement, Objective.ALL).solve()


@pytest.mark.parametrize("sizes", [(3, 1), (2, 2), (4, 1)])
@pytest.mark.parametrize("rates", [(1, 1, 1), (2, 1, 1), (1, 2, 1), (2, 4, 1), (4, 1, 1), (1, 4, 4)])
def test_growth_is_never_above_the_optimum_of_unequal_items(sizes, rates):
    items = [item(f"i{n}", ["m0"], ["m1", "m2"], size * BYTES) for n, size in enumerate(sizes)]
    for latency in (0, 300):
        movement = star(rates, items, latency)
        assert growth_bound_ns(movement) <= Exhaustive(movement, Objective.ALL).solve()
    joined = mesh([(0, 1, 1, 0), (1, 2, 4, 0), (2, 1, 4, 0), (0, 2, rates[0], 0), (2, 0, rates[1], 0)], items)
    assert growth_bound_ns(joined) <= Exhaustive(joined, Objective.ALL).solve()


def test_the_ramp_of_two_items_through_one_port():
    assert ramp_bound(mesh([(0, 1, 1, 10)], multicast(2, 2))) == 1000 * 1000 + 1000 * 2000 + 2 * 1000 * 10


RATES = st.sampled_from([1, 2, 4])


@st.composite
def movements(draw):
    nodes = draw(st.integers(2, 5))
    kind = draw(st.sampled_from(["multicast", "allgather", "alltoall", "mixed"]))
    pieces = draw(st.sampled_from([1, 3]))
    if kind == "mixed":
        names = [f"m{number}" for number in range(nodes)]
        some = st.lists(st.sampled_from(names), min_size=1, unique=True)
        sizes = st.sampled_from([250, 1000, 3000])
        count = draw(st.integers(1, 4))
        items = [item(f"i{n}", draw(some)[:2], draw(some), draw(sizes), pieces) for n in range(count)]
    else:
        items = {"multicast": multicast(nodes, 3), "allgather": allgather(nodes), "alltoall": alltoall(nodes)}[kind]
    latency = draw(st.sampled_from([0, 40]))
    relays = draw(st.sampled_from([(), tuple(f"m{n}" for n in range(nodes))]))
    if draw(st.booleans()):
        return star([draw(RATES) for _ in range(nodes)], items, latency, relays)
    ring = [(n, (n + 1) % nodes, draw(RATES), latency) for n in range(nodes)]
    pairs = [pair for pair in itertools.permutations(range(nodes), 2) if (pair[1] - pair[0]) % nodes != 1]
    extra = draw(st.lists(st.sampled_from(pairs), max_size=3, unique=True)) if pairs else []
    edges = [*ring, *((a, b, draw(RATES), latency) for a, b in extra)]
    return mesh(edges, items, relays, held=draw(st.booleans()))


@settings(max_examples=20, deadline=None)
@given(movements(), st.data())
def test_no_bound_is_above_a_schedule(movement, data):
    moved = move(movement, Search(steps_max=4_000))
    if isinstance(moved, Stuck):
        return
    places = sorted({end for each in movement.links for end in (each.source, each.destination)})
    cut = data.draw(st.lists(st.sampled_from(places), unique=True))
    prices = {each.id: data.draw(st.integers(0, 5)) for each in movement.links}
    witness = tuple(Price(name=name, amount=prices[name]) for name in sorted(prices) if prices[name])
    assert isinstance(moved, Moved)
    assert cut_bound_ns(movement, members(*cut)) <= moved.value
    assert price_bound_ns(movement, witness) <= moved.value
    assert growth_bound_ns(movement) <= moved.value
    assert distance_bound_ns(movement) <= moved.value
    for objective in (Objective.COVER, Objective.RAMP):
        other = move(movement, Search(steps_max=500), objective)
        assert isinstance(other, Moved)
        assert other.bound.bound <= other.value


@pytest.mark.parametrize("seed", range(3))
def test_no_bound_is_above_the_optimum_of_a_multicast(seed):
    rates = [[1, 2, 1, 1], [2, 1, 1, 2], [1, 1, 2, 1]][seed]
    movement = star(rates, multicast(4, 1), latency_ns=0)
    best = Exhaustive(movement, Objective.ALL).solve()
    for amounts in itertools.product([0, 1, 3], repeat=len(rates)):
        witness = tuple(Price(name=f"m{n}>hub", amount=amount) for n, amount in enumerate(amounts) if amount)
        assert price_bound_ns(movement, witness) <= best
    assert growth_bound_ns(movement) <= best


def a_movement(chance: random.Random) -> Movement:
    """Up to three items of unequal sizes on a star, or on a ring with chords, of three or four memories."""
    names = [f"m{number}" for number in range(chance.choice([3, 3, 4]))]
    items = []
    for number in range(chance.choice([1, 2, 2] if len(names) == 4 else [1, 2, 3])):
        holders = chance.choice([["m0"], ["m0"], ["m0"], ["m0", "m1"], ["m1"]])
        wanters = [name for name in names if name not in holders]
        if chance.random() < 0.3:
            wanters = chance.sample(wanters, chance.randint(1, len(wanters)))
        items.append(item(f"i{number}", holders, wanters, chance.choice([1, 2, 3, 5]) * BYTES))
    latency_ns = chance.choice([0, 0, 300])
    relays = tuple(names) if chance.random() < 0.2 else ()
    if chance.random() < 0.5:
        return star([chance.choice([1, 2, 4]) for _ in names], items, latency_ns, relays)
    ring = [(near, (near + 1) % len(names)) for near in range(len(names))]
    chords = [pair for pair in itertools.permutations(range(len(names)), 2) if pair not in ring]
    edges = ring + chance.sample(chords, min(len(chords), chance.randint(0, 3)))
    rated = [(near, far, chance.choice([1, 1, 2, 8]), latency_ns) for near, far in edges]
    return mesh(rated, items, relays, held=chance.random() < 0.5)


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=() if seed == 0 else pytest.mark.slow, id=f"seed {seed}") for seed in range(30)]
)
def test_growth_is_never_above_the_optimum_of_random_movements(seed):
    chance = random.Random(seed)
    tight = 0
    for _ in range(20 if seed == 0 else 100):
        movement = a_movement(chance)
        best = Exhaustive(movement, Objective.ALL).solve()
        bound = growth_bound_ns(movement)
        assert bound <= best, movement
        tight += bound == best
    assert tight  # the bound is no idle one


def test_a_witness_that_claims_more_proves_less():
    movement = star([1, 1, 1, 1], allgather(4, pieces_max=8), latency_ns=10)
    moved = move(movement, Search(steps_max=100_000))
    assert isinstance(moved, Moved)
    assert moved.bound.method in {Method.CUT, Method.DUAL}
    claimed = moved.bound.bound
    for index in range(len(moved.bound.witness)):
        less = moved.bound.witness[:index] + moved.bound.witness[index + 1 :]
        weaker = cut_bound_ns(movement, less) if moved.bound.method is Method.CUT else price_bound_ns(movement, less)
        assert weaker <= moved.value
    for name in ("m0", "m1", "m2", "m3", "hub"):
        more = tuple(sorted({*moved.bound.witness, *members(name)}, key=lambda price: price.name))
        if moved.bound.method is Method.CUT:
            assert cut_bound_ns(movement, more) <= claimed
