"""How fast holders can become many: bounds for items that move whole, from those who hold them all.

Memories are taken in islands (`specs.decisions.flow.islands`), and only hops from island to island count.

Let z be the bytes of the smallest item in question, r the widest route between islands, L the least latency of a link.
A hop between islands takes z / r + L or longer until its piece is held, and keeps its port busy for as long, or for
z / r where latency does not hold ports: `busy`.

PACE.  An island of p ports and C bytes per second that first holds an item at J completes its i-th hop no sooner than
J plus the larger of (ceil(i / p) - 1) busy + z / r + L - some port carries ceil(i / p) of them, one after another - and
i z / C + L: bytes need capacity, and by SHIFT (`specs.decisions.flow.bounds`) L comes on top.

JOIN.  An island *joins* when it first holds an item: then a hop from an island that joined before, or from the holders,
completes.  So if every hop of those that joined completes as early as PACE allows, and each lets another island join,
at no time can more have joined, or more hops be complete: by induction over completions, as each pace only moves back
when joining does.  All islands count with the most ports and the most capacity of any.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs

from specs.cluster import PlaceId
from specs.decisions.flow.islands import Terrain, terrains
from specs.decisions.flow.question import Item, Movement
from specs.units import NANOS_PER_SECOND, Bytes


@attrs.frozen(kw_only=True)
class _Load:
    """Items with the same holders, seen from the islands: those that must enter some."""

    sizes: tuple[Bytes, ...]  # ascending
    entered: tuple[int, ...]  # islands that each item must enter
    wanted: Mapping[int, int]  # bytes that must enter each island
    sources: tuple[int, ...]
    largest: Mapping[int, int]  # islands that the largest item must enter, with the bytes that must enter each


def growth_bound_ns(movement: Movement) -> int:
    """Bound the completion of whole items by how fast their holders become many: no witness.

    Takes the largest of `_by_bytes`, `_by_exits`, `_by_beginnings` and `_by_lag` over all ways to see islands, all
    groups of items that share their holders, and each group with its smallest items left out.  Rounded down.
    """
    groups: dict[tuple[PlaceId, ...], list[Item]] = {}
    for item in movement.items:
        if item.pieces_max == 1 and item.receivers:
            groups.setdefault(tuple(sorted(item.holders)), []).append(item)
    if not groups or not movement.links:
        return 0
    bound = 0
    for terrain in terrains(movement):
        for holders, items in groups.items():
            items.sort(key=lambda item: -item.bytes)
            for end in range(1, len(items) + 1):
                if end == len(items) or items[end].bytes != items[end - 1].bytes:
                    bound = max(bound, _load_bound(terrain, _load(terrain, holders, items[:end])))
    return bound


def _load(terrain: Terrain, holders: Sequence[PlaceId], items: Sequence[Item]) -> _Load | None:
    sources = tuple(sorted({terrain.island_of[place] for place in holders}))
    entering: dict[tuple[PlaceId, ...], tuple[int, ...]] = {}
    rows: list[tuple[Bytes, tuple[int, ...]]] = []
    wanted: dict[int, int] = {}
    for item in items:
        if item.wanters not in entering:
            found = {terrain.island_of[place] for place in item.wanters}
            entering[item.wanters] = tuple(sorted(found.difference(sources)))
        if islands := entering[item.wanters]:
            rows.append((item.bytes, islands))
    for size, islands in rows:
        for island in islands:
            wanted[island] = wanted.get(island, 0) + size
    if not rows:
        return None
    rows.sort(key=lambda row: row[0])
    return _Load(
        sizes=tuple(size for size, _ in rows),
        entered=tuple(len(islands) for _, islands in rows),
        wanted=wanted,
        sources=sources,
        largest={island: wanted[island] for island in rows[-1][1]},
    )


def _load_bound(terrain: Terrain, load: _Load | None) -> int:
    if load is None:
        return 0
    growth = _Growth(terrain, load)
    if not growth.possible:
        return 0
    return max(_by_bytes(growth), _by_exits(growth), _by_beginnings(growth), _by_lag(growth))


class _Growth:
    """PACE and JOIN for one load: the holders together, and any other island."""

    def __init__(self, terrain: Terrain, load: _Load) -> None:
        self.terrain, self.load = terrain, load
        inside = set(load.sources)
        self.sources = [terrain.islands[island] for island in load.sources]
        self.others = [each for index, each in enumerate(terrain.islands) if index not in inside]
        self.widest = max(each.widest_out for each in terrain.islands)
        self.sends = sum(each.sends for each in self.sources)
        self._ports = sum(each.ports for each in self.sources)
        self.possible = min(self.sends, self._ports) > 0  # else nobody can be served

    def moving_ns(self, rate: int) -> int:
        """Time that the bytes of the smallest item take at a rate."""
        return self.load.sizes[0] * NANOS_PER_SECOND // rate

    def busy_ns(self, rate: int) -> int:
        """Time for which a hop at a rate keeps its port."""
        return self.moving_ns(rate) + (self.terrain.latency_ns if self.terrain.latency_holds_ports else 0)

    def completions(self, left: int) -> Iterator[tuple[int, int]]:
        """Yield when so many hops complete at the earliest, ascending: of the `left` items that leave holders last.

        By the time that a hop of one of these completes, all other items have left the holders, who sent those too.
        """
        early = len(self.load.sizes) - left
        # When the very last item is held outside for the first time, all have left.
        gone = sum(self.load.sizes[:early]) if left > 1 else sum(self.load.sizes) - self.load.sizes[0]
        from_holders = self._pace(self._ports, self.sends, early, gone)
        most = max(self.others, key=lambda each: each.sends).sends
        ports = max(each.ports for each in self.others)
        from_others = self._pace(ports, most, 0, 0)
        batches = max(1, self.sends // self.widest), max(1, most // self.widest)
        waiting = len(self.others) if most and ports else 0
        queue = [(from_holders(1), -1, 1, 1)]  # when, who has joined when (-1: the holders), how many, their next hop
        while True:
            now, complete = queue[0][0], 0
            while queue[0][0] == now:
                _, since, emitters, hop = queue[0]
                batch = batches[since >= 0]
                complete += emitters * batch
                hop += batch
                after = from_holders(hop) if since < 0 else since + from_others(hop)
                heapq.heapreplace(queue, (after, since, emitters, hop))
            yield now, complete
            joining = min(waiting, complete)
            waiting -= joining
            if joining:
                heapq.heappush(queue, (now + from_others(1), now, joining, 1))

    def _pace(self, ports: int, rate: int, hops_before: int, bytes_before: int) -> Callable[[int], int]:
        """Give the earliest completion of the i-th hop of emitters that had other hops before (PACE)."""
        size, latency = self.load.sizes[0], self.terrain.latency_ns
        busy, takes = self.busy_ns(self.widest), self.moving_ns(self.widest) + latency

        def earliest(hop: int) -> int:
            by_ports = (hops_before + hop - 1) // ports * busy + takes
            return max(by_ports, (bytes_before + hop * size) * NANOS_PER_SECOND // rate + latency)

        return earliest

    def joins(self) -> Iterator[tuple[int, int]]:
        """Yield when so many islands join at the earliest, all of them."""
        waiting = len(self.others)
        for now, count in self.completions(len(self.load.sizes)) if waiting else ():
            yield now, min(count, waiting)
            waiting -= min(count, waiting)
            if not waiting:
                return


def _by_bytes(growth: _Growth) -> int:
    """Bound by all bytes together: who has not joined sends nothing, and islands take no more than they can.

    The holders and as many islands as have joined (JOIN), those that send most, send all bytes that must enter islands.
    T is no less than the time until the integral of that reaches them all, plus L by SHIFT.
    """
    load = growth.load
    taken = sum(growth.terrain.islands[island].takes for island in load.wanted)
    sends = sorted((each.sends for each in growth.others), reverse=True)
    demand = sum(size * count for size, count in zip(load.sizes, load.entered, strict=True)) * NANOS_PER_SECOND
    at_ns, joined, rate = 0, 0, min(taken, growth.sends)
    if taken == 0:
        return 0
    for now, count in growth.joins():
        if demand <= rate * (now - at_ns):
            break
        demand -= rate * (now - at_ns)
        at_ns, joined = now, joined + count
        rate = min(taken, growth.sends + sum(sends[:joined]))
        if rate == taken:
            break
    return at_ns + demand // rate + growth.terrain.latency_ns


def _by_exits(growth: _Growth) -> int:
    """Bound by the items that leave their holders last.

    Let items be in the order in which they are first held outside, and take the last k of them, each of which must
    enter as many islands as any must at least.  Whatever the order, all other items, the smallest of all at least,
    have left the holders before a hop of one of these completes; and nobody else joins for them before.  So T is no
    less than the time at which so many hops of theirs complete (PACE, JOIN).  k is 1, 2, 4, .. and all.
    """
    load = growth.load
    bound, left, least = 0, 1, min(load.entered)
    while True:
        needed = sum(load.entered) if left == len(load.sizes) else left * least
        for now, count in growth.completions(left):
            needed -= count
            if needed <= 0:
                bound = max(bound, now)
                break
        if left == len(load.sizes):
            return bound
        left = min(2 * left, len(load.sizes))


def _by_beginnings(growth: _Growth) -> int:
    """Bound by the islands that begin to receive last.

    Take m islands, and let q be the widest hop into any of them.  On a port, hops into these start `busy` at q apart.
    The others among all islands are taken to have joined first (JOIN), and each of the m joins z / q + L after its
    first hop has started.  If each start is the first into another of the m, at no time can more of them have begun;
    let B be when the m-th begins.  After B all that it wants is still to come, over what it can take, plus L by SHIFT.
    The m that need longest are tried, of all islands whose widest hop is not above one of the widths that occur.
    """
    islands, wanted = growth.terrain.islands, growth.load.wanted
    needs = {
        island: size * NANOS_PER_SECOND // islands[island].takes
        for island, size in wanted.items()
        if islands[island].takes
    }
    joins = list(growth.joins())
    bound = 0
    for width in sorted({islands[island].widest_in for island in needs}):
        slow = sorted((needs[island] for island in needs if islands[island].widest_in <= width), reverse=True)
        begun = 0
        for begins, count in _beginnings(growth, joins, len(slow), min(width, growth.widest)):
            for need in slow[begun : begun + count]:
                bound = max(bound, begins + need + growth.terrain.latency_ns)
            begun += count
            if begun >= len(slow):
                break
    return bound


def _beginnings(growth: _Growth, joins: Sequence[tuple[int, int]], slow: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield when so many of the slow islands begin at the earliest; ends only when no island can send."""
    ports = max(each.ports for each in growth.others)
    busy, takes = growth.busy_ns(width), growth.moving_ns(width) + growth.terrain.latency_ns
    queue = [(0, sum(each.ports for each in growth.sources))]
    others = len(growth.others) - slow
    for now, count in joins:
        if others > 0 and ports:
            heapq.heappush(queue, (now, min(count, others) * ports))
        others -= count
    if busy == 0:  # less than what is counted here
        yield 0, slow
        return
    while slow > 0:
        now, starts = heapq.heappop(queue)
        yield now, min(starts, slow)
        if ports:
            heapq.heappush(queue, (now + takes, min(starts, slow) * ports))
        heapq.heappush(queue, (now + busy, starts))
        slow -= starts


