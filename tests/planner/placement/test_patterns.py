"""Cutting memories into large parts, and what the relaxation makes of it."""

from itertools import product

import attrs
from hypothesis import given
from hypothesis import strategies as st

from planner.placement import plan
from planner.placement.outcome import Infeasible, LimitKind, Method, Placed
from planner.placement.patterns import cutting
from planner.search import Search
from specs.decisions.placement.bounds import proves_infeasible
from specs.decisions.placement.nouns import Objective, Question, Tier
from tests.planner.placement.questions import MIB, llm, pool, route


@given(st.integers(1, 30), st.sets(st.integers(1, 30), max_size=8))
def test_patterns_are_the_contents_to_which_nothing_can_be_added(room, parts):
    found = cutting((pool("g", Tier.DEVICE, room, room),), parts)
    assert set(found.sizes) <= parts
    assert len(found.sizes) < 8
    assert all(size <= room < 8 * size for size in found.sizes)
    ((count, patterns),) = found.kinds
    assert count == 2
    used = {
        counts: sum(n * size for n, size in zip(counts, found.sizes, strict=True))
        for counts in product(*(range(room // size + 1) for size in found.sizes))
    }
    full = {c for c, total in used.items() if total <= room and all(total + size > room for size in found.sizes)}
    assert len(patterns) == len(set(patterns))
    assert set(patterns) == full


def test_a_part_counts_as_the_largest_size_that_it_reaches():
    found = cutting((pool("g", Tier.DEVICE, 96),), (14, 26, 26, 32, 3, 97))
    assert found.sizes == (14, 26, 32)
    assert [found.reached(size) for size in (13, 14, 25, 32, 50)] == [0, 1, 1, 3, 3]


def wasteful(copies_min=0):
    """Five equal LLMs of 26 MiB, and two devices of 44 MiB that they start on from a store."""
    pools = (pool("g", Tier.DEVICE, 44 * MIB, 44 * MIB, node="n0", landing=26 * MIB), pool("r", Tier.REMOTE, 999 * MIB))
    items = tuple(llm(f"m{index}", 26 * MIB, copies_min=copies_min) for index in range(5))
    return Question(objective=Objective.START_TIME, pools=pools, routes=(route("r", "g", MIB),), items=items)


def by_prices(monkeypatch, question):
    monkeypatch.setattr(plan, "small_enough", lambda _: False)
    return plan.place(question, Search())


def test_prices_know_what_large_parts_leave_unused(monkeypatch):
    """88 MiB would hold three LLMs, and two devices hold two."""
    outcome = by_prices(monkeypatch, wasteful())
    assert isinstance(outcome, Placed)
    assert outcome.method is Method.PRICES
    assert outcome.bound == outcome.value == 3 * 10 * 26 * 10**9


def test_large_parts_that_cannot_all_be_held_are_proved_so(monkeypatch):
    question = wasteful(copies_min=1)
    question = attrs.evolve(question, items=question.items[:3])
    outcome = by_prices(monkeypatch, question)
    assert isinstance(outcome, Infeasible)
    assert proves_infeasible(question, outcome.witness)
    assert [(c.limit.kind, c.needed) for c in outcome.conflicts] == [(LimitKind.ROOM, None)]
    assert "large parts leave some of them unused" in outcome.conflicts[0].sentence
