"""Another schedule for the same copies: hops packed into the place graph instead of an order laid on links.

The order of the optimal multicast, or of a swarm, is best where ports are equal.  Elsewhere `planner.packing` finds
ways and orders together, from anybody who has a blob to anybody who wants it, all LLMs at once.  Which of the two is
the better plan is for `planner.ramp` to say: packing does not care whether neighbouring blobs come together, from which
pipelines form long before the end.
"""

from collections.abc import Collection, Iterable, Sequence

import attrs

from planner.search import Progress, Search
from planner.transfers import Schedule
from specs.blobs import Blob, BlobId
from specs.bounds import multicast_ticks_bound
from specs.cluster import PlaceId, PlaceKind
from specs.decisions.flow.answer import Delivery, Hop, Piece
from specs.decisions.flow.question import Movement
from specs.decisions.flow.values import Objective, value
from specs.invariants.facts import BlobAt
from specs.movement import by_blob, involved, movement_of
from specs.plan import StepId, Transfer
from specs.problem import Problem
from specs.timing import links_by_id, route_ends
from specs.units import Nanos

# Steps that packing may take when nobody sets a limit: a second or so for tens of nodes, and for few copies less, as
# trying one more order of theirs costs as many steps as there are copies.
_STEPS_MAX = 10_000
_STEPS_MIN = 1_500
_STEPS_PER_COPY = 40
# Copies beyond which packing is tried only when somebody sets a limit: to act them out once takes seconds.
_COPIES_MAX = 20_000
# A schedule this near to what none beats is good enough, unless somebody sets a limit.
_NEAR = 1.001
# Blobs whose sizes differ by less are equal: their ticks are as good as an order can be.
_EQUAL = 1.02


@attrs.frozen(kw_only=True)
class Packed:
    """A schedule, and how it was made."""

    made_by: str  # "packed trees, 4 pieces"
    schedule: Schedule


def packed(
    problem: Problem, blobs: Sequence[Blob], plain: Schedule, search: Search, objective: Objective = Objective.ALL
) -> Packed | None:
    """Look for another schedule of the same copies; None where none can be much better, or none was found."""
    if not plain.transfers:
        return None
    links = links_by_id(problem.cluster)
    wanted = [(each.blob, route_ends(links, plain.routes[each.route])[1]) for each in plain.transfers]
    moved = {each.blob for each in plain.transfers}
    blobs = [blob for blob in blobs if blob.id in moved]
    held = by_blob(held_at_start(problem, blobs))
    movement = involved(movement_of(problem.cluster, blobs, held, by_blob(wanted), ()))
    part = search.part(_steps(len(wanted)))
    limited = part is search
    if _in_step(plain, movement) or part.over() or (len(wanted) > _COPIES_MAX and not limited):
        return None
    from planner.packing.move import Stuck, best_bound, move  # brings solvers, which equal links do without

    reached = value(movement, _delivery(blobs, plain), objective)
    bound = best_bound(movement, objective, part).bound
    search.tell(Progress(decision="transfers", value=reached, bound=bound))
    if reached <= (bound if limited else bound * _NEAR):
        return None
    found = move(movement, part, objective)
    return (
        None if isinstance(found, Stuck) else Packed(made_by=found.made_by, schedule=_schedule(blobs, found.delivery))
    )


def through_relays(
    problem: Problem,
    blobs: Sequence[Blob],
    wanted: Collection[BlobAt],
    taken: Collection[PlaceId],
    search: Search,
    objective: Objective = Objective.ALL,
) -> Packed | None:
    """Reach who wants blobs through memories that do not, where these have room for all of them and nothing else to do.

    `taken` are the memories that hold or want something, now or later: they relay only what they want.  None when no
    way was found.
    """
    from planner.packing.move import Stuck, move

    moved = {blob for blob, _ in wanted}
    blobs = [blob for blob in blobs if blob.id in moved]
    needed = sum(blob.bytes for blob in blobs)
    relays = [
        place.id
        for place in problem.cluster.places
        if place.kind is not PlaceKind.SWITCH and place.id not in taken and place.memory_bytes >= needed
    ]
    held = by_blob(held_at_start(problem, blobs))
    movement = movement_of(problem.cluster, blobs, held, by_blob(wanted), relays)
    if not relays or not all(item.holders for item in movement.items):
        return None
    found = move(movement, search.part(_steps(len(wanted))), objective)
    return (
        None if isinstance(found, Stuck) else Packed(made_by=found.made_by, schedule=_schedule(blobs, found.delivery))
    )


def held_at_start(problem: Problem, blobs: Iterable[Blob]) -> set[BlobAt]:
    """List which of these blobs the problem's holdings put where."""
    by_llm: dict[str, list[Blob]] = {}
    for blob in blobs:
        by_llm.setdefault(blob.llm, []).append(blob)
    return {
        (blob.id, holding.place)
        for holding in problem.holdings
        for blob in by_llm.get(holding.llm, ())
        if holding.has(blob)
    }


def _steps(copies: int) -> int:
    return min(_STEPS_MAX, _STEPS_MIN + _STEPS_PER_COPY * copies)


def _in_step(plain: Schedule, movement: Movement) -> bool:
    """Say whether this is the optimal multicast of equal blobs over equal ports, ended in the time of its ticks."""
    rates = {each.bytes_per_second for each in plain.transfers}
    sorts = {(item.holders, item.wanters) for item in movement.items}
    sizes = [item.bytes for item in movement.items]
    if len(rates) > 1 or len(sorts) > 1 or max(sizes) > _EQUAL * min(sizes):
        return False
    item = movement.items[0]
    nodes = len({*item.holders, *item.wanters})
    ticks = multicast_ticks_bound(nodes, len(item.holders), len(movement.items))
    return plain.pause_ns <= ticks * max(each.end_ns - each.start_ns for each in plain.transfers)


def _delivery(blobs: Sequence[Blob], plain: Schedule) -> Delivery:
    index: dict[BlobId, int] = {blob.id: number for number, blob in enumerate(blobs)}
    return Delivery(
        pieces=tuple(Piece(item=number, bytes=blob.bytes) for number, blob in enumerate(blobs)),
        routes=plain.routes,
        hops=tuple(
            Hop(
                piece=index[each.blob],
                route=each.route,
                bytes_per_second=each.bytes_per_second,
                start_ns=each.start_ns,
                end_ns=each.end_ns,
            )
            for each in plain.transfers
        ),
    )


def _schedule(blobs: Sequence[Blob], delivery: Delivery) -> Schedule:
    """Spell hops out as transfers: items are blobs and move whole, so hops stay what they are."""
    ordered = sorted(delivery.hops, key=lambda hop: hop.start_ns)  # stable: on each port the order of the hops stays
    return Schedule(
        transfers=tuple(
            Transfer(
                id=StepId(number),
                blob=blobs[delivery.pieces[hop.piece].item].id,
                route=hop.route,
                bytes_per_second=hop.bytes_per_second,
                start_ns=hop.start_ns,
                end_ns=hop.end_ns,
            )
            for number, hop in enumerate(ordered)
        ),
        routes=delivery.routes,
        pause_ns=max((hop.end_ns for hop in ordered), default=Nanos(0)),
    )
