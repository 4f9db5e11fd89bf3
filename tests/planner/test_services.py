"""Services in plans: devices are chosen, pipelines formed, parts moved; every claim is checked."""

import itertools

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.held_units import stage_borders
from planner.outcome import Infeasible, Planned, Undecided
from planner.solve import Request, solve
from specs import codec
from specs.certificates.layouts import CLAIM_OF
from specs.checker import Rejected, verify
from specs.decisions.layout import exhausted
from specs.errors import InvalidProblem
from specs.plan import Claim, Method
from specs.problem import Holding, Target
from specs.services import answer_of, offer
from specs.wishes import Objective, Service
from specs.workload import Slo
from tests.builders import GIGABYTE, TOY, a_cluster, a_problem, an_llm
from tests.plans import gpu

MEGABYTE = 10**6


def a_service_problem(
    nodes=4,
    *,
    objective=Objective.DEVICES,
    memory_bytes=80 * GIGABYTE,
    tpot_ns=None,
    requests_per_hour=3600,
    live=4,
    layers=8,
    depth_max=8,
):
    """Node 0 holds the LLM, the others may serve it with this much memory each."""
    base = a_problem(nodes, 1, llm=an_llm(layers, layer_bytes=MEGABYTE), live_requests_max=live)
    small = a_cluster(nodes, memory_bytes=memory_bytes)
    places = tuple(
        attrs.evolve(place, memory_bytes=80 * GIGABYTE) if place.id == gpu(0) else place for place in small.places
    )
    priced = (attrs.evolve(TOY, microdollars_per_hour=2_000_000),)
    (workload,) = base.workloads
    wish = Service(
        llm="llm", places=tuple(gpu(node) for node in range(1, nodes)), objective=objective, depth_max=depth_max
    )
    slo = Slo(llm="llm", percentile=90, ttft_ns_max=10**9, tpot_ns_max=tpot_ns or 1)
    return attrs.evolve(
        base,
        cluster=attrs.evolve(small, places=places, device_kinds=priced),
        workloads=(attrs.evolve(workload, requests_per_hour=requests_per_hour),),
        slos=() if tpot_ns is None else (slo,),
        targets=(),
        services=(wish,),
    )


def planned(problem):
    outcome = solve(problem)
    assert isinstance(outcome, Planned), outcome
    return outcome.verified.plan


def certificate(plan, claim):
    return next(row for row in plan.certificates if row.claim is claim)


@pytest.mark.parametrize("objective", Objective)
def test_every_objective_has_a_certificate_of_its_own(objective):
    claim, measure, _ = CLAIM_OF[objective]
    row = certificate(planned(a_service_problem(objective=objective)), claim)
    assert (row.measure, row.method, row.value) == (measure, Method.EXHAUSTED, row.bound)


def test_what_fits_no_device_is_served_by_several():
    plan = planned(a_service_problem(5, memory_bytes=6 * MEGABYTE))
    (pipeline,) = plan.pipelines
    assert len(pipeline.stages) == 3
    assert certificate(plan, Claim.DEVICES).value == 3


def test_each_device_gets_only_what_its_stages_compute_with():
    problem = a_service_problem(5, memory_bytes=6 * MEGABYTE)
    plan = planned(problem)
    received = sum(next(blob.bytes for blob in plan.blobs if blob.id == step.blob) for step in plan.steps[:-1])
    (llm,) = problem.llms
    assert received <= sum(tensor.bytes for tensor in llm.tensors) + 64 * len(llm.tensors)


@pytest.mark.parametrize("tied", [False, True])
def test_borders_separate_what_different_stages_need(tied):
    llm = an_llm(6, tied=tied)
    plan = planned(attrs.evolve(a_service_problem(5, memory_bytes=6 * MEGABYTE)))
    borders = stage_borders(llm, plan.pipelines[:0])
    assert borders == []
    runs = attrs.evolve(
        plan.pipelines[0],
        stages=tuple(
            attrs.evolve(plan.pipelines[0].stages[0], first_unit=first, end_unit=end) for first, end in ((0, 3), (3, 8))
        ),
    )
    found = stage_borders(llm, [runs])
    needs = [{index for unit in llm.units[first:end] for index in unit.tensors} for first, end in ((0, 3), (3, 8))]
    for first, end in itertools.pairwise([0, *found, len(llm.tensors)]):
        for need in needs:
            assert len({index in need for index in range(first, end)}) == 1


