import re

import attrs
import pytest

from planner.page.graph import draw_graph
from planner.page.selection import select
from specs.cluster import Link, Place, PlaceKind
from specs.invariants.facts import Facts
from tests import plans
from tests.builders import GIGABYTE, a_cluster, a_problem


def graph_of(problem, plan):
    facts = Facts(problem, plan)
    return draw_graph(facts, select(facts))


def cards_of(svg):
    found = re.findall(r'<rect x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)" rx="6" class="g-card"', svg)
    return [tuple(map(int, each)) for each in found]


@pytest.mark.parametrize("nodes", [1, 2, 5, 8, 9, 16, 17, 40])
def test_cards_lie_apart_and_every_node_has_two_wires(nodes):
    problem = a_problem(max(nodes, 2), cluster=a_cluster(max(nodes, 2)))
    graph = graph_of(*plans.a_chain(max(nodes, 2), 3, problem=problem))
    cards = cards_of(graph.svg)
    assert len(cards) == max(nodes, 2)
    for index, (x, y, width, height) in enumerate(cards):
        for other_x, other_y, _, _ in cards[:index]:
            assert abs(x - other_x) >= width or abs(y - other_y) >= height
    assert len(set(graph.wires.values())) == 2 * len(cards)
    assert all(link.count("leaf") == 1 for link in graph.wires)


def test_a_memory_has_cells_only_for_what_it_ever_holds():
    problem, plan = plans.a_chain(3, 4)
    facts = Facts(problem, plan)
    selection = select(facts)
    last = selection.memories[-1]
    fewer = attrs.evolve(last, ever=frozenset(sorted(last.ever)[1:3]))
    changed = attrs.evolve(selection, memories=(*selection.memories[:-1], fewer))
    cells = re.findall(r'class="g-cell" id="b(\d+)-(\d+)"', draw_graph(facts, changed).svg)
    blobs = [blob.id for blob in plan.blobs]
    assert [int(blob) for memory, blob in cells if memory == "2"] == sorted(blobs.index(blob) for blob in fewer.ever)
    assert len(cells) == 4 + 4 + 2


def test_what_is_ever_held_is_what_is_held_first_or_arrives():
    problem, plan = plans.a_chain(3, 4)
    for memory in select(Facts(problem, plan)).memories:
        assert memory.held <= memory.ever == {blob.id for blob in plan.blobs}


def test_every_memory_has_a_cell_per_blob_up_to_a_limit():
    graph = graph_of(*plans.a_chain(3, 4))
    assert len(re.findall('class="g-cell"', graph.svg)) == 12


def test_switches_above_others_are_bars_with_wires_of_their_own():
    problem, plan = plans.a_chain(4, 2)
    cluster = problem.cluster
    spine = Place(id="spine", kind=PlaceKind.SWITCH, memory_bytes=0)
    links = tuple(
        Link(id=f"{one}>{other}", source=one, destination=other, bytes_per_second=GIGABYTE, latency_ns=0)
        for one, other in (("leaf", "spine"), ("spine", "leaf"))
    )
    taller = attrs.evolve(cluster, places=(*cluster.places, spine), links=(*cluster.links, *links))
    graph = graph_of(attrs.evolve(problem, cluster=taller), plan)
    assert graph.wires["leaf>spine"] != graph.wires["spine>leaf"]
    assert ">spine</text>" in graph.svg
