"""Every rule of the table can be broken alone, holds at its edge, and says where and what."""

import attrs
import pytest

from specs.checker import Rejected, VerifiedPlan, verify
from specs.cluster import Link
from specs.invariants.table import INVARIANTS
from specs.plan import Release, RoutingWeight, Switch
from specs.problem import Target
from tests.plans import (
    BREAKS,
    GOOD,
    JUST_GOOD,
    a_chain,
    a_pipeline,
    a_relocation,
    a_rescue,
    certified,
    gpu,
    local,
    with_pipeline,
    with_step,
)


def rules(verdict):
    assert isinstance(verdict, Rejected), "the plan was accepted"
    return {violation.rule for violation in verdict.violations}


@pytest.mark.parametrize("name", GOOD)
def test_good_plans_are_verified(name):
    verdict = verify(*GOOD[name]())
    assert isinstance(verdict, VerifiedPlan), str(verdict)


@pytest.mark.parametrize("rule", [rule.id for rule in INVARIANTS])
def test_every_invariant_can_be_broken_alone(rule):
    verdict = verify(*BREAKS[rule]())
    assert rules(verdict) == {rule}


@pytest.mark.parametrize("rule", JUST_GOOD)
def test_every_edge_is_inside(rule):
    verdict = verify(*JUST_GOOD[rule]())
    assert isinstance(verdict, VerifiedPlan), str(verdict)


def test_ids_are_unique_and_sentences_end_the_table():
    assert len({rule.id for rule in INVARIANTS}) == len(INVARIANTS)
    assert all(rule.sentence.endswith(".") for rule in INVARIANTS)


# --- REF: everything that can be named wrongly -----------------------------------------------------------------------


def _evolved(plan, field, index, **changes):
    row = list(getattr(plan, field))
    row[index] = attrs.evolve(row[index], **changes)
    return attrs.evolve(plan, **{field: tuple(row)})


def _with_stage(plan, **changes):
    return with_pipeline(plan, 0, stages=(attrs.evolve(plan.pipelines[0].stages[0], **changes),))


def _with_last(plan, step):
    return attrs.evolve(plan, steps=(*plan.steps, step))


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
    "stage's place": (lambda plan: _with_stage(plan, place="n0/nic0"), "n0/nic0 is not a device"),
    "stage nowhere": (lambda plan: _with_stage(plan, place="n9/gpu0"), "n9/gpu0 is not a device"),
    "stage's units": (lambda plan: _with_stage(plan, end_unit=11), "0 to 11 (exclusive) of llm, which has 10"),
    "stage empty": (lambda plan: _with_stage(plan, first_unit=3, end_unit=3), "its units are 3 to 3"),
    "context": (lambda plan: with_pipeline(plan, 0, request_tokens_max=129), "the context of llm holds 128"),
    "ids": (lambda plan: with_step(plan, 3, id=2), "it stands after step 2; ids must ascend"),
    "transfer's blob": (lambda plan: with_step(plan, 1, blob="llm/9"), "the plan describes no blob llm/9"),
    "transfer's route": (lambda plan: with_step(plan, 1, route=3), "route 3 is not one of 3"),
    "activation": (lambda plan: with_step(plan, 0, pipeline="nobody"), "the plan describes no pipeline nobody"),
    "second activation": (
        lambda plan: with_step(plan, -1, pipeline=plan.pipelines[0].id),
        "pipeline llm@n0/gpu0 is activated a second time",
    ),
    "switch": (
        lambda plan: _with_last(
            plan, Switch(id=99, old="nobody", new=plan.pipelines[0].id, continuity="drain", at_ns=0)
        ),
        "the plan describes no pipeline nobody",
    ),
    "release's blob": (
        lambda plan: _with_last(plan, Release(id=99, blob="llm/9", place=gpu(0), at_ns=0)),
        "the plan describes no blob llm/9",
    ),
    "release's place": (
        lambda plan: _with_last(plan, Release(id=99, blob="llm/0", place="attic", at_ns=0)),
        "attic is not a place of the cluster",
    ),
    "routing": (
        lambda plan: attrs.evolve(plan, routing=(*plan.routing, RoutingWeight(pipeline="nobody", weight=1))),
        "the plan describes no pipeline nobody",
    ),
    "claim about an LLM": (lambda plan: _evolved(plan, "certificates", 0, subject="gpt"), "gpt, which no target wants"),
    "claim about a pipeline": (lambda plan: _evolved(plan, "certificates", -1, subject="llm"), "no pipeline llm"),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_ref_names_what_does_not_exist(what):
    change, words = UNKNOWN[what]
    problem, plan = a_chain()
    verdict = verify(problem, change(plan))
    assert rules(verdict) == {"REF"}
    assert words in str(verdict)


