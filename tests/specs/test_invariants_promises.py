"""SLO: more ways to break it, and what is not judged."""

import attrs
import pytest

from specs import codec, queueing
from specs.checker import Rejected, verify
from specs.plan import Activate, Plan
from specs.problem import Problem
from specs.wishes import Standby
from specs.workload import Slo
from tests.broken_plans import a_promise
from tests.plans import a_chain, a_service, certified, gpu

WIDE = Slo(llm="llm", percentile=90, ttft_ns_max=10**9, tpot_ns_max=10**9)


def said(problem: Problem, plan: Plan) -> list[str]:
    verdict = verify(problem, certified(problem, attrs.evolve(plan, problem=codec.digest(problem))))
    if not isinstance(verdict, Rejected):
        return []
    return [violation.sentence for violation in verdict.violations if violation.rule == "SLO"]


def with_requests(problem: Problem, requests: int) -> Problem:
    return attrs.evolve(problem, workloads=(attrs.evolve(problem.workloads[0], requests_per_hour=requests),))


def test_an_overload_says_how_many_come_and_how_many_are_served():
    problem, plan = a_promise(0)
    problem = attrs.evolve(problem, slos=(attrs.evolve(WIDE, ttft_ns_max=10**15, tpot_ns_max=10**15),))
    (sentence,) = said(with_requests(problem, 10**12), plan)
    most = int(sentence.split("surely serve ")[1].split(":")[0])
    assert sentence.startswith("1000000000000 requests per hour come")
    assert said(with_requests(problem, most), plan) == []
    (sentence,) = said(with_requests(problem, most + 4), plan)
    assert f"surely serve {most}:" in sentence


def test_unequal_shares_are_judged_together():
    problem, plan = a_promise(0)
    uneven = attrs.evolve(plan, routing=(attrs.evolve(plan.routing[0], weight=50), *plan.routing[1:]))
    busy = with_requests(problem, 10**9)
    even = queueing.predict(busy, plan, "llm")
    skewed = queueing.predict(busy, uneven, "llm")
    assert even.tpot_ns < skewed.tpot_ns
    slo = attrs.evolve(WIDE, ttft_ns_max=skewed.ttft_ns, tpot_ns_max=skewed.tpot_ns)
    assert said(attrs.evolve(busy, slos=(slo,)), uneven) == []
    assert len(said(attrs.evolve(busy, slos=(attrs.evolve(slo, tpot_ns_max=slo.tpot_ns_max - 1),)), uneven)) == 1


@pytest.mark.parametrize("less_ns", [0, 1])
def test_a_pipeline_over_two_nodes_is_judged_with_its_hops(less_ns):
    base, plan = a_service()
    problem = attrs.evolve(base, slos=(WIDE,))
    found = queueing.predict(problem, plan, "llm")
    slo = attrs.evolve(WIDE, ttft_ns_max=found.ttft_ns, tpot_ns_max=found.tpot_ns - less_ns)
    assert len(said(attrs.evolve(problem, slos=(slo,)), plan)) == less_ns


def test_what_only_stands_by_is_not_judged():
    problem, _ = a_chain(2, 1)
    strict = attrs.evolve(WIDE, ttft_ns_max=1, tpot_ns_max=1)
    idle = attrs.evolve(
        problem, targets=(), slos=(strict,), standbys=(Standby(llm="llm", places=(gpu(0),), start_ns_max=1),)
    )
    verdict = verify(idle, attrs.evolve(a_chain(2, 1)[1], problem=codec.digest(idle)))
    rules = {violation.rule for violation in verdict.violations} if isinstance(verdict, Rejected) else set()
    assert "SLO" not in rules


def test_a_pipeline_that_never_opens_and_has_no_weight_is_left_to_rule_serve():
    problem, plan = a_promise(0)
    idle = plan.pipelines[-1].id
    steps = tuple(step for step in plan.steps if not (isinstance(step, Activate) and step.pipeline == idle))
    routing = tuple(row for row in plan.routing if row.pipeline != idle)
    verdict = verify(problem, certified(problem, attrs.evolve(plan, steps=steps, routing=routing)))
    assert isinstance(verdict, Rejected)
    assert {violation.rule for violation in verdict.violations} == {"SERVE"}
