"""A schedule pushed against its end, and then against its start again: forward-backward improvement.

A list of hops laid from the start leaves links idle at the end, where what is left waits for the same ports.  Laid
backward, the last to end first, each hop runs as late as the others allow: how late that is says how urgent it is, far
better than any rule about its tree.  Laid forward again in that order, schedules are often shorter (Li and Willis 1992;
Valls, Ballestin and Quintanilla 2005, who call it justification).
"""

from collections.abc import Callable, Sequence

import attrs

from planner.packing.floor import Floor, Job, Waiting
from planner.packing.laying import forward
from planner.packing.network import Network, way_of
from specs.decisions.flow.answer import Delivery
from specs.decisions.flow.question import Movement
from specs.units import Nanos


def justified(movement: Movement, delivery: Delivery, over: Callable[[], bool]) -> Delivery:
    """Lay the hops of a schedule without faults backward and forward once; it may become longer.

    Raises Stopped as soon as `over` says so.
    """
    net, jobs = _jobs(movement, delivery)
    ends = [hop.start_ns + job.busy_ns for hop, job in zip(delivery.hops, jobs, strict=True)]
    late = Floor(net, jobs, _backward(jobs, ends)).run(over)
    last = max((start + job.busy_ns for start, job in zip(late, jobs, strict=True)), default=0)
    urgency = [(last - start - job.busy_ns,) for start, job in zip(late, jobs, strict=True)]
    starts = Floor(net, jobs, forward(jobs, urgency)).run(over)
    hops = (
        attrs.evolve(hop, start_ns=Nanos(start), end_ns=Nanos(start + job.takes_ns))
        for hop, start, job in zip(delivery.hops, starts, jobs, strict=True)
    )
    return attrs.evolve(delivery, hops=tuple(sorted(hops, key=lambda hop: hop.start_ns)))


def _jobs(movement: Movement, delivery: Delivery) -> tuple[Network, list[Job]]:
    """Read a schedule as jobs on the routes that it takes."""
    memory = {place: number for number, place in enumerate(movement.memories)}
    index = {link.id: number for number, link in enumerate(movement.links)}
    ways = []
    for route in delivery.routes:
        path = tuple(index[link] for link in route.links)
        ends = (movement.links[path[0]].source, movement.links[path[-1]].destination)
        ways.append(way_of(movement, memory[ends[0]], memory[ends[1]], path))
    brought = {(hop.piece, ways[hop.route].destination): number for number, hop in enumerate(delivery.hops)}
    jobs = []
    for hop in delivery.hops:
        way, takes = ways[hop.route], hop.end_ns - hop.start_ns
        jobs.append(
            Job(
                piece=hop.piece,
                way=hop.route,
                after=brought.get((hop.piece, way.source), -1),
                busy_ns=takes if movement.latency_holds_ports else takes - way.latency_ns,
                takes_ns=takes,
            )
        )
    return Network.of_ways(movement, memory, ways), jobs


def _backward(jobs: Sequence[Job], ends: Sequence[int]) -> Waiting:
    """Turn time round: a job waits for all that follow it, and the last to give its links back goes first.

    With u_j the backward start, the forward start is T - u_j - busy_j.  A hop j lands within T when u_j is at least its
    latency after the links are free; and when what j follows, i, is to land before j starts, u_i is at least
    u_j + busy_j + that latency of i.
    """
    followers: list[list[int]] = [[] for _ in jobs]
    awaits = [0] * len(jobs)
    wire_ns = [job.takes_ns - job.busy_ns for job in jobs]
    for index, job in enumerate(jobs):
        if job.after >= 0:
            followers[index].append(job.after)
            awaits[job.after] += 1
    return Waiting(
        order=sorted(range(len(jobs)), key=lambda index: (-ends[index], index)),
        followers=followers,
        awaits=awaits,
        lands_ns=[job.busy_ns + (wire_ns[job.after] if job.after >= 0 else 0) for job in jobs],
        from_ns=wire_ns,
    )