# --- other rules: more ways to break them than the one in BREAKS -----------------------------------------------------


def test_cause_a_source_that_never_or_only_later_receives():
    problem, plan = a_chain(3, 1)
    first, second = plan.steps[1], plan.steps[2]
    swapped = (plan.steps[0], attrs.evolve(second, id=1), attrs.evolve(first, id=2), *plan.steps[3:])
    assert "which receives it only by the later step 2" in str(verify(problem, attrs.evolve(plan, steps=swapped)))
    without = attrs.evolve(plan, steps=(plan.steps[0], *plan.steps[2:]))
    assert "n1/gpu0, which never receives it" in str(verify(problem, without))


def test_port_follows_the_order_of_the_plan_not_of_the_clock():
    problem, plan = a_chain(2, 2)
    first, second = plan.steps[1], plan.steps[2]
    swapped = (plan.steps[0], attrs.evolve(second, id=1), attrs.evolve(first, id=2), plan.steps[3])
    assert rules(verify(problem, certified(problem, attrs.evolve(plan, steps=swapped)))) == {"PORT"}


def test_link_inside_a_route_is_shared():
    problem, plan = a_chain(4, 1)
    (llm,) = problem.llms
    assert len(llm.tensors) == 11
    leaf_out = [link for link in problem.cluster.links if link.id in ("leaf>n1/nic0", "leaf>n2/nic0")]
    assert len(leaf_out) == 2
    narrow = tuple(
        attrs.evolve(link, bytes_per_second=link.bytes_per_second // 2) if link in leaf_out else link
        for link in problem.cluster.links
    )
    slower = attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, links=narrow))
    assert rules(verify(slower, certified(slower, attrs.evolve(plan, problem=_digest(slower))))) == {"LINK"}


def test_link_sums_overlapping_transfers():
    """Two receivers behind one narrow link: each transfer alone fits, both together do not."""
    problem, plan = _two_receivers_behind_one_link(capacity=2 * 10**9)
    assert isinstance(verify(problem, plan), VerifiedPlan)
    problem, plan = _two_receivers_behind_one_link(capacity=2 * 10**9 - 1)
    verdict = verify(problem, plan)
    assert rules(verdict) == {"LINK"}
    assert "link a>b: at 0 ns transfers cross it at 2000000000 bytes/s, it carries 1999999999" in str(verdict)


def _digest(problem):
    from specs import codec

    return codec.digest(problem)


