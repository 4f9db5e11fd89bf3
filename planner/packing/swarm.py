"""Acting a swarm out: places exchange whole blobs, one at a time on each port, until everybody has what it wants.

Time goes from instant to instant at which ports fall idle; with equal links and blobs these are ticks.  At each instant
idle senders and receivers are matched (`planner.packing.matching`):

- blobs go first of which the smallest share of those concerned have a copy, each from all idle holders.  So the newest
  blob doubles every tick, which nothing later can make up for;
- a blob enters the racks that lack it altogether before it spreads inside racks: its copies double over racks, then
  inside them, and each rack's door is crossed once;
- who receives a rare blob should have nothing else to send that is as rare, for it can send one of them only; and who
  sends what is less rare should not be needed for it;
- at last the matching is filled up: whoever is idle and lacks something that somebody has gets it along an augmenting
  path, on which another changes its sender, as far as links inside the ways have room.

Acting it out by other rules, or with other ties broken, gives other orders.  The one that ends first is kept.
"""

import heapq
import itertools
import random
from collections.abc import Callable, Iterator, Sequence

import attrs

from planner.packing.ground import Ground, Way, members, set_of
from planner.packing.matching import Matching, State, Taste
from planner.search import Search
from specs.units import NANOS_PER_SECOND

_SHARES = 1 << 20
# Ports that fall idle within this part of the quickest transfer of the largest blob fall idle at one instant.
_INSTANT_PART = 32
# Moves that are acted out over all orders when nobody sets a limit (two orders are tried in any case).
_MOVES_MAX = 100_000
_ORDERS_MAX = 24
_ORDERS_MAX_WITHIN_LIMITS = 10_000


@attrs.frozen(kw_only=True)
class Rule:
    """How one order is acted out."""

    needy_first: bool = False  # those receive who lack most, not those who have least to send
    rare_part: float = 0.5  # where rates differ: a blob is rare while at most so many of the fastest places have it
    order: tuple[int, ...] = ()  # of equally rare blobs; absent: the largest first
    ties: int | None = None  # seed of the chance that breaks ties; None: numbers break them


@attrs.frozen(kw_only=True)
class Acted:
    """What was moved: (start, blob, source, destination) in the order of starts."""

    moves: list[tuple[int, int, int, int]]
    end_ns: int
    complete: bool  # every place got what it wants


def act(ground: Ground, rule: Rule, *, stop_ns: int | None = None, over: Callable[[], bool] = lambda: False) -> Acted:
    """Act one order out; give up when it does not end before an instant, or when told to."""
    swarm = _Swarm(ground, rule)
    while True:
        swarm.choose()
        if not swarm.running:
            return Acted(moves=swarm.moves, end_ns=swarm.end_ns, complete=not any(swarm.state.wanting))
        if (stop_ns is not None and swarm.end_ns >= stop_ns) or over():
            return Acted(moves=swarm.moves, end_ns=swarm.end_ns, complete=False)
        swarm.wait()


def usual_rules(ground: Ground) -> list[Rule]:
    """List the most promising rules; chance has no part in them."""
    found = [*(Rule(rare_part=part) for part in _rare_parts(ground)), Rule(needy_first=True)]
    if len(set(ground.sizes)) > 1:
        found.append(Rule(order=tuple(sorted(range(len(ground.sizes)), key=lambda blob: ground.sizes[blob]))))
    return found


