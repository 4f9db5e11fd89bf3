"""Bounds on moving an LLM's blobs over any place graph: cuts, prices of links, distances and the growth of holders.

The proofs are in `specs.decisions.flow`; `specs.movement` makes the question of problem and plan.  Every memory in
which the plan puts something may relay there, whether it wants a blob or not, and other LLMs' transfers only take ports
and links away.  So a bound speaks of every plan that has the same blobs, ends with the same copies promised - those of
targets, which the problem asks for, and those of residents and open stages, which the plan chose - and puts blobs in no
other memories.
"""

from collections.abc import Callable

import attrs

from specs.certificates.formula import ClosedForm, Formula, Inapplicable, Witnessed
from specs.decisions.flow.bounds import cut_bound_ns, distance_bound_ns, growth_bound_ns
from specs.decisions.flow.prices import price_bound_ns
from specs.decisions.flow.question import Item, Movement
from specs.decisions.flow.values import Objective
from specs.invariants.facts import Facts
from specs.llm import LlmId
from specs.movement import covering_movement, promised_movement
from specs.plan import Claim, Measure, Method, Plan
from specs.problem import Problem
from specs.witness import Witness

# A bound that would take more of its smallest steps than this is not worked out: a checker must not be held up, least
# of all by a plan made to do so.  About a second of one core for each.
_PRICE_STEPS_MAX = 20_000_000
_SWEEP_STEPS_MAX = 4_000_000


def _completion(problem: Problem, plan: Plan, subject: str) -> Movement | Inapplicable:
    return _askable(promised_movement(Facts(problem, plan), LlmId(subject)))


def _cover(problem: Problem, plan: Plan, subject: str) -> Movement | Inapplicable:
    return _askable(covering_movement(Facts(problem, plan), LlmId(subject)))


def _askable(movement: Movement) -> Movement | Inapplicable:
    for item in movement.items:
        if item.wanters and not item.holders:
            return Inapplicable(f"nobody holds {item.name}")
    return movement


def _cut_ns(problem: Problem, plan: Plan, subject: str, witness: Witness) -> int | Inapplicable:
    """Bound the completion by `cut_bound_ns`; the witness names the places of the cut."""
    return _by_cut(_completion(problem, plan, subject), witness, Objective.ALL)


def _cut_cover_ns(problem: Problem, plan: Plan, subject: str, witness: Witness) -> int | Inapplicable:
    """Bound the first cover by `cut_bound_ns`; the witness names the places of the cut."""
    return _by_cut(_cover(problem, plan, subject), witness, Objective.COVER)


def _by_cut(movement: Movement | Inapplicable, witness: Witness, objective: Objective) -> int | Inapplicable:
    if isinstance(movement, Inapplicable):
        return movement
    try:
        return cut_bound_ns(movement, witness, objective)
    except ValueError as error:
        return Inapplicable(str(error))


def _link_prices_ns(problem: Problem, plan: Plan, subject: str, witness: Witness) -> int | Inapplicable:
    """Bound the completion by `price_bound_ns`; the witness prices links."""
    movement = _completion(problem, plan, subject)
    if isinstance(movement, Inapplicable):
        return movement
    if price_steps(movement) > _PRICE_STEPS_MAX:
        return Inapplicable("prices of links are not worked out on a place graph of this size")
    return price_bound_ns(movement, witness)


def price_steps(movement: Movement) -> int:
    """Estimate the steps of `price_bound_ns`: hops for each width, and for each sort of item what it pays."""
    memories = len(movement.memories)
    widths = len({link.bytes_per_second for link in movement.links})
    sorts = {(item.holders, item.wanters) for item in movement.items}
    pairs = sum(1 if len(wanters) == 1 else memories for _, wanters in sorts)
    return memories * (widths * len(movement.links) + memories * pairs)


def priceable(movement: Movement) -> bool:
    """Say whether a checker takes prices of links for such a movement."""
    return price_steps(movement) <= _PRICE_STEPS_MAX


def _growth_ns(problem: Problem, plan: Plan, subject: str) -> int | Inapplicable:
    """Bound the completion by `growth_bound_ns`."""
    movement = _completion(problem, plan, subject)
    if isinstance(movement, Inapplicable):
        return movement
    sorts = {(item.holders, item.bytes) for item in movement.items if item.receivers}
    return _sweep(movement, len(sorts), growth_bound_ns)


def _distance_ns(problem: Problem, plan: Plan, subject: str) -> int | Inapplicable:
    """Bound the completion by `distance_bound_ns`."""
    return _by_distance(_completion(problem, plan, subject), Objective.ALL)


def _distance_cover_ns(problem: Problem, plan: Plan, subject: str) -> int | Inapplicable:
    """Bound the first cover by `distance_bound_ns`."""
    return _by_distance(_cover(problem, plan, subject), Objective.COVER)


def _by_distance(movement: Movement | Inapplicable, objective: Objective) -> int | Inapplicable:
    """Of items with the same holders and wanters the largest has the farthest to go: the others are left out."""
    if isinstance(movement, Inapplicable):
        return movement
    largest: dict[tuple[tuple[str, ...], tuple[str, ...]], Item] = {}
    for item in sorted(movement.items, key=lambda item: item.bytes):
        largest[item.holders, item.wanters] = item
    fewer = attrs.evolve(movement, items=tuple(largest.values()))
    return _sweep(fewer, len(largest), lambda asked: distance_bound_ns(asked, objective))


def _sweep(movement: Movement, sorts: int, bound: Callable[[Movement], int]) -> int | Inapplicable:
    """Work a bound out that goes over the whole place graph for each sort of items."""
    if sorts * len(movement.links) > _SWEEP_STEPS_MAX:
        return Inapplicable("there are too many sorts of blobs for a place graph of this size")
    return bound(movement)


FLOW: tuple[Formula, ...] = (
    ClosedForm(name="growth-ns", claim=Claim.COMPLETION, measure=Measure.NANOS, bound=_growth_ns),
    ClosedForm(name="distance-ns", claim=Claim.COMPLETION, measure=Measure.NANOS, bound=_distance_ns),
    ClosedForm(name="distance-cover-ns", claim=Claim.FIRST_COVER, measure=Measure.NANOS, bound=_distance_cover_ns),
    Witnessed(name="cut-ns", claim=Claim.COMPLETION, measure=Measure.NANOS, method=Method.CUT, bound=_cut_ns),
    Witnessed(
        name="cut-cover-ns", claim=Claim.FIRST_COVER, measure=Measure.NANOS, method=Method.CUT, bound=_cut_cover_ns
    ),
    Witnessed(
        name="link-prices-ns", claim=Claim.COMPLETION, measure=Measure.NANOS, method=Method.DUAL, bound=_link_prices_ns
    ),
)
