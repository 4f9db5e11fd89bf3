"""From trees to times: hops start as soon as their piece, their ports and the links inside their route allow."""

import heapq
from collections.abc import Callable, Sequence

import attrs

from planner.packing.network import Network
from planner.packing.rounding import Planted
from specs.decisions.flow.answer import Delivery, Hop
from specs.units import BytesPerSecond, Nanos, duration_ns


@attrs.frozen(kw_only=True)
class Job:
    """A hop before its times are known."""

    piece: int
    way: int
    after: int  # the job that brings the piece to its source; -1: held from the start
    busy_ns: int  # for which it keeps its links
    takes_ns: int  # until the destination holds the piece
    tail_ns: int = 0  # the longest way on from its destination, itself included
    turn: int = 0


class Stopped(Exception):
    """Told to stop before every hop had its time."""


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
    starts = _Floor(net, jobs, rule).run(over)
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


class _Floor:
    """Links as machines: ports take one job at a time, links inside as many as their capacity carries."""

    def __init__(self, net: Network, jobs: Sequence[Job], rule: Rule) -> None:
        self._jobs = jobs
        self._order = sorted(range(len(jobs)), key=lambda index: (*rule(jobs[index]), index))
        self._rank = [0] * len(jobs)  # queues hold ranks: they compare faster than what they come from
        for rank, index in enumerate(self._order):
            self._rank[index] = rank
        self._width = [net.ways[job.way].width for job in jobs]
        self._ports = [net.ways[job.way].ports for job in jobs]
        self._inside = [net.ways[job.way].inside for job in jobs]
        self._taken = [False] * len(net.movement.links)  # ports
        self._room = [int(link.bytes_per_second) for link in net.movement.links]  # of links inside
        self._waiting: dict[int, list[int]] = {}  # ranks, by the link that is in the way
        self._next: list[list[int]] = [[] for _ in jobs]
        for index, job in enumerate(jobs):
            if job.after >= 0:
                self._next[job.after].append(index)
        self._events: list[tuple[int, int, int]] = []  # at, 0: links are free again, 1: held at the destination; job
        self._starts = [0] * len(jobs)

    def run(self, over: Callable[[], bool]) -> list[int]:
        """Give the start of every job.  Raises Stopped."""
        ready = [index for index, job in enumerate(self._jobs) if job.after < 0]
        self._start_in_order(ready, 0)
        while self._events:
            if over():
                raise Stopped
            now = self._events[0][0]
            ready = []
            freed: dict[int, None] = {}
            while self._events and self._events[0][0] == now:
                _, held, index = heapq.heappop(self._events)
                if held:
                    ready += self._next[index]
                else:
                    self._give_back(index)
                    freed |= dict.fromkeys((*self._ports[index], *self._inside[index]))
            self._start_in_order(ready, now)
            for link in freed:
                self._wake(link, now)
        return self._starts

    def _give_back(self, index: int) -> None:
        for port in self._ports[index]:
            self._taken[port] = False
        for link in self._inside[index]:
            self._room[link] += self._width[index]

    def _in_the_way(self, index: int) -> int | None:
        for port in self._ports[index]:
            if self._taken[port]:
                return port
        width = self._width[index]
        for link in self._inside[index]:
            if self._room[link] < width:
                return link
        return None

    def _start_in_order(self, ready: list[int], now: int) -> None:
        """Put jobs that became ready among those that wait for their ports, which then have their turn."""
        touched: dict[int, None] = {}
        for index in ready:
            port = self._ports[index][0]
            heapq.heappush(self._waiting.setdefault(port, []), self._rank[index])
            touched[port] = None
        for port in touched:
            self._wake(port, now)

    def _wake(self, link: int, now: int) -> None:
        """Start what waits for a link, best first, until the link is busy again."""
        waiting = self._waiting.get(link)
        while waiting:
            index = self._order[waiting[0]]
            obstacle = self._in_the_way(index)
            if obstacle == link:
                return
            rank = heapq.heappop(waiting)
            if obstacle is not None:
                heapq.heappush(self._waiting.setdefault(obstacle, []), rank)
                continue
            for port in self._ports[index]:
                self._taken[port] = True
            for inner in self._inside[index]:
                self._room[inner] -= self._width[index]
            self._starts[index] = now
            job = self._jobs[index]
            heapq.heappush(self._events, (now + job.busy_ns, 0, index))
            heapq.heappush(self._events, (now + job.takes_ns, 1, index))
