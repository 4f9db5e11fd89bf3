import itertools
import re

import attrs
import pytest

from planner.flow import bottleneck, flow_of, uses_of
from planner.outcome import Planned
from planner.page.flow_graph import draw_flow
from planner.page.flow_layout import lay_out
from planner.page.flow_map import DETAILED_MAX, TILES_MAX, flow_map
from planner.page.flow_section import COLUMNS, LEVELS, flow_section, levels
from planner.page.flow_words import bottleneck_sentences, cut_name, edge_lines, percent, say_bytes
from planner.solve import Request, solve
from specs.cluster import Node, Place, PlaceKind
from specs.invariants.facts import Facts
from tests import plans
from tests.builders import GIGABYTE, TOY, a_cluster, a_problem, an_llm
from tests.place_graphs import Wiring, islands, two_racks


def a_chain_of(nodes):
    return Facts(*plans.a_chain(nodes, 3, problem=a_problem(nodes, cluster=a_cluster(nodes))))


def many_racks(racks):
    """Two nodes on a leaf each, leaves under a spine, every leaf and rack of its own name."""
    wiring = Wiring()
    wiring.switch("spine")
    for rack in range(racks):
        wiring.switch(f"leaf{rack}")
        wiring.cable(f"leaf{rack}", "spine", 2 * GIGABYTE)
        for number in (0, 1):
            wiring.node(2 * rack + number, f"leaf{rack}")
    cluster = wiring.cluster()
    nodes = tuple(attrs.evolve(node, rack=f"r{index // 2}") for index, node in enumerate(cluster.nodes))
    return attrs.evolve(cluster, nodes=nodes)


def planned(cluster, blocks=4):
    problem = a_problem(len(cluster.nodes), cluster=cluster, llm=an_llm(4))
    outcome = solve(problem, Request(blocks=blocks))
    assert isinstance(outcome, Planned), outcome
    return Facts(problem, outcome.verified.plan)


def map_of(facts):
    flow = flow_of(facts)
    found = [bottleneck(facts, flow, llm.id) for llm in facts.problem.llms]
    return flow_map(facts, flow, [each for each in found if each]), flow


