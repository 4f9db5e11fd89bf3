"""The whole planner: what it answers to problems of every shape."""

import attrs
import pytest

from planner.errors import CannotCut
from planner.outcome import Infeasible, Planned, Undecided
from planner.solve import Request, solve
from specs import codec
from specs.cluster import PlaceKind
from specs.plan import Activate, Claim, Measure, Method, Transfer
from specs.problem import Holding, Target
from specs.timing import kv_bytes, workspace_bytes
from tests.builders import GIGABYTE, a_cluster, a_problem, an_llm
from tests.place_graphs import Wiring, islands, star, two_racks
from tests.plans import gpu


def planned(problem, request=None):
    outcome = solve(problem, request)
    assert isinstance(outcome, Planned), outcome
    return outcome.verified.plan


def for_llms(base, *llms, held, wanted):
    """The problem with these LLMs; `held` and `wanted` are pairs of an LLM's name and a place."""
    (workload,) = base.workloads
    return attrs.evolve(
        base,
        llms=llms,
        workloads=tuple(attrs.evolve(workload, llm=llm.id) for llm in llms),
        holdings=tuple(Holding(llm=llm, place=place) for llm, place in held),
        targets=tuple(Target(llm=llm, place=place) for llm, place in wanted),
    )


def certificates(plan):
    return {(each.claim, each.subject, each.measure): each for each in plan.certificates}


# --- shapes ----------------------------------------------------------------------------------------------------------


def test_one_node_that_holds_and_wants():
    base = a_problem(1, 1)
    problem = attrs.evolve(base, targets=(Target(llm="llm", place=gpu(0)),))
    plan = planned(problem)
    assert [type(step) for step in plan.steps] == [Activate]
    assert [(each.value, each.bound) for each in plan.certificates] == [(0, 0)] * 4


def test_no_targets():
    plan = planned(a_problem(3, 3))
    assert [step.pipeline for step in plan.steps] == [f"llm@{gpu(number)}" for number in range(3)]
    assert plan.certificates == ()


def test_no_llms():
    plan = planned(for_llms(a_problem(2), held=(), wanted=()))
    assert (plan.blobs, plan.steps, plan.pipelines) == ((), (), ())


def test_an_llm_that_nobody_holds_or_wants():
    idle = an_llm(name="idle")
    base = a_problem(2)
    plan = planned(for_llms(base, *base.llms, idle, held=[("llm", gpu(0))], wanted=[("llm", gpu(1))]))
    assert {each.llm for each in plan.pipelines} == {"llm"}


def test_some_targets_hold_it_already():
    base = a_problem(4)
    everywhere = tuple(Target(llm="llm", place=gpu(number)) for number in range(4))
    held = (*base.holdings, Holding(llm="llm", place=gpu(2)))
    plan = planned(attrs.evolve(base, holdings=held, targets=everywhere), Request(blocks=4))
    moved = {plan.routes[step.route].links[-1] for step in plan.steps if isinstance(step, Transfer)}
    assert moved == {"n1/nic0>n1/gpu0", "n3/nic0>n3/gpu0"}
    cover = certificates(plan)[Claim.FIRST_COVER, "llm", Measure.TICKS]
    assert (cover.value, cover.bound) == (0, 0)


@pytest.mark.parametrize("store", ["n0/host", "n0/ssd"])
def test_a_holder_that_computes_nothing(store):
    problem = attrs.evolve(
        a_problem(2, cluster=islands(2)),
        holdings=(Holding(llm="llm", place=store),),
        targets=tuple(Target(llm="llm", place=f"n{node}/gpu{index}") for node in range(2) for index in range(2)),
    )
    plan = planned(problem, Request(blocks=4))
    assert store not in {stage.place for pipeline in plan.pipelines for stage in pipeline.stages}
    assert {each.id for each in plan.pipelines} >= {f"llm@{target.place}" for target in problem.targets}


def test_several_llms_at_once():
    first, second = an_llm(name="first"), an_llm(6, tied=True, name="second")
    wanted = [("first", gpu(1)), ("second", gpu(1)), ("second", gpu(0)), ("first", gpu(2)), ("second", gpu(3))]
    problem = for_llms(a_problem(4), first, second, held=[("first", gpu(0)), ("second", gpu(2))], wanted=wanted)
    plan = planned(problem)
    assert {each.id for each in plan.pipelines} >= {f"{llm}@{place}" for llm, place in wanted}
    assert {subject for _, subject, _ in certificates(plan)} >= {"first", "second"}


