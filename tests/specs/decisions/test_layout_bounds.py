import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs.decisions.layout.bounds import UnpricedPipeline, goodput_bound, latency_bound, spending_bound
from specs.decisions.layout.exhausted import exhausted
from specs.decisions.layout.values import Objective
from specs.witness import Price
from tests.layouts import brute_force, limited, question, questions


def witness(**amounts):
    return tuple(Price(name=name, amount=amount) for name, amount in sorted(amounts.items()))


def priced(asked, prices, **more):
    named = {f"group:{group.name}": price for group, price in zip(asked.groups, prices, strict=False)}
    return witness(**named, **more)


@settings(max_examples=60, deadline=None)
@given(questions(), st.sampled_from(Objective))
def test_searching_through_equals_brute_force(asked, objective):
    if objective is Objective.TTFT and asked.prompt is None:
        return
    best = brute_force(asked, objective)
    found = exhausted(asked, objective)
    if all(group.devices % group.per_node == 0 or group.per_node == 1 for group in asked.groups):
        assert found == best
    elif best is not None:  # packing into nodes is left out
        assert found is not None
        assert found >= best if objective is Objective.GOODPUT else found <= best


@settings(max_examples=80, deadline=None)
@given(questions(), st.lists(st.integers(1, 50), min_size=2, max_size=2), st.integers(0, 2**31))
def test_no_goodput_bound_is_below_the_optimum(asked, prices, guess):
    best = exhausted(limited(asked, demand_millitokens_per_second=0), Objective.GOODPUT)
    bound = goodput_bound(asked, priced(asked, prices, steep=guess))
    assert bound >= (best or 0)


@settings(max_examples=60, deadline=None)
@given(questions(), st.lists(st.integers(0, 20), min_size=2, max_size=2), st.sampled_from(("cost", "devices")))
def test_no_spending_bound_is_above_the_optimum(asked, prices, what):
    asked = limited(asked, demand_millitokens_per_second=10_000_000_000)
    best = exhausted(asked, Objective(what))
    try:
        bound = spending_bound(asked, Objective(what), priced(asked, prices, objective=10**9))
    except UnpricedPipeline:
        return
    assert best is None or bound <= best


@settings(max_examples=60, deadline=None)
@given(questions(), st.integers(1, 300), st.sampled_from(("tpot", "ttft")))
def test_no_latency_bound_is_above_the_optimum(asked, claim, what):
    if what == "ttft" and asked.prompt is None:
        return
    best = exhausted(asked, Objective(what))
    bound = latency_bound(asked, Objective(what), priced(asked, (1, 1), latency_ns=claim))
    assert best is None or bound <= best


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
