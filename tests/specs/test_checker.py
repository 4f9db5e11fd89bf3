"""The checker itself: who makes a VerifiedPlan, how violations are reported, and how long it takes."""

import attrs
import pytest

from specs import codec
from specs.checker import VIOLATIONS_PER_RULE_MAX, Rejected, VerifiedPlan, verify
from specs.plan import Activate, Transfer
from tests.builders import a_problem, an_llm
from tests.plans import GOOD, Draft, a_chain, blobs_of, broken, gpu, local, with_step


def test_nobody_else_makes_a_verified_plan():
    problem, plan = a_chain()
    verified = verify(problem, plan)
    assert isinstance(verified, VerifiedPlan)
    for key in (None, object(), "key"):
        with pytest.raises(TypeError, match=r"made by specs\.checker\.verify, not by hand"):
            VerifiedPlan(problem, plan, key)
    worse = attrs.evolve(plan, steps=())
    with pytest.raises(TypeError):
        attrs.evolve(verified, plan=worse, key=None)


def test_a_verified_plan_carries_what_was_verified():
    problem, plan = a_chain()
    verified = verify(problem, plan)
    assert isinstance(verified, VerifiedPlan)
    assert (verified.problem, verified.plan) == (problem, plan)


def test_all_rules_and_all_places_are_reported():
    problem, plan = a_chain()
    changed = with_step(plan, -1, at_ns=0)
    changed = attrs.evolve(changed, routing=changed.routing[2:])
    verdict = verify(problem, changed)
    assert isinstance(verdict, Rejected)
    assert [violation.rule for violation in verdict.violations] == ["EARLY"] * 3 + ["SERVE"] * 2
    assert (
        str(verdict).splitlines()[-1]
        == "SERVE at pipeline llm@n1/gpu0: it has 0 routing weights; exactly one is wanted"
    )


def test_many_violations_of_one_rule_are_counted():
    problem, plan = a_chain(30, 3)
    changed = attrs.evolve(plan, routing=())
    verdict = verify(problem, changed)
    assert isinstance(verdict, Rejected)
    assert len(verdict.violations) == VIOLATIONS_PER_RULE_MAX + 1
    assert str(verdict.violations[-1]) == "SERVE at plan: and 10 more"


def test_without_its_grounds_a_plan_is_not_judged_further():
    problem, plan = a_chain()
    bad = with_step(plan, -1, at_ns=0)
    assert broken(problem, bad) == {"EARLY"}
    assert broken(problem, attrs.evolve(bad, problem="0" * 64)) == {"FOR"}
    assert broken(problem, attrs.evolve(bad, problem="0" * 64, format=2)) == {"REF", "FOR"}


@pytest.mark.parametrize("name", GOOD)
def test_the_same_plan_gets_the_same_verdict_after_its_travel(name):
    problem, plan = GOOD[name]()
    assert verify(codec.decode(type(problem), codec.encode(problem)), codec.decode(type(plan), codec.encode(plan))) == (
        verify(problem, plan)
    )
    spoilt = with_step(plan, 0, at_ns=10**12)
    assert verify(problem, codec.decode(type(plan), codec.encode(spoilt))) == verify(problem, spoilt)


@pytest.mark.parametrize(
    ("nodes", "blobs"), [pytest.param(128, 32, id="128"), pytest.param(1024, 64, id="1024", marks=pytest.mark.slow)]
)
def test_large_plans_are_checked(nodes, blobs):
    """A quadratic scan would need minutes for the slow one: more than a test may take."""
    problem, plan = _deep_chain(nodes, blobs)
    assert sum(isinstance(step, Transfer) for step in plan.steps) == (nodes - 1) * blobs
    verdict = verify(problem, plan)
    assert isinstance(verdict, VerifiedPlan), str(verdict)


def _deep_chain(nodes, blobs):
    llm = an_llm(blobs)
    problem = a_problem(nodes, llm=llm)
    draft = Draft(problem, blobs_of(llm, blobs))
    draft.open(local(llm, gpu(0)), 0)
    for blob in draft.blobs:
        for node in range(1, nodes):
            draft.move(blob, gpu(node - 1), gpu(node))
    done = max(step.end_ns for step in draft.steps if isinstance(step, Transfer))
    for node in range(1, nodes):
        draft.open(local(llm, gpu(node)), done)
    assert isinstance(draft.steps[-1], Activate)
    return problem, draft.plan()
