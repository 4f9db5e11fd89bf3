"""What no answer to a placement question can beat: Lagrangian bounds by whole prices, and search of small spaces.

Prices are those of `prices`, in units of value for each `UNIT_BYTES` bytes, so that whole numbers are fine enough.
"""

from collections.abc import Iterable
from itertools import accumulate

import attrs

from specs.decisions.placement.holding import Layout
from specs.decisions.placement.nouns import Item, Objective, Pool, Question, Route, Tier, load_ns
from specs.decisions.placement.prices import Prices
from specs.units import ceil_div
from specs.witness import Witness

UNIT_BYTES = {
    Objective.START_TIME: 2**40,
    Objective.LATE_ITEMS: 2**60,
    Objective.MOVED_BYTES: 2**30,
}


def price_bound(question: Question, witness: Witness) -> int | None:
    """Return what every answer's value reaches, by Lagrangian relaxation; None: no answer exists.

    Let L(p) = sum over families (an LLM and its adapters) of the least of [value + prices of its copies], less what
    all room can bring in: for each memory the most that parts pay which fit in it together, for moved bytes price *
    limit.  A faultless answer pays at most that, so its value is at least its own sum of [value + prices] less all room
    brings in, and each family's part is at least the least one.

    The least part of a family is taken over these states, each of which costs no more than every holding in it:

    - The base has d copies on devices, up to the most `hot_copies` in the family.  The n-th copy in a pool costs its
      parts, and as moved bytes what the parts now there do not cover; d copies cost no less than the d cheapest of
      these over all pools (in each pool they get dearer with n).  More serve no more, and count as "further" below.
    - Its cold requests start from one copy q, no sooner than the quickest route from q's pool to any devices with
      room for it.  With d >= 1 that may be a copy on devices, which is already paid for.
    - Copies on `copies_min` nodes: d + 1 copies are on at most so many nodes, and each further node costs at least
      the cheapest copy in it; as they are further nodes, no less than the sum of the cheapest nodes.
    - Adapters are judged likewise, each alone: with at most d copies on devices, as each lies beside one of the base;
      when d = 0, their start takes at least the base's quickest start from its own q more.

    A hard limit on starting in time removes the states that miss it.  Raises ValueError when the witness names what
    has no price here.
    """
    total = lagrangian(question, witness, with_value=True)
    return None if total is None else max(0, ceil_div(total, UNIT_BYTES[question.objective]))


def proves_infeasible(question: Question, witness: Witness) -> bool:
    """Whether the prices show that no answer exists.

    As `price_bound`, with nothing but prices: if all families' cheapest permitted copies cost more than all room is
    worth, not all fit; the same if some family has no permitted state at all.
    """
    total = lagrangian(question, witness, with_value=False)
    return total is None or total > 0


def lagrangian(question: Question, witness: Witness, *, with_value: bool) -> int | None:
    """Work out UNIT_BYTES * L(p) of `price_bound`; without value only prices count.  None: a family has no state."""
    prices = Prices.of(question, witness)
    relaxation = Relaxation(Layout(question), prices, with_value=with_value)
    total = -prices.moved * (question.moved_bytes_max or 0) - sum(map(prices.room, question.pools))
    for item in question.items:
        if item.base is None:
            least = relaxation.family(item)
            if least is None:
                return None
            total += least
    return total


class Relaxation:
    """The least that a family can cost at given prices; see `price_bound`."""

    def __init__(self, layout: Layout, prices: Prices, *, with_value: bool) -> None:
        self.layout = layout
        self.objective = layout.question.objective
        self.unit = UNIT_BYTES[self.objective] if with_value else 0
        self.prices = prices
        self.ways = ways_of(layout)
        self.moved_price = prices.moved + (self.unit if self.objective is Objective.MOVED_BYTES else 0)

    def family(self, base: Item) -> int | None:
        """Least cost of an LLM and its adapters; None: they have no permitted state."""
        adapters = self.layout.adapters.get(base.id, [])
        of_base = ItemStates(self, base, max(member.hot_copies for member in (base, *adapters)))
        of_adapters = [ItemStates(self, adapter, adapter.hot_copies) for adapter in adapters]
        leasts = [states.least(range(1), 0) for states in of_adapters]
        totals: list[int | None] = []
        for copies in range(1, of_base.copies_max + 1):
            for index, states in enumerate(of_adapters):
                if copies <= states.copies_max:
                    leasts[index] = _least((leasts[index], states.least(range(copies, copies + 1), 0)))
            totals.append(_sum(of_base.least(range(copies, copies + 1), 0), leasts))
        for source in of_base.sources:
            cold = of_base.cost(0, source, 0)
            if cold is not None and not source.on_devices:
                base_ns = source.start_ns
                totals.append(_sum(cold, (states.least(range(1), base_ns) for states in of_adapters)))
        return _least(totals)


@attrs.frozen(kw_only=True)
class Way:
    """Routes from one pool that are as quick as each other, to pools with as much room: one stands for all."""

    route: Route
    landing_bytes: int
    devices: int  # that a start may use: not those of the copy itself

    def takes(self, item: Item) -> bool:
        """Whether the item may start this way."""
        return item.part_bytes <= self.landing_bytes and item.devices <= self.devices