def test_one_byte_decides():
    found = offer(a_service_problem(2), a_service_problem(2).services[0]).question
    whole = found.weight_sums[-1] + found.kv_sums[-1] * 64 + found.paces[0].workspace_bytes
    assert isinstance(solve(a_service_problem(2, memory_bytes=whole)), Planned)
    missing = solve(a_service_problem(2, memory_bytes=whole - 1))
    assert isinstance(missing, Infeasible)
    assert [(each.rule, each.where) for each in missing.conflicts] == [("DEMAND", "service llm")]


def test_more_requests_take_more_devices_and_too_many_are_refused():
    one = certificate(planned(a_service_problem(4)), Claim.DEVICES).value
    (service,) = a_service_problem(4).services
    most = exhausted.exhausted(offer(a_service_problem(4), service).question, CLAIM_OF[Objective.GOODPUT][2])
    hourly = most * 3600 // (1000 * 16)  # requests whose answers are all that three devices give
    many = solve(a_service_problem(4, requests_per_hour=hourly - 1))
    assert one == 1
    assert isinstance(many, Planned)
    assert certificate(many.verified.plan, Claim.DEVICES).value == 3
    assert isinstance(solve(a_service_problem(4, requests_per_hour=hourly + 3)), Infeasible)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"targets": (Target(llm="llm", place=gpu(0)),)}, "wanted at targets and as a service"),
        (
            {"services": (Service(llm="llm", places=("leaf",), objective=Objective.COST),)},
            "not a memory of the cluster",
        ),
        ({"services": (Service(llm="llm", places=(), objective=Objective.COST),)}, "may use no place"),
    ],
)
def test_wishes_that_contradict_are_refused(change, sentence):
    with pytest.raises(InvalidProblem, match=sentence):
        attrs.evolve(a_service_problem(), **change)


def test_least_cost_needs_prices():
    problem = a_service_problem(objective=Objective.COST)
    with pytest.raises(InvalidProblem, match="toy has no price"):
        attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, device_kinds=(TOY,)))


@given(
    nodes=st.integers(2, 5),
    objective=st.sampled_from(Objective),
    memory=st.integers(4, 16),
    tpot_ns=st.one_of(st.none(), st.integers(5_000, 200_000)),
    requests=st.integers(1, 40_000_000),
    live=st.integers(1, 9),
    depth_max=st.integers(1, 4),
)
@settings(max_examples=25, deadline=None)
def test_every_plan_of_a_service_is_true_and_every_refusal_too(
    nodes, objective, memory, tpot_ns, requests, live, depth_max
):
    problem = a_service_problem(
        nodes,
        objective=objective,
        memory_bytes=memory * MEGABYTE,
        tpot_ns=tpot_ns,
        requests_per_hour=requests,
        live=live,
        layers=6,
        depth_max=depth_max,
    )
    outcome = solve(problem)
    (service,) = problem.services
    question = offer(problem, service).question
    best = exhausted.exhausted(question, CLAIM_OF[objective][2])
    if isinstance(outcome, Infeasible):
        assert best is None
    elif isinstance(outcome, Planned):
        row = certificate(outcome.verified.plan, CLAIM_OF[objective][0])
        assert row.bound == best
    else:
        assert isinstance(outcome, Undecided)


def test_a_wrong_claim_about_a_service_is_refused():
    problem = a_service_problem()
    plan = planned(problem)
    for claim, change in ((Claim.DEVICES, {"value": 0, "bound": 0}), (Claim.DEVICES, {"bound": 2})):
        rows = tuple(attrs.evolve(row, **change) if row.claim is claim else row for row in plan.certificates)
        verdict = verify(problem, attrs.evolve(plan, certificates=rows))
        assert isinstance(verdict, Rejected)
        assert {violation.rule for violation in verdict.violations} == {"BOUND"}


def test_goodput_is_bounded_from_above():
    problem = a_service_problem(objective=Objective.GOODPUT)
    plan = planned(problem)
    rows = tuple(
        attrs.evolve(row, bound=row.bound - 1) if row.claim is Claim.GOODPUT else row for row in plan.certificates
    )
    verdict = verify(problem, attrs.evolve(plan, certificates=rows))
    assert isinstance(verdict, Rejected)
    assert "is below its value" in str(verdict)


def test_the_plan_answers_its_question():
    problem = a_service_problem(5, memory_bytes=6 * MEGABYTE, objective=Objective.GOODPUT)
    plan = planned(problem)
    found = offer(problem, problem.services[0])
    answer = answer_of(plan, plan.pipelines, found)
    assert [replica.in_flight for replica in answer.replicas] == [len(each.stages) for each in plan.pipelines]


