"""Linear programs of a run: solved within what is left of its time."""

from ortools.linear_solver import pywraplp

from planner.search import Search


def program(search: Search) -> pywraplp.Solver:
    """Begin a linear program for GLOP."""
    search.uses("ortools")
    return pywraplp.Solver.CreateSolver("GLOP")


def solved(linear: pywraplp.Solver, search: Search) -> bool:
    """Solve it; False when it has no solution, or when none was found in the time left: then nothing may be read."""
    left_s = search.left_s()
    if left_s is not None:
        linear.SetTimeLimit(max(1, int(left_s * 1000)))  # 0 would be no limit
    return bool(linear.Solve() == pywraplp.Solver.OPTIMAL)
