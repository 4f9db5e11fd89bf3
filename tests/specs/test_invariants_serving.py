"""LAYER, EARLY and SERVE: more ways to break them."""

import attrs
import pytest

from specs import codec
from specs.checker import Rejected, verify
from specs.plan import Activate, Release, Switch
from specs.problem import Target
from tests.plans import (
    a_chain,
    a_pipeline,
    a_relocation,
    a_rescue,
    a_service,
    broken,
    certified,
    gpu,
    with_last,
    with_pipeline,
    with_step,
)


def test_layer_gaps_and_ends():
    problem, plan = a_chain()
    (llm,) = problem.llms
    gap = a_pipeline(plan.pipelines[0].id, llm, (gpu(0), 0, 3), (gpu(0), 4, 9))
    verdict = verify(problem, with_pipeline(plan, 0, stages=gap.stages))
    assert "LAYER" in {violation.rule for violation in verdict.violations}
    assert "it starts at unit 4; units from 3 of llm never run" in str(verdict)
    assert "its stages end at unit 9 of 10; it would produce no token" in str(verdict)
    nothing = verify(problem, with_pipeline(plan, 0, stages=()))
    assert "its stages end at unit 0 of 10" in str(nothing)


def test_early_a_release_before_the_opening():
    problem, plan = a_relocation()
    first = next(step for step in plan.steps if isinstance(step, Release))
    opened = next(index for index, step in enumerate(plan.steps) if getattr(step, "pipeline", "") == "moved@n0/gpu0")
    late = with_step(plan, opened, at_ns=first.at_ns + 1)
    assert "EARLY" in broken(problem, late)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda plan: attrs.evolve(plan, steps=plan.steps[1:]), "no step activates it"),
        (lambda plan: attrs.evolve(plan, routing=(*plan.routing, plan.routing[0])), "it has 2 routing weights"),
        (lambda plan: with_step(plan, -1, new=plan.steps[-1].old), "it leads from pair to itself"),
        (lambda plan: with_step(plan, -1, old="llm@n1/gpu0", new="llm@n2/gpu0"), "llm on it is open at the end"),
        (lambda plan: with_step(plan, -1, at_ns=plan.steps[-1].at_ns - 1), "is not open yet at 774199 ns"),
    ],
)
def test_serve_openings_weights_and_switches(change, words):
    problem, plan = a_rescue()
    changed = change(plan)
    assert words in str(verify(problem, changed))
    assert broken(problem, changed) == {"SERVE"}


def test_serve_and_undo_a_pipeline_closes_once():
    problem, plan = a_rescue()
    changed = with_last(plan, attrs.evolve(plan.steps[-1], id=99))
    assert broken(problem, changed) == {"SERVE", "UNDO"}
    assert "SERVE at switch 99: pipeline pair was closed by switch 8 already" in str(verify(problem, changed))
    assert "UNDO at switch 99: pipeline pair is closed by a step before it in the plan" in str(verify(problem, changed))


def test_serve_requests_stay_with_their_llm():
    problem, plan = a_relocation()
    index = next(index for index, step in enumerate(plan.steps) if isinstance(step, Switch))
    verdict = verify(problem, with_step(plan, index, new="stays@n2/gpu0"))
    assert {violation.rule for violation in verdict.violations} == {"SERVE"}
    assert "it hands requests for moved to a pipeline of stays" in str(verdict)


def test_serve_a_target_needs_a_pipeline_of_its_own():
    problem, plan = a_chain(2, 1)
    wider = attrs.evolve(problem, targets=(*problem.targets, Target(llm="llm", place=gpu(0))))
    fewer = attrs.evolve(
        plan,
        problem=codec.digest(wider),
        pipelines=plan.pipelines[1:],
        steps=plan.steps[1:],
        routing=plan.routing[1:],
    )
    verdict = verify(wider, certified(wider, fewer))
    assert {violation.rule for violation in verdict.violations} == {"SERVE"}
    assert "no pipeline with all units of llm on it is open at the end" in str(verdict)


def test_serve_the_earlier_of_two_switches_closes_whatever_stands_first():
    problem, plan = a_rescue()
    later = attrs.evolve(plan.steps[-1], at_ns=plan.steps[-1].at_ns + 5)
    earlier = attrs.evolve(plan.steps[-1], id=99, new="llm@n2/gpu0")
    verdict = verify(problem, attrs.evolve(plan, steps=(*plan.steps[:-1], later, earlier)))
    assert {violation.rule for violation in verdict.violations} == {"SERVE", "UNDO"}
    assert f"SERVE at switch {later.id}: pipeline pair was closed by switch 99 already" in str(verdict)


def _in_order(plan, *order):
    steps = [attrs.evolve(plan.steps[index], id=number) for number, index in enumerate(order)]
    return attrs.evolve(plan, steps=tuple(steps))


@pytest.mark.parametrize(
    ("make", "order", "rules", "words"),
    [
        # The last node opens before its last transfer in the plan, though not by its times.
        (a_chain, (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 9), {"EARLY"}, "before transfer 12 in the plan"),
        # The switch stands before what it leads to: what waits for the one could hold up the other.
        (a_rescue, (0, 1, 2, 3, 4, 5, 8, 6, 7), {"UNDO"}, "pipeline llm@n1/gpu0 is not open by then in the plan"),
        # Memory is given up at a later instant, but before the opening in the plan: daemons would not keep it for that.
        (
            a_relocation,
            (1, 2, 3, 4, 5, 6, 7, 0, 8, 9, 10),
            {"EARLY", "UNDO"},
            "after release 5 in the plan, by which n0/gpu0 gives up moved/0",
        ),
    ],
)
def test_the_order_of_steps_is_law_and_not_only_their_times(make, order, rules, words):
    problem, plan = make()
    assert len(order) == len(plan.steps)
    changed = certified(problem, _in_order(plan, *order))
    assert broken(problem, changed) == rules
    assert words in str(verify(problem, changed))


# --- services --------------------------------------------------------------------------------------------------------


def serving_faults(problem, plan):
    verdict = verify(problem, plan)
    if not isinstance(verdict, Rejected):
        return []
    assert {violation.rule for violation in verdict.violations} == {"SERVE"}
    return [violation.sentence for violation in verdict.violations]


def test_a_service_may_be_one_pipeline_over_two_devices():
    assert serving_faults(*a_service()) == []


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        ({"depth_max": 1}, ["pipeline pair has 2 stages; it allows 1"]),
        ({"places": (1, 3)}, ["pipeline pair uses n2/gpu0, which it may not"]),
    ],
)
def test_a_service_keeps_to_its_devices_and_its_depth(changes, sentences):
    assert serving_faults(*a_service(**changes)) == sentences


def test_a_service_needs_an_open_pipeline():
    problem, plan = a_service()
    steps = tuple(step for step in plan.steps if not isinstance(step, Activate))
    idle = certified(problem, attrs.evolve(plan, steps=steps, pipelines=(), routing=()))
    assert serving_faults(problem, idle) == ["no pipeline of it is open at the end"]


def test_pipelines_of_a_service_share_no_device():
    problem, plan = a_service()
    (pair,) = plan.pipelines
    twin = attrs.evolve(pair, id="twin")
    both = attrs.evolve(
        plan,
        pipelines=(pair, twin),
        steps=(*plan.steps, attrs.evolve(plan.steps[-1], id=9, pipeline="twin")),
        routing=(*plan.routing, attrs.evolve(plan.routing[0], pipeline="twin")),
    )
    said = serving_faults(problem, certified(problem, both))
    assert said == [f"pipelines pair and twin both use {place}" for place in ("n1/gpu0", "n2/gpu0")]
