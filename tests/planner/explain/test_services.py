"""Services and standbys explained: from certificates that the checker's formulas give."""

import attrs

from planner.explain.explained import Figure
from planner.explain.of_services import services
from planner.explain.of_standbys import GIBIBYTE, others
from specs.certificates import FORMULAS, certify
from specs.invariants.facts import Facts
from specs.plan import Certificate, Claim, Measure, Method
from specs.services import offer
from specs.witness import Price
from tests.plans import a_service


def facts_with(*certificates):
    problem, plan = a_service()
    return Facts(problem, attrs.evolve(plan, certificates=certificates))


def goodput():
    return certify(Facts(*a_service()), Claim.GOODPUT, "llm", Measure.MILLITOKENS_PER_SECOND, "all-layouts-goodput")


def test_a_service_says_what_one_machine_more_may_give():
    claim = goodput()
    assert claim.method is Method.EXHAUSTED
    (found,) = services(facts_with(claim))
    assert (found.value, found.bound, found.subject) == (claim.value, claim.bound, "llm")
    assert found.gap == claim.bound - claim.value
    assert found.binding.startswith("2 of 2 devices compute, in 1 pipelines")
    bounds = [each for each in found.worth if each.figure is Figure.BOUND]
    assert [each.resource for each in bounds] == ["machines like n1 with 1 toy"]
    assert bounds[0].after > bounds[0].before == claim.bound  # more is better


def test_prices_name_what_is_scarce():
    facts = facts_with()
    names = list(offer(facts.problem, facts.problem.services[0]).seats)
    claim = attrs.evolve(goodput(), method=Method.DUAL, formula="device-prices-goodput", witness=prices(names))
    (found,) = services(facts_with(claim))
    assert f"the dearest first: 2 toy ({names[0]})" in found.binding


def prices(names):
    return tuple(Price(name=name, amount=7) for name in sorted(names))


def test_claims_without_a_bound_bind_nothing():
    claim = Certificate(
        claim=Claim.START, subject="toy-problem", measure=Measure.NANOS, value=5, bound=0, method=Method.NONE,
        formula="none",
    )  # fmt: skip
    (found,) = others(facts_with(claim))
    assert (found.bound, found.gap, found.worth) == (None, None, ())
    assert found.binding == "No bound is known, so nothing is known to bind."


def test_kinds_of_claims_are_explained_once():
    assert {formula.claim for formula in FORMULAS.values()} <= set(Claim)
    assert list(others(facts_with(goodput()))) == []
    assert GIBIBYTE == 2**30
