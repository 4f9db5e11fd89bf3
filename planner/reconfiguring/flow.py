"""The flow from a running cluster to another layout: what is wanted, who follows whom, in which order, how good.

The plan serves all the while: each pipeline that runs is kept, or closes into one that is open.  Where no order of
moves fits the memories, it says which memory, how many bytes, and what stopping a pipeline first would cost.
"""

import attrs

from planner.certify import certificates
from planner.decided import NoPlan, Request
from planner.outcome import Outcome, Planned
from planner.reconfiguring.live import live
from planner.reconfiguring.order import Stuck
from planner.reconfiguring.settled import layout
from planner.reconfiguring.stopping import stopping
from planner.search import Search
from specs.checker import Rejected, verify
from specs.problem import Problem


def reconfigure(problem: Problem, request: Request, search: Search) -> Outcome:
    """Plan from running pipelines.  Never returns a plan that the checker rejects: that is a bug here and crashes."""
    try:
        wanted = layout(problem, request, search)
        plan = live(problem, request, search, wanted)
        if isinstance(plan, Stuck):
            return stopping(problem, request, search, wanted, plan)
    except NoPlan as no:
        return no.outcome
    decided = wanted.decided
    certified = *certificates(problem, plan, search), *decided.standing.certificate(problem, plan)
    certified = *certified, *(each.certificate(problem, plan) for each in decided.services)
    plan = attrs.evolve(plan, certificates=certified)
    verdict = verify(problem, plan)
    assert not isinstance(verdict, Rejected), f"the planner made a plan that the checker rejects:\n{verdict}"
    return Planned(verified=verdict, tried=tuple(one for each in decided.services for one in each.tried))