@pytest.mark.parametrize("extra_percent", range(0, 1600, 50))
def test_several_llms_share_the_memory_that_pipelines_over_nodes_need(extra_percent):
    names = ("first", "second", "third")
    llms = [an_llm(8, layer_bytes=2**20, name=name) for name in names]
    base = a_problem(5, cluster=a_cluster(5, rate=GIGABYTE // 100))
    held = [(name, gpu(0)) for name in names]
    wanted = [(name, gpu(number)) for name in names for number in range(1, 5)]
    roomy = planned(for_llms(base, *llms, held=held, wanted=wanted), Request(blocks=8))
    (stage,) = next(each for each in roomy.pipelines if len(each.stages) == 1).stages
    pipeline_bytes = stage.kv_bytes + stage.workspace_bytes
    needed = sum(blob.bytes for blob in roomy.blobs) + 3 * pipeline_bytes
    cluster = a_cluster(5, rate=GIGABYTE // 100, memory_bytes=needed + pipeline_bytes * extra_percent // 100)
    planned(for_llms(attrs.evolve(base, cluster=cluster), *llms, held=held, wanted=wanted), Request(blocks=8))


# --- answers that are no plan ----------------------------------------------------------------------------------------


def a_tight_problem(memory_bytes, nodes=3):
    return a_problem(nodes, cluster=a_cluster(nodes, memory_bytes=memory_bytes))


def local_bytes(problem):
    """KV and workspace of a pipeline on one device."""
    (llm,), (workload,) = problem.llms, problem.workloads
    tokens = workload.live_requests_max * workload.request_tokens_max
    units = len(llm.units)
    workspace = workspace_bytes(llm, units, workload.live_requests_max, min(512, tokens))
    return kv_bytes(llm, 0, units, tokens), workspace


def test_the_missing_bytes_are_said_exactly():
    problem = a_problem()
    kv, workspace = local_bytes(problem)
    weights = planned(problem, Request(blocks=1)).blobs[0].bytes
    needed = weights + kv + workspace
    outcome = solve(a_tight_problem(needed - 12_345, nodes=2), Request(blocks=1))
    assert isinstance(outcome, Infeasible)
    (conflict,) = outcome.conflicts
    assert (conflict.rule, conflict.where) == ("MEM", gpu(1))
    assert conflict.sentence == (
        f"needs {weights:,} bytes (weights of llm) + {kv:,} bytes (KV of 4 requests of 64 tokens) + "
        f"{workspace:,} bytes (workspace) = {needed:,} bytes, has {needed - 12_345:,}: 12,345 bytes are missing"
    )


def test_a_holder_without_room_to_serve_still_sends():
    problem = a_problem(3)
    plan = planned(problem)
    weights = sum(blob.bytes for blob in plan.blobs)
    places = tuple(
        attrs.evolve(place, memory_bytes=weights) if place.id == gpu(0) else place for place in problem.cluster.places
    )
    tight = attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, places=places))
    assert gpu(0) not in {stage.place for pipeline in planned(tight).pipelines for stage in pipeline.stages}
    places = tuple(attrs.evolve(place, memory_bytes=weights - 100) if place.id == gpu(0) else place for place in places)
    outcome = solve(attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, places=places)), Request(blocks=1))
    assert isinstance(outcome, Infeasible)
    assert [(each.where, "is said to hold" in each.sentence) for each in outcome.conflicts] == [(gpu(0), True)]


