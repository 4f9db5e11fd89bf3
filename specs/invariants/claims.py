"""Rule BOUND: every claim of optimality is derived again, from the problem and the plan alone."""

from collections.abc import Iterator

from specs.certificates import FORMULAS, NO_FORMULA, Inapplicable, derive, value_of
from specs.invariants.facts import Facts
from specs.invariants.rule import Violation
from specs.plan import LARGER_IS_BETTER, Certificate, Claim, Measure, Method


def claims_are_true(facts: Facts) -> Iterator[Violation]:
    """BOUND: each certificate's value and bound are right; wanted LLMs have theirs, and so have several that move."""
    claimed = {(certificate.claim, certificate.subject) for certificate in facts.plan.certificates}
    targets = {target.llm for target in facts.problem.targets}
    for llm in sorted(facts.problem.wished):
        for claim in (Claim.COMPLETION, Claim.FIRST_COVER):
            if (claim, llm) not in claimed and (claim is Claim.COMPLETION or llm in targets):
                yield Violation("BOUND", f"LLM {llm}", f"the plan has no certificate of its {claim}")
    if facts.moves_several and (Claim.MAKESPAN, facts.problem.name) not in claimed:
        yield Violation("BOUND", "certificates", "the plan moves several LLMs and has no certificate of its makespan")
    # Each claim once by each formula: bounds take a while to work out, and a plan may not ask for that over and over.
    stated: dict[tuple[Claim, str, Measure, str], int] = {}
    for index, certificate in enumerate(facts.plan.certificates):
        where = f"certificate {index} ({certificate.claim} of {certificate.subject})"
        key = (certificate.claim, certificate.subject, certificate.measure, certificate.formula)
        first = stated.setdefault(key, index)
        if first != index:
            yield Violation("BOUND", where, f"it makes the claim of certificate {first} by the same formula again")
            continue
        for sentence in (*_value_faults(facts, certificate), *_bound_faults(facts, certificate)):
            yield Violation("BOUND", where, sentence)


def _value_faults(facts: Facts, certificate: Certificate) -> Iterator[str]:
    value = value_of(facts, certificate.claim, certificate.subject, certificate.measure)
    if isinstance(value, Inapplicable):
        yield value.sentence
    elif certificate.value != value:
        yield f"its value is {certificate.value} {certificate.measure}; the plan has {value}"


def _bound_faults(facts: Facts, certificate: Certificate) -> Iterator[str]:
    larger = certificate.claim in LARGER_IS_BETTER
    bounded = certificate.method is not Method.NONE
    if bounded and (certificate.bound < certificate.value if larger else certificate.bound > certificate.value):
        side = "below" if larger else "above"
        yield f"its bound {certificate.bound} is {side} its value {certificate.value}"
    if certificate.method is Method.NONE:
        if certificate.bound != 0 or certificate.formula != NO_FORMULA or certificate.witness:
            yield f"it claims the bound {certificate.bound} by {certificate.formula} and says that no bound is claimed"
        return
    if certificate.method is Method.SOLVER:
        if certificate.witness or certificate.formula in FORMULAS:
            yield f"it gives a solver's word, which has no witness and names the solver, not {certificate.formula}"
        return
    formula = FORMULAS.get(certificate.formula)
    if formula is None or (formula.claim, formula.measure) != (certificate.claim, certificate.measure):
        yield f"{certificate.formula} bounds no {certificate.claim} in {certificate.measure}"
        return
    if certificate.method is not formula.method:
        yield f"it says that its bound is known by {certificate.method}; {formula.name} is a {formula.method}"
        return
    names = [price.name for price in certificate.witness]
    if names != sorted(set(names)):
        yield "the names in its witness do not ascend, each once"
        return
    bound = derive(formula, facts.problem, facts.plan, certificate.subject, certificate.witness)
    if isinstance(bound, Inapplicable):
        yield f"{certificate.formula} says nothing here: {bound.sentence}"
    elif certificate.bound < bound if larger else certificate.bound > bound:
        yield f"its bound is {certificate.bound} {certificate.measure}; {certificate.formula} proves only {bound}"
