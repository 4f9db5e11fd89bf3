"""What every rule says of pipelines whose slots change."""

import attrs
import pytest

from specs import codec, queueing, timing
from specs.checker import Rejected, verify
from specs.invariants.facts import Facts
from specs.plan import Activate, Plan, Resize, Switch
from specs.problem import Problem
from specs.workload import Slo
from tests.broken_plans import a_demand
from tests.live_plans import a_drain, a_growth, a_squeeze
from tests.plans import broken, certified, gpu, with_last, with_step
from tests.properties.simulation import faults

SHRINK, OPEN, SWITCH, RELEASE, GROW = 1, 2, 3, 4, 5  # steps of the squeeze
OLD = f"llm@{gpu(0)}"


def in_order(plan: Plan, *order: int) -> Plan:
    """The steps in another order, with ids that ascend."""
    steps = (attrs.evolve(plan.steps[index], id=number) for number, index in enumerate(order))
    return attrs.evolve(plan, steps=tuple(steps))


def sentences(problem: Problem, plan: Plan) -> list[str]:
    verdict = verify(problem, plan)
    return [str(each) for each in verdict.violations] if isinstance(verdict, Rejected) else []


def test_mem_counts_the_slots_in_force():
    """Without the shrink, with a shrink too small or with an opening too large, both stages do not fit."""
    assert broken(*a_squeeze(-1)) == {"MEM"}
    problem, plan = a_squeeze()
    without = attrs.evolve(plan, steps=(*plan.steps[:SHRINK], *plan.steps[SHRINK + 1 :]))
    assert "MEM" in broken(problem, without)
    whole = with_step(plan, OPEN, slots=None)
    assert "MEM" in broken(problem, attrs.evolve(whole, steps=whole.steps[:GROW]))


def test_mem_by_time_a_shrink_gives_room_when_it_is_done():
    problem, plan = a_squeeze()
    at_ns = plan.steps[OPEN].at_ns
    assert broken(problem, with_step(plan, SHRINK, at_ns=at_ns - 1)) == set()
    assert sentences(problem, with_step(plan, SHRINK, at_ns=at_ns)) == [
        f"MEM at place n0/gpu0: at {at_ns} ns it needs 1137728 bytes, it has 1072192: 65536 too few"
    ]


def test_mem_by_time_a_grow_needs_room_when_it_is_done():
    problem, plan = a_squeeze()
    released_ns = plan.steps[RELEASE].at_ns
    assert sentences(problem, with_step(plan, GROW, at_ns=released_ns)) == [
        f"MEM at place n0/gpu0: at {released_ns} ns it needs 1104960 bytes, it has 1072192: 32768 too few"
    ]


def test_mem_by_order_what_needs_room_stands_behind_what_makes_it():
    problem, plan = a_squeeze()
    opened_first = in_order(plan, 0, OPEN, SHRINK, SWITCH, RELEASE, GROW)
    assert sentences(problem, opened_first) == [
        "MEM at place n0/gpu0: by the order of steps it may need 1137728 bytes at step 1, it has 1072192: 65536 too few"
    ]
    grown_first = in_order(plan, 0, SHRINK, OPEN, GROW, SWITCH, RELEASE)
    assert any(each.startswith("MEM at place n0/gpu0: by the order") for each in sentences(problem, grown_first))


def test_mem_by_order_a_closing_makes_room_for_a_resize_only():
    """Grown before the release it has the room of the closed stage; a stage that opens there has it not."""
    problem, plan = a_squeeze()
    before_release = in_order(plan, 0, SHRINK, OPEN, SWITCH, GROW, RELEASE)
    assert broken(problem, before_release) == set()
    (kept,) = (each for each in plan.pipelines if each.id == "pair")
    late = attrs.evolve(kept, id="late")
    opening = Activate(id=9, pipeline="late", slots=1, at_ns=plan.steps[GROW].at_ns + 1)
    weights = (*plan.routing, attrs.evolve(plan.routing[0], pipeline="late"))
    crowded = attrs.evolve(
        plan, pipelines=(*plan.pipelines, late), routing=weights, steps=(*plan.steps[:RELEASE], opening)
    )
    assert sentences(problem, certified(problem, crowded)) == [
        (
            "MEM at place n0/gpu0: by the order of steps it may need 1236032 bytes at step 9, it has 1072192: "
            "163840 too few"
        )
    ]


def test_mem_what_runs_takes_the_room_of_the_slots_that_it_has():
    problem, plan = a_squeeze()
    (row,) = problem.running
    fewer = attrs.evolve(problem, running=(attrs.evolve(row, slots=3),))
    without = attrs.evolve(plan, steps=(*plan.steps[:SHRINK], *plan.steps[SHRINK + 1 :]), problem=codec.digest(fewer))
    assert broken(fewer, certified(fewer, without)) == set()


