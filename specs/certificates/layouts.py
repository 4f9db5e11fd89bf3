"""Bounds on what any pipelines of a service achieve: by prices of its devices, or by trying all.

The question is derived from the problem (`specs.services`), and every plan that keeps DEMAND answers it: so what bounds
its answers bounds plans.  Devices of a plan are in whole use by one service at most (rule SERVE).
"""

from functools import partial

from specs.certificates.formula import ClosedForm, Formula, Inapplicable, Witnessed
from specs.decisions.layout import bounds, exhausted, values
from specs.decisions.layout.question import Question
from specs.errors import InvalidProblem
from specs.invariants.facts import Facts
from specs.plan import Claim, Measure, Method, Plan
from specs.problem import Problem
from specs.services import answer_of, offer
from specs.wishes import Objective, Service
from specs.witness import Witness

CLAIM_OF = {
    Objective.GOODPUT: (Claim.GOODPUT, Measure.MILLITOKENS_PER_SECOND, values.Objective.GOODPUT),
    Objective.LATENCY: (Claim.TPOT, Measure.NANOS, values.Objective.TPOT),
    Objective.DEVICES: (Claim.DEVICES, Measure.DEVICES, values.Objective.DEVICES),
    Objective.COST: (Claim.COST, Measure.MICRODOLLARS_PER_HOUR, values.Objective.COST),
}
_OBJECTIVE_OF = {claim: (measure, objective) for claim, measure, objective in CLAIM_OF.values()}


def service_value(facts: Facts, claim: Claim, subject: str, measure: Measure) -> int | Inapplicable:
    """Work out what the lasting pipelines of a service achieve."""
    wanted, objective = _OBJECTIVE_OF[claim]
    service = _service(facts.problem, subject)
    if measure is not wanted:
        return Inapplicable(f"{claim} is measured in {wanted}, not in {measure}")
    if service is None:
        return Inapplicable(f"{subject} is not wanted as a service")
    lasting = tuple(pipeline for pipeline in facts.serving_at_end if pipeline.llm == service.llm)
    try:
        found = offer(facts.problem, service)
        return values.value(found.question, answer_of(facts.plan, lasting, found), objective)
    except (InvalidProblem, KeyError, ValueError) as error:
        return Inapplicable(f"its pipelines do not answer the question: {error}")


def _service(problem: Problem, subject: str) -> Service | None:
    return next((service for service in problem.services if service.llm == subject), None)


def _question(problem: Problem, subject: str) -> Question | Inapplicable:
    service = _service(problem, subject)
    if service is None:
        return Inapplicable(f"{subject} is not wanted as a service")
    try:
        return offer(problem, service).question
    except InvalidProblem as error:
        return Inapplicable(str(error))


def _by_prices(
    objective: values.Objective, problem: Problem, _plan: Plan, subject: str, witness: Witness
) -> int | Inapplicable:
    question = _question(problem, subject)
    if isinstance(question, Inapplicable):
        return question
    try:
        if objective is values.Objective.GOODPUT:
            return bounds.goodput_bound(question, witness)
        if objective is values.Objective.TPOT:
            return bounds.latency_bound(question, objective, witness)
        return bounds.spending_bound(question, objective, witness)
    except bounds.UnpricedPipeline as error:
        return Inapplicable(str(error))


def _by_trying(objective: values.Objective, problem: Problem, _plan: Plan, subject: str) -> int | Inapplicable:
    question = _question(problem, subject)
    if isinstance(question, Inapplicable):
        return question
    try:
        best = exhausted.exhausted(question, objective)
    except exhausted.TooLarge as error:
        return Inapplicable(str(error))
    return Inapplicable("no pipelines answer the question") if best is None else best


LAYOUTS: tuple[Formula, ...] = (
    *(
        Witnessed(
            name=f"device-prices-{claim}",
            claim=claim,
            measure=measure,
            method=Method.DUAL,
            bound=partial(_by_prices, objective),
        )
        for claim, (measure, objective) in _OBJECTIVE_OF.items()
    ),
    *(
        ClosedForm(
            name=f"all-layouts-{claim}",
            claim=claim,
            measure=measure,
            method=Method.EXHAUSTED,
            bound=partial(_by_trying, objective),
        )
        for claim, (measure, objective) in _OBJECTIVE_OF.items()
    ),
)
