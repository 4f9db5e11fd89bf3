"""Explanations of plans: figures are those of the certificates, and what is said to be worth something is."""

import attrs
import pytest

from planner.cli.explain_tables import explanation_summary, explanation_tables
from planner.explain import loosened, of_promises, of_speculation
from planner.explain.decisions import explain
from planner.explain.explained import Figure, say
from planner.explain.of_pipelines import pipelines
from planner.explain.of_promises import kept, most_requests_per_hour, scaled
from planner.outcome import Planned
from planner.solve import Request, solve
from specs import codec
from specs.checker import VerifiedPlan, verify
from specs.decisions.speculation.lengths import Load, ServiceClass, geometric, meets, tpot_ns
from specs.drafting import Drafting
from specs.invariants.facts import Facts
from specs.plan import Claim, Measure, Switch
from specs.queueing import questions_of
from specs.timing import decode_ns
from specs.workload import Slo
from tests.builders import a_problem, an_llm
from tests.live_plans import LIVE
from tests.plans import two_chains

MS = 10**6
REQUESTS = 10**7


def planned(problem, **request):
    outcome = solve(problem, Request(**request))
    assert isinstance(outcome, Planned), outcome
    return outcome.verified


def with_slo(problem, *, ttft_ms=1000, tpot_ms=50):
    """An SLO, and nearly as many requests as keep it."""
    slo = Slo(llm="llm", percentile=90, ttft_ns_max=ttft_ms * MS, tpot_ns_max=tpot_ms * MS)
    (workload,) = problem.workloads
    return attrs.evolve(problem, slos=(slo,), workloads=(attrs.evolve(workload, requests_per_hour=REQUESTS),))


def of(found, decision):
    return [each for each in found.decisions if each.decision.startswith(decision)]


@pytest.fixture(scope="module")
def verified():
    return planned(a_problem(nodes=6, llm=an_llm(layer_bytes=10**7)), blocks=4)


def test_figures_are_those_of_the_certificates(verified):
    found = explain(verified)
    for claim, decision in ((Claim.COMPLETION, "completion"), (Claim.FIRST_COVER, "first cover")):
        (each,) = of(found, decision)
        certificate = next(
            each
            for each in verified.plan.certificates
            if each.claim is claim and each.measure is Measure.NANOS and each.subject == "llm"
        )
        assert (each.subject, each.value, each.bound) == ("llm", certificate.value, certificate.bound)
        assert each.gap == certificate.value - certificate.bound
        assert each.method == f"{certificate.method}: {certificate.formula}"


def test_more_of_a_resource_never_hurts_and_its_bound_is_that_of_the_larger_problem(verified):
    (completion,) = of(explain(verified), "completion")
    assert {each.figure for each in completion.worth} == {Figure.BOUND, Figure.VALUE}
    assert all(each.after <= each.before for each in completion.worth)
    links = [each for each in completion.worth if each.resource.startswith("rate of all")]
    assert all(each.after < each.before for each in links)
    # The same step by hand: every link of the network 1 GB/s faster.
    found = links[0].resource.partition(" links like ")[2].partition(",")[0]
    like = next(link for link in verified.problem.cluster.links if link.id == found)
    cluster = verified.problem.cluster
    faster = attrs.evolve(
        cluster,
        links=tuple(
            attrs.evolve(link, bytes_per_second=link.bytes_per_second + 10**9)
            if link.bytes_per_second == like.bytes_per_second
            else link
            for link in cluster.links
        ),
    )
    again = planned(attrs.evolve(verified.problem, cluster=faster), blocks=4)
    by_hand = next(
        each
        for each in again.plan.certificates
        if each.claim is Claim.COMPLETION and each.measure is Measure.NANOS and each.subject == "llm"
    )
    assert [each.after for each in links if each.figure is Figure.BOUND] == [by_hand.bound]
    assert [each.after for each in links if each.figure is Figure.VALUE] == [by_hand.value]


