"""Memories that keep standbys, and every claim that has no explanation of its own."""

from collections.abc import Iterator

from planner.explain.explained import Explained, Figure, Worth
from planner.explain.limits import memory_of
from planner.explain.loosened import bound_of
from planner.explain.of_services import CLAIMS
from specs.certificates import FORMULAS
from specs.cluster import PlaceId
from specs.invariants.facts import Facts
from specs.plan import Certificate, Claim, Method
from specs.witness import Price

GIBIBYTE = 2**30
MEMORIES_MAX = 4  # of those with a price, the dearest are tried
_PRICES_SAID = 3
# Have functions of their own.
_ELSEWHERE = CLAIMS | {Claim.COMPLETION, Claim.FIRST_COVER, Claim.MAKESPAN, Claim.BOTTLENECK}


def others(facts: Facts) -> Iterator[Explained]:
    """Explain a claim by its own witness, and by its bound with one GiB more in each memory that has a price."""
    for each in facts.plan.certificates:
        if each.claim in _ELSEWHERE:
            continue
        unbound = each.method is Method.NONE
        yield Explained(
            decision=each.claim.value,
            subject=each.subject,
            unit=each.measure,
            value=each.value,
            bound=None if unbound else each.bound,
            method=each.method if unbound else f"{each.method}: {each.formula}",
            binding=_binding(each),
            worth=tuple(_worth(facts, each)),
        )


def _binding(claim: Certificate) -> str:
    if claim.method is Method.NONE:
        return "No bound is known, so nothing is known to bind."
    if claim.value == claim.bound:
        return "Nothing binds but the problem itself: no plan is better."
    dearest = _dearest(claim)[:_PRICES_SAID]
    if not dearest:
        summary = (FORMULAS[claim.formula].bound.__doc__ or "").strip().partition("\n")[0]
        return f"{summary}" if summary else f"The bound is {claim.formula}."
    names = ", ".join(price.name for price in dearest)
    more = len(claim.witness) - len(dearest)
    return f"Scarce by the bound's prices: {names}{f' and {more:,} more' if more else ''}."


def _dearest(claim: Certificate) -> list[Price]:
    return sorted(claim.witness, key=lambda price: (-price.amount, price.name))


def _worth(facts: Facts, claim: Certificate) -> Iterator[Worth]:
    """Derive the bound again with one GiB more in each of the dearest memories."""
    if claim.method is Method.NONE:
        return
    priced = [PlaceId(price.name) for price in _dearest(claim)]
    for place in [each for each in priced if each in facts.places][:MEMORIES_MAX]:
        limit = memory_of(facts.problem, place)
        bound = bound_of(limit.set_to(facts.problem, limit.allowed + GIBIBYTE), facts.plan, claim)
        if bound is not None:
            yield Worth(
                resource=limit.name,
                more="1 GiB more",
                figure=Figure.BOUND,
                before=claim.bound,
                after=bound,
                unit=claim.measure,
            )