def _varied(ground: Ground, chance: random.Random, number: int, best: Rule) -> Rule:
    """Break ties by chance.  Where sizes differ, also try other orders of equally rare blobs, or change the best.

    The largest blobs take longest to spread; but while all are new, small ones first give everybody something to send,
    and several large ones at once leave too little to exchange beside them.
    """
    parts = _rare_parts(ground)
    ties = chance.getrandbits(30)
    order: tuple[int, ...] = ()
    if len(set(ground.sizes)) > 1 and number % 4:
        blobs = list(best.order or range(len(ground.sizes)))
        if number % 4 == 1 or not best.order:
            chance.shuffle(blobs)
        else:
            moved = max(chance.sample(blobs, 2), key=lambda blob: ground.sizes[blob])
            blobs.remove(moved)
            blobs.insert(chance.randrange(len(blobs) + 1), moved)
            return attrs.evolve(best, order=tuple(blobs), ties=ties if number % 4 == 2 else best.ties)
        order = tuple(blobs)
    return Rule(rare_part=parts[number // 2 % len(parts)], needy_first=number % 3 == 2, order=order, ties=ties)


def _rare_parts(ground: Ground) -> tuple[float, ...]:
    return (0.5, 0.1) if len(ground.classes) > 1 else (0.5,)


def orders(ground: Ground, search: Search, bound_ns: int, *, whole: bool = False) -> Iterator[Acted]:
    """Yield orders, each of which ends before all earlier ones, until one ends by the bound or limits say stop.

    Each move acted out is a step.  The first order comes whatever it takes, unless the clock runs out (`whole`: even
    then): then, and when not all is reached, it is not complete and the only one.
    """
    wanted = sum(wanting.bit_count() for wanting in ground.wanting)
    limited = search.within_s is not None or search.steps_max is not None
    count = _ORDERS_MAX_WITHIN_LIMITS if limited else min(_ORDERS_MAX, max(2, _MOVES_MAX // max(1, wanted)))
    usual = usual_rules(ground)
    chance = random.Random(search.seed)  # noqa: S311 - ties, no secrets
    best: Acted | None = None
    best_rule = usual[0]
    for number in range(count):
        rule = usual[number] if number < len(usual) else _varied(ground, chance, number, best_rule)
        if best is None:
            best = act(ground, rule, over=lambda: not whole and search.left_s() == 0)
            yield best
            if not best.complete:
                return
            search.spend(wanted)
        else:
            found = act(ground, rule, stop_ns=best.end_ns, over=search.over)
            search.spend(len(found.moves))
            if found.complete:
                best, best_rule = found, rule
                yield best
        if best.end_ns <= bound_ns or search.over():
            return


class _Swarm:
    """The state, and what is on its way."""

    def __init__(self, ground: Ground, rule: Rule) -> None:
        places = range(len(ground.places))
        lacks = [0] * len(places)
        for wanting in ground.wanting:
            for place in members(wanting):
                lacks[place] += 1
        self._sending, self._receiving = list(ground.ways_out), list(ground.ways_in)  # idle ports of each place
        self.state = State(
            holders=list(ground.holders),
            wanting=list(ground.wanting),
            coming=[0] * len(ground.sizes),
            lacks=lacks,
            level=[set_of(place for place in places if lacks[place] == many) for many in range(1 + max([0, *lacks]))],
            may_send=set_of(place for place in places if self._sending[place]),
            may_receive=set_of(place for place in places if self._receiving[place]),
            room=dict(ground.capacity),
            busy_until={},
            partners=[0] * len(places),
        )
        self.moves: list[tuple[int, int, int, int]] = []
        self.end_ns = 0
        # At, 0: ports are idle again or 1: the blob is held, number of the move, way.  Two never compare by way.
        self.running: list[tuple[int, int, int, Way]] = []
        self._ground = ground
        chance = None if rule.ties is None else random.Random(rule.ties)  # noqa: S311 - ties, no secrets
        self._rank = _ranks(ground.sizes, rule, chance)
        picks = None if chance is None else (chance.getrandbits(30) for _ in itertools.count())
        self._taste = Taste(needy_first=rule.needy_first, rare_part=rule.rare_part, picks=picks)
        largest = max((size for size, wanting in zip(ground.sizes, ground.wanting, strict=True) if wanting), default=0)
        self._instant_ns = largest * NANOS_PER_SECOND // max([1, *ground.receives]) // _INSTANT_PART

    def wait(self) -> None:
        """Let time pass until ports are idle again or something arrives."""
        state = self.state
        end = self.running[0][0] + self._instant_ns
        while self.running and self.running[0][0] <= end:
            state.now, held, number, way = heapq.heappop(self.running)
            _, blob, source, destination = self.moves[number]
            if held:
                state.holders[blob] |= 1 << destination
                state.coming[blob] &= ~(1 << destination)
                continue
            self._sending[source] += 1
            self._receiving[destination] += 1
            state.may_send |= 1 << source
            state.may_receive |= 1 << destination
            for link in way.inner:
                state.room[link] += way.rate

    def choose(self) -> None:
        """Start whatever can start now; places with several ports take several turns."""
        while True:
            found = Matching(self._ground, self.state, self._by_urgency(), self._taste).run()
            for place, match in found.items():
                self._start(match.blob, match.source, place, match.way)
            if not found or self._ground.one_port:
                return

    def _by_urgency(self) -> list[int]:
        keyed = []
        for blob, wanting in enumerate(self.state.wanting):
            if wanting:
                have = (self.state.holders[blob] | self.state.coming[blob]).bit_count()
                share = have * _SHARES // (have + wanting.bit_count())
                keyed.append((share, self._rank[blob], blob))
        keyed.sort()
        return [blob for *_, blob in keyed]

    def _start(self, blob: int, source: int, destination: int, way: Way) -> None:
        state = self.state
        end = state.now + way.takes_ns(self._ground.sizes[blob])
        idle = end if self._ground.latency_holds_ports else end - way.latency_ns
        number = len(self.moves)
        heapq.heappush(self.running, (idle, 0, number, way))
        heapq.heappush(self.running, (end, 1, number, way))
        self.moves.append((state.now, blob, source, destination))
        self.end_ns = max(self.end_ns, end)
        bit = 1 << destination
        state.level[state.lacks[destination]] &= ~bit
        state.lacks[destination] -= 1
        state.level[state.lacks[destination]] |= bit
        state.partners[destination] |= 1 << source
        state.busy_until[way.first] = state.busy_until[way.last] = idle
        self._sending[source] -= 1
        self._receiving[destination] -= 1
        if not self._sending[source]:
            state.may_send &= ~(1 << source)
        if not self._receiving[destination]:
            state.may_receive &= ~bit


def _ranks(sizes: Sequence[int], rule: Rule, chance: random.Random | None) -> list[int]:
    """Rank blobs that are equally rare: 0 goes first."""
    ties = [chance.random() if chance else 0.0 for _ in sizes]
    order = rule.order or sorted(range(len(sizes)), key=lambda blob: (-sizes[blob], ties[blob], blob))
    ranks = [0] * len(order)
    for rank, blob in enumerate(order):
        ranks[blob] = rank
    return ranks
