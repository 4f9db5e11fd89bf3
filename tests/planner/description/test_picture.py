import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from planner.description.node_groups import group_nodes
from planner.description.picture import draw
from planner.description.reading import read_problem
from tests.builders import a_problem

CLUSTERS = sorted((Path(__file__).parents[3] / "examples" / "clusters").glob("*.yaml"))
SVG = "{http://www.w3.org/2000/svg}"


def boxes(root, kinds):
    return [
        tuple(int(each.get(key)) for key in ("x", "y", "width", "height"))
        for each in root.iter(f"{SVG}rect")
        if each.get("class") in kinds
    ]


def overlap(one, other):
    return (
        one[0] < other[0] + other[2]
        and other[0] < one[0] + one[2]
        and one[1] < other[1] + other[3]
        and other[1] < one[1] + one[3]
    )


@pytest.mark.parametrize("path", CLUSTERS, ids=lambda path: path.stem)
def test_boxes_lie_inside_and_do_not_overlap(path):
    root = ET.fromstring(draw(read_problem(path)))
    width, height = int(root.get("width")), int(root.get("height"))
    for kinds in (("card",), ("network", "nic", "pcie", "device", "host", "ssd", "nvlink")):
        found = boxes(root, kinds)
        assert found
        for index, one in enumerate(found):
            assert one[0] >= 0 <= one[1]
            assert one[0] + one[2] <= width
            assert one[1] + one[3] <= height
            assert not any(overlap(one, other) for other in found[index + 1 :])


@pytest.mark.parametrize("path", CLUSTERS, ids=lambda path: path.stem)
def test_every_place_of_a_group_is_drawn_once(path):
    problem = read_problem(path)
    root = ET.fromstring(draw(problem))
    groups = group_nodes(problem)
    assert len(boxes(root, ("card",))) == len(groups)
    drawn = len(boxes(root, ("network", "nic", "pcie", "device", "host", "ssd", "nvlink")))
    shared = sum(place.node is None for place in problem.cluster.places)
    assert drawn == shared + sum(len(group.places) for group in groups)
    assert sum(len(group.nodes) for group in groups) == len(problem.cluster.nodes)


def test_what_is_held_and_wanted_is_coloured():
    root = ET.fromstring(draw(a_problem(5)))
    # One box and one row of the legend each.
    assert [len(boxes(root, (kind,))) for kind in ("held", "wanted")] == [2, 2]
    assert "is to hold llm: n[1-4]/gpu0" in "".join(root.itertext())


def test_names_are_escaped():
    text = draw(a_problem(2))
    assert re.search(r"<script|&(?!amp;|lt;|gt;|quot;|#)", text) is None
