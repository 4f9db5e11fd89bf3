"""Transfers of each LLM, and into how many blocks it is cut."""

from collections.abc import Iterator

from planner.cutting import TRANSFER_OVERHEAD_NS, forecast
from planner.decided import Request
from planner.explain.explained import Explained, Figure, Worth, say
from planner.explain.loosened import Loosened, bound_of, loosened, plans_again, values_again
from planner.flow import Bottleneck, Flow, bottleneck, certified_members, flow_of
from planner.page.flow_words import bottleneck_sentences
from planner.routes import Routes
from specs.blobs import BlobId
from specs.invariants.facts import Facts
from specs.llm import LlmId
from specs.plan import Certificate, Claim, Measure, Method
from specs.ports import Hop

_DECISIONS = {
    Claim.COMPLETION: "completion of transfers",
    Claim.FIRST_COVER: "first cover of transfers",
    Claim.MAKESPAN: "makespan of transfers",
}


def transfers(facts: Facts) -> Iterator[Explained]:
    """Explain when each LLM that moves is complete and first covered, and all together: what binds, what more buys."""
    flow = flow_of(facts)
    subjects = dict.fromkeys(each.subject for each in facts.plan.certificates if each.claim in _DECISIONS)
    for subject in subjects:
        claims = [each for each in facts.plan.certificates if each.subject == subject and each.claim in _DECISIONS]
        timed = [each for each in claims if each.measure is Measure.NANOS]
        together = any(each.claim is Claim.MAKESPAN for each in timed)
        llm = _last(facts) if together else LlmId(subject)
        found = None if llm is None else bottleneck(facts, flow, llm, certified_members(facts, llm))
        if found is None or not timed or llm is None:
            continue
        worth, left_out = _worth(facts, llm, found, timed)
        for each in timed:
            yield Explained(
                decision=_DECISIONS[each.claim],
                subject=subject,
                unit=each.measure,
                value=each.value,
                bound=None if each.method is Method.NONE else each.bound,
                method=each.method if each.method is Method.NONE else f"{each.method}: {each.formula}",
                binding=_binding(facts, flow, found, each) + _in_ticks(claims, each.claim),
                worth=tuple(worth[each.claim]),
                left_out=left_out,
            )


def _last(facts: Facts) -> LlmId | None:
    """Name the LLM whose last transfer ends last of all."""
    last = max(facts.hops, key=lambda hop: hop.transfer.end_ns, default=None)
    return None if last is None else facts.blobs[last.transfer.blob].llm


def _binding(facts: Facts, flow: Flow, found: Bottleneck, claim: Certificate) -> str:
    if claim.claim is Claim.FIRST_COVER:
        return _first_cover(facts, found.llm)
    said = " ".join(bottleneck_sentences(facts, flow, found))
    if claim.claim is Claim.COMPLETION:
        return said
    moved = sum(1 for transfers in facts.transfers_of_llm.values() if transfers)
    return f"{moved} LLMs share the links; {found.llm} comes last. {said}"


def _in_ticks(claims: list[Certificate], claim: Claim) -> str:
    for each in claims:
        if each.claim is claim and each.measure is Measure.TICKS and each.method is not Method.NONE:
            same = "no order has fewer" if each.value == each.bound else f"no order has fewer than {each.bound:,}"
            return f" In the order of transfers, {each.value:,} follow one another at most; {same}."
    return ""


def _first_cover(facts: Facts, llm: LlmId) -> str:
    """Say which block the targets get last of all, and from whom."""
    targets = {target.place for target in facts.problem.targets if target.llm == llm}
    blobs = {blob.id for blob in facts.blobs_of_llm[llm]}
    firsts: dict[BlobId, Hop] = {}
    for hop in sorted(facts.hops, key=lambda hop: (hop.transfer.end_ns, hop.transfer.id)):
        if hop.transfer.blob in blobs and hop.destination in targets:
            firsts.setdefault(hop.transfer.blob, hop)
    if not firsts:
        return "The targets hold all of it from the start."
    last = max(firsts.values(), key=lambda hop: (hop.transfer.end_ns, -hop.transfer.id))
    at = say(last.transfer.end_ns, Measure.NANOS)
    return (
        f"The last block that reaches a target for the first time is {last.transfer.blob}, at {at} at "
        f"{last.destination} from {last.source}."
    )


