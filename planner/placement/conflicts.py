"""Why a placement question has no answer: a least set of limits in conflict, and how far each alone must give."""

from collections.abc import Sequence

import attrs
from ortools.sat.python import cp_model

from planner.placement.encoding import Encoding, limits
from planner.placement.outcome import Conflict, Infeasible, Limit, LimitKind, Method, Undecided
from planner.placement.states import PoolClass, part_in
from planner.search import Search
from specs.decisions.placement.bounds import Relaxation, lagrangian, proves_infeasible
from specs.decisions.placement.exhaustion import TooManyStates, optimum
from specs.decisions.placement.holding import Layout
from specs.decisions.placement.nouns import MOVED, Copy, Item, Objective, Question, Tier
from specs.decisions.placement.prices import Prices
from specs.units import ceil_div
from specs.witness import Witness

_SHARE = 0.25  # of the time that is left, for one of the searches


def explain(layout: Layout, witness: Witness, search: Search) -> Infeasible | Undecided:
    """Explain a small question that has no answer, as CP-SAT says; undecided where an exhausted search finds one.

    Limits are left out one by one as long as no answer comes of it; what is left is a least set (when the search was
    cut short: a set that is perhaps not the least).  Then each of these alone is given up, and the least that it must
    become is searched.
    """
    method = _method(layout.question, witness)
    if method is Method.NONE:
        return Undecided(sentence="CP-SAT says that there is no placement, but a search through all finds one")
    every = limits(layout)
    needed = list(every)
    for limit in every:
        fewer = [other for other in needed if other != limit]
        if _status(layout, fewer, search) == cp_model.INFEASIBLE:
            needed = fewer
    conflicts = tuple(conflict(layout, limit, _least(layout, every, limit, search)) for limit in needed)
    return Infeasible(
        conflicts=conflicts or unreachable(layout),
        method=method,
        witness=witness if method is Method.PRICES else (),
    )


def unreachable(layout: Layout) -> tuple[Conflict, ...]:
    """Items that no copy can start and that cannot be held on devices often enough, whatever the limits.

    Without limits families do not touch each other.  Of each that cannot be, those are named that cannot be even with
    nothing but their base; all of it, when only together they are too many.
    """
    found: list[Item] = []
    for base in layout.question.items:
        family = layout.family(base)
        if base.base is not None or _possible(layout, family):
            continue
        alone = [item for item in family if not _possible(layout, [base, item])]
        found += [base] if base in alone else alone or family
    return tuple(_no_landing(layout, item) for item in found)


def _possible(layout: Layout, members: Sequence[Item]) -> bool:
    """Whether some items of one family can be held and started when nothing else is there and no limit holds.

    So little is left of the question that it is searched to the end, whatever time is left.
    """
    items = tuple(item for item in layout.question.items if item in members)
    alone = Layout(attrs.evolve(layout.question, items=items, held=()))
    return _status(alone, [], Search()) != cp_model.INFEASIBLE


def _no_landing(layout: Layout, item: Item) -> Conflict:
    base = layout.items.get(item.base) if item.base is not None else None
    needed = item.part_bytes + (0 if base is None else base.part_bytes)
    allowed = max((pool.landing_bytes for pool in layout.device_pools), default=0)
    sentence = (
        f"item {item.id} cannot start, or be on devices so often that it never has to: no route leads from where a "
        f"copy can be to {item.devices} other devices of one pool that keep {needed} bytes free; the most that "
        f"devices keep free is {allowed}"
    )
    limit = Limit(kind=LimitKind.LANDING, name=item.id)
    return Conflict(limit=limit, allowed=allowed, needed=None, sentence=sentence)


def stateless(layout: Layout) -> tuple[Conflict, ...]:
    """Limits of single items that cannot hold even when all room is theirs; some, where `price_bound` is None."""
    found = []
    relaxation = Relaxation(layout, Prices.of(layout.question, ()), with_value=False)
    bases = [base for base in layout.question.items if base.base is None and relaxation.family(base) is None]
    everywhere = {item.id: _everywhere(layout, item) for base in bases for item in layout.family(base)}
    for item in (item for base in bases for item in layout.family(base)):
        nodes = layout.nodes(everywhere[item.id])
        if nodes < item.copies_min:
            found.append(conflict(layout, Limit(kind=LimitKind.COPIES, name=item.id), nodes))
        if not layout.waiting(item, everywhere):
            continue
        start = layout.start(item, everywhere)
        if start is None:
            found.append(_no_landing(layout, item))
        elif layout.is_late(item, start.start_ns) and layout.question.objective is not Objective.LATE_ITEMS:
            found.append(conflict(layout, Limit(kind=LimitKind.IN_TIME, name=item.id), start.start_ns))
    return tuple(found)


