"""Hops on links: each starts as soon as what it waits for, its ports and the links inside its route allow.

The same rules run forward in time and backward: `planner.packing.laying`, `planner.packing.justifying`.
"""

import heapq
from collections.abc import Callable, Sequence

import attrs

from planner.packing.network import Network


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


@attrs.frozen(kw_only=True)
class Waiting:
    """Who waits for whom, by the numbers of jobs."""

    order: Sequence[int]  # of those that could start on a link, the first in this order does
    followers: Sequence[Sequence[int]]
    awaits: Sequence[int]  # how many each follows
    lands_ns: Sequence[int]  # from the start of a job until its followers no longer wait for it
    from_ns: Sequence[int]  # the earliest start of a job that follows nobody


class Floor:
    """Links as machines: ports take one job at a time, links inside as many as their capacity carries."""

    def __init__(self, net: Network, jobs: Sequence[Job], waiting: Waiting) -> None:
        self._jobs = jobs
        self._order = waiting.order
        self._rank = [0] * len(jobs)  # queues hold ranks: they compare faster than what they come from
        for rank, index in enumerate(self._order):
            self._rank[index] = rank
        self._width = [net.ways[job.way].width for job in jobs]
        self._ports = [net.ways[job.way].ports for job in jobs]
        self._inside = [net.ways[job.way].inside for job in jobs]
        self._taken = [False] * len(net.movement.links)  # ports
        self._room = [int(link.bytes_per_second) for link in net.movement.links]  # of links inside
        self._queues: dict[int, list[int]] = {}  # ranks, by the link that is in the way
        self._followers = waiting.followers
        self._awaits = list(waiting.awaits)
        self._lands_ns = waiting.lands_ns
        # At, 0: links are free again, 1: followers no longer wait, 2: may start at all; job.
        self._events = [(waiting.from_ns[index], 2, index) for index, count in enumerate(self._awaits) if not count]
        self._starts = [0] * len(jobs)

    def run(self, over: Callable[[], bool]) -> list[int]:
        """Give the start of every job.  Raises Stopped."""
        heapq.heapify(self._events)
        while self._events:
            if over():
                raise Stopped
            now = self._events[0][0]
            ready: list[int] = []
            freed: dict[int, None] = {}
            while self._events and self._events[0][0] == now:
                _, kind, index = heapq.heappop(self._events)
                if kind == 0:
                    self._give_back(index)
                    freed |= dict.fromkeys((*self._ports[index], *self._inside[index]))
                elif kind == 1:
                    ready += self._released(index)
                else:
                    ready.append(index)
            self._start_in_order(ready, now)
            for link in freed:
                self._wake(link, now)
        return self._starts

    def _released(self, index: int) -> list[int]:
        ready = []
        for follower in self._followers[index]:
            self._awaits[follower] -= 1
            if not self._awaits[follower]:
                ready.append(follower)
        return ready

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
            heapq.heappush(self._queues.setdefault(port, []), self._rank[index])
            touched[port] = None
        for port in touched:
            self._wake(port, now)

    def _wake(self, link: int, now: int) -> None:
        """Start what waits for a link, best first, until the link is busy again."""
        queue = self._queues.get(link)
        while queue:
            index = self._order[queue[0]]
            obstacle = self._in_the_way(index)
            if obstacle == link:
                return
            rank = heapq.heappop(queue)
            if obstacle is not None:
                heapq.heappush(self._queues.setdefault(obstacle, []), rank)
                continue
            for port in self._ports[index]:
                self._taken[port] = True
            for inner in self._inside[index]:
                self._room[inner] -= self._width[index]
            self._starts[index] = now
            heapq.heappush(self._events, (now + self._jobs[index].busy_ns, 0, index))
            if self._followers[index]:
                heapq.heappush(self._events, (now + self._lands_ns[index], 1, index))