def _worth(
    facts: Facts, llm: LlmId, found: Bottleneck, claims: list[Certificate]
) -> tuple[dict[Claim, list[Worth]], str | None]:
    """Derive the bounds again with one unit more of each resource; plan again for as many of these as is quick."""
    worth: dict[Claim, list[Worth]] = {each.claim: [] for each in claims}
    plans = plans_again(facts)
    offers = list(loosened(facts, llm, found))
    for index, offer in enumerate(offers):
        again = values_again(offer.problem, Request(parent=facts.plan)) if index < plans else {}
        for each in claims:
            worth[each.claim] += _moved(facts, offer, each, again.get((each.claim, each.subject, each.measure)))
    if plans >= len(offers):
        return worth, None
    names = ", ".join(offer.resource for offer in offers[plans:])
    return worth, f"plans with more of: {names} (the plan has {len(facts.plan.steps):,} steps)"


def _moved(facts: Facts, offer: Loosened, claim: Certificate, value: int | None) -> Iterator[Worth]:
    """Say what becomes of a claim; a plan made again that is worse is not taken, for this one stays possible."""
    figures = []
    if claim.method is not Method.NONE:
        bound = bound_of(offer.problem, facts.plan, claim)
        figures.append((Figure.BOUND, claim.bound, claim.bound if bound is None else min(bound, claim.bound)))
    if value is not None:
        figures.append((Figure.VALUE, claim.value, min(value, claim.value)))
    for figure, before, after in figures:
        yield Worth(
            resource=offer.resource, more=offer.more, figure=figure, before=before, after=after, unit=claim.measure
        )


def blocks(facts: Facts) -> Iterator[Explained]:
    """Explain the number of blocks by the prediction that chooses it; the runner-up is also planned where quick."""
    routes = Routes(facts.problem.cluster)
    for llm in facts.problem.llms:
        mine = facts.blobs_of_llm[llm.id]
        found = forecast(facts.problem, llm, routes)
        if found is None or not mine:
            continue
        predicted = {blocks: ns for ns, blocks in found.by_time}
        count = len(mine)
        others = [row for row in found.by_time if row[1] != count]
        largest = max(mine, key=lambda blob: blob.bytes)
        yield Explained(
            decision="number of blocks",
            subject=llm.id,
            unit="blocks",
            value=count,
            method="prediction" if count in predicted else "none",
            binding=_fill(predicted.get(count), largest.bytes, found.rate),
            runner_up=_next_count(facts, llm.id, others[0]) if others else None,
        )


def _fill(predicted: int | None, largest: int, rate: int) -> str:
    said = "" if predicted is None else f"predicted to complete in {say(predicted, Measure.NANOS)} over equal links; "
    overhead = say(TRANSFER_OVERHEAD_NS, Measure.NANOS)
    return (
        f"{said}the largest block, {largest:,} bytes, sets the time of a tick at {rate:,} bytes/s, and each "
        f"transfer costs {overhead} more."
    )


def _next_count(facts: Facts, llm: LlmId, best: tuple[int, int]) -> str:
    ns, count = best
    said = f"{count:,} blocks: predicted to complete in {say(ns, Measure.NANOS)}"
    if plans_again(facts) < 1 or len(facts.problem.llms) > 1:
        return said
    again = values_again(facts.problem, Request(blocks=count)).get((Claim.COMPLETION, llm, Measure.NANOS))
    return said if again is None else f"{said}; planned, they complete in {say(again, Measure.NANOS)}"
