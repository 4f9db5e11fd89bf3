"""Bounds on unit mixes: any prices are true, good ones are good, and the exhausted search misses nothing."""

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from specs.decisions.mix.bounds import none_below, price_bound, proves_infeasible, units_max
from specs.decisions.mix.question import Objective
from specs.witness import Price
from tests.specs.decisions.mix_questions import a_question, a_unit, best_value, questions

amounts = st.sampled_from([0, 1, 2, 3, 5, 12, 60, 120, 360])
NAMES = ("changes", "cost", "demand:d", "demand:p", "devices:a100", "devices:l4", "value")


@st.composite
def witnesses(draw, names=NAMES):
    found = {name: draw(amounts) for name in names}
    return tuple(Price(name=name, amount=amount) for name, amount in found.items() if amount)


@given(question=questions(phases_max=1), witness=witnesses(), cuts=st.lists(witnesses(NAMES[2:4]), max_size=3))
@settings(max_examples=150, deadline=None)
def test_no_prices_and_no_search_show_what_is_not_so(question, witness, cuts):
    best = best_value(question)
    if best is None:
        return
    assert price_bound(question, witness) <= best
    assert not proves_infeasible(question, witness)
    assert none_below(question, best + 1, witness, tuple(cuts), 2000) is None


UNITS = [a_unit("one", (("p",), 4)), a_unit("two", (("p",), 9), devices=(("gpu", 2),))]
QUESTION = a_question(UNITS, [("p", 22, 0)], [("gpu", 9)])
PRICES = (Price(name="demand:p", amount=8), Price(name="value", amount=36))  # 2/9 of a device for a request per hour
CUT = (Price(name="demand:p", amount=1),)


def test_prices_by_hand():
    """22 requests need 22 * 2/9 = 4.9 devices: 5 is reached by two of `two` and one of `one`."""
    assert price_bound(QUESTION, PRICES) == 5
    assert price_bound(QUESTION, ()) == 0
    doubled = tuple(attrs.evolve(price, amount=2 * price.amount) for price in PRICES)
    assert price_bound(QUESTION, doubled) == 5
    too_dear = (attrs.evolve(PRICES[0], amount=16), PRICES[1])
    assert price_bound(QUESTION, too_dear) < 5


def test_the_bound_is_a_multiple_of_what_divides_all_weights():
    dear = [attrs.evolve(unit, cost=30 * (1 + index)) for index, unit in enumerate(UNITS)]
    question = attrs.evolve(QUESTION, units=tuple(dear), objective=Objective.COST)
    prices = (Price(name="demand:p", amount=6), Price(name="value", amount=1))
    assert price_bound(question, prices) == 150  # 22 * 6 = 132, and then the next multiple of 30


def test_what_runs_is_dear_to_change():
    running = (attrs.evolve(UNITS[0], running=9), UNITS[1])
    question = attrs.evolve(QUESTION, units=running, objective=Objective.CHANGES)
    assert price_bound(question, (Price(name="value", amount=1),)) == 0
    limited = attrs.evolve(QUESTION, objective=Objective.DEVICES, changes_max=2, units=(UNITS[0], UNITS[1]))
    # 2 changes start two of `two` at most: 18 of 22 requests.
    prices = (Price(name="changes", amount=9), Price(name="demand:p", amount=1))
    assert proves_infeasible(limited, prices)
    assert not proves_infeasible(attrs.evolve(limited, changes_max=3), prices)
    assert not proves_infeasible(limited, (*prices, Price(name="value", amount=1)))


def test_too_few_devices_by_prices_and_one_more():
    prices = (Price(name="demand:p", amount=2), Price(name="devices:gpu", amount=9))
    assert proves_infeasible(attrs.evolve(QUESTION, supplies=a_question([], [], [("gpu", 4)]).supplies), prices)
    assert not proves_infeasible(attrs.evolve(QUESTION, supplies=a_question([], [], [("gpu", 5)]).supplies), prices)


def test_an_exhausted_search_shows_the_best_and_no_more():
    assert none_below(QUESTION, 5, PRICES, (CUT,), 1000) is not None
    assert none_below(QUESTION, 6, PRICES, (CUT,), 1000) is None
    assert none_below(QUESTION, 5, (), (), 1000) is None, "without cuts any count will do"
    assert none_below(QUESTION, 5, (), (CUT,), 1000) is not None, "a cut is enough"
    assert none_below(QUESTION, 0, (), (), 0) == 0, "no value is less than 0"


def test_a_search_that_grows_too_large_shows_nothing():
    # The tightest cut alone leaves the first unit's counts to try.
    odd = attrs.evolve(QUESTION, units=(UNITS[0], attrs.evolve(UNITS[1], running=1)), objective=Objective.CHANGES)
    looked = none_below(odd, 2, (), (CUT,), 1000)
    assert looked is not None
    assert looked > 1
    assert none_below(odd, 2, (), (CUT,), looked) == looked
    assert none_below(odd, 2, (), (CUT,), looked - 1) is None


def test_devices_allow_at_least_what_runs():
    unit = a_unit("u", (("p",), 4), devices=(("gpu", 2),), running=4)
    assert units_max(a_question([unit], [("p", 1, 0)], [("gpu", 9)]), unit) == 4
