"""Bounds on moving blobs over any place graph, of one LLM or of all: cuts, link prices, distances, growth of holders.

The proofs are in `specs.decisions.flow`; `specs.movement` makes the question of problem and plan.  Every memory in
which the plan puts something may relay there, whether it wants a blob or not, and other LLMs' transfers only take ports
and links away.  So a bound speaks of every plan that has the same blobs, ends with the same copies promised - those of
targets, which the problem asks for, and those of residents and open stages, which the plan chose - and puts blobs in no
other memories.
"""

from collections.abc import Callable, Iterator

import attrs

from specs.certificates.formula import ClosedForm, Formula, Inapplicable, Witnessed
from specs.decisions.flow.bounds import cut_bound_ns, distance_bound_ns
from specs.decisions.flow.growth import growth_bound_ns
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

_Asked = Callable[[Problem, Plan, str], Movement | Inapplicable]  # the movement that a claim is about
_Bound = Callable[[Problem, Plan, str], int | Inapplicable]


def _makespan(problem: Problem, plan: Plan, subject: str) -> Movement | Inapplicable:
    del subject  # all LLMs together
    return _askable(promised_movement(Facts(problem, plan)))


def _completion(problem: Problem, plan: Plan, subject: str) -> Movement | Inapplicable:
    return _askable(promised_movement(Facts(problem, plan), LlmId(subject)))


def _cover(problem: Problem, plan: Plan, subject: str) -> Movement | Inapplicable:
    return _askable(covering_movement(Facts(problem, plan), LlmId(subject)))


def _askable(movement: Movement) -> Movement | Inapplicable:
    for item in movement.items:
        if item.wanters and not item.holders:
            return Inapplicable(f"nobody holds {item.name}")
    return movement


def _cut(asked: _Asked, objective: Objective) -> Callable[[Problem, Plan, str, Witness], int | Inapplicable]:
    """Bound by `cut_bound_ns`; the witness names the places of the cut."""

    def bound(problem: Problem, plan: Plan, subject: str, witness: Witness) -> int | Inapplicable:
        movement = asked(problem, plan, subject)
        if isinstance(movement, Inapplicable):
            return movement
        try:
            return cut_bound_ns(movement, witness, objective)
        except ValueError as error:
            return Inapplicable(str(error))

    return bound


def _prices(asked: _Asked) -> Callable[[Problem, Plan, str, Witness], int | Inapplicable]:
    """Bound by `price_bound_ns`; the witness prices links."""

    def bound(problem: Problem, plan: Plan, subject: str, witness: Witness) -> int | Inapplicable:
        movement = asked(problem, plan, subject)
        if isinstance(movement, Inapplicable):
            return movement
        if not priceable(movement):
            return Inapplicable("prices of links are not worked out on a place graph of this size")
        return price_bound_ns(movement, witness)

    return bound


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


def _growth(asked: _Asked) -> _Bound:
    """Bound by `growth_bound_ns`."""

    def bound(problem: Problem, plan: Plan, subject: str) -> int | Inapplicable:
        movement = asked(problem, plan, subject)
        if isinstance(movement, Inapplicable):
            return movement
        sorts = {(item.holders, item.bytes) for item in movement.items if item.receivers}
        return _sweep(movement, len(sorts), growth_bound_ns)

    return bound


def _distance(asked: _Asked, objective: Objective) -> _Bound:
    """Bound by `distance_bound_ns`.

    Of items with the same holders and wanters the largest has the farthest to go: the others are left out.
    """

    def bound(problem: Problem, plan: Plan, subject: str) -> int | Inapplicable:
        movement = asked(problem, plan, subject)
        if isinstance(movement, Inapplicable):
            return movement
        largest: dict[tuple[tuple[str, ...], tuple[str, ...]], Item] = {}
        for item in sorted(movement.items, key=lambda item: item.bytes):
            largest[item.holders, item.wanters] = item
        fewer = attrs.evolve(movement, items=tuple(largest.values()))
        return _sweep(fewer, len(largest), lambda movement: distance_bound_ns(movement, objective))

    return bound


def _sweep(movement: Movement, sorts: int, bound: Callable[[Movement], int]) -> int | Inapplicable:
    """Work a bound out that goes over the whole place graph for each sort of items."""
    if sorts * len(movement.links) > _SWEEP_STEPS_MAX:
        return Inapplicable("there are too many sorts of blobs for a place graph of this size")
    return bound(movement)


def _timed(prefix: str, claim: Claim, asked: _Asked) -> Iterator[Formula]:
    """Give the forms that bound when the last transfer of a movement ends."""
    growth, distance = _growth(asked), _distance(asked, Objective.ALL)
    cut, prices = _cut(asked, Objective.ALL), _prices(asked)
    nanos = Measure.NANOS
    yield ClosedForm(name=f"{prefix}growth-ns", claim=claim, measure=nanos, bound=growth)
    yield ClosedForm(name=f"{prefix}distance-ns", claim=claim, measure=nanos, bound=distance)
    yield Witnessed(name=f"{prefix}cut-ns", claim=claim, measure=nanos, method=Method.CUT, bound=cut)
    yield Witnessed(name=f"{prefix}link-prices-ns", claim=claim, measure=nanos, method=Method.DUAL, bound=prices)


FLOW: tuple[Formula, ...] = (
    *_timed("", Claim.COMPLETION, _completion),
    *_timed("makespan-", Claim.MAKESPAN, _makespan),
    ClosedForm(
        name="distance-cover-ns",
        claim=Claim.FIRST_COVER,
        measure=Measure.NANOS,
        bound=_distance(_cover, Objective.COVER),
    ),
    Witnessed(
        name="cut-cover-ns",
        claim=Claim.FIRST_COVER,
        measure=Measure.NANOS,
        method=Method.CUT,
        bound=_cut(_cover, Objective.COVER),
    ),
)
