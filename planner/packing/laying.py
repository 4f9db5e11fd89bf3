"""From trees to times: hops start as soon as their piece, their ports and the links inside their route allow."""

from collections.abc import Callable, Sequence

import attrs

from planner.packing.floor import Floor, Job, Waiting
from planner.packing.network import Network
from planner.packing.rounding import Planted
from specs.decisions.flow.answer import Delivery, Hop
from specs.units import BytesPerSecond, Nanos, duration_ns

Rule = Callable[[Job], tuple[int, ...]]  # smaller goes first

RULES: tuple[Rule, ...] = (
    lambda job: (-job.tail_ns, job.turn),
    lambda job: (job.turn, -job.tail_ns),
    lambda job: (job.turn * job.busy_ns - job.tail_ns, job.turn),
)


def jobs_of(net: Network, trees: Sequence[Planted]) -> list[Job]:
    """Spell trees out as jobs, each after the one that feeds it."""
    held = net.movement.latency_holds_ports
    jobs: list[Job] = []
    for number, each in enumerate(trees):
        brought: dict[int, int] = {}
        first = len(jobs)
        for index in each.ways:
            way = net.ways[index]
            moving = duration_ns(each.piece.bytes, way.width)
            takes = moving + way.latency_ns
            brought_by = brought.get(way.source, -1)
            brought[way.destination] = len(jobs)
            jobs.append(
                Job(
                    piece=number,
                    way=index,
                    after=brought_by,
                    busy_ns=takes if held else moving,
                    takes_ns=takes,
                    turn=each.turn,
                )
            )
        tails = [job.takes_ns for job in jobs[first:]]
        for offset in range(len(tails) - 1, -1, -1):
            above = jobs[first + offset].after
            if above >= 0:
                tails[above - first] = max(tails[above - first], jobs[above].takes_ns + tails[offset])
        jobs[first:] = [attrs.evolve(job, tail_ns=tail) for job, tail in zip(jobs[first:], tails, strict=True)]
    return jobs


def lay(
    net: Network,
    trees: Sequence[Planted],
    jobs: Sequence[Job],
    rule: Rule,
    over: Callable[[], bool] = lambda: False,
) -> Delivery:
    """Give every job its times: whenever links become free, waiting jobs start in the order of the rule.

    Raises Stopped as soon as `over` says so.
    """
    starts = Floor(net, jobs, forward(jobs, [rule(job) for job in jobs])).run(over)
    order = sorted(range(len(jobs)), key=lambda index: (starts[index], index))
    used = sorted({job.way for job in jobs})
    number = {way: index for index, way in enumerate(used)}
    return Delivery(
        pieces=tuple(each.piece for each in trees),
        routes=tuple(net.route(way) for way in used),
        hops=tuple(
            Hop(
                piece=jobs[index].piece,
                route=number[jobs[index].way],
                bytes_per_second=BytesPerSecond(net.ways[jobs[index].way].width),
                start_ns=Nanos(starts[index]),
                end_ns=Nanos(starts[index] + jobs[index].takes_ns),
            )
            for index in order
        ),
    )


def forward(jobs: Sequence[Job], urgency: Sequence[tuple[int, ...]]) -> Waiting:
    """Let each job wait for the one that brings its piece; among several the least number goes first."""
    followers: list[list[int]] = [[] for _ in jobs]
    for index, job in enumerate(jobs):
        if job.after >= 0:
            followers[job.after].append(index)
    return Waiting(
        order=sorted(range(len(jobs)), key=lambda index: (*urgency[index], index)),
        followers=followers,
        awaits=[int(job.after >= 0) for job in jobs],
        lands_ns=[job.takes_ns for job in jobs],
        from_ns=[0] * len(jobs),
    )
