"""Equal groups: against every number of groups and every group."""

import itertools

import pytest
from hypothesis import given, settings

from planner.mixes.uniform import best_uniform
from specs.decisions.mix.checks import faults, final_counts
from specs.decisions.mix.question import Objective
from tests.specs.decisions.mix_questions import a_question, a_unit, every_count, questions, serves


@given(question=questions(phases_max=1))
@settings(max_examples=60, deadline=None)
def test_no_equal_groups_are_better(question):
    if question.objective is Objective.CHANGES:
        with pytest.raises(ValueError, match="devices or cost"):
            best_uniform(question, 2)
        return
    found = best_uniform(question, 2)
    best = best_of_groups(question, 2)
    if best is None:
        assert found is None
        return
    assert found.value == best
    assert found.exact
    assert not list(faults(found.question, found.group.mix))
    assert found.groups * found.group.value == found.value


def best_of_groups(question, devices_max):
    """The least over groups R and counts of one group that serves its part, rounded up, of every demand."""
    best = None
    for groups, group in itertools.product(range(1, 6), every_count(question)):
        used = {supply.kind: 0 for supply in question.supplies}
        for unit in question.units:
            for part in unit.devices:
                used[part.kind] += part.count * group[unit.name]
        fits = all(count <= devices_max for count in used.values())
        fits = fits and all(groups * used[supply.kind] <= supply.available for supply in question.supplies)
        part = a_question(
            question.units,
            [(demand.name, -(-demand.requests_per_hour // groups), 0) for demand in question.demands],
            [(supply.kind, supply.available) for supply in question.supplies],
        )
        if not fits or not serves(part, group, last=True):
            continue
        value = sum(used.values())
        if question.objective is Objective.COST:
            value = sum((question.hours * unit.cost + unit.start_cost) * group[unit.name] for unit in question.units)
        best = groups * value if best is None else min(best, groups * value)
    return best


def test_the_price_of_being_alike():
    """Three of `p` and two of `d` serve; equal groups of two devices need three of each."""
    units = [a_unit("p", (("p",), 4)), a_unit("d", (("d",), 6))]
    question = a_question(units, [("p", 12, 0), ("d", 12, 0)], [("gpu", 10)])
    alike = best_uniform(question, 2)
    assert (alike.groups, alike.value, final_counts(alike.question, alike.group.mix)) == (3, 6, {"p": 1, "d": 1})
    assert best_uniform(question, 5).value == 5
    assert best_uniform(question, 1) is None
