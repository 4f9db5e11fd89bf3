"""What every rule says of pipelines that run at the start."""

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from specs import codec, queueing
from specs.checker import Rejected, verify
from specs.plan import Activate, Continuity, Pipeline, Plan, Release, Switch
from specs.problem import Holding, Problem
from specs.workload import Slo
from tests.builders import a_problem
from tests.live_plans import a_drain, a_growth, a_handing_on, a_join, a_merge, a_running_problem
from tests.plans import (
    Draft,
    a_pipeline,
    blobs_of,
    broken,
    certified,
    gpu,
    local,
    with_last,
    with_pipeline,
    with_step,
)
from tests.properties.simulation import faults
from tests.specs.test_invariants_handing_over import first_switch, with_hand_over, with_path


def posed(problem: Problem, plan: Plan) -> tuple[Problem, Plan]:
    """The plan for another problem, with true certificates."""
    return problem, certified(problem, attrs.evolve(plan, problem=codec.digest(problem)))


def with_running(problem: Problem, index: int, pipeline: Pipeline) -> Problem:
    rows = list(problem.running)
    rows[index] = attrs.evolve(rows[index], pipeline=pipeline)
    return attrs.evolve(problem, running=tuple(rows))


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda plan: with_pipeline(plan, 0, id="pair"), "pipeline pair: it is described twice"),
        (
            lambda plan: with_last(plan, Activate(id=99, pipeline="pair", at_ns=0)),
            "activate 99: pipeline pair is open from the start",
        ),
        (
            lambda plan: with_step(plan, first_switch(plan), continuity=Continuity.RECOMPUTE),
            "its KV is to be treated by recompute and it has a hand-over",
        ),
        (
            lambda plan: with_step(plan, first_switch(plan), hand_over=None),
            "its KV is to be treated by copy and it has no hand-over",
        ),
        (lambda plan: with_path(plan, 0, old_stage=2), "stage 2 is not one of 2 of pipeline pair"),
        (lambda plan: with_path(plan, 0, new_stage=1), "stage 1 is not one of 1 of pipeline llm@n0/gpu0"),
        (lambda plan: with_path(plan, 0, route=1), "route 1 is not one of 1"),
    ],
)
def test_ref_names_of_running_pipelines_and_hand_overs(change, words):
    problem, plan = a_join()
    verdict = verify(problem, change(plan))
    assert isinstance(verdict, Rejected)
    assert {violation.rule for violation in verdict.violations} == {"REF"}
    assert words in str(verdict)


@pytest.mark.parametrize(("tokens", "rules"), [(63, {"REF"}), (64, set())])
def test_ref_what_runs_takes_the_requests_of_its_workload(tokens, rules):
    problem, plan = a_growth()
    short = attrs.evolve(problem.running[0].pipeline, request_tokens_max=tokens)
    assert broken(*posed(with_running(problem, 0, short), plan)) == rules


def test_ref_an_llm_that_runs_is_cut_into_blobs():
    problem, plan = a_growth()
    other = attrs.evolve(problem.llms[0], id="other")
    runs = attrs.evolve(problem.running[0], pipeline=a_pipeline("other", other, (gpu(1), 0, len(other.units))))
    problem = attrs.evolve(
        problem,
        llms=(*problem.llms, other),
        workloads=(*problem.workloads, attrs.evolve(problem.workloads[0], llm="other")),
        running=(*problem.running, runs),
    )
    assert broken(problem, attrs.evolve(plan, problem=codec.digest(problem))) == {"REF"}


# --- memory and blobs ------------------------------------------------------------------------------------------------


def test_layer_what_runs_computes_every_unit():
    problem, plan = a_growth()
    (llm,) = problem.llms
    gap = a_pipeline(problem.running[0].pipeline.id, llm, (gpu(0), 1, len(llm.units)))
    assert broken(*posed(with_running(problem, 0, gap), plan)) >= {"LAYER"}