def _two_receivers_behind_one_link(capacity):
    """Two sources on switch a, two receivers on switch b, one link from a to b."""
    from specs.cluster import Cluster, Node, Place, PlaceKind
    from specs.plan import FORMAT, Activate, Plan, Provenance, Route, Transfer
    from tests.builders import TOY, a_problem, an_llm
    from tests.plans import blobs_of

    devices = [
        Place(id=gpu(index), kind=PlaceKind.DEVICE, node=f"n{index}", memory_bytes=10**9, device="toy")
        for index in range(4)
    ]
    switches = [Place(id=name, kind=PlaceKind.SWITCH, memory_bytes=0) for name in ("a", "b")]
    ends = [(gpu(0), "a"), (gpu(1), "a"), ("b", gpu(2)), ("b", gpu(3)), ("a", "b")]
    cluster = Cluster(
        name="bottleneck",
        device_kinds=(TOY,),
        nodes=tuple(Node(id=f"n{index}") for index in range(4)),
        places=(*devices, *switches),
        links=tuple(
            Link(
                id=f"{source}>{destination}",
                source=source,
                destination=destination,
                bytes_per_second=capacity if source == "a" else 10**9,
                latency_ns=0,
            )
            for source, destination in ends
        ),
    )
    llm = an_llm(2)
    problem = a_problem(4, 2, llm=llm, cluster=cluster)
    (blob,) = blobs_of(llm, 1)
    pipelines = tuple(local(llm, gpu(index)) for index in (2, 3))
    steps = [
        Transfer(id=index, blob=blob.id, route=index, bytes_per_second=10**9, start_ns=0, end_ns=blob.bytes)
        for index in range(2)
    ]
    steps += [Activate(id=2 + index, pipeline=pipelines[index].id, at_ns=blob.bytes) for index in range(2)]
    plan = Plan(
        format=FORMAT,
        problem=_digest(problem),
        generation=1,
        provenance=Provenance(planner="hand/1", solvers=(), seed=0),
        blobs=(blob,),
        routes=tuple(Route(links=(f"{gpu(i)}>a", "a>b", f"b>{gpu(i + 2)}")) for i in range(2)),
        pipelines=pipelines,
        steps=tuple(steps),
        routing=tuple(RoutingWeight(pipeline=pipeline.id, weight=1) for pipeline in pipelines),
        certificates=(),
    )
    return problem, certified(problem, plan)


def test_a_transfer_is_not_faster_than_its_rate():
    problem, plan = a_chain()
    verdict = verify(problem, with_step(plan, 1, bytes_per_second=10**9 - 1))
    assert rules(verdict) == {"LINK"}
    assert "129024 bytes at 999999999 bytes/s and 1000 ns of latency take 130025 ns" in str(verdict)


@pytest.mark.parametrize("field", ["kv_bytes", "workspace_bytes"])
def test_mem_no_stage_declares_too_little(field):
    problem, plan = a_chain()
    stage = plan.pipelines[0].stages[0]
    assert rules(verify(problem, _with_stage(plan, **{field: getattr(stage, field) - 1}))) == {"MEM"}
    assert isinstance(verify(problem, _with_stage(plan, **{field: getattr(stage, field) + 1})), VerifiedPlan)


def test_mem_counts_both_pipelines_at_the_instant_of_a_switch():
    """The place that a release empties at t takes the next blob at t + 1, not at t."""
    problem, plan = a_relocation()
    needed = sum(blob.bytes for blob in plan.blobs if blob.llm == "moved")
    needed += sum(plan.pipelines[0].stages[0].kv_bytes + plan.pipelines[0].stages[0].workspace_bytes for _ in (0,))
    places = tuple(
        attrs.evolve(place, memory_bytes=needed) if place.id == gpu(0) else place for place in problem.cluster.places
    )
    tight = attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, places=places))
    fits = certified(tight, attrs.evolve(plan, problem=_digest(tight)))
    assert isinstance(verify(tight, fits), VerifiedPlan)
    index = next(i for i, step in enumerate(fits.steps) if isinstance(step, Release)) + 2
    step = fits.steps[index]
    at_once = with_step(fits, index, start_ns=step.start_ns - 1)
    assert rules(verify(tight, certified(tight, at_once))) == {"MEM"}


def test_full_a_target_that_stays_incomplete():
    problem, plan = a_chain()
    steps = tuple(step for step in plan.steps if step.id != 9)  # the last hop of the last blob
    verdict = verify(problem, certified(problem, attrs.evolve(plan, steps=steps)))
    assert rules(verdict) == {"FULL", "EARLY"}
    assert "n3/gpu0 never holds llm/2, which its units need" in str(verdict)