def lacking_room(layout: Layout, classes: Sequence[PoolClass], witness: Witness) -> tuple[Conflict, ...]:
    """Limits that conflict by the prices of a proof, each with the least by which it alone would have to grow.

    The proof's excess is what the families need beyond all room, in prices; one class (or the limit on moved bytes)
    alone makes up for it with excess / price bytes or more.  Where large parts are what does not fit, bytes do not say
    how much more is needed.  Empty when the prices prove nothing.
    """
    excess = lagrangian(layout.question, witness, with_value=False)
    if excess is None or excess <= 0:
        return ()
    prices = Prices.of(layout.question, witness)
    found = []
    for group in classes:
        price = max(prices.of_bytes.get(pool.id, 0) for pool in group.pools)
        large = any(pool.id in prices.surcharges for pool in group.pools)
        if price or large:
            found.append(_lacking_in(group, None if large else ceil_div(excess, price)))
    if prices.moved:
        limit = Limit(kind=LimitKind.MOVED, name=MOVED)
        needed = (layout.question.moved_bytes_max or 0) + ceil_div(excess, prices.moved)
        found.append(conflict(layout, limit, needed))
    return tuple(found)


def _lacking_in(group: PoolClass, lacking: int | None) -> Conflict:
    pool = group.pools[0]
    others = "" if len(group.pools) == 1 else f" and {len(group.pools) - 1} pools like it"
    rest = (
        "large parts leave some of them unused, and what is left is too little"
        if lacking is None
        else f"if they alone grow, they need {lacking} more or still more"
    )
    return Conflict(
        limit=Limit(kind=LimitKind.ROOM, name=pool.memories[0].id),
        allowed=group.bytes,
        needed=None if lacking is None else group.bytes + lacking,
        sentence=f"memories of pool {pool.id}{others} have {group.bytes} bytes together; {rest}",
    )


def _everywhere(layout: Layout, item: Item) -> list[Copy]:
    """As many copies as each pool can have beside each other; of adapters, on devices that their base can be on."""
    found = []
    for pool in layout.question.pools:
        _, parts = part_in(item, pool.tier)
        beside = [item] if item.base is None or pool.tier is not Tier.DEVICE else [item, layout.items[item.base]]
        fit = [
            memory.id
            for memory in pool.memories
            if all(
                layout.may_keep(each, memory.id) and layout.bytes_at(each, memory.id) <= memory.bytes for each in beside
            )
        ]
        starts = range(0, len(fit) - parts + 1, parts)
        found += [Copy(item=item.id, memories=tuple(fit[start : start + parts])) for start in starts]
    return found


def conflict(layout: Layout, limit: Limit, needed: int | None) -> Conflict:
    """Say what one limit allows, and what it would have to allow, alone."""
    question = layout.question
    allowed: int
    match limit.kind:
        case LimitKind.ROOM:
            allowed, what, unit = layout.memory_bytes[limit.name], f"memory {limit.name} has", "bytes"
        case LimitKind.IN_TIME:
            most = layout.items[limit.name].start_ns_max
            allowed, what, unit = most or 0, f"item {limit.name} may start after at most", "ns"
        case LimitKind.COPIES:
            allowed = layout.items[limit.name].copies_min
            what, unit = f"item {limit.name} must be on at least", "nodes"
        case LimitKind.MOVED:
            allowed, what, unit = question.moved_bytes_max or 0, "the answer may move at most", "bytes"
        case LimitKind.LANDING:
            raise AssertionError("room for starts is no limit that a search gives up")
    if needed is None:
        rest = "giving up this limit alone is not enough, or was not decided"
    else:
        rest = f"with {needed} {unit} all other limits can hold"
    return Conflict(limit=limit, allowed=allowed, needed=needed, sentence=f"{what} {allowed} {unit}; {rest}")


def _status(layout: Layout, enforced: list[Limit], search: Search) -> cp_model.CpSolverStatus:
    if search.over():
        return cp_model.UNKNOWN
    return search.cp_sat(Encoding(layout, enforced).model, share=_SHARE)[1]


def _least(layout: Layout, every: tuple[Limit, ...], given_up: Limit, search: Search) -> int | None:
    """What one limit must become when all others hold; None: nothing helps, or undecided."""
    if search.over():
        return None
    encoding = Encoding(layout, [limit for limit in every if limit != given_up])
    encoding.minimise_excess(given_up)
    solver, status = search.cp_sat(encoding.model, share=_SHARE)
    return round(solver.objective_value) if status == cp_model.OPTIMAL else None


def _method(question: Question, witness: Witness) -> Method:
    """Say how it is known that a question has no answer; NONE: it has one."""
    if proves_infeasible(question, witness):
        return Method.PRICES
    try:
        return Method.EXHAUSTED if optimum(question) is None else Method.NONE
    except TooManyStates:
        return Method.SOLVER