def test_early_what_runs_has_its_blobs_at_the_start():
    """The second node gets its first half later, from the first one: too late for what it runs from the start."""
    problem, plan = a_merge()
    border = plan.blobs[1].first_tensor
    half = Holding(llm="llm", place=gpu(1), first_tensor=border)
    problem, plan = posed(attrs.evolve(problem, holdings=(problem.holdings[0], half)), plan)
    verdict = verify(problem, plan)
    assert isinstance(verdict, Rejected)
    assert [str(violation) for violation in verdict.violations] == [
        "EARLY at pipeline llm@n1/gpu0 stage 0: it runs at the start, when n1/gpu0 does not hold llm/0"
    ]


@pytest.mark.parametrize("spare_bytes", [0, -1])
def test_mem_the_union_of_old_and_new_fits(spare_bytes):
    """The node that joins both halves has the old stage's KV until the switch, and the new one's."""
    problem, plan = a_join()
    stages = (problem.running[0].pipeline.stages[0], *plan.pipelines[0].stages)
    needed = sum(blob.bytes for blob in plan.blobs)
    needed += sum(stage.kv_bytes + stage.workspace_bytes for stage in stages) + spare_bytes
    places = tuple(
        attrs.evolve(place, memory_bytes=needed) if place.id == gpu(0) else place for place in problem.cluster.places
    )
    tight = attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, places=places))
    verdict = verify(*posed(tight, plan))
    rows = [(each.rule, each.where) for each in verdict.violations] if isinstance(verdict, Rejected) else []
    assert rows == [("MEM", f"place {gpu(0)}")] * 2 * -spare_bytes  # by the times, and by the order


def test_mem_what_runs_counts_from_the_start_and_declares_enough():
    problem, plan = a_growth()
    (stage,) = problem.running[0].pipeline.stages
    needed = sum(blob.bytes for blob in plan.blobs) + stage.kv_bytes + stage.workspace_bytes
    for spare, rules in ((0, set()), (-1, {"MEM"})):
        places = tuple(
            attrs.evolve(place, memory_bytes=needed + spare) if place.id == gpu(0) else place
            for place in problem.cluster.places
        )
        tight = attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, places=places))
        assert broken(*posed(tight, plan)) == rules
    less = attrs.evolve(stage, kv_bytes=stage.kv_bytes - 1)
    small = attrs.evolve(problem.running[0].pipeline, stages=(less,))
    assert broken(*posed(with_running(problem, 0, small), plan)) == {"MEM"}


def test_last_what_runs_keeps_its_blobs_to_the_switch():
    problem, plan = a_join()
    index = next(index for index, step in enumerate(plan.steps) if isinstance(step, Release))
    assert broken(problem, with_step(plan, index, at_ns=plan.steps[index].at_ns - 1)) == {"LAST"}
    switch, release = plan.steps[index - 1 : index + 1]
    swapped = attrs.evolve(release, id=switch.id), attrs.evolve(switch, id=release.id)
    assert broken(problem, attrs.evolve(plan, steps=(*plan.steps[: index - 1], *swapped))) == {"LAST"}
    problem, plan = a_growth()
    release = Release(id=99, blob=plan.blobs[0].id, place=gpu(0), at_ns=10**9)
    assert broken(problem, with_last(plan, release)) == {"LAST"}


# --- requests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [a_join, a_growth])
@pytest.mark.parametrize("times", [0, 2])
def test_serve_what_runs_has_one_weight_whether_it_is_kept_or_closed(make, times):
    problem, plan = make()
    routing = (*plan.routing[:1] * times, *plan.routing[1:])
    assert broken(problem, attrs.evolve(plan, routing=routing)) == {"SERVE"}


