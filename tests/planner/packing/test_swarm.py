"""Swarms against every schedule of small movements, near their bounds on large ones, the same in every process."""

import itertools
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.packing.ground import Ground
from planner.packing.move import Moved, move
from planner.packing.swarm import Rule, act, orders
from planner.routes import Routes
from planner.search import Search
from specs.bounds import multicast_ticks_bound
from specs.decisions.flow.faults import faults
from specs.decisions.flow.question import as_cluster
from tests.hash_seeds import printed
from tests.movements import BYTES, GIGABYTE, item, star
from tests.planner.packing.test_packing import fat_tree, multicast_in


def ground_of(movement):
    wants = [(each.bytes, each.holders, each.receivers) for each in movement.items]
    return Ground(as_cluster(movement), Routes(as_cluster(movement)), wants)


def fewest_ticks(held, blocks):
    """Every schedule of ticks between nodes that all want everything; alike nodes and blocks count once."""

    def canonical(state):
        """Forget names: the least of the states that renaming blocks, and then nodes, gives."""
        return min(
            tuple(sorted(sum(1 << order[block] for block in range(blocks) if node >> block & 1) for node in state))
            for order in itertools.permutations(range(blocks))
        )

    def after(state):
        """States after one tick in which nobody idle could still be served."""
        found = set()

        def assign(receiver, senders, gained, idle):
            if receiver == len(state):
                if not any(state[a] & ~state[b] for a in senders for b in idle):
                    found.add(tuple(old | new for old, new in zip(state, gained, strict=True)))
                return
            for source in senders:
                useful = state[source] & ~state[receiver]
                while useful:
                    lowest = useful & -useful
                    useful ^= lowest
                    assign(receiver + 1, senders - {source}, (*gained, lowest), idle)
            assign(receiver + 1, senders, (*gained, 0), (*idle, receiver))

        assign(0, frozenset(range(len(state))), (), ())
        return {small(each) for each in found}

    small = cache(canonical)
    front, ticks, full = {small(tuple(held))}, 0, (1 << blocks) - 1
    while not any(all(node == full for node in state) for state in front):
        front = {each for state in front for each in after(state)}
        ticks += 1
    return ticks


def swarmed_ticks(held, blocks):
    names = [f"m{number}" for number in range(len(held))]
    items = [
        item(f"b{block}", [name for name, node in zip(names, held, strict=True) if node >> block & 1], names)
        for block in range(blocks)
    ]
    *_, best = orders(ground_of(star([1] * len(held), items)), Search(), 0)
    assert best.complete
    return best.end_ns // BYTES


@given(st.lists(st.integers(0, 7), min_size=2, max_size=4))
@settings(max_examples=40, deadline=None)
def test_from_any_parts_a_swarm_needs_the_fewest_ticks(parts):
    held = [*parts, 7 & ~(parts[0] | parts[1])]  # all blocks are somewhere
    if all(node == 7 for node in held):
        return
    assert swarmed_ticks(held, 3) == fewest_ticks(held, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "held", [[15, 0, 0, 0, 0], [3, 12, 0, 0, 0], [1, 2, 4, 8, 0], [15, 1, 0, 2, 0], [7, 8, 8, 0, 1]]
)
def test_five_nodes_and_four_blocks_take_the_fewest_ticks(held):
    fewest = fewest_ticks(held, 4)
    assert swarmed_ticks(held, 4) == fewest
    if held[0] == 15 and not any(held[1:]):
        assert fewest == multicast_ticks_bound(5, 1, 4)


def test_copies_cross_the_door_of_a_rack_once_each_where_it_is_narrow():
    movement = multicast_in(fat_tree(4, 8, GIGABYTE), 6)
    ground = ground_of(movement)
    acted = act(ground, Rule())
    assert acted.complete
    into_last = [blob for _, blob, source, taker in acted.moves if ground.rack_of[taker] == 3 != ground.rack_of[source]]
    assert len(into_last) <= 2 * len(movement.items)


def test_an_order_is_given_up_when_it_cannot_be_the_best_or_when_told_to():
    ground = ground_of(multicast_in(fat_tree(2, 8, GIGABYTE), 8))
    whole = act(ground, Rule())
    assert whole.complete
    assert not act(ground, Rule(), stop_ns=whole.end_ns).complete
    assert not act(ground, Rule(), over=lambda: True).complete


def test_a_clock_that_is_over_still_gives_a_schedule_among_many_memories():
    movement = multicast_in(fat_tree(8, 16, 2 * GIGABYTE), 4)
    moved = move(movement, Search(within_s=0))
    assert isinstance(moved, Moved)
    assert not list(faults(movement, moved.delivery))


def test_chance_is_the_same_in_every_process():
    program = (
        "from tests.planner.packing.test_packing import fat_tree, multicast_in\n"
        "from planner.packing.move import move\n"
        "from planner.search import Search\n"
        "import hashlib\n"
        "movement = multicast_in(fat_tree(8, 16, 4 * 10**9, (10**9, 2 * 10**9)), 8)\n"
        "moved = move(movement, Search(steps_max=8_000, seed=5))\n"
        "print(hashlib.sha256(repr(moved).encode()).hexdigest())\n"
    )
    assert printed(program)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("uplink", "rates", "gap"),
    [(8, (1,), 0.03), (64, (2, 1), 0.02), (64, (1, 2), 0.07)],
    ids=["4:1 uplinks", "mixed NICs, a fast source", "mixed NICs, a slow source"],
)
def test_a_thousand_nodes_and_64_blobs_come_near_their_bound(uplink, rates, gap):
    rates = tuple(rate * GIGABYTE for rate in rates)
    movement = multicast_in(fat_tree(32, 32, uplink * GIGABYTE, rates), 64)
    moved = move(movement, Search(steps_max=140_000))
    assert isinstance(moved, Moved)
    assert moved.gap <= gap
