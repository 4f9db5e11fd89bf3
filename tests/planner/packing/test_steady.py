"""The steady state where the linear solver fails: schedules are still made, and bounds stay true."""

from ortools.linear_solver import pywraplp

from planner.blocks import cut
from planner.packing.move import Moved, move
from planner.search import Search
from specs.decisions.flow.faults import faults
from specs.movement import movement_of
from tests.builders import GIGABYTE, an_llm
from tests.place_graphs import star


def test_a_solver_that_loses_its_way_costs_quality_alone(monkeypatch):
    blobs = cut(an_llm(4, layer_bytes=2**20), 4)
    cluster = star(4, (GIGABYTE, 2 * GIGABYTE))
    held = {(blob.id, "n0/gpu0") for blob in blobs}
    wanted = {(blob.id, f"n{node}/gpu0") for blob in blobs for node in (1, 2, 3)}
    movement = movement_of(cluster, blobs, held, wanted, ())
    usual = move(movement, Search(steps_max=5_000))
    monkeypatch.setattr(pywraplp.Solver, "Solve", lambda *_: pywraplp.Solver.ABNORMAL)
    without = move(movement, Search(steps_max=5_000))
    assert isinstance(usual, Moved)
    assert isinstance(without, Moved)
    assert not list(faults(movement, without.delivery))
    assert max(usual.bound.bound, without.bound.bound) <= min(usual.value, without.value)