def test_one_more_holder_is_worth_what_planning_with_it_gives(verified):
    (cover,) = of(explain(verified), "first cover")
    found = {each.figure: each for each in cover.worth if each.resource == "machines like n0 that hold llm"}
    assert found[Figure.BOUND].after < found[Figure.BOUND].before
    assert found[Figure.BOUND].after <= found[Figure.VALUE].after < found[Figure.VALUE].before


def test_the_runner_up_of_the_blocks_was_planned(verified):
    (blocks,) = of(explain(verified), "number of blocks")
    count = int(blocks.runner_up.partition(" ")[0])
    assert (blocks.value, count == 4) == (4, False)
    other = planned(verified.problem, blocks=count)
    completion = next(
        each.value
        for each in other.plan.certificates
        if each.claim is Claim.COMPLETION and each.measure is Measure.NANOS
    )
    assert blocks.runner_up.endswith(f"planned, they complete in {say(completion, Measure.NANOS)}")


def test_of_large_plans_only_bounds_are_derived_again(verified, monkeypatch):
    monkeypatch.setattr(loosened, "STEPS_AGAIN_MAX", 0)
    found = explain(verified)
    (completion,) = of(found, "completion")
    assert {each.figure for each in completion.worth} == {Figure.BOUND}
    assert completion.left_out.startswith("plans with more of: rate of all ")
    (blocks,) = of(found, "number of blocks")
    assert "planned" not in blocks.runner_up


def test_llms_that_share_links_have_one_makespan():
    problem, _ = two_chains()
    verified = planned(problem)
    found = {(each.decision, each.subject): each for each in explain(verified).decisions}
    together = found["makespan of transfers", problem.name]
    (row,) = (row for row in verified.plan.certificates if row.claim is Claim.MAKESPAN)
    assert (together.value, together.bound) == (row.value, row.bound)
    assert together.binding.startswith("2 LLMs share the links; ")
    assert any(worth.figure is Figure.BOUND and worth.after < worth.before for worth in together.worth)
    for llm in ("left", "right"):
        assert found["completion of transfers", llm].value <= together.value


def test_of_pipelines_that_run_already_nothing_was_decided():
    problem, plan = LIVE["growth"]()
    verdict = verify(problem, plan)
    assert isinstance(verdict, VerifiedPlan)
    claimed = [each.subject for each in plan.certificates if each.claim is Claim.BOTTLENECK]
    assert claimed == ["llm@n0/gpu0", "llm@n1/gpu0"]
    assert [each.subject for each in pipelines(Facts(problem, plan))] == claimed[1:]
    assert explain(verdict).decisions