def _by_lag(growth: _Growth) -> int:
    """Bound by what islands miss while the largest item leaves its holders.

    Let x be its bytes, C what the holders can send, w the widest hop out of them, and e >= x / w the time when it is
    first held outside, in island d.  By then the holders have sent C e bytes at most, x of them to d alone.  Another
    island, which wants W bytes with this item and can take R >= C bytes per second, has received C e - x at most, what
    it has of this item included: all that has left the holders.  So T >= e + (W + x - C e) / R, which only grows with
    e; and L by SHIFT.

    With one port the holders have sent nothing then of any item that is not yet outside.  Such *new* items, this one
    among them, have W + x - C e bytes or more for the island, and come after it has begun with them: at e + B for the
    m-th of the islands to begin (`_after_the_largest`), and T >= e + B + (W + x - C e) / R + L.  The islands but d, and
    of these any m: the largest of all bounds is left out, and then the m that are largest are tried.
    """
    load, islands = growth.load, growth.terrain.islands
    size, sends = load.sizes[-1], growth.sends
    width = max(each.widest_out for each in growth.sources)
    lags: list[int] = []
    for island, wanted in load.largest.items():
        takes = islands[island].takes
        rest = max(0, wanted + size - -(-sends * size // width))
        lags.append(size * NANOS_PER_SECOND // width + rest * NANOS_PER_SECOND // takes if takes >= sends else 0)
    lags = sorted(lags, reverse=True)[1:]
    if not lags or not lags[0]:
        return 0
    bound, begun = lags[0], 0
    for begins, count in _after_the_largest(growth, len(lags)):
        for lag in lags[begun : begun + count]:
            bound = max(bound, begins + lag)
        begun += count
    return bound + growth.terrain.latency_ns


def _after_the_largest(growth: _Growth, islands: int) -> Iterator[tuple[int, int]]:
    """Yield when so many islands begin with a new item at the earliest, after the largest is first held outside.

    The holders' one port starts one hop of a new item then, and others `busy` apart.  Whoever it reaches goes on after
    z / r + L, from each of its ports.  Island d has nothing new but the largest item, which keeps each of its ports for
    x / r: it starts one hop from each, and whom these reach goes on after x / r too.  (Sent to d, something else would
    make one more sender, as sent to an island that has not begun: which begins besides.)
    """
    ports = max((each.ports for each in growth.others), default=0)
    busy, takes = growth.busy_ns(growth.widest), growth.moving_ns(growth.widest) + growth.terrain.latency_ns
    held = growth.load.sizes[-1] * NANOS_PER_SECOND // growth.widest
    if sum(each.ports for each in growth.sources) > 1 or busy == 0:
        return
    queue = [(0, 1, takes, busy), (0, ports, held, held)]  # when, starts, after which the reached go on, next ones
    while islands > 0:
        now, starts, goes_on, again = heapq.heappop(queue)
        started = min(starts, islands)
        yield now, started
        islands -= starts
        if ports and started:
            heapq.heappush(queue, (now + goes_on, started * ports, takes, busy))
        if starts:
            heapq.heappush(queue, (now + again, starts, takes, busy))
