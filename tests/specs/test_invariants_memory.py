"""MEM and LAST: more ways to break them."""

import attrs
import pytest

from specs import codec
from specs.checker import Rejected, VerifiedPlan, verify
from specs.plan import Release, Switch
from tests.plans import (
    a_chain,
    a_relocation,
    a_rescue,
    broken,
    certified,
    gpu,
    with_stage,
    with_step,
)


@pytest.mark.parametrize("field", ["kv_bytes", "workspace_bytes"])
def test_mem_no_stage_declares_too_little(field):
    problem, plan = a_chain()
    stage = plan.pipelines[0].stages[0]
    assert broken(problem, with_stage(plan, **{field: getattr(stage, field) - 1})) == {"MEM"}
    assert isinstance(verify(problem, with_stage(plan, **{field: getattr(stage, field) + 1})), VerifiedPlan)


def a_tight_relocation():
    """Node 0 has room for one of its two LLMs at a time."""
    problem, plan = a_relocation()
    stage = plan.pipelines[0].stages[0]
    needed = sum(blob.bytes for blob in plan.blobs if blob.llm == "moved") + stage.kv_bytes + stage.workspace_bytes
    places = tuple(
        attrs.evolve(place, memory_bytes=needed) if place.id == gpu(0) else place for place in problem.cluster.places
    )
    tight = attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, places=places))
    return tight, certified(tight, attrs.evolve(plan, problem=codec.digest(tight)))


def test_mem_a_transfer_before_the_release_that_makes_its_room():
    """By the plan's times the release comes first; but daemons follow the order, and would not wait for it."""
    problem, plan = a_tight_relocation()
    order = (0, 1, 2, 3, 4, 5, 8, 9, 6, 7, 10)
    steps = tuple(attrs.evolve(plan.steps[index], id=number) for number, index in enumerate(order))
    verdict = verify(problem, certified(problem, attrs.evolve(plan, steps=steps)))
    assert isinstance(verdict, Rejected)
    (violation,) = verdict.violations
    assert (violation.rule, violation.where) == ("MEM", f"place {gpu(0)}")
    assert violation.sentence.startswith("by the order of steps it may need ")


def test_mem_counts_a_stage_that_nothing_makes_wait():
    """A switch frees what its old pipeline reserves, but no transfer and no stage waits for that."""
    problem, plan = a_rescue()
    local = next(pipeline for pipeline in plan.pipelines if pipeline.id == f"llm@{gpu(1)}").stages[0]
    pair = next(pipeline for pipeline in plan.pipelines if pipeline.id == "pair").stages[0]
    needed = sum(blob.bytes for blob in plan.blobs)
    needed += sum(stage.kv_bytes + stage.workspace_bytes for stage in (local, pair))
    late = with_step(plan, -2, at_ns=plan.steps[-2].at_ns + 10)
    late = with_step(late, -3, at_ns=plan.steps[-1].at_ns + 10)
    late = with_step(late, -1, new=f"llm@{gpu(0)}")
    for spare, rules in ((0, set()), (-1, {"MEM"})):
        places = tuple(
            attrs.evolve(place, memory_bytes=needed + spare) if place.id == gpu(1) else place
            for place in problem.cluster.places
        )
        tight = attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, places=places))
        assert broken(tight, certified(tight, attrs.evolve(late, problem=codec.digest(tight)))) == rules


def test_mem_counts_what_goes_and_what_comes_at_the_same_instant():
    """The place that a release empties at t takes the next blob at t + 1, not at t."""
    tight, fits = a_tight_relocation()
    assert isinstance(verify(tight, fits), VerifiedPlan)
    index = next(i for i, step in enumerate(fits.steps) if isinstance(step, Release)) + 2
    step = fits.steps[index]
    at_once = with_step(fits, index, start_ns=step.start_ns - 1)
    assert broken(tight, certified(tight, at_once)) == {"MEM"}


def _releases(plan, *rows):
    steps = [Release(id=90 + index, blob=blob, place=place, at_ns=at) for index, (blob, place, at) in enumerate(rows)]
    return attrs.evolve(plan, steps=(*plan.steps, *steps))


LATER = 10**9


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("moved/0", gpu(1), LATER)], "n1/gpu0 is a target of moved: it must keep it"),
        ([("moved/0", gpu(0), LATER)], "n0/gpu0 does not hold moved/0"),
        ([("stays/0", gpu(1), LATER)], "n1/gpu0 does not hold stays/0"),
        ([("moved/0", gpu(1), LATER)], "it gives up the last copy of moved/0 in the cluster"),
        ([("moved/0", gpu(1), LATER)], "pipeline moved@n1/gpu0 needs it there to the end"),
        ([("stays/0", gpu(2), 516200)], "transfer 8 needs it there until"),
    ],
)
def test_last_what_may_not_be_given_up(rows, words):
    problem, plan = a_relocation()
    verdict = verify(problem, _releases(plan, *rows))
    assert {violation.rule for violation in verdict.violations} == {"LAST"}
    assert words in str(verdict)


def test_last_stands_after_what_it_follows():
    problem, plan = a_relocation()
    index = next(index for index, step in enumerate(plan.steps) if isinstance(step, Switch))
    steps = list(plan.steps)
    steps[index : index + 2] = [
        attrs.evolve(steps[index + 1], id=steps[index].id),
        attrs.evolve(steps[index], id=steps[index + 1].id),
    ]
    verdict = verify(problem, attrs.evolve(plan, steps=tuple(steps)))
    assert {violation.rule for violation in verdict.violations} == {"LAST"}
    assert "which ends the need of pipeline moved@n0/gpu0" in str(verdict)


@pytest.mark.parametrize("early_ns", [0, 1])
def test_last_a_useless_copy_goes_only_after_it_came(early_ns):
    problem, plan = a_chain(3, 1)
    fewer = attrs.evolve(problem, targets=problem.targets[:1])
    arrival = plan.steps[2]
    release = Release(id=3, blob="llm/0", place=gpu(2), at_ns=arrival.end_ns - early_ns)
    opened = attrs.evolve(plan.steps[3], id=4)
    short = attrs.evolve(
        plan,
        problem=codec.digest(fewer),
        pipelines=plan.pipelines[:2],
        routing=plan.routing[:2],
        steps=(*plan.steps[:3], release, opened),
    )
    assert broken(fewer, certified(fewer, short)) == ({"LAST"} if early_ns else set())
    first = attrs.evolve(
        short, steps=(plan.steps[0], plan.steps[1], attrs.evolve(release, id=2), attrs.evolve(arrival, id=3), opened)
    )
    assert broken(fewer, certified(fewer, first)) == {"LAST"}
