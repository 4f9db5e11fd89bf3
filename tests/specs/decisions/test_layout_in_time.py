"""The cheapest row in time, against every row."""

from collections.abc import Iterator
from itertools import combinations, pairwise, product

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from specs.decisions.layout import bounds, values
from specs.decisions.layout.answer import Replica, Stage
from specs.decisions.layout.bounds import STEEP
from specs.decisions.layout.in_time import Within, cheapest_in_time
from specs.decisions.layout.question import Group, Hop, Limits, Pace, Question, Shape
from specs.decisions.layout.rows import FINE, Row, Rows
from specs.decisions.layout.values import MILLI, Objective
from specs.units import NANOS_PER_SECOND
from specs.witness import Price
from tests.layouts import questions

PRICES = st.lists(st.sampled_from((0, 1, 2, 3, 5, 50, 10**9)), min_size=4, max_size=4)


def every_row(asked: Question, batch: int, in_flight: int) -> Iterator[Row]:
    """Rows with all hops and in memory: as many devices as wanted, and as many stages."""
    able = [shape for shape in asked.shapes if (shape.name, batch) in asked.pace]
    if asked.prompt is not None:
        able = [shape for shape in able if shape.name in asked.prompt_pace]
    for count in range(1, asked.units + 1):
        for shapes in product(able, repeat=count):
            if any((a.group, b.group) not in asked.hop for a, b in pairwise(shapes)):
                continue
            for cuts in combinations(range(1, asked.units), count - 1):
                borders = tuple(zip(shapes, (0, *cuts), (*cuts, asked.units), strict=True))
                stages = tuple(Stage(shape=s.name, devices=(), first_unit=a, end_unit=b) for s, a, b in borders)
                replica = Replica(stages=stages, batch=batch, in_flight=in_flight, weight=1)
                memory = [asked.group[shape.group].memory_bytes for shape in shapes]
                if all(values.stage_bytes(asked, replica, s) <= most for s, most in zip(stages, memory, strict=True)):
                    yield Row(dual=0, stages=tuple((s.name, a, b) for s, a, b in borders))


def priced(asked: Question, amounts: list[int]) -> dict[str, int]:
    return {group.name: price for group, price in zip(asked.groups, amounts, strict=False)}


@settings(max_examples=60, deadline=None)
@given(
    questions(units_max=3),
    PRICES,
    st.tuples(st.integers(0, 30), st.integers(0, 200), st.integers(0, 400)),
    st.sampled_from((0, 1, FINE, 10**12)),
    st.integers(1, 3),
)
def test_the_cheapest_row_in_time_is_that_of_all_rows(asked, amounts, limits, time_price, in_flight):
    asked = attrs.evolve(asked, limits=attrs.evolve(asked.limits, ttft_ns=None))
    prices, rows = priced(asked, amounts), Rows(question=asked, batch=asked.batches[0] if asked.batches else 1)
    within = Within(price=limits[0], stage_ns=limits[1], way_ns=limits[2])
    all_rows = [(rows.price(row, prices), rows.times_ns(row)) for row in every_row(asked, rows.batch, in_flight)]
    best = min(
        (
            (price, sum(times))
            for price, times in all_rows
            if price <= within.price and max(times) <= within.stage_ns and sum(times) <= within.way_ns
        ),
        default=None,
    )
    found = cheapest_in_time(rows, rows.columns(in_flight), prices, within, time_price)
    assert (found is None) == (best is None)
    if found is not None:
        assert (rows.price(found, prices), sum(rows.times_ns(found))) == best
        assert found.dual == FINE * best[0]


@settings(max_examples=60, deadline=None)
@given(questions(units_max=3), PRICES, st.sampled_from((0, 1, STEEP, 10**15)))
def test_the_steepest_is_a_row_or_the_guess(asked, amounts, guess):
    asked = attrs.evolve(asked, limits=attrs.evolve(asked.limits, ttft_ns=None))
    prices = priced(asked, [max(1, amount) for amount in amounts])
    best = max(1, guess)  # times STEEP; rounded up
    for batch in asked.batches:
        rows = Rows(question=asked, batch=batch)
        most = asked.limits.in_flight if asked.limits.slots is None else asked.limits.slots // batch
        for in_flight in range(1, min(most, asked.limits.in_flight) + 1):
            for row in every_row(asked, batch, in_flight):
                tpot = rows.tpot_ns(row, in_flight)
                if tpot <= asked.limits.tpot_ns:
                    rate = batch * in_flight * MILLI * NANOS_PER_SECOND * STEEP
                    best = max(best, -(-rate // (tpot * rows.price(row, prices))))
    steep, _ = bounds.steepest(asked, prices, guess)
    assert best - 1 <= max(1, steep) <= best


def gap_of_mixtures() -> Question:
    """Four units, 10 ns each on quick devices and 30 ns on slow ones, with room for three: in 59 ns none may be slow.

    A mixture of rows with four quick units (40 ns) and with three (60 ns) would be in time.
    """
    return Question(
        weight_bytes=(1,) * 4,
        kv_bytes_per_token=(0,) * 4,
        context_tokens=1,
        groups=(
            Group(name="quick", devices=30, per_node=1, memory_bytes=3),
            Group(name="slow", devices=30, per_node=1, memory_bytes=3),
        ),
        shapes=(Shape(name="quick", group="quick", devices=1), Shape(name="slow", group="slow", devices=1)),
        paces=(
            Pace(shape="quick", batch=1, tracks=((10,) * 4,)),
            Pace(shape="slow", batch=1, tracks=((30,) * 4,)),
        ),
        hops=tuple(
            Hop(source=a, destination=b, latency_ns=0, ns_per_token=0) for a, b in product(("quick", "slow"), repeat=2)
        ),
        limits=Limits(tpot_ns=59, depth=4, in_flight=1, demand_millitokens_per_second=16 * 10**12 // 40),
    )


def test_a_mixture_of_late_and_quick_rows_bounds_nothing():
    """Only two quick devices are in time: 30 of them make 15 pipelines of 40 ns, and a demand of 16 needs slow ones."""
    asked = gap_of_mixtures()
    prices = tuple(Price(name=f"group:{name}", amount=amount) for name, amount in (("quick", 100_000), ("slow", 1)))
    wanted = 15 * 10**12 // 40
    assert wanted <= bounds.goodput_bound(asked, prices) < wanted * 1001 // 1000
    claim = (*prices, Price(name="latency_ns", amount=60))
    assert bounds.latency_bound(asked, Objective.TPOT, claim) == 60
