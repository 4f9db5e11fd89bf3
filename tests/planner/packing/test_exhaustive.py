"""On small movements the answer equals an exhaustive search, for every objective, and no bound is above it."""

import pytest

from planner.packing.move import Moved, move
from planner.search import Search
from specs.bounds import first_cover_ticks_bound, multicast_ticks_bound
from specs.decisions.flow.faults import faults
from specs.decisions.flow.values import Objective
from tests.movements import BYTES, Exhaustive, allgather, alltoall, item, mesh, multicast, star

RING = [(0, 1, 1, 0), (1, 2, 1, 0), (2, 3, 1, 0), (3, 0, 1, 0)]
BOTH_WAYS = [*RING, *((b, a, rate, latency) for a, b, rate, latency in RING)]

SMALL = {
    "chain": mesh([(0, 1, 1, 250), (1, 2, 2, 0)], multicast(3, 2)),
    "chain of four, a slow link": mesh([(0, 1, 2, 0), (1, 2, 1, 0), (2, 3, 2, 250)], multicast(4, 2)),
    "one-way ring": mesh(RING, multicast(4, 2)),
    "ring both ways": mesh(BOTH_WAYS, multicast(4, 2)),
    "allgather on a ring": mesh([*RING[:2], (2, 0, 1, 0)], allgather(3)),
    "unequal triangle": mesh([(0, 1, 4, 0), (0, 2, 1, 0), (1, 2, 2, 0)], multicast(3, 3)),
    "star": star([1, 1, 1, 1], multicast(4, 2)),
    "star of five": star([1, 1, 1, 1, 1], multicast(5, 1)),
    "star with unequal cables": star([2, 2, 1, 1], multicast(4, 1), latency_ns=250),
    "star, allgather": star([1, 2, 1], allgather(3)),
    "star, alltoall": star([1, 2, 1], alltoall(3)),
    "gather": star([1, 1, 1, 1], [item(f"i{n}", [f"m{n}"], ["m0"]) for n in range(1, 4)]),
    "scatter": star([2, 1, 1, 1], [item(f"i{n}", ["m0"], [f"m{n}"]) for n in range(1, 4)]),
    "two holders": star([1, 1, 1, 1], [item("a", ["m0", "m1"], ["m2", "m3"]), item("b", ["m0", "m1"], ["m2", "m3"])]),
    "reshuffle": star([1, 1, 1], [item("a", ["m0"], ["m1"]), item("b", ["m1"], ["m2"]), item("c", ["m2"], ["m0"])]),
    "a relay": mesh([(0, 1, 2, 0), (1, 2, 2, 0), (0, 2, 1, 0)], [item("a", ["m0"], ["m2"], 3 * BYTES)], ["m1"]),
    "a relay that must": mesh([(0, 1, 2, 250), (1, 2, 2, 0)], [item("a", ["m0"], ["m2"])], ["m1"]),
    "latency on the wire": mesh([(0, 1, 1, 500), (1, 2, 1, 500)], multicast(3, 3), held=False),
}


@pytest.mark.parametrize("objective", Objective)
@pytest.mark.parametrize("name", SMALL)
def test_small_movements_are_moved_as_well_as_can_be(name, objective):
    movement = SMALL[name]
    best = Exhaustive(movement, objective).solve()
    moved = move(movement, Search(steps_max=10_000_000), objective)
    assert isinstance(moved, Moved)
    assert not list(faults(movement, moved.delivery))
    assert moved.bound.bound <= best == moved.value


@pytest.mark.parametrize(("nodes", "blocks"), [(2, 4), (3, 4), (4, 3), (4, 4), (5, 2), (5, 3)])
def test_multicast_on_equal_ports_takes_the_ticks_of_the_closed_form(nodes, blocks):
    movement = star([1] * nodes, multicast(nodes, blocks))
    moved = move(movement, Search(steps_max=20_000_000))
    assert isinstance(moved, Moved)
    assert moved.value == BYTES * multicast_ticks_bound(nodes, 1, blocks)
    cover = move(movement, Search(steps_max=20_000_000), Objective.COVER)
    assert isinstance(cover, Moved)
    assert cover.value == BYTES * first_cover_ticks_bound(nodes, 1, blocks)
