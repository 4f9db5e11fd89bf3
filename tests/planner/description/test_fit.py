import attrs
import pytest

from planner.description.fit import conflict, fits
from specs.blobs import packed_bytes
from specs.cluster import PlaceKind
from specs.problem import Problem
from tests.builders import a_cluster, a_problem, an_llm


def problem_with_memory(memory_bytes: int) -> Problem:
    return a_problem(nodes=2, cluster=a_cluster(2, memory_bytes=memory_bytes))


def test_a_place_fits_at_its_edge():
    needed = fits(problem_with_memory(10**9))[1].needed_bytes
    assert fits(problem_with_memory(needed))[1].missing_bytes == 0
    assert fits(problem_with_memory(needed - 1))[1].missing_bytes == 1


def test_a_holder_need_not_serve():
    holder, receiver = fits(problem_with_memory(10**9))
    assert holder.needed_bytes == holder.weights_bytes == receiver.weights_bytes < receiver.needed_bytes


def test_what_is_needed():
    llm = an_llm()
    fit = fits(problem_with_memory(10**9))[1]
    assert fit.weights_bytes == packed_bytes(llm, 0, len(llm.tensors))
    # Eight layers of 128 bytes per token, four live requests of 64 tokens.
    assert fit.kv_bytes == 8 * 128 * 4 * 64


def test_the_conflict_names_rule_place_and_what_is_missing():
    fit = fits(problem_with_memory(500_000))[0]  # less than the weights alone
    found = conflict(fit)
    assert (found.rule, found.where) == ("MEM", "n0/gpu0")
    assert f"{fit.missing_bytes:,} bytes are missing" in found.sentence


@pytest.mark.parametrize("kind", ["host", "ssd"])
def test_a_memory_that_computes_nothing_needs_no_kv(kind):
    problem = problem_with_memory(10**9)
    places = tuple(
        attrs.evolve(place, kind=PlaceKind(kind), device=None) if place.id == "n0/gpu0" else place
        for place in problem.cluster.places
    )
    fit = fits(attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, places=places)))[0]
    assert fit.needed_bytes == fit.weights_bytes
