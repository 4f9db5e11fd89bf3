"""Cuts, prices, growth and distances as certificates of plans: what they prove, and what they refuse to."""

import attrs
import pytest

from specs.certificates import FORMULAS, Inapplicable, certify, derive
from specs.certificates.flow import priceable
from specs.invariants.facts import Facts
from specs.movement import promised_movement
from specs.plan import Claim, Measure, Method
from specs.witness import Price
from tests.broken_plans import JUST_GOOD
from tests.plans import GOOD, a_chain, broken, gpu

CLOSED = {name for name, formula in FORMULAS.items() if name in {"growth-ns", "distance-ns", "distance-cover-ns"}}
WITNESSED = ("cut-ns", "cut-cover-ns", "link-prices-ns")


def claim_of(formula):
    return FORMULAS[formula].claim


def receivers(nodes=4):
    """The cut around everybody who gets something."""
    return tuple(Price(name=gpu(node), amount=1) for node in range(1, nodes))


def prices(problem):
    """Every link for the same: any prices prove something."""
    return tuple(Price(name=link.id, amount=1) for link in sorted(problem.cluster.links, key=lambda link: link.id))


def with_certificate(formula, witness, more=0):
    """A good plan whose claim is bounded by this formula, the bound raised by so much."""
    problem, plan = a_chain()
    made = certify(Facts(problem, plan), claim_of(formula), "llm", Measure.NANOS, formula, witness)
    rows = [each for each in plan.certificates if (each.claim, each.measure) != (made.claim, Measure.NANOS)]
    raised = attrs.evolve(made, bound=made.bound + more)
    return problem, attrs.evolve(plan, certificates=(*rows, raised)), raised


def witness_for(formula):
    problem, _ = a_chain()
    if formula in CLOSED:
        return ()
    return prices(problem) if formula == "link-prices-ns" else receivers()


@pytest.mark.parametrize("formula", [*sorted(CLOSED), *WITNESSED])
def test_a_bound_is_taken_as_it_is_proved_and_not_one_nanosecond_higher(formula):
    problem, plan, made = with_certificate(formula, witness_for(formula))
    assert made.method is FORMULAS[formula].method
    assert 0 < made.bound <= made.value
    assert broken(problem, plan) == set()
    problem, plan, _ = with_certificate(formula, witness_for(formula), 1)
    assert broken(problem, plan) == {"BOUND"}


@pytest.mark.parametrize("formula", WITNESSED)
def test_a_changed_witness_proves_less_or_nothing(formula):
    problem, plan, made = with_certificate(formula, witness_for(formula))
    if formula == "link-prices-ns":  # what the links of one receiver cost is left out, all others pay in vain
        fewer = tuple(price for price in made.witness if not price.name.startswith("n0"))
    else:  # nothing must enter a set that holds everything
        fewer = tuple(sorted((*made.witness, Price(name=gpu(0), amount=1)), key=lambda price: price.name))
    weaker = derive(FORMULAS[formula], problem, plan, "llm", fewer)
    assert isinstance(weaker, int)
    assert weaker < made.bound
    changed = attrs.evolve(made, witness=fewer)
    rows = tuple(changed if each is made else each for each in plan.certificates)
    assert broken(problem, attrs.evolve(plan, certificates=rows)) == {"BOUND"}


@pytest.mark.parametrize("formula", WITNESSED)
def test_names_of_nothing_count_for_nothing(formula):
    problem, plan, made = with_certificate(formula, witness_for(formula))
    stranger = Price(name="nowhere", amount=7)
    wider = tuple(sorted((*made.witness, stranger), key=lambda price: price.name))
    assert derive(FORMULAS[formula], problem, plan, "llm", wider) == made.bound
    assert derive(FORMULAS[formula], problem, plan, "llm", (stranger,)) == 0
    assert derive(FORMULAS[formula], problem, plan, "llm", ()) == 0