def run_on(problem, plan, **changes):
    """The problem after a plan: its devices hold what they compute with."""
    (llm,) = problem.llms
    held = {}
    for pipeline in plan.pipelines:
        for stage in pipeline.stages:
            for unit in llm.units[stage.first_unit : stage.end_unit]:
                held.setdefault(stage.place, set()).update(unit.tensors)
    holdings = [
        Holding(llm="llm", place=place, first_tensor=min(tensors), end_tensor=max(tensors) + 1)
        for place, tensors in held.items()
    ]
    (service,) = problem.services
    service = attrs.evolve(service, **changes)
    return attrs.evolve(problem, holdings=(*problem.holdings, *holdings), services=(service,))


def moved(plan):
    return [step for step in plan.steps if hasattr(step, "blob")]


def test_what_runs_is_found_in_place_and_nothing_is_loaded():
    problem = a_service_problem(5, memory_bytes=6 * MEGABYTE)
    plan = planned(problem)
    assert moved(plan)
    again = solve(run_on(problem, plan, moves_max=0), Request(parent=plan))
    assert isinstance(again, Planned), again
    assert moved(again.verified.plan) == []
    assert certificate(again.verified.plan, Claim.DEVICES).value == 3


def test_more_requests_load_no_more_units_than_are_allowed():
    problem = a_service_problem(4, requests_per_hour=3600, layers=6)
    plan = planned(problem)
    assert certificate(plan, Claim.DEVICES).value == 1
    (service,) = problem.services
    most = exhausted.exhausted(offer(problem, service).question, CLAIM_OF[Objective.GOODPUT][2])
    (workload,) = problem.workloads
    hourly = most * 3600 // (1000 * 16) * 6 // 10  # more than one device of three gives
    busy = attrs.evolve(problem, workloads=(attrs.evolve(workload, requests_per_hour=hourly),))
    units = len(problem.llms[0].units)
    grown = solve(run_on(busy, plan, moves_max=units), Request(parent=plan))
    assert isinstance(grown, Planned), grown
    held = next(stage.place for stage in plan.pipelines[0].stages)
    assert {stage.place for each in grown.verified.plan.pipelines for stage in each.stages} > {held}
    refused = solve(run_on(busy, plan, moves_max=1), Request(parent=plan))
    assert isinstance(refused, Undecided)
    assert "loading at most 1 units" in refused.sentence


def test_moves_of_a_plan_are_judged_by_its_problem():
    problem = a_service_problem(5, memory_bytes=6 * MEGABYTE)
    plan = planned(problem)
    (service,) = problem.services
    strict = attrs.evolve(problem, services=(attrs.evolve(service, moves_max=3),))
    verdict = verify(strict, attrs.evolve(plan, problem=codec.digest(strict)))
    assert isinstance(verdict, Rejected)
    assert "units must be loaded to get there; at most 3 are allowed" in str(verdict)


def tight(ttft_ns, requests_per_hour=5 * 10**7):
    problem = a_service_problem(2, memory_bytes=60 * MEGABYTE, tpot_ns=30_000, requests_per_hour=requests_per_hour)
    return attrs.evolve(problem, slos=(attrs.evolve(problem.slos[0], ttft_ns_max=ttft_ns),))


def test_when_all_margins_fail_it_says_what_was_tried_and_what_would_do():
    outcome = solve(tight(40_000))
    assert isinstance(outcome, Undecided)
    assert (
        "TTFT ≈ 59.47 us predicted, 40 us promised (margins 1/1, 1.15/0.9, 1.3/0.8, 1.6/0.7, 2/0.6)" in outcome.sentence
    )
    (conflict,) = outcome.conflicts
    gives = {each.limit: each.needed for each in conflict.gives}
    assert set(gives) == {"TTFT of llm", "requests of llm"}
    assert isinstance(solve(tight(gives["TTFT of llm"])), Planned)
    assert isinstance(solve(tight(gives["TTFT of llm"] - 1)), Undecided)
    assert isinstance(solve(tight(40_000, gives["requests of llm"])), Planned)


def test_a_plan_remembers_the_layouts_that_were_tried():
    problem = a_service_problem(tpot_ns=10**9)
    outcome = solve(problem)
    assert isinstance(outcome, Planned)
    (only,) = [each for each in outcome.tried if each.decision == "service"]
    assert (only.value, only.way, only.besides) == (1, "a layout without margins", "keeps its promise")
