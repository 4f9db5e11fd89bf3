"""What a bound is: a closed form of problem and plan, or a function of these and a witness."""

from collections.abc import Callable

import attrs

from specs.plan import Claim, Measure, Method, Plan
from specs.problem import Problem
from specs.witness import Witness


@attrs.frozen
class Inapplicable:
    """Why a bound says nothing about this problem and plan, or a claim has no value."""

    sentence: str


@attrs.frozen(kw_only=True)
class ClosedForm:
    """A bound for one claim in one measure that follows from the problem and the plan alone."""

    name: str
    claim: Claim
    measure: Measure
    bound: Callable[[Problem, Plan, str], int | Inapplicable]  # of problem, plan and the claim's subject
    method: Method = Method.CLOSED_FORM  # or EXHAUSTED, where the function searches


@attrs.frozen(kw_only=True)
class Witnessed:
    """A bound that holds for every witness; the witness says how to look at the problem."""

    name: str
    claim: Claim
    measure: Measure
    method: Method  # CUT or DUAL
    bound: Callable[[Problem, Plan, str, Witness], int | Inapplicable]


Formula = ClosedForm | Witnessed


def derive(formula: Formula, problem: Problem, plan: Plan, subject: str, witness: Witness) -> int | Inapplicable:
    """Work a bound out."""
    match formula:
        case ClosedForm():
            if witness:
                return Inapplicable(f"{formula.name} is a closed form and takes no witness")
            return formula.bound(problem, plan, subject)
        case Witnessed():
            return formula.bound(problem, plan, subject, witness)
