import pytest
from hypothesis import given, settings

from planner.layouts.search import lay_out
from planner.search import Search
from specs.decisions.layout.faults import faults
from tests.layouts import optima, questions


def optimum_is_found(asked):
    """For every objective: the best that brute force finds, known to be the best; or that there is no answer."""
    for objective, best in optima(asked).items():
        found = lay_out(asked, objective, Search())
        assert found.value == found.bound == best
        assert found.infeasible == (best is None)
        assert found.answer is None or not list(faults(asked, found.answer))


@settings(max_examples=15, deadline=None)
@given(questions(units_max=6))
def test_the_optimum_of_every_objective_is_found(asked):
    optimum_is_found(asked)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(questions(units_min=3, units_max=6))
def test_the_optimum_of_every_objective_is_found_up_to_six_units(asked):
    optimum_is_found(asked)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(questions(units_min=7, units_max=8))
def test_the_optimum_of_every_objective_is_found_up_to_eight_units(asked):
    optimum_is_found(asked)