def test_a_stage_with_all_slots_takes_what_it_says_and_with_fewer_what_they_need():
    problem, plan = a_squeeze()
    (llm,), (pipeline,) = problem.llms, plan.pipelines
    stage = attrs.evolve(pipeline.stages[0], kv_bytes=pipeline.stages[0].kv_bytes + 5)
    assert timing.stage_kv_bytes(llm, pipeline, stage, 4) == stage.kv_bytes
    assert timing.stage_kv_bytes(llm, pipeline, stage, 3) == (stage.kv_bytes - 5) * 3 // 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda plan: with_step(plan, GROW, at_ns=0),
            "SIZE at resize 5: pipeline pair is not open yet at 0 ns",
        ),
        (
            lambda plan: in_order(plan, 0, SHRINK, GROW, OPEN, SWITCH, RELEASE),
            "SIZE at resize 2: it stands before step 3, which opens pipeline pair",
        ),
        (
            lambda plan: in_order(plan, 0, OPEN, SWITCH, SHRINK, RELEASE, GROW),
            f"SIZE at resize 3: pipeline {OLD} is closed by switch 2 before it",
        ),
        (
            lambda plan: with_step(plan, SHRINK, at_ns=plan.steps[SWITCH].hand_over.start_ns + 1),
            "SIZE at resize 1: it is done at 1000002 ns; switch 3 after it in the plan begins at 1000001",
        ),
        (
            lambda plan: with_step(plan, GROW, at_ns=plan.steps[SWITCH].at_ns - 1),
            "SIZE at resize 5: it is done at 1219036 ns; switch 3 before it in the plan at 1219037",
        ),
        (
            lambda plan: with_last(plan, Resize(id=9, pipeline="pair", slots=2, at_ns=plan.steps[GROW].at_ns - 1)),
            "SIZE at resize 9: it is done at 1219037 ns, resize 5 before it at 1219038",
        ),
    ],
)
def test_size_says_when_slots_may_change(change, words):
    problem, plan = a_squeeze()
    assert words in sentences(problem, change(plan))


def test_size_of_two_resizes_at_one_instant_the_order_decides():
    problem, plan = a_growth()
    for number, slots in enumerate((2, 3)):
        plan = with_last(plan, Resize(id=20 + number, pipeline=OLD, slots=slots, at_ns=0))
    assert broken(problem, certified(problem, plan)) == set()


def test_kv_the_slots_of_both_ends_are_those_at_the_switch():
    problem, plan = a_squeeze()
    assert any(
        "it has 2 slots; 3 requests may be handed over to it" in each
        for each in sentences(problem, with_step(plan, OPEN, slots=2))
    )
    unshrunk = attrs.evolve(plan, steps=(*plan.steps[:SHRINK], *plan.steps[SHRINK + 1 :]))
    found = sentences(problem, unshrunk)
    assert any("it has 3 slots; 4 requests may be handed over to it" in each for each in found)
    assert any("tokens, 6 may be left" in each for each in found)


def test_demand_counts_the_slots_at_the_end():
    """A service whose only pipeline gives just what is asked of all its slots gives less with fewer."""
    problem, plan = a_demand(0)
    assert broken(problem, plan) == set()
    assert broken(problem, with_step(plan, -1, slots=2)) == {"DEMAND"}
    grown = with_last(
        with_step(plan, -1, slots=2),
        Resize(id=99, pipeline=plan.pipelines[0].id, slots=4, at_ns=plan.steps[-1].at_ns + 1),
    )
    assert broken(problem, grown) == set()
    facts = Facts(problem, with_step(plan, -1, slots=2))
    assert [each.slots for each in facts.serving_at_end] == [2]
    assert [each.slots for each in facts.open_at_end] == [4]


def test_slo_predicts_the_slots_at_the_end():
    problem, plan = a_growth()
    slo = Slo(llm="llm", percentile=90, ttft_ns_max=10**12, tpot_ns_max=10**12)
    problem = attrs.evolve(problem, slos=(slo,))
    resized = with_last(plan, Resize(id=20, pipeline=OLD, slots=1, at_ns=1))
    asked = queueing.questions_of(problem, resized, "llm")
    assert [each.slots for each in asked.values()] == [1, 4]


def test_a_second_reading_finds_the_same():
    problem, plan = a_squeeze()
    assert faults(problem, plan) == []
    worse = [
        with_step(plan, OPEN, slots=None),
        with_step(plan, OPEN, slots=2),
        with_step(plan, SHRINK, at_ns=plan.steps[OPEN].at_ns),
        with_step(plan, GROW, at_ns=plan.steps[RELEASE].at_ns),
        in_order(plan, 0, OPEN, SHRINK, SWITCH, RELEASE, GROW),
        in_order(plan, 0, SHRINK, OPEN, GROW, SWITCH, RELEASE),
        in_order(plan, 0, OPEN, SWITCH, SHRINK, RELEASE, GROW),
        with_step(plan, GROW, slots=5),
        with_step(plan, GROW, slots=3),
        with_step(plan, GROW, pipeline="nobody"),
    ]
    for changed in worse:
        assert broken(problem, changed), changed
        assert faults(problem, changed), changed
    better = [in_order(plan, 0, SHRINK, OPEN, SWITCH, GROW, RELEASE), with_step(plan, SHRINK, at_ns=0)]
    for changed in better:
        assert not broken(problem, changed)
        assert not faults(problem, changed)
    problem, plan = a_drain()
    switch = next(step for step in plan.steps if isinstance(step, Switch))
    for at_ns in (switch.at_ns - 1, switch.at_ns):
        shrunk = with_last(plan, Resize(id=99, pipeline=switch.new, slots=1, at_ns=at_ns))
        assert bool(broken(problem, shrunk)) == bool(faults(problem, shrunk)) == (at_ns < switch.at_ns)
