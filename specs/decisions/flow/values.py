"""What a schedule of hops achieves, for each objective; smaller is better.  The schedule must have no faults."""

from collections.abc import Iterator
from enum import StrEnum

from specs.cluster import PlaceId
from specs.decisions.flow.answer import Delivery
from specs.decisions.flow.question import Movement, links_by_id
from specs.units import Nanos


class Objective(StrEnum):
    """What is to be small."""

    ALL = "all"  # ns until every wanter has everything
    COVER = "cover"  # ns until, for every item, its wanters together hold all of it
    RAMP = "ramp"  # byte-ns: each wanted byte weighs the instant of its arrival


def value(movement: Movement, delivery: Delivery, objective: Objective) -> int:
    """Work out what a schedule achieves: ns, or byte-ns for the ramp."""
    arrivals = list(_wanted_arrivals(movement, delivery))
    if objective is Objective.ALL:
        return max((end for _, _, end in arrivals), default=0)
    if objective is Objective.RAMP:
        return sum(delivery.pieces[piece].bytes * end for piece, _, end in arrivals)
    holders = [set(item.holders) for item in movement.items]
    covered = [bool(held & set(item.wanters)) for held, item in zip(holders, movement.items, strict=True)]
    first: dict[int, int] = {}
    for piece, _, end in arrivals:
        if not covered[delivery.pieces[piece].item]:
            first[piece] = min(first.get(piece, end), end)
    return max(first.values(), default=0)


def _wanted_arrivals(movement: Movement, delivery: Delivery) -> Iterator[tuple[int, PlaceId, Nanos]]:
    links = links_by_id(movement)
    ends = [links[route.links[-1]].destination for route in delivery.routes]
    wanted = [set(item.receivers) for item in movement.items]
    for hop in delivery.hops:
        place = ends[hop.route]
        if place in wanted[delivery.pieces[hop.piece].item]:
            yield hop.piece, place, hop.end_ns
