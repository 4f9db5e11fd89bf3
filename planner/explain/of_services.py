"""Pipelines of each service: which devices are scarce, and what one more of each kind would buy."""

from collections.abc import Iterator

import attrs

from planner.decided import Request
from planner.explain.explained import Explained, Figure, Worth
from planner.explain.limits import with_copies
from planner.explain.loosened import bound_of, plans_again, tighter, values_again
from specs.cluster import PlaceId
from specs.invariants.facts import Facts
from specs.plan import LARGER_IS_BETTER, Certificate, Claim, Method
from specs.problem import Problem
from specs.services import offer
from specs.wishes import Service

CLAIMS = frozenset({Claim.GOODPUT, Claim.TPOT, Claim.DEVICES, Claim.COST})
KINDS_MAX = 4  # kinds of devices of which one more machine is tried


def services(facts: Facts) -> Iterator[Explained]:
    """Explain what the pipelines of each service achieve of its objective."""
    for claim in facts.plan.certificates:
        if claim.claim not in CLAIMS:
            continue
        service = next(each for each in facts.problem.services if each.llm == claim.subject)
        unbound = claim.method is Method.NONE
        worth, left_out = _worth(facts, service, claim)
        yield Explained(
            decision=f"pipelines of service, {claim.claim.value}",
            subject=claim.subject,
            unit=claim.measure,
            value=claim.value,
            bound=None if unbound else claim.bound,
            method=claim.method if unbound else f"{claim.method}: {claim.formula}",
            binding=_binding(facts, service, claim),
            worth=tuple(worth),
            left_out=left_out,
        )


def _binding(facts: Facts, service: Service, claim: Certificate) -> str:
    """Say which groups of devices have a price, and how many of all are used."""
    mine = [pipeline for pipeline in facts.open_at_end if pipeline.llm == service.llm]
    used = {stage.place for pipeline in mine for stage in pipeline.stages}
    said = f"{len(used):,} of {len(service.places):,} devices compute, in {len(mine):,} pipelines"
    prices = {price.name: price.amount for price in claim.witness}
    seats = offer(facts.problem, service).seats
    dearest = sorted((group for group in seats if prices.get(group)), key=lambda group: (-prices[group], group))
    if not dearest:
        return f"{said}."
    names = [f"{len(seats[group]):,} {facts.places[seats[group][0]].device} ({group})" for group in dearest]
    return f"{said}. Scarce by the bound's prices, the dearest first: {', '.join(names)}."


def _worth(facts: Facts, service: Service, claim: Certificate) -> tuple[list[Worth], str | None]:
    """Derive the bound for one machine more of each kind; plan again for as many of these as is quick."""
    worth = []
    offers = list(_machines(facts, service))[:KINDS_MAX]
    plans = plans_again(facts)
    for index, (resource, problem) in enumerate(offers):
        bound = None if claim.method is Method.NONE else bound_of(problem, facts.plan, claim)
        again = values_again(problem, Request()) if index < plans else {}
        value = again.get((claim.claim, claim.subject, claim.measure))
        better = max if claim.claim in LARGER_IS_BETTER else min
        figures = [] if bound is None else [(Figure.BOUND, claim.bound, tighter(claim, bound, claim.bound, loose=True))]
        figures += [] if value is None else [(Figure.VALUE, claim.value, better(value, claim.value))]
        worth += [
            Worth(resource=resource, more="1 more", figure=figure, before=before, after=after, unit=claim.measure)
            for figure, before, after in figures
        ]
    if plans >= len(offers):
        return worth, None
    names = ", ".join(resource for resource, _ in offers[plans:])
    return worth, f"plans with more of: {names} (the plan has {len(facts.plan.steps):,} steps)"


def _machines(facts: Facts, service: Service) -> Iterator[tuple[str, Problem]]:
    """Offer one machine more like the first of each kind of device that the service may use."""
    seen = set()
    for place in service.places:
        node, kind = facts.places[place].node, facts.places[place].device
        if node is None or kind in seen:
            continue
        seen.add(kind)
        copied = with_copies(facts.problem, node, 1)
        mine = [each for each in service.places if facts.places[each].node == node]
        more = tuple(PlaceId(each.replace(f"{node}/", f"{node}+1/")) for each in mine)
        wider = attrs.evolve(service, places=(*service.places, *more))
        wishes = tuple(wider if each is service else each for each in copied.services)
        yield f"machines like {node} with {len(mine)} {kind}", attrs.evolve(copied, services=wishes)
