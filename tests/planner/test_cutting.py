"""Into how many blobs: links that nobody uses do not count, and the forecast is that of the slowest way."""

import attrs
import pytest

from planner.blocks import predicted_ns
from planner.cutting import TRANSFER_OVERHEAD_NS, cut_for, forecast
from planner.routes import Routes
from specs.cluster import PlaceKind
from tests.builders import GIGABYTE, a_cluster, a_problem, an_llm
from tests.place_graphs import Wiring, star

LLM = an_llm(32, layer_bytes=2**26)


def counted(problem, **given):
    asked = {"blocks": None, "parent": None, "serving": ()} | given
    return len(cut_for(problem, problem.llms[0], Routes(problem.cluster), **asked))


def test_a_slow_node_that_takes_no_part_changes_nothing():
    quick = a_problem(5, llm=LLM, cluster=a_cluster(5))
    mixed = attrs.evolve(quick, cluster=star(6, (GIGABYTE,) * 5 + (GIGABYTE // 100,)))
    assert counted(mixed) == counted(quick) > 1
    slow = a_problem(6, llm=LLM, cluster=mixed.cluster)  # now it wants the LLM
    assert counted(slow) > counted(quick)


def test_a_slow_disk_changes_nothing():
    wiring = Wiring()
    leaf = wiring.switch("leaf")
    for number in range(4):
        wiring.node(number, leaf)
    problem = a_problem(4, llm=LLM, cluster=wiring.cluster())
    before = forecast(problem, LLM, Routes(problem.cluster))
    wiring.cable(wiring.store("n0/ssd", PlaceKind.SSD), leaf, GIGABYTE // 1000)
    after = attrs.evolve(problem, cluster=wiring.cluster())
    assert forecast(after, LLM, Routes(after.cluster)) == before


def test_the_forecast_is_sorted_and_by_the_formula():
    problem = a_problem(5, 2, llm=LLM, cluster=star(5, (GIGABYTE, GIGABYTE, GIGABYTE // 2)))
    found = forecast(problem, LLM, Routes(problem.cluster))
    assert found.rate == GIGABYTE // 2
    assert [blocks for _, blocks in sorted(found.by_time, key=lambda row: row[1])] == list(range(1, 33))
    assert list(found.by_time) == sorted(found.by_time)
    for ns, blocks in found.by_time:
        assert ns == predicted_ns(LLM, blocks, 5, 2, found.rate, TRANSFER_OVERHEAD_NS)


def test_where_nothing_moves_there_is_one_blob():
    problem = a_problem(3, 3)
    assert forecast(problem, problem.llms[0], Routes(problem.cluster)) is None
    assert counted(problem) == 1


@pytest.mark.parametrize("blocks", [1, 5, 8])
def test_what_is_asked_for_is_done(blocks):
    assert counted(a_problem(3), blocks=blocks) == blocks
