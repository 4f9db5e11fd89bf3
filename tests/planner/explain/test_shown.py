"""What is said to be impossible: bounds that no plan passes, and the answer that carries the conflict."""

import attrs
import pytest

from planner.explain.limits import requests_of
from planner.explain.shown import lap_ns_at_least, out_of_reach, requests_per_hour_below
from planner.outcome import Conflict, Infeasible, Planned, Undecided, no_plan
from planner.solve import solve
from specs import queueing
from specs.decisions.latency.limits import Promise, keeps_shared
from specs.decisions.latency.prediction import Prediction, predict_shared
from specs.workload import Slo
from tests.builders import a_problem
from tests.planner.explain.test_squeezed import feasible, served_at_most

WIDE = Slo(llm="llm", percentile=90, ttft_ns_max=10**12, tpot_ns_max=10**12)


def with_promise(slo=WIDE, nodes=2):
    return attrs.evolve(a_problem(nodes, live_requests_max=4), slos=(slo,))


@pytest.mark.parametrize("seed", range(4))
def test_no_plan_is_quicker_or_serves_more_than_is_shown(seed):
    problem = feasible(seed)
    assert served_at_most(problem) < requests_per_hour_below(problem, "llm")
    calm = requests_of(attrs.evolve(problem, slos=(attrs.evolve(WIDE, percentile=1),)), "llm")
    outcome = solve(calm.set_to(attrs.evolve(problem, slos=(attrs.evolve(WIDE, percentile=1),)), 1))
    assert isinstance(outcome, Planned)
    found = queueing.predict(outcome.verified.problem, outcome.verified.plan, "llm")
    lap = lap_ns_at_least(problem, "llm")
    assert found.tpot_ns >= lap
    assert found.ttft_ns >= 2 * lap
    assert not list(out_of_reach(problem, "llm"))


def test_a_promise_below_the_bound_is_impossible():
    problem = with_promise()
    lap = lap_ns_at_least(problem, "llm")
    for slo, told in (
        (attrs.evolve(WIDE, tpot_ns_max=lap - 1), "TPOT"),
        (attrs.evolve(WIDE, ttft_ns_max=2 * lap - 1), "TTFT"),
    ):
        assert not list(out_of_reach(with_promise(attrs.evolve(WIDE, tpot_ns_max=lap, ttft_ns_max=2 * lap)), "llm"))
        outcome = solve(with_promise(slo))
        assert isinstance(outcome, Infeasible)
        (conflict,) = outcome.conflicts
        assert told in conflict.sentence
        assert told in conflict.gives[0].limit


def test_more_requests_than_all_devices_compute_are_impossible():
    problem = with_promise()
    most = requests_per_hour_below(problem, "llm")
    limit = requests_of(problem, "llm")
    assert not list(out_of_reach(limit.set_to(problem, most - 1), "llm"))
    assert isinstance(solve(limit.set_to(problem, most)), Infeasible)
    outcome = solve(limit.set_to(problem, most - 1))
    assert isinstance(outcome, Undecided)
    assert "requests of llm" in {give.limit for give in outcome.conflicts[0].gives}
    assert not outcome.conflicts[0].proven


def test_what_is_proven_is_said_alone():
    proven = Conflict(rule="MEM", where="a", sentence="b")
    unproven = Conflict(rule="SLO", where="c", sentence="d", proven=False)
    assert no_plan((unproven, proven)) == Infeasible(conflicts=(proven,))
    assert no_plan((unproven,)) == Undecided(sentence="nothing that was tried keeps SLO at c: d", conflicts=(unproven,))


@pytest.mark.parametrize("seed", [2, 10])
def test_unequal_pipelines_keep_what_is_predicted_and_no_less(seed):
    problem = feasible(seed)
    outcome = solve(attrs.evolve(problem, slos=(WIDE,)))
    asked = tuple(queueing.questions_of(problem, outcome.verified.plan, "llm").values())
    assert len(set(asked)) > 1
    for percentile in (50, 90, 99):
        found = predict_shared(asked, percentile)
        assert isinstance(found, Prediction)
        promise = Promise(percentile=percentile, ttft_ns_max=found.ttft_ns, tpot_ns_max=found.tpot_ns)
        assert keeps_shared(asked, promise)
        assert not keeps_shared(asked, attrs.evolve(promise, ttft_ns_max=found.ttft_ns - 1))
        assert not keeps_shared(asked, attrs.evolve(promise, tpot_ns_max=found.tpot_ns - 1))
