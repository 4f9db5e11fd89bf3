import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs.decisions.layout.bounds import UnpricedPipeline, goodput_bound, latency_bound, spending_bound
from specs.decisions.layout.exhausted import exhausted
from specs.decisions.layout.question import Group, Hop, Limits, Pace, Question, Shape
from specs.decisions.layout.values import Objective
from specs.units import INTEGER_MAX
from specs.witness import Price
from tests.layouts import limited, optima, question, questions


def witness(**amounts):
    return tuple(Price(name=name, amount=amount) for name, amount in sorted(amounts.items()))


def priced(asked, prices, **more):
    named = {f"group:{group.name}": price for group, price in zip(asked.groups, prices, strict=False)}
    return witness(**named, **more)


EXTREME = st.sampled_from((0, 1, 7, 1_000, 10**6, 2**40, 2**61, INTEGER_MAX))


def beyond(asked, objective, bound, best):
    """Whether a bound excludes an answer that is there."""
    return best is not None and (bound < best if objective is Objective.GOODPUT else bound > best)


def equals_brute_force(asked):
    for objective, best in optima(asked).items():
        assert exhausted(asked, objective) == best


@settings(max_examples=40, deadline=None)
@given(questions())
def test_searching_through_equals_brute_force(asked):
    equals_brute_force(asked)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(questions(units_min=5, units_max=8))
def test_searching_through_equals_brute_force_on_more_units(asked):
    equals_brute_force(asked)


def no_witness_shows_too_much(asked, amounts):
    """Every bound by these amounts, and every claim of a latency that is better than the best."""
    *prices, objective_price, guess = amounts
    for objective, best in optima(asked).items():
        if objective is Objective.GOODPUT:
            try:
                bound = goodput_bound(asked, priced(asked, prices, steep=guess))
            except UnpricedPipeline:
                continue
        elif objective in (Objective.COST, Objective.DEVICES):
            try:
                bound = spending_bound(asked, objective, priced(asked, prices, steep=guess, objective=objective_price))
            except UnpricedPipeline:
                continue
        else:
            claim = guess if best is None else best + 1
            bound = latency_bound(asked, objective, priced(asked, [max(1, each) for each in prices], latency_ns=claim))
            assert best is None or bound == 0
        assert not beyond(asked, objective, bound, best)


@settings(max_examples=25, deadline=None)
@given(questions(units_max=3), st.lists(EXTREME, min_size=6, max_size=6))
def test_no_witness_shows_too_much(asked, amounts):
    no_witness_shows_too_much(asked, amounts)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(questions(units_min=4, units_max=6), st.lists(EXTREME | st.integers(1, 10**6), min_size=6, max_size=6))
def test_no_witness_shows_too_much_on_more_units(asked, amounts):
    no_witness_shows_too_much(asked, amounts)


def test_no_price_of_time_is_taken_for_a_missing_row():
    """Two cheap devices miss the limit by a nanosecond: a price of time that makes up for a dear one is huge."""
    one, whole = 10**9, 2 * 10**9
    asked = Question(
        weight_bytes=(1, 1),
        kv_bytes_per_token=(0, 0),
        context_tokens=1,
        groups=tuple(Group(name=name, devices=2, per_node=1, memory_bytes=2) for name in ("cheap", "dear")),
        shapes=tuple(Shape(name=name, group=name, devices=1) for name in ("cheap", "dear")),
        paces=(
            Pace(shape="cheap", batch=1, run_ns=((one, whole + 1), (one + 1,))),
            Pace(shape="dear", batch=1, run_ns=((whole, whole), (whole,))),
        ),
        hops=(Hop(source="cheap", destination="cheap", latency_ns=0, ns_per_token=0),),
        limits=Limits(tpot_ns=whole, depth=2, in_flight=1),
    )
    assert exhausted(asked, Objective.GOODPUT) == 2 * 500
    assert goodput_bound(asked, priced(asked, [1, INTEGER_MAX])) >= 2 * 500


@settings(max_examples=40, deadline=None)
@given(questions(), st.lists(st.integers(1, 50), min_size=4, max_size=4), st.integers(0, 2**31))
def test_no_goodput_bound_is_below_the_optimum(asked, prices, guess):
    best = exhausted(limited(asked, demand_millitokens_per_second=0), Objective.GOODPUT)
    bound = goodput_bound(asked, priced(asked, prices, steep=guess))
    assert bound >= (best or 0)


@settings(max_examples=40, deadline=None)
@given(questions(), st.lists(st.integers(0, 20), min_size=4, max_size=4), st.sampled_from(("cost", "devices")))
def test_no_spending_bound_is_above_the_optimum(asked, prices, what):
    asked = limited(asked, demand_millitokens_per_second=10_000_000_000)
    best = exhausted(asked, Objective(what))
    try:
        bound = spending_bound(asked, Objective(what), priced(asked, prices, objective=10**9))
    except UnpricedPipeline:
        return
    assert best is None or bound <= best


def test_pipelines_that_take_no_time():
    paces = tuple(Pace(shape=name, batch=1, tracks=((0, 0, 0),)) for name in ("quick", "slow"))
    hops = tuple(attrs.evolve(hop, latency_ns=0, ns_per_token=0) for hop in question().hops)
    asked = question(paces=paces, hops=hops)
    assert optima(asked)[Objective.TPOT] == exhausted(asked, Objective.TPOT) == 0
    assert latency_bound(asked, Objective.TPOT, priced(asked, (1, 1), latency_ns=1)) == 0
    assert goodput_bound(asked, priced(asked, (1, 1))) >= optima(asked)[Objective.GOODPUT]


def test_pipelines_that_give_nothing_are_no_answer():
    asked = limited(question(), tpot_ns=10**17)
    slow = tuple(Pace(shape="quick", batch=1, tracks=((ns, 0, 0),)) for ns in (10**15,))
    asked = attrs.evolve(asked, paces=slow)
    assert optima(asked)[Objective.TPOT] is None
    assert exhausted(asked, Objective.TPOT) is None
    quicker = attrs.evolve(asked, paces=(attrs.evolve(slow[0], tracks=((10**12, 0, 0),)),))
    assert optima(quicker)[Objective.GOODPUT] == exhausted(quicker, Objective.GOODPUT) == 2


def test_goodput_bound_of_one_device_is_what_it_gives():
    paces = tuple(pace for pace in question().paces if pace.shape == "quick")
    groups = tuple(attrs.evolve(group, memory_bytes=200) for group in question().groups)
    asked = limited(question(paces=paces, hops=(), groups=groups), in_flight=1, depth=1)
    # two devices; batch 4 takes max(120, 60) ns for all three units
    best = 2 * (4 * 10**12 // 120)
    assert exhausted(asked, Objective.GOODPUT) == best
    bound = goodput_bound(asked, witness(**{"group:quick": 1000}))
    assert best <= bound <= best * 121 // 120


def test_a_wrong_claim_of_latency_is_refused():
    best = exhausted(question(), Objective.TPOT)
    good = priced(question(), (1, 1), latency_ns=best // 2)
    assert latency_bound(question(), Objective.TPOT, good) == best // 2
    assert latency_bound(question(), Objective.TPOT, priced(question(), (1, 1), latency_ns=best + 1)) == 0


def test_free_devices_bound_nothing():
    with pytest.raises(UnpricedPipeline):
        goodput_bound(question(), ())


def test_without_a_demand_nothing_need_be_spent():
    assert spending_bound(question(), Objective.COST, priced(question(), (1, 1), objective=1)) == 0
