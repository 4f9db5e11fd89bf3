"""Small movements and an exhaustive search for their best schedules, which knows nothing of the planner."""

import itertools

import attrs

from specs.cluster import Link
from specs.decisions.flow.question import Item, Movement
from specs.decisions.flow.values import Objective

GIGABYTE = 10**9
BYTES = 1000  # of an item: 1,000 ns at a gigabyte per second


def link(source, destination, rate=GIGABYTE, latency_ns=0):
    return Link(
        id=f"{source}>{destination}",
        source=source,
        destination=destination,
        bytes_per_second=rate,
        latency_ns=latency_ns,
    )


def item(name, holders, wanters, size=BYTES, pieces_max=1):
    return Item(name=name, bytes=size, holders=tuple(holders), wanters=tuple(wanters), pieces_max=pieces_max)


def mesh(edges, items, relays=(), *, held=True):
    """Memories m0, m1, .. joined directly; edges are (source, destination, rate in GB/s, latency in ns)."""
    names = sorted({f"m{end}" for a, b, *_ in edges for end in (a, b)})
    links = tuple(link(f"m{a}", f"m{b}", rate * GIGABYTE, latency) for a, b, rate, latency in edges)
    return Movement(
        memories=tuple(names), links=links, items=tuple(items), relays=tuple(relays), latency_holds_ports=held
    )


def star(rates, items, latency_ns=0, relays=()):
    """Memories m0, m1, .. on one switch, each with a cable of so many GB/s in both directions."""
    links = []
    for number, rate in enumerate(rates):
        links += [
            link(f"m{number}", "hub", rate * GIGABYTE, latency_ns),
            link("hub", f"m{number}", rate * GIGABYTE, latency_ns),
        ]
    memories = tuple(f"m{number}" for number in range(len(rates)))
    return Movement(memories=memories, links=tuple(links), items=tuple(items), relays=tuple(relays))


def multicast(nodes, blocks, size=BYTES):
    """Items that m0 holds and all others want."""
    others = [f"m{number}" for number in range(1, nodes)]
    return [item(f"block{number}", ["m0"], others, size) for number in range(blocks)]


def allgather(nodes, size=BYTES, pieces_max=1):
    names = [f"m{number}" for number in range(nodes)]
    return [item(f"of-{name}", [name], [each for each in names if each != name], size, pieces_max) for name in names]


def alltoall(nodes, size=BYTES, pieces_max=1):
    names = [f"m{number}" for number in range(nodes)]
    return [item(f"{a}-{b}", [a], [b], size, pieces_max) for a, b in itertools.permutations(names, 2)]


@attrs.define
class Exhaustive:
    """All schedules of whole items in which every hop starts as early as those started before it allow.

    One of them is best for every objective that only grows when hops end later.  Hops cross one link, or two over
    one hub; ports are all links.
    """

    movement: Movement
    objective: Objective
    best: int = 10**18
    ways: list = attrs.field(factory=list)

    def __attrs_post_init__(self):
        memories = set(self.movement.memories)
        out = {}
        for each in self.movement.links:
            out.setdefault(each.source, []).append(each)
        for first in self.movement.links:
            if first.source not in memories:
                continue
            if first.destination in memories:
                self._way([first])
            else:
                for last in out[first.destination]:
                    assert last.destination in memories
                    if last.destination != first.source:
                        self._way([first, last])

    def _way(self, links):
        rate = min(each.bytes_per_second for each in links)
        latency = sum(each.latency_ns for each in links)
        self.ways.append((links[0].source, links[-1].destination, [each.id for each in links], rate, latency))

    def solve(self):
        held = {}
        for number, each in enumerate(self.movement.items):
            for place in each.holders:
                held[number, place] = 0
        self._search(held, {}, 0)
        return self.best

    def _wanted(self):
        return [(n, place) for n, each in enumerate(self.movement.items) for place in each.receivers]

    def _value(self, held):
        """What is sure already: receivers without their item count with the objective's least."""
        if self.objective is Objective.ALL:
            return max((held.get(key, 0) for key in self._wanted()), default=0)
        if self.objective is Objective.RAMP:
            return sum(self.movement.items[key[0]].bytes * held.get(key, 0) for key in self._wanted())
        firsts = []
        for number, each in enumerate(self.movement.items):
            if each.receivers and not set(each.holders) & set(each.wanters):
                firsts.append(min((held.get((number, place), 10**17) for place in each.receivers), default=0))
        return max((first for first in firsts if first < 10**17), default=0)

    def _search(self, held, free, clock):
        missing = [key for key in self._wanted() if key not in held]
        if self._value(held) >= self.best and self.objective is not Objective.COVER:
            return
        if not missing:
            self.best = min(self.best, self._value(held))
            return
        for number, each in enumerate(self.movement.items):
            takers = {*each.receivers, *self.movement.relays}
            for source, place, ports, rate, latency in self.ways:
                if (number, source) not in held or (number, place) in held or place not in takers:
                    continue
                start = max(clock, held[number, source], *(free.get(port, 0) for port in ports))
                moving = -(-each.bytes * 10**9 // rate)
                end = start + moving + latency
                busy = end if self.movement.latency_holds_ports else start + moving
                self._search({**held, (number, place): end}, {**free, **dict.fromkeys(ports, busy)}, start)