def test_a_cut_that_nothing_leads_into_proves_nothing():
    problem, plan = a_chain()
    links = tuple(link for link in problem.cluster.links if link.destination != gpu(3))
    apart = attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, links=links))
    found = derive(FORMULAS["cut-ns"], apart, plan_without(plan, gpu(3)), "llm", (Price(name=gpu(3), amount=1),))
    assert isinstance(found, Inapplicable)
    assert "no link leads there" in found.sentence


def plan_without(plan, place):
    """The plan without transfers into a place and its routes."""
    kept = [index for index, route in enumerate(plan.routes) if not route.links[-1].endswith(f">{place}")]
    steps = tuple(
        attrs.evolve(step, route=kept.index(step.route)) if hasattr(step, "route") else step
        for step in plan.steps
        if not hasattr(step, "route") or step.route in kept
    )
    return attrs.evolve(plan, routes=tuple(plan.routes[index] for index in kept), steps=steps)


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("formula", [*sorted(CLOSED), *WITNESSED])
def test_no_plan_beats_a_bound(name, formula):
    problem, plan = GOOD[name]()
    for llm in sorted({target.llm for target in problem.targets}):
        made = certify(Facts(problem, plan), claim_of(formula), llm, Measure.NANOS, formula, witness_for(formula))
        assert made.method is Method.NONE or made.bound <= made.value


def test_a_service_is_bounded_by_what_its_open_stages_need():
    problem, plan = JUST_GOOD["DEMAND"]()
    movement = promised_movement(Facts(problem, plan), "llm")
    assert [item.wanters for item in movement.items] == [(gpu(1),), (gpu(2),)]
    assert priceable(movement)
    made = certify(Facts(problem, plan), Claim.COMPLETION, "llm", Measure.NANOS, "distance-ns")
    assert 0 < made.bound <= made.value


def test_memories_that_a_plan_does_not_use_are_not_part_of_its_bound():
    problem, plan = GOOD["relay station"]()
    relayed = promised_movement(Facts(problem, plan), "llm")
    assert gpu(1) in relayed.relays  # it wants nothing, and the plan passes blobs through it
    problem, plan = a_chain(3)
    assert promised_movement(Facts(problem, plan), "llm").memories == (gpu(0), gpu(1), gpu(2))


def test_several_llms_have_one_makespan():
    problem, plan = GOOD["relocation"]()
    facts = Facts(problem, plan)
    rows = tuple(row for row in plan.certificates if row.claim is not Claim.MAKESPAN)
    assert facts.moves_several
    assert broken(problem, attrs.evolve(plan, certificates=rows)) == {"BOUND"}
    completions = [row.value for row in rows if row.claim is Claim.COMPLETION and row.measure is Measure.NANOS]
    witnesses = {"cut": (Price(name=gpu(1), amount=1),), "link-prices": prices(problem), "growth": (), "distance": ()}
    for form, witness in witnesses.items():
        made = certify(facts, Claim.MAKESPAN, problem.name, Measure.NANOS, f"makespan-{form}-ns", witness)
        assert 0 < made.bound <= made.value == max(completions)
        assert broken(problem, attrs.evolve(plan, certificates=(*rows, made))) == set()
        more = attrs.evolve(made, bound=made.bound + 1)
        assert broken(problem, attrs.evolve(plan, certificates=(*rows, more))) == {"BOUND"}
        other = attrs.evolve(made, subject="moved")
        assert broken(problem, attrs.evolve(plan, certificates=(*rows, made, other))) == {"REF"}


def test_a_makespan_counts_what_llms_take_from_each_other():
    """Two LLMs from one holder: neither alone fills its port, together they do."""
    problem, plan = GOOD["two chains"]()
    facts = Facts(problem, plan)
    others = sorted(place.id for place in problem.cluster.places if place.node != "n0")
    whole = tuple(Price(name=place, amount=1) for place in others)
    made = certify(facts, Claim.MAKESPAN, problem.name, Measure.NANOS, "makespan-cut-ns", whole)
    alone = [certify(facts, Claim.COMPLETION, llm, Measure.NANOS, "cut-ns", whole).bound for llm in ("left", "right")]
    assert made.bound > 1.9 * max(alone)
