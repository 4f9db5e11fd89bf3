"""Placement as a whole: rounding and local search, explanations of what cannot be, and equal answers each time."""

import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from hypothesis import example, given, settings

from planner.placement import plan
from planner.placement.outcome import Infeasible, LimitKind, Method, Placed, Undecided
from planner.search import Search
from specs.decisions.placement.bounds import price_bound, proves_infeasible
from specs.decisions.placement.checks import faults, value
from specs.decisions.placement.exhaustion import optimum
from specs.decisions.placement.nouns import Objective, Question, Tier
from tests.planner.placement.questions import MIB, NS, llm, pool, questions, route


def an_adapter_wanted_hot_where_its_base_is_not():
    """Two copies are wanted on devices, and only one device has room for the base; nothing leads to devices."""
    devices = pool("g", Tier.DEVICE, MIB, 2 * MIB, node="n0", landing=4 * MIB)
    items = (llm("m0", 2 * MIB), llm("m1", MIB, 3, base="m0", requests_per_hour_per_copy=2))
    return Question(objective=Objective.START_TIME, pools=(devices,), routes=(), items=items)


@settings(deadline=None, max_examples=100)
@given(question=questions())
@example(an_adapter_wanted_hot_where_its_base_is_not())
def test_the_way_for_large_questions_is_right_on_small_ones(question):
    best = optimum(question, 10**6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "small_enough", lambda _: False)
        outcome = plan.place(question, Search())
    match outcome:
        case Placed():
            assert not list(faults(question, outcome.answer))
            assert best is not None
            assert outcome.bound <= best <= outcome.value == value(question, outcome.answer)
            assert outcome.method is Method.PRICES
            assert outcome.bound == price_bound(question, outcome.witness)
        case Infeasible():
            assert best is None
            assert outcome.conflicts
            assert not outcome.witness or proves_infeasible(question, outcome.witness)
        case Undecided():
            pass


def two_llms(room=20, most=10, moved=None):
    """Two LLMs of 10 MiB for one host of `room` MiB at 1 MiB a second, each to start within `most` seconds."""
    pools = (pool("g", Tier.DEVICE, 0, node="n0", landing=10 * MIB), pool("h", Tier.HOST, room * MIB, node="n0"))
    items = tuple(llm(f"m{index}", 10 * MIB, start_ns_max=most * NS, copies_min=1) for index in range(2))
    return Question(
        objective=Objective.START_TIME,
        pools=pools,
        routes=(route("h", "g", MIB),),
        items=items,
        moved_bytes_max=moved,
    )


def conflicts(question):
    outcome = plan.place(question, Search())
    assert isinstance(outcome, Infeasible), outcome
    return {(c.limit.kind, c.limit.name): c.needed for c in outcome.conflicts}


def test_what_just_fits_is_placed():
    outcome = plan.place(two_llms(room=20, most=10, moved=20 * MIB), Search())
    assert isinstance(outcome, Placed)
    assert outcome.value == outcome.bound == 2 * 10 * 10 * NS


def test_room_that_misses_by_one_is_named_with_what_it_needs():
    question = two_llms()
    host = attrs.evolve(question.pools[1].memories[0], bytes=20 * MIB - 1)
    pools = (question.pools[0], attrs.evolve(question.pools[1], memories=(host,)))
    found = conflicts(attrs.evolve(question, pools=pools))
    assert found[LimitKind.ROOM, "h.0"] == 20 * MIB


def test_a_start_that_misses_by_one_is_named_with_what_it_needs():
    question = two_llms()
    items = (attrs.evolve(question.items[0], start_ns_max=10 * NS - 1), question.items[1])
    found = conflicts(attrs.evolve(question, items=items))
    assert found[LimitKind.IN_TIME, "m0"] == 10 * NS


def test_copies_on_more_nodes_than_there_are_are_named():
    question = two_llms()
    items = (attrs.evolve(question.items[0], copies_min=2), question.items[1])
    assert conflicts(attrs.evolve(question, items=items))[LimitKind.COPIES, "m0"] == 1


def test_moves_that_miss_by_one_byte_are_named():
    assert conflicts(two_llms(moved=20 * MIB - 1))[LimitKind.MOVED, "moved-bytes"] == 20 * MIB


def test_items_that_cannot_start_are_named():
    question = two_llms()
    pools = (attrs.evolve(question.pools[0], landing_bytes=10 * MIB - 1), question.pools[1])
    assert conflicts(attrs.evolve(question, pools=pools)) == {(LimitKind.ROOM, "g.0"): 20 * MIB}  # never cold
    assert conflicts(attrs.evolve(question, routes=(), pools=pools[1:])) == {
        (LimitKind.LANDING, "m0"): None,
        (LimitKind.LANDING, "m1"): None,
    }


def test_only_those_without_any_state_are_named(monkeypatch):
    monkeypatch.setattr(plan, "small_enough", lambda _: False)
    assert conflicts(an_adapter_wanted_hot_where_its_base_is_not()) == {(LimitKind.LANDING, "m1"): None}


def test_two_processes_give_the_same_answer():
    program = (
        "from benchmarks.placement import question; from planner.placement.plan import place;"
        "from planner.search import Search; from specs.decisions.placement.nouns import Objective;"
        "print(place(question(1, 30, 20, Objective.START_TIME), Search()))"
    )
    root = Path(__file__).parents[3]
    answers = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            cwd=root,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1
