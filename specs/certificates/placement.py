"""Bounds on how long requests for standbys wait for a start, by what memories can keep."""

from collections.abc import Callable

from specs.certificates.formula import Inapplicable, Witnessed
from specs.decisions.placement.bounds import price_bound
from specs.decisions.placement.exhaustion import TooManyStates, optimum
from specs.decisions.placement.nouns import Question
from specs.errors import SpecError
from specs.invariants.facts import Facts
from specs.invariants.standing_by import start_ns
from specs.plan import Claim, Measure, Method, Plan
from specs.problem import Problem
from specs.standby_question import at_the_best
from specs.units import ceil_div
from specs.witness import Witness


def mean_start_ns(facts: Facts) -> int | Inapplicable:
    """Mean time to start over the requests of all standbys, each from its quickest copy; rounded up."""
    waiting = requests = 0
    for standby in facts.problem.standbys:
        of_llm = max(1, facts.problem.workload(standby.llm).requests_per_hour)
        starts = [start_ns(facts, resident) for resident in facts.plan.residents if resident.llm == standby.llm]
        if not starts:
            return Inapplicable(f"no place keeps a copy of {standby.llm}")
        waiting += of_llm * min(starts)
        requests += of_llm
    return ceil_div(waiting, requests) if requests else Inapplicable("nothing stands by")


def _by_prices(problem: Problem, plan: Plan, subject: str, witness: Witness) -> int | Inapplicable:
    """Bound the mean start by `price_bound` of the problem's placement question; the witness prices its pools."""
    del subject  # all standbys together
    return _mean(problem, plan, lambda question: price_bound(question, witness))


def _by_search(problem: Problem, plan: Plan, subject: str, witness: Witness) -> int | Inapplicable:
    """Find the least mean start of the problem's placement question by going through every holding."""
    del subject
    if witness:
        return Inapplicable("a search of everything takes no witness")
    return _mean(problem, plan, optimum)


def _mean(problem: Problem, plan: Plan, bound: Callable[[Question], int | None]) -> int | Inapplicable:
    if not problem.standbys:
        return Inapplicable("nothing stands by")
    try:
        asked = at_the_best(problem, plan.blobs)
        waiting = bound(asked.question)
    except TooManyStates:
        return Inapplicable("there are too many ways to place these standbys to go through")
    except (ValueError, SpecError) as error:
        return Inapplicable(str(error))
    if waiting is None:
        return Inapplicable("no memory may keep some standby so that it starts in time")
    return ceil_div(waiting, asked.requests_per_hour)


PLACEMENT = (
    Witnessed(name="placement-prices", claim=Claim.START, measure=Measure.NANOS, method=Method.DUAL, bound=_by_prices),
    Witnessed(
        name="placement-search", claim=Claim.START, measure=Measure.NANOS, method=Method.EXHAUSTED, bound=_by_search
    ),
)
