"""The trade of steps against rounds per copy."""

from fractions import Fraction

import attrs
import pytest

from planner.rounds.frontier import frontier
from planner.rounds.schedule import Scheduled, schedule
from planner.search import Search
from specs.decisions.rounds.answer import faults, value
from specs.decisions.rounds.bounds import Unreachable, cut_rounds_per_copy, toll
from specs.decisions.rounds.certificate import Method, certificate_faults
from specs.decisions.rounds.collectives import allgather, alltoall, broadcast, gather
from specs.decisions.rounds.question import Fabric, Question
from tests.planner.rounds.fabrics import DGX1, ring


def test_allgather_on_a_dgx1():
    """The published frontier, with floors that hold for any number of chunks."""
    found = frontier(DGX1, allgather(8, 1), Search(), steps_max=8, copies_max=12)
    assert [(each.steps, each.rounds_per_copy, each.method) for each in found.floors] == [
        (2, Fraction(3, 2), Method.DUAL),
        (3, Fraction(7, 6), Method.CUT),
    ]
    for floor in found.floors:
        question = Question(fabric=DGX1, chunks=allgather(8, 1), steps=floor.steps, rounds=floor.steps)
        if floor.method is Method.CUT:
            assert cut_rounds_per_copy(question, floor.witness) == floor.rounds_per_copy
        else:
            assert toll(question, floor.witness).rounds_per_copy == floor.rounds_per_copy
    assert all(isinstance(point.outcome, Scheduled) and point.outcome.gap == 0 for point in found.points)
    assert [(each.copies, each.steps, value(each.outcome.answer)) for each in found.best] == [(2, 2, 3), (6, 3, 7)]


@pytest.mark.parametrize("chunks", [allgather(5, 1), broadcast(5, 1, 0), alltoall(5, 1), gather(5, 1, 2)])
def test_points_found_together_are_those_found_alone(chunks):
    found = frontier(ring(5), chunks, Search(), steps_max=4, copies_max=5)
    for point in found.points:
        many = tuple(attrs.evolve(each, count=point.copies) for each in chunks)
        question = Question(fabric=ring(5), chunks=many, steps=point.steps, rounds=100)
        assert not list(faults(question, point.outcome.answer))
        assert not list(certificate_faults(question, point.outcome.proof))
        alone = schedule(question, Search())
        assert value(alone.answer) == value(point.outcome.answer)
        assert alone.proof.rounds == point.outcome.proof.rounds


def test_alltoall_on_a_dgx1_needs_two_steps_only():
    found = frontier(DGX1, alltoall(8, 1), Search(), steps_max=8, copies_max=12)
    assert [(each.copies, each.steps, value(each.outcome.answer)) for each in found.best] == [(3, 2, 8)]
    assert found.floors[-1].method is Method.CUT


def test_it_ends_at_the_limits():
    found = frontier(ring(5), broadcast(5, 1, 0), Search(), steps_max=3, copies_max=2)
    assert [(point.copies, point.steps) for point in found.points] == [(1, 2), (1, 3), (2, 3)]  # (1, 2) is on its floor
    cut_short = frontier(DGX1, allgather(8, 1), Search(steps_max=1), steps_max=8, copies_max=12)
    assert len(cut_short.floors) == 1
    assert cut_short.points[0].rounds_per_copy is None


def test_no_path_no_frontier():
    fabric = Fabric.from_matrix(((0, 1), (0, 0)))
    assert isinstance(frontier(fabric, allgather(2, 1), Search(), steps_max=4, copies_max=4), Unreachable)


def test_points_are_those_of_scaled_chunks():
    found = frontier(ring(4), allgather(4, 1), Search(), steps_max=3, copies_max=3)
    for point in found.points:
        chunks = tuple(attrs.evolve(each, count=point.copies) for each in allgather(4, 1))
        assert {send.chunk for send in point.outcome.answer.sends} == set(range(sum(each.count for each in chunks)))