def test_full_nothing_is_sent_to_a_holder():
    problem, plan = a_chain(3, 1)
    back = attrs.evolve(plan.routes[0], links=tuple(_reversed(link) for link in reversed(plan.routes[0].links)))
    step = attrs.evolve(plan.steps[2], id=99, route=2, start_ns=10**9, end_ns=2 * 10**9)
    changed = attrs.evolve(plan, routes=(*plan.routes, back), steps=(*plan.steps, step))
    verdict = verify(problem, certified(problem, changed))
    assert rules(verdict) == {"FULL"}
    assert "to n0/gpu0, which holds it from the start" in str(verdict)


def _reversed(link):
    source, destination = link.split(">")
    return f"{destination}>{source}"


def test_layer_gaps_and_ends():
    problem, plan = a_chain()
    (llm,) = problem.llms
    gap = a_pipeline(plan.pipelines[0].id, llm, (gpu(0), 0, 3), (gpu(0), 4, 9))
    verdict = verify(problem, with_pipeline(plan, 0, stages=gap.stages))
    assert "LAYER" in rules(verdict)
    assert "it starts at unit 4; units from 3 of llm never run" in str(verdict)
    assert "its stages end at unit 9 of 10; it would produce no token" in str(verdict)
    nothing = verify(problem, with_pipeline(plan, 0, stages=()))
    assert "its stages end at unit 0 of 10" in str(nothing)


def test_early_a_release_before_the_opening():
    problem, plan = a_relocation()
    first = next(step for step in plan.steps if isinstance(step, Release))
    opened = next(index for index, step in enumerate(plan.steps) if getattr(step, "pipeline", "") == "moved@n0/gpu0")
    late = with_step(plan, opened, at_ns=first.at_ns + 1)
    assert "EARLY" in rules(verify(problem, late))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda plan: attrs.evolve(plan, steps=plan.steps[1:]), "no step activates it"),
        (lambda plan: attrs.evolve(plan, routing=(*plan.routing, plan.routing[0])), "it has 2 routing weights"),
        (lambda plan: with_step(plan, -1, new=plan.steps[-1].old), "it leads from pair to itself"),
        (lambda plan: with_step(plan, -1, old="llm@n1/gpu0", new="llm@n2/gpu0"), "llm on it is open at the end"),
        (lambda plan: with_step(plan, -1, at_ns=plan.steps[-1].at_ns - 1), "is not open yet at 774199 ns"),
        (
            lambda plan: _with_last(plan, attrs.evolve(plan.steps[-1], id=99)),
            "pipeline pair was closed by switch 8 already",
        ),
    ],
)
def test_serve_openings_weights_and_switches(change, words):
    problem, plan = a_rescue()
    changed = change(plan)
    assert words in str(verify(problem, changed))
    assert rules(verify(problem, changed)) == {"SERVE"}


def test_serve_requests_stay_with_their_llm():
    problem, plan = a_relocation()
    index = next(index for index, step in enumerate(plan.steps) if isinstance(step, Switch))
    verdict = verify(problem, with_step(plan, index, new="stays@n2/gpu0"))
    assert rules(verdict) == {"SERVE"}
    assert "it hands requests for moved to a pipeline of stays" in str(verdict)


def test_serve_a_target_needs_a_pipeline_of_its_own():
    problem, plan = a_chain(2, 1)
    wider = attrs.evolve(problem, targets=(*problem.targets, Target(llm="llm", place=gpu(0))))
    fewer = attrs.evolve(
        plan,
        problem=_digest(wider),
        pipelines=plan.pipelines[1:],
        steps=plan.steps[1:],
        routing=plan.routing[1:],
    )
    verdict = verify(wider, certified(wider, fewer))
    assert rules(verdict) == {"SERVE"}
    assert "no pipeline with all units of llm on it is open at the end" in str(verdict)


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
    assert rules(verdict) == {"LAST"}
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
    assert rules(verdict) == {"LAST"}
    assert "which ends the need of pipeline moved@n0/gpu0" in str(verdict)
