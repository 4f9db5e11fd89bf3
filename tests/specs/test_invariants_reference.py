"""REF: everything that a plan can name wrongly."""

import attrs
import pytest

from specs.checker import verify
from specs.plan import Release, Resize, RoutingWeight, Switch
from tests.plans import (
    a_chain,
    gpu,
    with_last,
    with_pipeline,
    with_stage,
    with_step,
)


def _evolved(plan, field, index, **changes):
    row = list(getattr(plan, field))
    row[index] = attrs.evolve(row[index], **changes)
    return attrs.evolve(plan, **{field: tuple(row)})


UNKNOWN = {
    "format": (lambda plan: attrs.evolve(plan, format=2), "its format is 2"),
    "parent": (lambda plan: attrs.evolve(plan, parent="mother"), "'mother', which is not a digest"),
    "blob twice": (lambda plan: attrs.evolve(plan, blobs=(*plan.blobs, plan.blobs[0])), "blob llm/0: it is described"),
    "blob missing": (lambda plan: attrs.evolve(plan, blobs=plan.blobs[:2]), "its tensors from 7 to 11 (exclusive)"),
    "first blob missing": (lambda plan: attrs.evolve(plan, blobs=plan.blobs[1:]), "tensors 0 to 3 (exclusive) of llm"),
    "blob's LLM": (lambda plan: _evolved(plan, "blobs", 0, llm="gpt"), "its LLM gpt is not in the problem"),
    "blob's end": (lambda plan: _evolved(plan, "blobs", 2, end_tensor=12), "7 to 12 (exclusive) of llm, which has 11"),
    "blob's size": (lambda plan: _evolved(plan, "blobs", 0, bytes=7), "it says 7 bytes, its tensors pack into"),
    "blobs overlap": (lambda plan: _evolved(plan, "blobs", 1, first_tensor=2), "begin at 2, but those before 3"),
    "route empty": (lambda plan: _evolved(plan, "routes", 0, links=()), "it has no links"),
    "route unknown": (lambda plan: _evolved(plan, "routes", 0, links=("x>y",)), "link 'x>y' is not in the cluster"),
    "route broken": (
        lambda plan: _evolved(plan, "routes", 0, links=("n0/gpu0>n0/nic0", "n1/nic0>n1/gpu0")),
        "ends at n0/nic0, the next one begins at n1/nic0",
    ),
    "route to a switch": (lambda plan: _evolved(plan, "routes", 0, links=("n0/gpu0>n0/nic0",)), "a switch, where no"),
    "route back": (
        lambda plan: _evolved(plan, "routes", 0, links=("n0/gpu0>n0/nic0", "n0/nic0>n0/gpu0")),
        "it leads from n0/gpu0 to itself",
    ),
    "route through a memory": (
        lambda plan: _evolved(plan, "routes", 0, links=(*plan.routes[0].links, *plan.routes[1].links)),
        "passes through n1/gpu0, a memory",
    ),
    "route twice over a link": (
        lambda plan: _evolved(
            plan,
            "routes",
            0,
            links=(*plan.routes[0].links[:2], "leaf>n0/nic0", *plan.routes[0].links[1:]),
        ),
        "it crosses one link twice",
    ),
    "pipeline twice": (lambda plan: attrs.evolve(plan, pipelines=(*plan.pipelines, plan.pipelines[0])), "twice"),
    "pipeline's LLM": (lambda plan: with_pipeline(plan, 0, llm="gpt"), "its LLM gpt is not in the problem"),
    "stage's place": (lambda plan: with_stage(plan, place="n0/nic0"), "n0/nic0 is not a device"),
    "stage nowhere": (lambda plan: with_stage(plan, place="n9/gpu0"), "n9/gpu0 is not a device"),
    "stage's units": (lambda plan: with_stage(plan, end_unit=11), "0 to 11 (exclusive) of llm, which has 10"),
    "stage empty": (lambda plan: with_stage(plan, first_unit=3, end_unit=3), "its units are 3 to 3"),
    "short requests": (lambda plan: with_pipeline(plan, 0, request_tokens_max=63), "those of llm have up to 64"),
    "context": (lambda plan: with_pipeline(plan, 0, request_tokens_max=129), "the context of llm holds 128"),
    "ids": (lambda plan: with_step(plan, 3, id=2), "it stands after step 2; ids must ascend"),
    "transfer's blob": (lambda plan: with_step(plan, 1, blob="llm/9"), "the plan describes no blob llm/9"),
    "transfer's route": (lambda plan: with_step(plan, 1, route=3), "route 3 is not one of 3"),
    "activation": (lambda plan: with_step(plan, 0, pipeline="nobody"), "the plan describes no pipeline nobody"),
    "second activation": (
        lambda plan: with_step(plan, -1, pipeline=plan.pipelines[0].id),
        "pipeline llm@n0/gpu0 is activated a second time",
    ),
    "slots at first": (lambda plan: with_step(plan, 0, slots=5), "is to have 5 slots; its stages set room aside for 4"),
    "resize": (
        lambda plan: with_last(plan, Resize(id=99, pipeline="nobody", slots=1, at_ns=0)),
        "resize 99: the plan describes no pipeline nobody",
    ),
    "resize above all": (
        lambda plan: with_last(plan, Resize(id=99, pipeline=plan.pipelines[0].id, slots=5, at_ns=0)),
        "resize 99: pipeline llm@n0/gpu0 is to have 5 slots; its stages set room aside for 4",
    ),
    "resize to the same": (
        lambda plan: with_last(
            with_step(plan, 0, slots=2), Resize(id=99, pipeline=plan.pipelines[0].id, slots=2, at_ns=0)
        ),
        "resize 99: pipeline llm@n0/gpu0 has 2 slots already",
    ),
    "switch": (
        lambda plan: with_last(
            plan, Switch(id=99, old="nobody", new=plan.pipelines[0].id, continuity="drain", at_ns=0)
        ),
        "the plan describes no pipeline nobody",
    ),
    "release's blob": (
        lambda plan: with_last(plan, Release(id=99, blob="llm/9", place=gpu(0), at_ns=0)),
        "the plan describes no blob llm/9",
    ),
    "release's place": (
        lambda plan: with_last(plan, Release(id=99, blob="llm/0", place="attic", at_ns=0)),
        "attic is not a place of the cluster",
    ),
    "routing": (
        lambda plan: attrs.evolve(plan, routing=(*plan.routing, RoutingWeight(pipeline="nobody", weight=1))),
        "the plan describes no pipeline nobody",
    ),
    "claim about an LLM": (lambda plan: _evolved(plan, "certificates", 0, subject="gpt"), "gpt, which nobody wants"),
    "claim about a pipeline": (lambda plan: _evolved(plan, "certificates", -1, subject="llm"), "no pipeline llm"),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_ref_names_what_does_not_exist(what):
    change, words = UNKNOWN[what]
    problem, plan = a_chain()
    verdict = verify(problem, change(plan))
    assert {violation.rule for violation in verdict.violations} == {"REF"}
    assert words in str(verdict)
