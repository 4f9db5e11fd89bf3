import pytest

from examples.clusters.problems import EXAMPLES, FOLDER, LLAMA_8B, example, make_llm
from planner.outcome import Planned
from planner.page.render import render
from planner.solve import Request, solve
from specs import codec

LARGE = {"thousand": 24, "four-kinds": 24, "rails-b200": 3}


def test_every_cluster_has_an_example():
    assert sorted(EXAMPLES) == sorted(path.stem for path in FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_planned_and_drawn(name):
    problem = example(name, LARGE.get(name))
    outcome = solve(problem, Request(blocks=8))
    assert isinstance(outcome, Planned), outcome
    page = render(outcome.verified)
    assert f"{problem.llms[0].id} on {problem.cluster.name}" in page
    assert codec.digest(outcome.verified.plan) in page


def test_the_first_nodes_make_a_smaller_cluster():
    whole, part = example("thousand"), example("thousand", 10)
    assert len(whole.cluster.nodes) == 1024
    assert len(part.cluster.nodes) == 10
    assert len(part.targets) == 9


def test_an_llm_of_a_shape_has_the_published_number_of_parameters():
    llm = make_llm(LLAMA_8B)
    assert sum(tensor.bytes for tensor in llm.tensors) // 2 == 8_030_261_248
    assert llm.layers == 32
