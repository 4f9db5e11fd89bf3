"""Certificates: what a claim's value is in a plan, and which formulas bound it.

A bound speaks of every plan for the same problem with the same blobs (for a pipeline: with as many stages and slots;
by the forms of `specs.certificates.flow`: with the same copies promised) that keeps the invariants.  Its arguments come
from the problem and the plan, and from the witness where it has one: any witness gives a true bound.
"""

from specs.certificates.flow import FLOW
from specs.certificates.formula import Formula, Inapplicable, derive
from specs.certificates.lacking import LACKING
from specs.certificates.layouts import LAYOUTS, service_value
from specs.certificates.multicast import MULTICAST
from specs.certificates.pipelines import PIPELINES
from specs.certificates.placement import PLACEMENT, mean_start_ns
from specs.invariants.facts import Facts
from specs.llm import LlmId
from specs.plan import Certificate, Claim, Measure, Method, PipelineId
from specs.timing import decode_ns
from specs.witness import Witness

NO_FORMULA = "none"  # stands in a certificate that claims no bound

_ALL: tuple[Formula, ...] = (*MULTICAST, *LACKING, *FLOW, *PIPELINES, *LAYOUTS, *PLACEMENT)

FORMULAS = {formula.name: formula for formula in _ALL}


def value_of(facts: Facts, claim: Claim, subject: str, measure: Measure) -> int | Inapplicable:
    """Work out what a plan achieves.  The plan must keep rule REF and the subject must exist."""
    if claim in {Claim.MAKESPAN, Claim.BOTTLENECK, Claim.START} and measure is not Measure.NANOS:
        return Inapplicable(f"a {claim} is measured in {Measure.NANOS}, not in {measure}")
    match claim:
        case Claim.MAKESPAN:
            return max((transfer.end_ns for transfer in facts.order.transfers), default=0)
        case Claim.BOTTLENECK:
            return max(decode_ns(facts.problem, facts.pipelines[PipelineId(subject)]), default=0)
        case Claim.START:
            return mean_start_ns(facts)
        case Claim.COMPLETION:
            return max(_ends(facts, LlmId(subject), measure), default=0)
        case Claim.FIRST_COVER:
            return _first_cover(facts, LlmId(subject), measure)
        case _:
            return service_value(facts, claim, subject, measure)


def _ends(facts: Facts, llm: LlmId, measure: Measure) -> list[int]:
    """When each transfer of an LLM ends."""
    transfers = facts.transfers_of_llm[llm]
    if measure is Measure.NANOS:
        return [transfer.end_ns for transfer in transfers]
    ticks = facts.ticks
    return [ticks[transfer.id] for transfer in transfers]


def _first_cover(facts: Facts, llm: LlmId, measure: Measure) -> int | Inapplicable:
    targets = {target.place for target in facts.problem.targets if target.llm == llm}
    blobs = {blob.id for blob in facts.blobs_of_llm[llm]}
    first: dict[str, int] = {blob: 0 for place in targets for blob in facts.held.get(place, set()) & blobs}
    ends = facts.order.ends
    for transfer, end in zip(facts.transfers_of_llm[llm], _ends(facts, llm, measure), strict=True):
        blob = transfer.blob
        if ends[transfer.route].destination in targets and (blob not in first or end < first[blob]):
            first[blob] = end
    missing = sorted(blobs - first.keys())
    if missing:
        return Inapplicable(f"{missing[0]} never reaches a target, so the targets never cover {llm}")
    return max(first.values(), default=0)


def certify(
    facts: Facts, claim: Claim, subject: str, measure: Measure, formula: str, witness: Witness = ()
) -> Certificate:
    """Make the certificate of a claim by one formula, or without a bound where the formula says nothing.

    Raises ValueError when the claim has no value in this plan.
    """
    value = value_of(facts, claim, subject, measure)
    if isinstance(value, Inapplicable):
        raise ValueError(value.sentence)  # noqa: TRY004 - it is the claim that has no value, not a wrong type
    bound = derive(FORMULAS[formula], facts.problem, facts.plan, subject, witness)
    if isinstance(bound, Inapplicable):
        return Certificate(
            claim=claim,
            subject=subject,
            measure=measure,
            value=value,
            bound=0,
            method=Method.NONE,
            formula=NO_FORMULA,
            witness=(),
        )
    return Certificate(
        claim=claim,
        subject=subject,
        measure=measure,
        value=value,
        bound=bound,
        method=FORMULAS[formula].method,
        formula=formula,
        witness=witness,
    )
