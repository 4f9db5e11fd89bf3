"""Finding a plan: all search, no I/O beyond reading and writing files.

The Python API for what-if analysis, in the order of use:

    problem = planner.read_problem(Path("cluster.yaml"))
    outcome = planner.solve(problem, planner.Request(blocks=16))
    if isinstance(outcome, planner.Planned):
        print(outcome.verified.plan.certificates)
"""

from planner.description.reading import read_cluster, read_problem
from planner.outcome import Conflict, Infeasible, Outcome, Planned, Undecided
from planner.solve import Request, solve

__all__ = [
    "Conflict",
    "Infeasible",
    "Outcome",
    "Planned",
    "Request",
    "Undecided",
    "read_cluster",
    "read_problem",
    "solve",
]