def test_room_that_only_giving_up_a_holding_would_make_is_undecided():
    llms = an_llm(name="old"), an_llm(name="new")
    base = a_problem(2)
    weights = sum(blob.bytes for blob in planned(base, Request(blocks=8)).blobs)
    cluster = a_cluster(2, memory_bytes=weights + sum(local_bytes(base)) + weights // 2)
    problem = for_llms(
        attrs.evolve(base, cluster=cluster),
        *llms,
        held=[("old", gpu(1)), ("new", gpu(0))],
        wanted=[("new", gpu(1))],
    )
    outcome = solve(problem, Request(blocks=8))
    assert isinstance(outcome, Undecided)
    assert outcome.sentence.startswith(f"{weights - weights // 2:,} bytes are missing at {gpu(1)} unless it gives up")


def test_a_target_that_no_links_reach():
    wiring = Wiring()
    for number in range(3):
        wiring.node(number, wiring.switch(f"leaf{number}"))
    wiring.cable("leaf0", "leaf1")
    outcome = solve(a_problem(3, cluster=wiring.cluster()))
    assert isinstance(outcome, Infeasible)
    (conflict,) = outcome.conflicts
    assert (conflict.rule, conflict.where) == ("FULL", gpu(2))
    assert conflict.sentence == "no path of links leads to it from any place that holds llm"


def test_a_target_behind_another_memory_is_reached_through_it_where_it_has_room():
    wiring = Wiring()
    for number in range(3):
        wiring.device(gpu(number))
    wiring.cable(gpu(0), gpu(1))
    wiring.cable(gpu(1), gpu(2))
    problem = a_problem(3, cluster=wiring.cluster())
    planned(problem)  # the memory between is a target, which passes on what it gets
    passed_by = attrs.evolve(problem, targets=problem.targets[1:])
    plan = planned(passed_by)
    assert {transfer.route for transfer in plan.steps if isinstance(transfer, Transfer)} == {0, 1}
    full = [attrs.evolve(place, memory_bytes=1) if place.id == gpu(1) else place for place in problem.cluster.places]
    outcome = solve(attrs.evolve(passed_by, cluster=attrs.evolve(problem.cluster, places=tuple(full))))
    assert isinstance(outcome, Undecided)
    assert "through other memories" in outcome.sentence


def test_more_blocks_than_units():
    with pytest.raises(CannotCut, match="llm cannot be cut into 11 blocks"):
        solve(a_problem(), Request(blocks=11))


# --- unequal links ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cluster",
    [
        two_racks(4, uplink=GIGABYTE),
        two_racks(4, uplink=GIGABYTE // 3, spines=2),
        star(8, (GIGABYTE, 4 * GIGABYTE)),
        star(8, (5 * GIGABYTE, GIGABYTE, GIGABYTE, 2 * GIGABYTE)),
    ],
    ids=["oversubscribed", "narrow spines", "two sorts of NIC", "three sorts of NIC"],
)
@pytest.mark.parametrize("sources", [1, 3])
def test_unequal_links_have_honest_certificates(cluster, sources):
    llm = an_llm(12, layer_bytes=2**20)
    plan = planned(a_problem(8, sources, llm=llm, cluster=cluster), Request(blocks=12))
    found = certificates(plan)
    for claim in (Claim.COMPLETION, Claim.FIRST_COVER):
        ticks, time_ns = found[claim, "llm", Measure.TICKS], found[claim, "llm", Measure.NANOS]
        assert 0 < ticks.bound <= ticks.value  # what takes least time may take more ticks
        assert time_ns.method in {Method.CLOSED_FORM, Method.CUT, Method.DUAL}
        assert 0 < time_ns.bound <= time_ns.value
    completion = found[Claim.COMPLETION, "llm", Measure.NANOS]
    last = max(step.end_ns for step in plan.steps if isinstance(step, Transfer))
    assert completion.value == last


def test_the_gap_is_positive_where_a_slow_port_must_be_passed_on():
    # All NICs but the source's are slow: every blob takes five times what the source's port would allow.
    cluster = star(5, (5 * GIGABYTE, GIGABYTE, GIGABYTE, GIGABYTE, GIGABYTE))
    plan = planned(a_problem(5, llm=an_llm(8, layer_bytes=2**20), cluster=cluster), Request(blocks=8))
    completion = certificates(plan)[Claim.COMPLETION, "llm", Measure.NANOS]
    assert completion.bound < completion.value


def test_equal_links_come_close_to_the_bound_in_time():
    llm = an_llm(16, layer_bytes=2**24)
    plan = planned(a_problem(9, llm=llm, cluster=a_cluster(9, latency_ns=0)), Request(blocks=16))
    completion = certificates(plan)[Claim.COMPLETION, "llm", Measure.NANOS]
    assert completion.value <= completion.bound * 1.001


# --- identity --------------------------------------------------------------------------------------------------------


def test_generations_follow_their_parents():
    problem = a_problem()
    first = planned(problem)
    second = planned(problem, Request(parent=first))
    third = planned(problem, Request(parent=second))
    assert [each.generation for each in (first, second, third)] == [1, 2, 3]
    assert [each.parent for each in (first, second, third)] == [None, codec.digest(first), codec.digest(second)]
    assert first.problem == codec.digest(problem)


def test_a_generation_may_be_asked_for():
    problem = a_problem()
    first = planned(problem, Request(generation=4))
    assert (first.generation, first.parent) == (4, None)
    second = planned(problem, Request(parent=first, generation=9))  # nothing runs any more
    assert (second.generation, second.parent) == (9, codec.digest(first))


def test_the_same_problem_gives_the_same_bytes():
    problem = a_problem(7, 2, cluster=two_racks(4, spines=3))
    assert codec.encode(planned(problem)) == codec.encode(planned(problem))


def test_steps_are_numbered_in_time_and_pipelines_are_weighed():
    plan = planned(a_problem(9, llm=an_llm(8, layer_bytes=2**20), cluster=a_cluster(9, rate=GIGABYTE // 100)))
    assert [step.id for step in plan.steps] == list(range(len(plan.steps)))
    instants = [step.start_ns if isinstance(step, Transfer) else step.at_ns for step in plan.steps]
    assert instants == sorted(instants)
    assert [row.pipeline for row in plan.routing] == [pipeline.id for pipeline in plan.pipelines]
    weights = {row.pipeline: row.weight for row in plan.routing}
    alone = {weights[each.id] for each in plan.pipelines if len(each.stages) == 1}
    assert len(alone) == 1
    assert any(weight > max(alone) for weight in weights.values()), "a shared pipeline is quicker"


@pytest.mark.parametrize(
    ("nodes", "blocks", "doublings"), [(128, 32, 7), pytest.param(1024, 64, 10, marks=pytest.mark.slow)]
)
def test_many_nodes(nodes, blocks, doublings):
    problem = a_problem(nodes, llm=an_llm(blocks, layer_bytes=2**20))
    assert sum(place.kind is PlaceKind.DEVICE for place in problem.cluster.places) == nodes
    completion = certificates(planned(problem, Request(blocks=blocks)))[Claim.COMPLETION, "llm", Measure.TICKS]
    assert completion.value == completion.bound == blocks - 1 + doublings
