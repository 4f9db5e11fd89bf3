"""Which claims a plan makes, and that each stands on the strongest closed form there is."""

import attrs
import pytest

from planner.certify import certificates
from planner.solve import Request, solve
from specs.certificates import FORMULAS, Inapplicable, derive
from specs.plan import Claim, Measure, Method
from tests.builders import GIGABYTE, a_cluster, a_problem, an_llm
from tests.place_graphs import star, two_racks
from tests.plans import GOOD, certified

TIMES = (Measure.TICKS, Measure.NANOS)
CLUSTERS = {
    "equal": a_cluster(6, rate=GIGABYTE // 100),
    "mixed": star(6, (GIGABYTE, 5 * GIGABYTE)),
    "uplink": two_racks(3, uplink=GIGABYTE // 4),
}


def made(cluster):
    problem = a_problem(6, 2, llm=an_llm(6, layer_bytes=2**20), cluster=CLUSTERS[cluster])
    return problem, solve(problem, Request(blocks=6)).verified.plan


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_no_closed_form_gives_a_stronger_bound(cluster):
    problem, plan = made(cluster)
    for certificate in plan.certificates:
        offers = [
            (derive(formula, problem, plan, certificate.subject, ()), formula.name)
            for formula in FORMULAS.values()
            if (formula.claim, formula.measure) == (certificate.claim, certificate.measure)
        ]
        known = {name: bound for bound, name in offers if not isinstance(bound, Inapplicable)}
        if certificate.method is Method.CLOSED_FORM:
            assert known[certificate.formula] == certificate.bound
        else:
            formula = FORMULAS[certificate.formula]
            assert certificate.method is formula.method
            assert derive(formula, problem, plan, certificate.subject, certificate.witness) == certificate.bound
        assert max(known.values()) <= certificate.bound <= certificate.value


def test_every_llm_and_every_long_pipeline_has_its_claims():
    _, plan = made("equal")
    found = [(each.claim, each.subject, each.measure) for each in plan.certificates]
    wanted = [(claim, "llm", measure) for claim in (Claim.COMPLETION, Claim.FIRST_COVER) for measure in TIMES]
    long = [pipeline.id for pipeline in plan.pipelines if len(pipeline.stages) > 1]
    assert long
    assert sorted(found) == sorted(wanted + [(Claim.BOTTLENECK, pipeline, Measure.NANOS) for pipeline in long])


@pytest.mark.parametrize("name", GOOD)
def test_plans_made_by_hand_are_certified_as_strongly(name):
    problem, plan = GOOD[name]()
    ours = {(each.claim, each.subject, each.measure): each for each in certificates(problem, plan)}
    for theirs in certified(problem, plan).certificates:
        mine = ours.get((theirs.claim, theirs.subject, theirs.measure))
        if mine is not None:
            assert mine.value == theirs.value
            assert mine.bound >= theirs.bound


def test_certificates_that_a_plan_has_do_not_matter():
    problem, plan = made("mixed")
    assert certificates(problem, attrs.evolve(plan, certificates=())) == plan.certificates
