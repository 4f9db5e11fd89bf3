import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.layouts.columns import by_columns
from planner.layouts.search import lay_out
from planner.search import Search
from specs.decisions.layout import bounds
from specs.decisions.layout.exhausted import exhausted
from specs.decisions.layout.faults import faults
from specs.decisions.layout.values import Objective
from tests.layouts import brute_force, limited, question, questions


@settings(max_examples=40, deadline=None)
@given(questions(), st.sampled_from(Objective))
def test_small_questions_are_answered_best(asked, objective):
    if objective is Objective.TTFT and asked.prompt is None:
        return
    found = lay_out(asked, objective, Search())
    best = brute_force(asked, objective)
    assert found.value == best
    assert found.infeasible == (found.bound is None)
    if found.answer is not None:
        assert not list(faults(asked, found.answer))


@settings(max_examples=8, deadline=None)
@given(questions(), st.sampled_from(Objective))
def test_columns_never_claim_too_much(asked, objective):
    if objective is Objective.TTFT and asked.prompt is None:
        return
    found = by_columns(asked, objective, Search())
    best = exhausted(asked, objective)
    if found.infeasible:
        assert best is None
    elif found.bound is not None and best is not None:
        assert found.bound >= best if objective is Objective.GOODPUT else found.bound <= best
        assert found.answer is None or not list(faults(asked, found.answer))


@pytest.mark.parametrize("objective", [Objective.GOODPUT, Objective.COST, Objective.DEVICES, Objective.TPOT])
def test_larger_questions_have_a_value_and_a_bound_that_is_near(objective):
    groups = tuple(attrs.evolve(group, devices=24) for group in question().groups)
    asked = limited(question(groups=groups), demand_millitokens_per_second=200 * 10**9)
    found = lay_out(asked, objective, Search())
    assert found.answer is not None
    assert not list(faults(asked, found.answer))
    assert found.method == "dual"
    assert found.gap < 0.12
    again = {
        Objective.GOODPUT: bounds.goodput_bound,
        Objective.COST: lambda q, w: bounds.spending_bound(q, Objective.COST, w),
        Objective.DEVICES: lambda q, w: bounds.spending_bound(q, Objective.DEVICES, w),
        Objective.TPOT: lambda q, w: bounds.latency_bound(q, Objective.TPOT, w),
    }[objective](asked, found.witness)
    assert again == found.bound


def test_a_search_that_is_over_still_answers():
    groups = tuple(attrs.evolve(group, devices=24) for group in question().groups)
    found = lay_out(question(groups=groups), Objective.GOODPUT, Search(steps_max=1))
    assert found.answer is not None
    assert found.bound is None or found.bound >= found.value


def test_too_much_demand_is_shown_to_be_too_much():
    groups = tuple(attrs.evolve(group, devices=24) for group in question().groups)
    asked = limited(question(groups=groups), demand_millitokens_per_second=10**15)
    found = lay_out(asked, Objective.COST, Search())
    assert found.infeasible
    assert bounds.goodput_bound(asked, found.witness) < 10**15
