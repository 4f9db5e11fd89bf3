"""The checker: a plan becomes a `VerifiedPlan` here and nowhere else.

Plain loops and integer arithmetic over the table of invariants.  A daemon runs it again on every plan that it gets.
"""

from itertools import islice

import attrs

from specs.invariants.facts import Facts
from specs.invariants.rule import Invariant, Violation
from specs.invariants.table import GROUNDS, INVARIANTS
from specs.plan import Plan
from specs.problem import Problem

VIOLATIONS_PER_RULE_MAX = 20

_KEY = object()  # private to this module: without it no VerifiedPlan can be made


@attrs.frozen
class VerifiedPlan:
    """A plan that keeps every invariant for one problem.  Only `verify` makes one."""

    problem: Problem
    plan: Plan
    _key: object = attrs.field(repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        if self._key is not _KEY:
            raise TypeError("VerifiedPlan is made by specs.checker.verify, not by hand")


@attrs.frozen
class Rejected:
    """A plan that breaks invariants, and where."""

    violations: tuple[Violation, ...]

    def __str__(self) -> str:
        return "\n".join(str(violation) for violation in self.violations)


def verify(problem: Problem, plan: Plan) -> VerifiedPlan | Rejected:
    """Judge a plan by every invariant and report every violation, up to VIOLATIONS_PER_RULE_MAX of each rule.

    A plan that breaks REF or FOR is not judged by the other rules, which rely on these two.
    """
    facts = Facts(problem, plan)
    violations = [violation for rule in GROUNDS for violation in _violations(rule, facts)]
    if not violations:
        rules = INVARIANTS[len(GROUNDS) :]
        violations = [violation for rule in rules for violation in _violations(rule, facts)]
    return Rejected(tuple(violations)) if violations else VerifiedPlan(problem, plan, _KEY)


def _violations(rule: Invariant, facts: Facts) -> list[Violation]:
    found = rule.check(facts)
    shown = list(islice(found, VIOLATIONS_PER_RULE_MAX))
    more = sum(1 for _ in found)
    if more:
        shown.append(Violation(rule.id, "plan", f"and {more} more"))
    return shown
