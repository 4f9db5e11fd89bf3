"""Small placement questions: the exact search and both bounds against a brute force."""

import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ortools.sat.python import cp_model

from planner.placement.exact import solve_exactly
from planner.placement.outcome import Infeasible, Placed, Undecided
from planner.search import Search
from specs.decisions.placement.bounds import price_bound, proves_infeasible
from specs.decisions.placement.checks import faults, value
from specs.decisions.placement.exhaustion import optimum
from specs.decisions.placement.holding import Layout
from specs.decisions.placement.nouns import MOVED, Objective, Question, Tier
from specs.decisions.placement.prices import SURCHARGED_BYTES, surcharge
from specs.witness import Price
from tests.planner.placement.questions import MIB, NS, brute_force, llm, pool, questions, route

# A price at which a mebibyte costs about as much as one item can gain.
SCALE = {
    Objective.START_TIME: NS * 2**40 // MIB,
    Objective.LATE_ITEMS: 2**60 // MIB // 4,
    Objective.MOVED_BYTES: 2**30 // 4,
}


def never_hot_enough(adapter_keepers=None):
    """An LLM for two of three devices, with requests for two copies, that no other two devices can be filled from.

    With keepers: on one device each, and an adapter that is wanted hot on devices on which its base may not be.
    """
    devices = pool("g", Tier.DEVICE, 8 * MIB, 8 * MIB, 8 * MIB, node="n0", landing=4 * MIB)
    host = pool("h", Tier.HOST, 0, node="n0")
    if adapter_keepers is None:
        items = (llm("m0", MIB, 3, devices=2, requests_per_hour_per_copy=2),)
    else:
        adapter = llm("m1", MIB, 3, base="m0", requests_per_hour_per_copy=2, memories=adapter_keepers)
        items = (llm("m0", MIB, 1, memories=("g.0",)), adapter)
    ways = (route("g", "g", MIB),) if adapter_keepers is None else ()
    return Question(objective=Objective.START_TIME, pools=(devices, host), routes=ways, items=items)


@settings(deadline=None, max_examples=50)
@given(questions(items_max=3))
@example(never_hot_enough())
@example(never_hot_enough(adapter_keepers=("g.0", "g.1")))
def test_exact_search_and_exhaustion_equal_brute_force(question):
    equal_brute_force(question)


@pytest.mark.slow
@pytest.mark.parametrize("objective", list(Objective))
@settings(deadline=None, max_examples=10, suppress_health_check=list(HealthCheck))
@given(question=questions(items_min=4))
def test_four_items_on_four_memories_equal_brute_force(question, objective):
    equal_brute_force(attrs.evolve(question, objective=objective))


def equal_brute_force(question):
    best = brute_force(question)
    assert optimum(question, 10**6) == best
    outcome = solve_exactly(Layout(question), (), Search())
    if best is None:
        assert isinstance(outcome, Infeasible)
        assert outcome.conflicts
        return
    assert isinstance(outcome, Placed)
    assert not list(faults(question, outcome.answer))
    assert outcome.value == value(question, outcome.answer) == outcome.bound == best


class Liar(Search):
    """Its CP-SAT says of every model that it has no answer."""

    def cp_sat(self, model, **_):
        solver, _ = super().cp_sat(model)
        return solver, cp_model.INFEASIBLE


@settings(deadline=None, max_examples=20)
@given(questions())
def test_the_word_of_a_solver_is_not_taken_where_a_search_through_all_finds_an_answer(question):
    outcome = solve_exactly(Layout(question), (), Liar())
    assert isinstance(outcome, Infeasible if brute_force(question) is None else Undecided)


@settings(deadline=None, max_examples=150)
@given(questions(items_max=4), st.data())
def test_no_prices_give_a_bound_above_the_optimum(question, data):
    best = optimum(question, 10**6)
    names = [pool.id for pool in question.pools]
    if question.moved_bytes_max is not None:
        names.append(MOVED)
    scale = SCALE[question.objective]
    witness = tuple(
        Price(name=name, amount=amount)
        for name in sorted(names)
        if (amount := data.draw(st.integers(0, 8)) * scale // 2)
    )
    places = st.tuples(st.sampled_from(question.pools), st.integers(1, 12))
    witness += tuple(
        Price(name=surcharge(each.id, size * MIB), amount=times * scale * MIB // SURCHARGED_BYTES)
        for each, size in data.draw(st.lists(places, max_size=4, unique=True))
        if (times := data.draw(st.integers(0, 8)))
    )
    bound = price_bound(question, witness)
    if best is None:
        return
    assert bound is not None
    assert bound <= best
    assert not proves_infeasible(question, witness)


@pytest.mark.parametrize(("keepers", "named"), [(None, ["m0"]), (("g.0", "g.1"), ["m1"])])
def test_who_can_never_start_is_named_whatever_it_would_hold(keepers, named):
    outcome = solve_exactly(Layout(never_hot_enough(keepers)), (), Search())
    assert isinstance(outcome, Infeasible)
    assert [conflict.limit.name for conflict in outcome.conflicts] == named
