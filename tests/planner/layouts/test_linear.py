"""Linear programs keep what is left of a search's time."""

import pytest
from ortools.linear_solver import pywraplp

from planner.layouts.linear import program, solved
from planner.search import Search


class Recorded:
    """A program that says what it was asked, and answers as told."""

    def __init__(self, status):
        self.status, self.limits = status, []

    def SetTimeLimit(self, milliseconds):
        self.limits.append(milliseconds)

    def Solve(self):
        return self.status


def test_the_time_left_is_the_limit():
    late, early, free = (Recorded(pywraplp.Solver.OPTIMAL) for _ in range(3))
    assert solved(late, Search(within_s=0))
    assert solved(early, Search(within_s=1_000))
    assert solved(free, Search())
    assert late.limits == [1]  # 0 would be no limit
    assert len(early.limits) == 1
    assert 1 < early.limits[0] <= 1_000_000
    assert free.limits == []


@pytest.mark.parametrize("status", ["FEASIBLE", "INFEASIBLE", "NOT_SOLVED", "ABNORMAL", "UNBOUNDED"])
def test_nothing_is_read_from_a_program_that_is_not_solved(status):
    assert not solved(Recorded(getattr(pywraplp.Solver, status)), Search(within_s=1))


def test_a_program_is_solved():
    search = Search(within_s=60)
    linear = program(search)
    x = linear.NumVar(0, 10, "x")
    linear.Maximize(x)
    linear.Add(2 * x <= 5)
    assert solved(linear, search)
    assert x.solution_value() == pytest.approx(2.5)
    assert search.solvers[0].startswith("ortools/")