def test_promises_say_which_is_nearer_and_how_many_more_requests_they_bear():
    verified = planned(with_slo(a_problem(nodes=3)))
    found = explain(verified)
    ttft, tpot = of(found, "TTFT")[0], of(found, "TPOT")[0]
    assert (ttft.allowed, tpot.allowed) == (1000 * MS, 50 * MS)
    assert sum("it is nearest to its promise" in each.binding for each in (ttft, tpot)) == 1
    most = next(each.after for each in ttft.worth if each.resource == "requests" and each.unit == "requests/h")
    asked = tuple(questions_of(verified.problem, verified.plan, "llm").values())
    slo = verified.problem.slos[0]
    now = of_promises.requests_per_hour(asked)
    share = most * 1000 // now
    assert kept(scaled(asked, share, 1000), slo)
    assert not kept(scaled(asked, share + share // 50 + 2, 1000), slo)
    assert most_requests_per_hour(asked, slo) == most


def test_what_is_promised_too_short_is_kept_by_no_rate():
    problem = a_problem(nodes=3)
    asked = tuple(questions_of(problem, planned(problem).plan, "llm").values())
    assert most_requests_per_hour(asked, Slo(llm="llm", percentile=90, ttft_ns_max=1, tpot_ns_max=1)) is None


def test_promises_of_too_many_pipelines_are_named(monkeypatch):
    monkeypatch.setattr(of_promises, "PIPELINES_MAX", 1)
    found = explain(planned(with_slo(a_problem(nodes=3))))
    assert not of(found, "TTFT")
    assert [(each.decision, each.subject) for each in found.left_out] == [("TTFT and TPOT", "llm")]


def drafted(*, ttft_ms=1000):
    load = Load(batch_max=8, draft_ns=MS, draft_overhead_ns=0, verify_ns=(10 * MS, 11 * MS, 12 * MS, 13 * MS))
    drafting = Drafting(
        llm="llm",
        length_max=3,
        loads=(load,),
        acceptances=(attrs.evolve(geometric(0, 3), ppm_min=0), geometric(800_000, 3)),
        source="made up",
    )
    problem = with_slo(a_problem(nodes=3), ttft_ms=ttft_ms)
    return attrs.evolve(problem, profile=attrs.evolve(problem.profile, draftings=(drafting,))), drafting, load


def test_cells_of_a_speculation_table_have_the_next_best_length(monkeypatch):
    problem, drafting, load = drafted()
    verified = planned(problem)
    cells = of(explain(verified), "speculation")
    assert len(cells) == 2
    for cell, acceptance in zip(cells, drafting.acceptances, strict=True):
        times = sorted((tpot_ns(load, acceptance, length), length) for length in range(4))
        assert (cell.value, cell.bound, cell.gap) == (times[0][0], times[0][0], 0)
        assert cell.runner_up == f"{times[1][1]} tokens: {say(times[1][0], Measure.NANOS)} per token"
        assert cell.worth == ()
    monkeypatch.setattr(of_speculation, "CELLS_MAX", 1)
    assert [each.sentence for each in explain(verified).left_out] == ["1 more cells of its table"]


def test_a_pause_that_rules_a_quicker_length_out_is_worth_loosening():
    problem, drafting, load = drafted(ttft_ms=12)
    cell = of(explain(planned(problem)), "speculation")[1]
    acceptance = drafting.acceptances[1]
    (worth,) = cell.worth
    assert worth.after == min(tpot_ns(load, acceptance, length) for length in range(4)) < worth.before == cell.value
    assert "TTFT allows a pause of 12.000 ms" in cell.binding
    promise = ServiceClass(name="llm", tpot_ns_max=50 * MS, pause_ns_max=12 * MS)
    able = sorted(tpot_ns(load, acceptance, length) for length in range(4) if meets(promise, load, acceptance, length))
    assert able[0] == cell.value
    assert say(able[1], Measure.NANOS) in cell.runner_up


def test_the_slowest_stage_of_pipelines_that_stay():
    """Without the switches of a plan, its pipelines of many stages stay."""
    verified = planned(a_problem(nodes=6, llm=an_llm(layer_bytes=10**7)), blocks=4)
    assert not of(explain(verified), "slowest stage")  # they all close
    steps = tuple(step for step in verified.plan.steps if not isinstance(step, Switch))
    facts = Facts(verified.problem, attrs.evolve(verified.plan, steps=steps))
    found = list(pipelines(facts))
    assert found
    for each in found:
        pipeline = facts.pipelines[each.subject]
        times = decode_ns(facts.problem, pipeline)
        assert each.value == max(times) >= each.bound
        assert f"stage {times.index(max(times))} on " in each.binding
        more = {worth.resource: worth for worth in each.worth}
        assert more["stages"].after <= more["stages"].before == each.bound
        assert more["slots"].after >= more["slots"].before == each.value
        assert each.runner_up is None or " by time alone" in each.runner_up


def test_explaining_changes_nothing_and_says_the_same_twice(verified):
    before = codec.digest(verified.plan)
    first, second = explain(verified), explain(verified)
    assert first == second
    assert codec.digest(verified.plan) == before
    summary = explanation_summary(first)
    assert [each["decision"] for each in summary["decisions"]] == [each.decision for each in first.decisions]
    assert len(explanation_tables(first)) == len(first.decisions)
