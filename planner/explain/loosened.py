"""One unit more of a resource that transfers use: the problem with it, its bounds, and plans for it."""

from collections.abc import Collection, Iterator

import attrs

from planner.decided import Request
from planner.explain.limits import with_copies
from planner.flow import Bottleneck
from planner.outcome import Planned
from planner.search import Search
from planner.solve import solve
from specs.certificates import FORMULAS, Inapplicable, derive
from specs.certificates.formula import ClosedForm
from specs.cluster import Link, LinkId, PlaceId, PlaceKind
from specs.invariants.facts import Facts
from specs.llm import LlmId
from specs.plan import LARGER_IS_BETTER, Certificate, Claim, Measure, Plan
from specs.problem import Problem
from specs.units import BytesPerSecond

GIGABYTE_PER_SECOND = 10**9
# Steps of plans that are made again for one explanation: some seconds.  Counted, so that every run says the same.
STEPS_AGAIN_MAX = 2_500
_SEARCH_STEPS_MAX = 3_000


@attrs.frozen(kw_only=True)
class Loosened:
    """A problem with one unit more of one resource."""

    resource: str
    more: str
    problem: Problem


def loosened(facts: Facts, llm: LlmId, found: Bottleneck) -> Iterator[Loosened]:
    """Offer more of what the transfers of an LLM use: links like the binding one, holders, that link alone, its NIC."""
    link = facts.links[found.links[0].link] if found.links else None
    if link is not None:
        alike = {each.id for each in facts.problem.cluster.links if _alike(facts, each, link)}
        if len(alike) > 1:
            yield _faster(facts, f"rate of all {len(alike):,} links like {link.id}, both directions", alike)
    for holding in facts.problem.holdings:
        node = facts.places[holding.place].node
        if holding.llm == llm and node is not None:
            copied = with_copies(facts.problem, node, 1)
            place = PlaceId(holding.place.replace(f"{node}/", f"{node}+1/"))
            held = (*copied.holdings, attrs.evolve(holding, place=place))
            problem = attrs.evolve(copied, holdings=held)
            yield Loosened(resource=f"machines like {node} that hold {llm}", more="1 more", problem=problem)
            break
    if link is not None:
        yield _faster(facts, f"rate of {link.id}", {link.id})
        for nic in (link.source, link.destination):
            if facts.places[nic].kind is PlaceKind.SWITCH and facts.places[nic].node is not None:
                yield _doubled(facts, nic)
                break


def _alike(facts: Facts, one: Link, other: Link) -> bool:
    """Whether links have one rate and join the same sorts of places, in either direction, within a node or not."""

    def sort(link: Link) -> tuple[object, ...]:
        source, destination = facts.places[link.source], facts.places[link.destination]
        ends = sorted((place.kind, place.node is None) for place in (source, destination))
        return (*ends, source.node == destination.node, link.bytes_per_second)

    return sort(one) == sort(other)


def _faster(facts: Facts, resource: str, links: Collection[LinkId]) -> Loosened:
    problem = _with_rates(facts.problem, links, plus=GIGABYTE_PER_SECOND)
    return Loosened(resource=resource, more="1 GB/s more", problem=problem)


def _doubled(facts: Facts, nic: PlaceId) -> Loosened:
    """A second NIC beside the first, as one of twice the rate."""
    links = {link.id for link in facts.problem.cluster.links if nic in (link.source, link.destination)}
    return Loosened(
        resource=f"NICs like {nic} on its node",
        more="1 more (as one of twice the rate)",
        problem=_with_rates(facts.problem, links, times=2),
    )


def _with_rates(problem: Problem, links: Collection[LinkId], *, plus: int = 0, times: int = 1) -> Problem:
    changed = tuple(
        attrs.evolve(link, bytes_per_second=BytesPerSecond(link.bytes_per_second * times + plus))
        if link.id in links
        else link
        for link in problem.cluster.links
    )
    return attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, links=changed))


def bound_of(problem: Problem, plan: Plan, certificate: Certificate) -> int | None:
    """Derive the bound of a claim again, for another problem: the best of its own and of all closed forms that apply.

    None: nothing bounds it there.
    """
    offers = [
        derive(formula, problem, plan, certificate.subject, certificate.witness if own else ())
        for formula in FORMULAS.values()
        if (own := formula.name == certificate.formula)
        or (
            isinstance(formula, ClosedForm)
            and (formula.claim, formula.measure) == (certificate.claim, certificate.measure)
        )
    ]
    found = [offer for offer in offers if not isinstance(offer, Inapplicable)]
    return tighter(certificate, *found) if found else None


def tighter(certificate: Certificate, *bounds: int, loose: bool = False) -> int:
    """Take of bounds of a claim the one that says most; with `loose`, the one that says least."""
    return min(bounds) if (certificate.claim in LARGER_IS_BETTER) != loose else max(bounds)


def plans_again(facts: Facts) -> int:
    """How often a plan may be made again for each LLM's explanation, by its size."""
    return STEPS_AGAIN_MAX // max(1, len(facts.plan.steps) * len(facts.problem.llms))


def values_again(problem: Problem, request: Request) -> dict[tuple[Claim, str, Measure], int]:
    """Plan again and give what the plan achieves; nothing when no plan is found."""
    outcome = solve(problem, request, Search(steps_max=_SEARCH_STEPS_MAX))
    if not isinstance(outcome, Planned):
        return {}
    return {(each.claim, each.subject, each.measure): each.value for each in outcome.verified.plan.certificates}
