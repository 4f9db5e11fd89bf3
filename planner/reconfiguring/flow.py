"""The flow from a running cluster to another layout: what is wanted, who follows whom, in which order, how good.

The plan serves all the while: each pipeline that runs is kept, or closes into one that is open.  Where no order of
moves fits the memories, even with few slots meanwhile, it says which memory, how many bytes, and what stopping a
pipeline first would cost.
"""

import attrs

from planner.certify import certificates
from planner.decided import NoPlan, Request
from planner.outcome import NOT_REACHED, Outcome, Planned, Tried
from planner.reconfiguring.impossible import never_live
from planner.reconfiguring.live import live
from planner.reconfiguring.order import Stuck
from planner.reconfiguring.settled import Layout, beside, layout
from planner.reconfiguring.stopping import in_words, never_without_a_stop, stopping
from planner.search import Search
from specs.checker import Rejected, verify
from specs.plan import Plan
from specs.problem import Problem


def reconfigure(problem: Problem, request: Request, search: Search) -> Outcome:
    """Plan from running pipelines.  Never returns a plan that the checker rejects: that is a bug here and crashes."""
    try:
        best = layout(problem, request, search)
        if never := tuple(never_live(problem)):
            return never_without_a_stop(problem, request, search, best, never)
        found = live(problem, request, search, best)
        if isinstance(found, Stuck):
            second = _second_best(problem, request, search, found)
            if second is None:
                return stopping(problem, request, search, best, found)
            wanted, plan = second
            tried = _not_reached(best, wanted, found)
        else:
            wanted, plan, tried = best, found, ()
    except NoPlan as no:
        return no.outcome
    decided = wanted.decided
    certified = *certificates(problem, plan, search), *decided.standing.certificate(problem, plan)
    certified = *certified, *(each.certificate(problem, plan) for each in decided.services)
    plan = attrs.evolve(plan, certificates=certified)
    verdict = verify(problem, plan)
    assert not isinstance(verdict, Rejected), f"the planner made a plan that the checker rejects:\n{verdict}"
    return Planned(verified=verdict, tried=(*(one for each in decided.services for one in each.tried), *tried))


def _second_best(problem: Problem, request: Request, search: Search, stuck: Stuck) -> tuple[Layout, Plan] | None:
    """Another layout that can be reached live: as it runs, or one that has room beside all that is to close."""
    found: list[tuple[Layout, Plan]] = []
    closing = [each.pipeline for each in stuck.closing]
    for asked, smaller in (
        (attrs.evolve(request, as_it_runs=True), problem),
        (request, beside(problem, closing, weights=False)),  # where stages share their layers
        (request, beside(problem, closing, weights=True)),
    ):
        try:
            wanted = layout(smaller, asked, search)
            plan = live(problem, asked, search, wanted)
        except NoPlan:
            continue
        if not isinstance(plan, Stuck) and not (found and not better(wanted, found[-1][0])):
            found.append((wanted, plan))
    return found[-1] if found else None


def better(one: Layout, other: Layout) -> bool:
    """Whether no service is worse in one than in the other, and one is better."""
    pairs = list(zip(one.decided.services, other.decided.services, strict=True))
    return any(a.better(b) for a, b in pairs) and not any(b.better(a) for a, b in pairs)


def _not_reached(best: Layout, taken: Layout, stuck: Stuck) -> tuple[Tried, ...]:
    """The layouts that are better at rest, and why no order of moves leads there while all goes on."""
    return tuple(
        attrs.evolve(there.tried[0], way=f"{there.tried[0].way}, at rest", besides=f"{NOT_REACHED}: {in_words(stuck)}")
        for there, here in zip(best.decided.services, taken.decided.services, strict=True)
        if there.better(here) and there.tried
    )