def ways_of(layout: Layout) -> dict[str, list[Way]]:
    """For each pool from which routes lead to devices, its different ways."""
    ways: dict[str, dict[tuple[int, ...], Way]] = {}
    for (source, destination), route in layout.routes.items():
        pool = layout.pools[destination]
        devices = len(pool.memories) // (2 if source == destination else 1)
        kind = route.bytes_per_second, route.bytes_per_second_all, route.latency_ns, pool.landing_bytes, devices
        way = Way(route=route, landing_bytes=pool.landing_bytes, devices=devices)
        ways.setdefault(source, {}).setdefault(kind, way)
    return {source: list(kinds.values()) for source, kinds in ways.items()}


@attrs.frozen(kw_only=True)
class Source:
    """From where an item may start: what a copy there costs at the prices, and its quickest start."""

    price: int
    start_ns: int
    in_node: bool
    on_devices: bool


class ItemStates:
    """The states of one item in `price_bound`, and what each costs."""

    def __init__(self, relaxation: Relaxation, item: Item, copies_most: int) -> None:
        self._relaxation = relaxation
        self._item = item
        self._copies_most = copies_most  # on devices, beyond which no state is better
        on_devices: list[int] = []  # prices of copies
        of_nodes: dict[str, int] = {}  # cheapest copy in each node
        cheapest: dict[tuple[int, bool, bool], int] = {}  # start, in a node, on devices -> price
        for pool in relaxation.layout.question.pools:
            copies = self._copies(pool)
            if not copies:
                continue
            if pool.tier is Tier.DEVICE:
                on_devices += copies
            if pool.node is not None:
                of_nodes[pool.node] = min(of_nodes.get(pool.node, copies[0]), copies[0])
            start_ns = self._start_ns(pool)
            if start_ns is not None:
                kind = start_ns, pool.node is not None, pool.tier is Tier.DEVICE
                cheapest[kind] = min(cheapest.get(kind, copies[0]), copies[0])
        self.sources = tuple(
            Source(price=price, start_ns=start_ns, in_node=in_node, on_devices=devices)
            for (start_ns, in_node, devices), price in sorted(cheapest.items())
        )
        self._on_devices = [0, *accumulate(sorted(on_devices))]  # of the 0, 1, 2 .. cheapest copies together
        self._of_nodes = [0, *accumulate(sorted(of_nodes.values()))]
        self.copies_max = min(copies_most, len(on_devices))

    def least(self, copies: range, base_ns: int) -> int | None:
        """Least cost with so many copies on devices and a base that is ready so late; None: no state is permitted."""
        return _least(self.cost(count, source, base_ns) for count in copies for source in (None, *self.sources))

    def cost(self, on_devices: int, source: Source | None, base_ns: int) -> int | None:
        """Cost of one state; None when it is not permitted.  No source: no request may wait."""
        waiting = self._item.cold_requests(on_devices)
        price, copies = self._on_devices[on_devices], on_devices
        value = 0
        if (waiting > 0) is (source is None):
            return None
        if source is not None:
            if source.on_devices and not on_devices:
                return None
            if not source.on_devices:
                price += source.price
                copies += source.in_node
            late = self._relaxation.layout.is_late(self._item, base_ns + source.start_ns)
            if late and self._relaxation.objective is not Objective.LATE_ITEMS:
                return None
            value = self._value(waiting * (base_ns + source.start_ns), late=late)
        further = max(0, self._item.copies_min - copies)
        if further >= len(self._of_nodes):
            return None
        return value * self._relaxation.unit + price + self._of_nodes[further]

    def _value(self, request_ns: int, *, late: bool) -> int:
        match self._relaxation.objective:
            case Objective.LATE_ITEMS:
                return int(late)
            case Objective.MOVED_BYTES:
                return 0  # counted with the copies
            case Objective.START_TIME:
                return request_ns

    def _copies(self, pool: Pool) -> list[int]:
        """Prices of the 1st, 2nd .. copy in one pool, each with what it must move at the least."""
        item, held_at = self._item, self._relaxation.layout.held_at
        may_keep = self._relaxation.layout.may_keep
        parts = item.devices if pool.tier is Tier.DEVICE else 1
        part_bytes = self._relaxation.layout.bytes_at(item, pool.memories[0].id) if pool.memories else 0
        mine = [memory for memory in pool.memories if may_keep(item, memory.id)]
        room = sum(1 for memory in mine if memory.bytes >= part_bytes)
        there = sum(1 for memory in mine if (item.id, memory.id) in held_at)
        price = self._relaxation.prices.part(pool, part_bytes) * parts
        most = min(room // parts, self._copies_most) if pool.tier is Tier.DEVICE else min(room, 1)
        moved = (max(0, min(parts, count * parts - there)) for count in range(1, most + 1))
        return [price + self._relaxation.moved_price * part_bytes * new for new in moved]

    def _start_ns(self, pool: Pool) -> int | None:
        """Quickest start from a copy in the pool; None: it reaches no devices with room."""
        ways = self._relaxation.ways.get(pool.id, ())
        return min((load_ns(self._item, way.route) for way in ways if way.takes(self._item)), default=None)


def _least(costs: Iterable[int | None]) -> int | None:
    return min((cost for cost in costs if cost is not None), default=None)


def _sum(first: int | None, others: Iterable[int | None]) -> int | None:
    total = first
    for other in others:
        if total is None or other is None:
            return None
        total += other
    return total
