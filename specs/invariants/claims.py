"""Rule BOUND: every claim of optimality is derived again, from the problem and the plan alone."""

from collections.abc import Iterator

from specs.certificates import FORMULAS, NO_FORMULA, Inapplicable, value_of
from specs.invariants.facts import Facts
from specs.invariants.rule import Violation
from specs.plan import Certificate, Claim, Method


def claims_are_true(facts: Facts) -> Iterator[Violation]:
    """BOUND: each certificate's value and bound are right; every wanted LLM has its two certificates."""
    claimed = {(certificate.claim, certificate.subject) for certificate in facts.plan.certificates}
    for llm in sorted({target.llm for target in facts.problem.targets}):
        for claim in (Claim.COMPLETION, Claim.FIRST_COVER):
            if (claim, llm) not in claimed:
                yield Violation("BOUND", f"LLM {llm}", f"the plan has no certificate of its {claim}")
    for index, certificate in enumerate(facts.plan.certificates):
        where = f"certificate {index} ({certificate.claim} of {certificate.subject})"
        for sentence in (*_value_faults(facts, certificate), *_bound_faults(facts, certificate)):
            yield Violation("BOUND", where, sentence)


def _value_faults(facts: Facts, certificate: Certificate) -> Iterator[str]:
    value = value_of(facts, certificate.claim, certificate.subject, certificate.measure)
    if isinstance(value, Inapplicable):
        yield value.sentence
    elif certificate.value != value:
        yield f"its value is {certificate.value} {certificate.measure}; the plan has {value}"


def _bound_faults(facts: Facts, certificate: Certificate) -> Iterator[str]:
    if certificate.bound > certificate.value:
        yield f"its bound {certificate.bound} is above its value {certificate.value}"
    if certificate.method is Method.NONE:
        if certificate.bound != 0 or certificate.formula != NO_FORMULA:
            yield f"it claims the bound {certificate.bound} by {certificate.formula} and says that no bound is claimed"
        return
    if certificate.method is Method.EXHAUSTED:
        yield f"this checker knows no exhaustive search {certificate.formula}"
        return
    formula = FORMULAS.get(certificate.formula)
    if formula is None or (formula.claim, formula.measure) != (certificate.claim, certificate.measure):
        yield f"{certificate.formula} is not a closed form for {certificate.claim} in {certificate.measure}"
        return
    bound = formula.bound(facts.problem, facts.plan, certificate.subject)
    if isinstance(bound, Inapplicable):
        yield f"{certificate.formula} says nothing here: {bound.sentence}"
    elif certificate.bound > bound:
        yield f"its bound is {certificate.bound} {certificate.measure}; {certificate.formula} proves only {bound}"