SHAPES = {
    "four nodes": lambda: a_chain_of(4),
    "forty nodes": lambda: a_chain_of(40),
    "groups": lambda: a_chain_of(TILES_MAX + 12),
    "racks": lambda: planned(two_racks(4)),
    "islands": lambda: planned(islands(3, 3)),
    "fourteen islands": lambda: planned(islands(DETAILED_MAX + 2, 3)),
    "groups in racks": lambda: planned(many_racks(TILES_MAX // 2 + 1)),
    "more groups than tiles": lambda: planned(many_racks(TILES_MAX + 2)),
    "relay": lambda: Facts(*plans.a_relay_station()),
    "two LLMs": lambda: Facts(*plans.a_relocation()),
}


@pytest.fixture(params=SHAPES, scope="module")
def facts(request):
    return SHAPES[request.param]()


# --- sums ------------------------------------------------------------------------------------------------------------


def test_whatever_is_drawn_as_one_is_summed_and_nothing_is_left_out(facts):
    drawn, flow = map_of(facts)
    cluster = facts.problem.cluster
    assert sorted(node for tile in drawn.tiles for node in tile.nodes) == sorted(node.id for node in cluster.nodes)
    assert sorted(place for each in drawn.vertices for place in each.places) == sorted(
        place.id for place in cluster.places
    )
    links = [link for edge in drawn.edges for link in edge.links] + [each.link for each in drawn.inside]
    assert sorted(links) == sorted(link.id for link in cluster.links)
    carried = {each.link: each for each in flow.links}
    for edge in drawn.edges:
        assert edge.bytes == sum(carried[link].bytes for link in edge.links)
        assert edge.used == sum(carried[link].transfers > 0 for link in edge.links)
        assert edge.hottest.taken_ppm == max(carried[link].taken_ppm for link in edge.links)
    total = sum(edge.bytes for edge in drawn.edges) + sum(each.bytes for each in drawn.inside)
    assert total == sum(each.bytes for each in flow.links)
    assert sum(each.holds for each in drawn.vertices) == len({held.place for held in facts.problem.holdings})
    assert sum(each.wants for each in drawn.vertices) == len({target.place for target in facts.problem.targets})


def test_few_nodes_stand_alone_and_many_as_groups(facts):
    drawn, _ = map_of(facts)
    assert len(drawn.tiles) <= TILES_MAX
    alone = all(len(tile.nodes) == 1 for tile in drawn.tiles)
    assert alone == (len(facts.problem.cluster.nodes) <= TILES_MAX)


def test_groups_of_racks_keep_the_source_apart():
    drawn, _ = map_of(SHAPES["more groups than tiles"]())
    assert [len(tile.nodes) for tile in drawn.tiles] == [1, 2 * (TILES_MAX + 2) - 1]
    switches = [len(each.places) for each in drawn.vertices if each.tile is None]
    assert sorted(switches) == [1, 1, TILES_MAX + 1]  # spine, the source's leaf, all others


# --- the drawing -----------------------------------------------------------------------------------------------------


def apart(one, other):
    return one.right <= other.x or other.right <= one.x or one.bottom <= other.y or other.bottom <= one.y


def test_nothing_stands_on_anything_else(facts):
    drawn, _ = map_of(facts)
    layout = lay_out(drawn)
    tiles = list(layout.tiles.values())
    bars = [box for boxes in layout.bars.values() for box in boxes]
    assert len(tiles) == len(drawn.tiles)
    for boxes in (tiles + bars, list(layout.places.values())):
        for index, box in enumerate(boxes):
            assert box.width > 0
            assert box.right <= layout.width
            assert box.bottom <= layout.height
            assert all(apart(box, other) for other in boxes[:index])
    for vertex, box in layout.places.items():
        outer = layout.tiles[drawn.vertices[vertex].tile]
        assert outer.x < box.x
        assert box.right < outer.right
        assert outer.y < box.y
        assert box.bottom < outer.bottom


def test_every_line_that_carries_something_is_drawn_once(facts):
    drawn, flow = map_of(facts)
    svg = draw_flow(drawn, flow)
    numbers = sorted(int(each) for each in re.findall(r'data-edge="(\d+)"', svg))
    assert numbers == [index for index, edge in enumerate(drawn.edges) if edge.used]
    assert svg.count(" f-binds") == sum(edge.binds > 0 for edge in drawn.edges) > 0
    assert svg.count('class="f-tag"') == 1


def test_a_wider_line_carries_more():
    drawn, flow = map_of(SHAPES["racks"]())
    svg = draw_flow(drawn, flow)
    widths = {
        int(index): float(width)
        for index, width in re.findall(
            r'data-edge="(\d+)"(?:(?!</g>).)*stroke-width="([\d.]+)"/><polygon points="[^"]*"/></g>', svg
        )
    }
    assert len(widths) == sum(edge.used > 0 for edge in drawn.edges)
    ordered = sorted(widths, key=lambda index: drawn.edges[index].bytes)
    assert all(widths[one] <= widths[other] for one, other in itertools.pairwise(ordered))


def test_wires_to_upright_switches_are_level_where_nothing_stands_between():
    drawn, flow = map_of(SHAPES["racks"]())
    layout = lay_out(drawn)
    assert layout.upright
    svg = draw_flow(drawn, flow)
    for index, edge in enumerate(drawn.edges):
        if edge.used and layout.upright.intersection((edge.source, edge.destination)):
            (bar,) = {edge.source, edge.destination} - layout.upright
            way = re.search(rf'data-edge="{index}".*?<path d="M([^"]+)"', svg)[1]
            heights = {float(point.split()[1]) for point in way.split("L")}
            assert (len(heights) == 1) == (layout.bars[bar][0].x == layout.left)


def test_memories_that_nothing_crosses_are_left_out_and_said_to_be():
    problem, plan = plans.a_chain(3, 2)
    host = Place(id="n1/host", kind=PlaceKind.HOST, node="n1", memory_bytes=GIGABYTE)
    cluster = attrs.evolve(problem.cluster, places=(*problem.cluster.places, host))
    facts = Facts(attrs.evolve(problem, cluster=cluster), plan)
    assert "n1/host" not in draw_flow(*map_of(facts))
    assert "Memories that nothing crosses are left out (host)." in flow_section(facts).html


def test_names_are_escaped():
    wiring = Wiring()
    wiring.switch("le>af")
    wiring.node(0, "le>af")
    wiring.node(1, "le>af")
    html = flow_section(planned(wiring.cluster())).html
    assert ">le&gt;af<" in html
    assert ">le>af<" not in html


# --- what is said ----------------------------------------------------------------------------------------------------


def test_the_sentences_name_the_numbers_of_the_plan():
    problem = a_problem(4)
    draft = plans.Draft(problem, plans.blobs_of(problem.llms[0], 3))
    for blob in draft.blobs:
        for node in (1, 2, 3):
            draft.move(blob, plans.gpu(0), plans.gpu(node))
    facts = Facts(problem, draft.plan())
    flow = flow_of(facts)
    first, second, third = bottleneck_sentences(facts, flow, bottleneck(facts, flow, "llm"))
    size = 3 * facts.llm_bytes("llm")
    taken = percent(next(each.taken_ppm for each in flow.links if each.link == "n0/nic0>leaf"))
    assert first.startswith(f"Bottleneck: n0/nic0 → leaf, busy {taken} of the plan")
    assert f"with {say_bytes(size)} in 9 transfers." in first
    assert "over 1 GB/s" in second
    assert (
        third
        == "The last arrival ends a chain of 9 transfers that wait one for another; 9 of them cross n0/gpu0 → n0/nic0."
    )


def test_edges_say_what_they_carry(facts):
    drawn, flow = map_of(facts)
    for edge in drawn.edges:
        text = "\n".join(edge_lines(edge, drawn, flow))
        assert say_bytes(edge.bytes) in text
        assert percent(edge.mean_ppm) in text
        assert (f"{len(edge.links):,} links" in text) == (len(edge.links) > 1)


def test_sets_of_places_have_short_names():
    facts = a_chain_of(5)
    assert cut_name(facts, ("n1/gpu0", "n1/nic0")) == "{n1}"
    assert cut_name(facts, ("n1/gpu0", "n1/nic0", "n2/gpu0")) == "{n1, n2/gpu0}"
    every = [place.id for place in facts.problem.cluster.places]
    assert cut_name(facts, [place for place in every if not place.startswith("n0/")]) == "everything but {n0}"


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (16_060_522_496, "16.06 GB"),
        (3_125_000_000, "3.125 GB"),
        (200 * GIGABYTE, "200 GB"),
        (151_000_000_000, "151 GB"),
        (999_999_999, "1000 MB"),
    ],
)
def test_bytes_are_said_in_powers_of_ten(amount, said):
    assert say_bytes(amount) == said


