"""The price of uniformity: the best mix of one group of units, repeated, beside the free mix.

A group is a mix of at most so many devices of each kind (one "xPyD" deployment), and every group is alike: easy to
operate, and what sizing tools offer.  For each number of groups R the question is a unit mix again - each group serves
its part, rounded up, of every demand, with its part, rounded down, of every supply - so the least over R is exact.  R
ends where even the lightest unit, R times, is no better.
"""

import attrs

from planner.mixes.answer import MixInfeasible, MixPlanned
from planner.mixes.linear import relax
from planner.mixes.solve import best_mix
from planner.search import Search
from specs.decisions.mix.bounds import price_bound
from specs.decisions.mix.checks import weights
from specs.decisions.mix.question import MixQuestion, Objective
from specs.units import ceil_div


@attrs.frozen(kw_only=True)
class UniformMix:
    """Groups that are all alike: `group` answers `question`, and `groups` of it serve the whole demand."""

    groups: int
    question: MixQuestion  # of one group
    group: MixPlanned
    value: int  # of all groups
    exact: bool  # every number of groups was decided without a gap


def best_uniform(question: MixQuestion, group_devices_max: int, search: Search | None = None) -> UniformMix | None:
    """Find the best mix of equal groups for a question from scratch; None when no such mix was found.

    What runs now, and limits on changes and cost, play no part.  Raises ValueError for the objective CHANGES.
    """
    if question.objective is Objective.CHANGES:
        raise ValueError("equal groups are chosen by devices or cost, not by changes")
    search = search or Search()
    fresh = attrs.evolve(
        question,
        units=tuple(attrs.evolve(unit, running=0) for unit in question.units),
        changes_max=None,
        cost_max=None,
        phases_max=1,
    )
    lightest = min((up for up, _, _ in weights(fresh, fresh.objective).values()), default=1)
    best: UniformMix | None = None
    exact = True
    groups = 1
    while not search.over() and (best is None or groups * lightest < best.value):
        one = _group(fresh, groups, group_devices_max)
        if groups > 1 and not any(supply.available for supply in one.supplies):
            break
        relaxed = relax(one)
        if relaxed is not None and (best is None or groups * price_bound(one, relaxed.prices) < best.value):
            outcome = best_mix(one, search, explain=False)
            if not isinstance(outcome, MixPlanned):
                exact = exact and isinstance(outcome, MixInfeasible)
            elif best is None or groups * outcome.value < best.value:
                total = groups * outcome.value
                best = UniformMix(groups=groups, question=one, group=outcome, value=total, exact=False)
                exact = exact and outcome.gap == 0
            else:
                exact = exact and outcome.gap == 0
        groups += 1
    return best if best is None else attrs.evolve(best, exact=exact and not search.cut_short)


def _group(question: MixQuestion, groups: int, devices_max: int) -> MixQuestion:
    return attrs.evolve(
        question,
        demands=tuple(
            attrs.evolve(demand, requests_per_hour=ceil_div(demand.requests_per_hour, groups), floor_per_hour=0)
            for demand in question.demands
        ),
        supplies=tuple(
            attrs.evolve(supply, available=min(devices_max, supply.available // groups)) for supply in question.supplies
        ),
    )