def test_serve_and_undo_nothing_switches_to_what_is_closed():
    problem, plan = a_drain()
    drain = plan.steps[0]
    back = Switch(id=99, old=drain.new, new=drain.old, continuity=Continuity.RECOMPUTE, at_ns=drain.at_ns)
    assert broken(problem, with_last(plan, back)) >= {"SERVE", "UNDO"}


def test_undo_two_switches_in_the_wrong_order():
    """By the clock the first pipeline hands over to the pair before the pair closes; by the order, afterwards."""
    problem, plan = a_handing_on()
    first = first_switch(plan)
    order = [*range(first), *range(first + 1, len(plan.steps) - 2), first, *range(len(plan.steps) - 2, len(plan.steps))]
    steps = tuple(attrs.evolve(plan.steps[index], id=number) for number, index in enumerate(order))
    verdict = verify(problem, certified(problem, attrs.evolve(plan, steps=steps)))
    assert isinstance(verdict, Rejected)
    assert [(each.rule, each.sentence) for each in verdict.violations] == [
        ("UNDO", "pipeline pair is closed by a step before it in the plan")
    ]


def test_slo_kept_pipelines_are_predicted_by_their_weights():
    problem, plan = a_growth()
    slo = Slo(llm="llm", percentile=90, ttft_ns_max=10**10, tpot_ns_max=10**10)
    problem, plan = posed(attrs.evolve(problem, slos=(slo,)), plan)
    asked = queueing.questions_of(problem, plan, "llm")
    assert list(asked) == [f"llm@{gpu(0)}", f"llm@{gpu(1)}"]
    assert asked[f"llm@{gpu(0)}"].requests == 2 * asked[f"llm@{gpu(1)}"].requests
    assert broken(problem, plan) == set()
    hasty = attrs.evolve(slo, tpot_ns_max=1)
    assert broken(*posed(attrs.evolve(problem, slos=(hasty,)), plan)) == {"SLO"}


def test_an_empty_hand_over_is_judged_and_not_a_crash():
    problem, plan = a_join()
    assert broken(problem, with_hand_over(with_pipeline(plan, 0, stages=()), paths=())) >= {"LAYER"}


# --- any switches ----------------------------------------------------------------------------------------------------

PIPELINES = 4
switches = st.tuples(st.integers(0, PIPELINES - 1), st.integers(0, PIPELINES - 1), st.integers(1, 3))


def an_exchange(rows: list[tuple[int, int, int]]) -> tuple[Problem, Plan]:
    """Pipelines that run on a node each, and switches between them: old, new and instant."""
    (llm,) = a_problem().llms
    running = tuple(local(llm, gpu(node)) for node in range(PIPELINES))
    problem = a_running_problem(PIPELINES, running)
    draft = Draft(problem, blobs_of(llm, 1))
    for old, new, at_ns in rows:
        draft.switch(running[old], running[new], at_ns, Continuity.DRAIN)
    return problem, draft.plan()


def loses_nobody(rows: list[tuple[int, int, int]]) -> bool:
    """Whether each switch, one after another, leads from a pipeline that has not been closed to another one."""
    left = set(range(PIPELINES))
    for old, new, _ in rows:
        if old == new or not {old, new} <= left:
            return False
        left.discard(old)
    return True


@settings(max_examples=60)
@given(st.lists(switches, max_size=4))
@example([(0, 1, 1), (1, 2, 1), (2, 3, 1)])
@example([(1, 2, 2), (0, 1, 1)])
def test_switches_lose_nobody_by_the_clock_and_by_the_order(rows):
    problem, plan = an_exchange(rows)
    found = broken(problem, plan)
    assert found <= {"SERVE", "UNDO"}
    by_clock = [row for _, row in sorted(enumerate(rows), key=lambda each: (each[1][2], each[0]))]
    assert ("SERVE" not in found) == loses_nobody(by_clock)
    selves = any(old == new for old, new, _ in rows)
    assert selves or ("UNDO" not in found) == loses_nobody(rows)
    assert bool(found) == bool(faults(problem, plan))