# --- over time -------------------------------------------------------------------------------------------------------


def test_levels_follow_the_transfers():
    problem = a_problem(2)
    draft = plans.Draft(problem, plans.blobs_of(problem.llms[0], 1))
    draft.move(draft.blobs[0], plans.gpu(0), plans.gpu(1))
    end = draft.steps[0].end_ns
    # The second half of the plan is idle on this wire: node 0 sends again only after a pause.
    again = attrs.evolve(draft.steps[0], id=1, start_ns=3 * end, end_ns=4 * end)
    facts = Facts(problem, attrs.evolve(draft.plan(), steps=(draft.steps[0], again)))
    drawn, flow = map_of(facts)
    edge = next(each for each in drawn.edges if each.links == ("n0/nic0>leaf",))
    found = levels(edge, uses_of(facts), flow)
    quarter = COLUMNS // 4
    assert found[:quarter] == found[3 * quarter :] == LEVELS[-1] * quarter
    assert found[quarter : 3 * quarter] == LEVELS[0] * 2 * quarter


def test_levels_add_up_to_the_bytes(facts):
    drawn, flow = map_of(facts)
    uses = uses_of(facts)
    for edge in drawn.edges:
        if edge.used:
            found = levels(edge, uses, flow)
            mean = sum(map(LEVELS.index, found)) / COLUMNS / (len(LEVELS) - 1)
            assert len(found) == COLUMNS
            # Each level is rounded up by less than one step.
            assert edge.mean_ppm / 1e6 - 0.001 <= mean <= edge.mean_ppm / 1e6 + 1 / (len(LEVELS) - 1)


def test_nothing_moves_nothing_is_shown():
    problem, plan = plans.a_chain()
    section = flow_section(Facts(problem, attrs.evolve(plan, steps=(), pipelines=(), routing=())))
    assert section.html == ""
    assert section.data is None


def test_the_busiest_lines_are_visited_first():
    section = flow_section(SHAPES["racks"]())
    assert section.data["duration"] > 0
    texts = [text for _, text, _ in section.data["edges"]]
    taken = [float(re.search(r"nothing left of it ([\d.]+) %", text)[1]) for text in texts]
    assert taken == sorted(taken, reverse=True)


def test_a_cluster_without_switches_is_drawn():
    """Two devices with a wire between them."""
    places = tuple(
        Place(id=f"n{index}/gpu0", kind=PlaceKind.DEVICE, node=f"n{index}", memory_bytes=GIGABYTE, device="toy")
        for index in range(2)
    )
    wiring = Wiring(places=list(places))
    wiring.cable("n0/gpu0", "n1/gpu0")
    cluster = attrs.evolve(wiring.cluster(), device_kinds=(TOY,), nodes=(Node(id="n0"), Node(id="n1")))
    facts = planned(cluster)
    drawn, flow = map_of(facts)
    assert draw_flow(drawn, flow).count("data-edge") == 1
