"""Forward-backward improvement: what it gives is a schedule still, and often a shorter one."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.collectives import allgather, dgx2
from planner.packing.floor import Stopped
from planner.packing.justifying import justified
from planner.packing.laying import RULES, jobs_of, lay
from planner.packing.move import Moved, move
from planner.packing.network import network
from planner.packing.rounding import planted
from planner.packing.steady import classes_of, steady_state
from planner.search import Search
from specs.decisions.flow.faults import faults
from specs.decisions.flow.values import Objective, value
from tests.movements import GIGABYTE, item, link, mesh


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 5), st.booleans(), st.data())
def test_a_justified_schedule_has_no_faults_and_the_same_hops(nodes, held, data):
    pairs = [(a, b) for a in range(nodes) for b in range(nodes) if a != b]
    ring = [(a, (a + 1) % nodes) for a in range(nodes)]
    chosen = sorted({*ring, *data.draw(st.lists(st.sampled_from(pairs)))})
    edges = [(a, b, data.draw(st.integers(1, 3)), data.draw(st.integers(0, 900))) for a, b in chosen]
    names = [f"m{place}" for place in range(nodes)]
    items = [
        item(
            f"of-{name}", [name], data.draw(st.sets(st.sampled_from(names), min_size=1).map(sorted)), 1000, pieces_max=4
        )
        for name in names
    ]
    hubs = (link("m0", "hub", 2 * GIGABYTE, 50), link("hub", "spine", GIGABYTE, 70), link("spine", "m1", GIGABYTE, 90))
    movement = mesh(edges, items, names, held=held)
    movement = attrs.evolve(movement, links=(*movement.links, *hubs))
    found = move(movement, Search(steps_max=3_000))
    assert isinstance(found, Moved)
    again = justified(movement, found.delivery, lambda: False)
    assert not list(faults(movement, again))
    moved = [
        sorted((hop.piece, hop.route, hop.end_ns - hop.start_ns) for hop in each.hops)
        for each in (found.delivery, again)
    ]
    assert moved[0] == moved[1]


def test_an_end_where_all_wait_for_the_same_ports_is_shortened():
    movement = dgx2().movement(allgather(dgx2(), 10**9))
    net = network(movement)
    trees = planted(net, steady_state(net, classes_of(movement, net), Search(), 300), 4)
    laid = lay(net, trees, jobs_of(net, trees), RULES[-1])
    before, after = (value(movement, each, Objective.ALL) for each in (laid, justified(movement, laid, lambda: False)))
    assert after < 0.95 * before


def test_it_stops_when_told_to():
    movement = mesh([(0, 1, 1, 0)], [item("a", ["m0"], ["m1"])])
    found = move(movement, Search())
    assert isinstance(found, Moved)
    with pytest.raises(Stopped):
        justified(movement, found.delivery, lambda: True)
