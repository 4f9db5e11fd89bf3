"""The computation behind bounds on pipelines: where a line is high enough, and ranges of batches in flight."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from specs.decisions.layout import bounds, exhausted, values
from specs.decisions.layout.answer import Replica, Stage
from specs.decisions.layout.bounds import _Line
from specs.decisions.layout.question import Group, Hop, Limits, Pace, Question, Shape
from tests.layouts import limited, questions


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 400), st.integers(0, 20), st.integers(1, 40), st.integers(1, 10_000))
def test_a_line_is_high_enough_from_there_on_and_not_before(dual, time_price, slow, wanted):
    line = _Line(dual=dual, time_price=time_price)
    assume(line.least(slow) >= wanted)
    low = line.down_to(wanted, slow)
    assert all(line.least(time) >= wanted for time in range(low, slow + 1))
    assert line.least(low - 1) < wanted


def test_a_line_of_large_numbers_is_exact():
    line = _Line(dual=10**30 + 7, time_price=10**20 + 9)
    wanted = line.least(1_234_567)
    assert line.down_to(wanted, 10**9) == 1_234_567
    assert line.down_to(wanted + 1, 10**9) == 1_234_568


@settings(max_examples=40, deadline=None)
@given(questions(units_max=3), st.integers(1, 7), st.lists(st.integers(1, 50), min_size=9, max_size=9))
def test_no_pipeline_of_any_number_in_flight_is_steeper(asked, in_flight, each):
    asked = limited(asked, in_flight=in_flight)
    prices = {group.name: price for group, price in zip(asked.groups, each, strict=False)}
    steep, _ = bounds.steepest(asked, prices)
    for option in exhausted.options(asked):
        price = sum(prices[group.name] * count for group, count in zip(asked.groups, option.counts, strict=True))
        assert option.rate_millitokens_per_second * bounds.STEEP <= steep * price


def one_kind(memory: int, in_flight: int) -> Question:
    """Pipelines of equal devices whose memory limits how many batches are in flight: KV is 10 for each, weights 40."""
    return Question(
        weight_bytes=(40,) * 4,
        kv_bytes_per_token=(10,) * 4,
        context_tokens=1,
        groups=(Group(name="g", devices=4, per_node=1, memory_bytes=memory),),
        shapes=(Shape(name="g", group="g", devices=1),),
        paces=(Pace(shape="g", batch=1, tracks=((1_000_000,) * 4,)),),
        hops=(Hop(source="g", destination="g", latency_ns=0, ns_per_token=0),),
        limits=Limits(tpot_ns=20_000_000, depth=4, in_flight=in_flight),
    )


@pytest.mark.parametrize("memory", [50, 60, 100, 160, 300])
@pytest.mark.parametrize("in_flight", [1, 2, 3, 8])
def test_the_bound_over_a_range_in_flight_is_that_of_its_best_number(memory, in_flight):
    asked = one_kind(memory, in_flight)
    best = 0.0
    for depth in (1, 2, 4):
        stages = tuple(
            Stage(shape="g", devices=(i,), first_unit=4 // depth * i, end_unit=4 // depth * (i + 1))
            for i in range(depth)
        )
        for flying in range(1, in_flight + 1):
            replica = Replica(stages=stages, batch=1, in_flight=flying, weight=1)
            if all(values.stage_bytes(asked, replica, stage) <= memory for stage in stages):
                best = max(best, values.rate_millitokens_per_second(asked, replica) / depth)
    steep, _ = bounds.steepest(asked, {"g": 1})
    assert best <= steep / bounds.STEEP <= best * (1 + 1e-6)
