"""Saying how good a plan is: each claim with the strongest bound among the closed forms that apply."""

from specs.certificates import FORMULAS, certify
from specs.invariants.facts import Facts
from specs.plan import Certificate, Claim, Measure, Method, Plan
from specs.problem import Problem


def certificates(problem: Problem, plan: Plan) -> tuple[Certificate, ...]:
    """Certify completion and first cover of every wanted LLM, and the bottleneck of every pipeline of many stages."""
    facts = Facts(problem, plan)
    subjects: list[tuple[Claim, str, Measure]] = []
    for llm in dict.fromkeys(target.llm for target in problem.targets):
        subjects += [
            (claim, llm, measure)
            for claim in (Claim.COMPLETION, Claim.FIRST_COVER)
            for measure in (Measure.TICKS, Measure.NANOS)
        ]
    subjects += [
        (Claim.BOTTLENECK, pipeline.id, Measure.NANOS) for pipeline in plan.pipelines if len(pipeline.stages) > 1
    ]
    return tuple(_best(facts, claim, subject, measure) for claim, subject, measure in subjects)


def _best(facts: Facts, claim: Claim, subject: str, measure: Measure) -> Certificate:
    """Make the certificate with the largest bound; an earlier formula of the registry wins ties."""
    offers = [
        certify(facts, claim, subject, measure, formula.name)
        for formula in FORMULAS.values()
        if formula.claim is claim and formula.measure is measure
    ]
    return max(offers, key=lambda offer: (offer.method is not Method.NONE, offer.bound))
