"""The grouped binomial pipelines of `planner.multicast` on a movement: optimal where ports are equal and links wide."""

from planner.multicast import multicast_ticks
from planner.packing.floor import Job
from planner.packing.ground import Racks
from planner.packing.laying import lay
from planner.packing.network import Network, way_of
from planner.packing.rounding import Planted
from planner.routes import Routes
from specs.cluster import PlaceId
from specs.decisions.flow.answer import Delivery, Piece
from specs.decisions.flow.question import Movement
from specs.units import duration_ns


def is_multicast(movement: Movement) -> bool:
    """Say whether all items move whole from the same holders to the same receivers."""
    if not movement.items or any(item.pieces_max > 1 for item in movement.items):
        return False
    first = movement.items[0]
    return bool(first.receivers) and all(
        set(item.holders) == set(first.holders) and set(item.wanters) == set(first.wanters) for item in movement.items
    )


def pipelined(movement: Movement, routes: Routes) -> Delivery | None:
    """Lay the pipelines' order on the links, racks together.  The movement must be a multicast.  Raises NoRoute.

    None when the hops of a tick cannot run side by side in equal time: other schedules are better then.
    """
    first = movement.items[0]
    receivers = set(first.receivers)
    places: list[PlaceId] = [
        *first.holders,
        *(place for rack in Racks(movement.memories, movement.links).members for place in rack if place in receivers),
    ]
    index = {link.id: number for number, link in enumerate(movement.links)}
    memory = {place: number for number, place in enumerate(movement.memories)}
    net = Network.of_ways(movement, memory, [])
    numbers: dict[tuple[PlaceId, PlaceId], int] = {}
    arrival: dict[tuple[int, int], int] = {}
    jobs: list[Job] = []
    for send in multicast_ticks(len(places), len(first.holders), len(movement.items)):
        pair = (places[send.source], places[send.destination])
        if pair not in numbers:
            numbers[pair] = len(net.ways)
            path = tuple(index[link] for link in routes.route(*pair).links)
            net.ways.append(way_of(movement, memory[pair[0]], memory[pair[1]], path))
        way = net.ways[numbers[pair]]
        moving = duration_ns(movement.items[send.block].bytes, way.width)
        takes = moving + way.latency_ns
        busy = takes if movement.latency_holds_ports else moving
        after = arrival.get((send.block, send.source), -1)
        arrival[send.block, send.destination] = len(jobs)
        jobs.append(Job(piece=send.block, way=numbers[pair], after=after, busy_ns=busy, takes_ns=takes, turn=send.tick))
    if not _in_step(net, jobs):
        return None
    trees = [
        Planted(piece=Piece(item=number, bytes=item.bytes), ways=(), turn=number)
        for number, item in enumerate(movement.items)
    ]
    return lay(net, trees, jobs, _by_turn)


def _in_step(net: Network, jobs: list[Job]) -> bool:
    """Say whether all hops are equally wide and the links inside carry those of each tick together."""
    if len({net.ways[job.way].width for job in jobs}) > 1:
        return False
    load: dict[tuple[int, int], int] = {}
    for job in jobs:
        way = net.ways[job.way]
        for link in way.inside:
            load[job.turn, link] = load.get((job.turn, link), 0) + way.width
    return all(amount <= net.movement.links[link].bytes_per_second for (_, link), amount in load.items())


def _by_turn(job: Job) -> tuple[int, ...]:
    return (job.turn,)
