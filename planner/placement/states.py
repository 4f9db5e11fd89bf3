"""What an item may take, counted by classes of pools: the columns of the linear relaxation.

Pools of one tier whose routes are alike form a class, so that a thousand items on a hundred memories stay small.
"""

from collections.abc import Iterator, Sequence

import attrs

from specs.decisions.placement.bounds import Way, ways_of
from specs.decisions.placement.holding import Layout
from specs.decisions.placement.nouns import Item, Objective, Pool, Tier, load_ns

_CLASSES_MAX = 8


@attrs.frozen(kw_only=True, eq=False)
class PoolClass:
    """Pools that are alike."""

    pools: tuple[Pool, ...]
    ways: tuple[Way, ...]

    @property
    def tier(self) -> Tier:
        """The tier of every pool here."""
        return self.pools[0].tier

    @property
    def in_nodes(self) -> bool:
        """Whether copies here count for copies on nodes."""
        return self.pools[0].node is not None

    @property
    def bytes(self) -> int:
        """What all its memories hold."""
        return sum(memory.bytes for pool in self.pools for memory in pool.memories)


@attrs.frozen(kw_only=True, eq=False)
class State:
    """One way to hold an item: copies by class, and what follows."""

    device_copies: int
    source: int | None  # class, other than of devices, that cold requests start from
    copies: tuple[tuple[int, int], ...]  # (class, copies), each class once
    room: tuple[tuple[int, int], ...]  # (class, bytes)
    moved_bytes: int
    start_ns: int | None  # None: no request waits
    value: int


def classes_of(layout: Layout) -> tuple[PoolClass, ...]:
    """Group the pools of a question; by tier alone when there would be too many classes."""
    ways = ways_of(layout)
    fine: dict[object, list[Pool]] = {}
    coarse: dict[object, list[Pool]] = {}
    for pool in layout.question.pools:
        kinds = sorted(
            (way.route.bytes_per_second, way.route.bytes_per_second_all, way.route.latency_ns, way.landing_bytes)
            for way in ways.get(pool.id, ())
        )
        fine.setdefault((pool.tier, pool.node is None, tuple(kinds)), []).append(pool)
        coarse.setdefault((pool.tier, pool.node is None), []).append(pool)
    groups = fine if len(fine) <= _CLASSES_MAX else coarse
    return tuple(
        PoolClass(pools=tuple(pools), ways=tuple(way for pool in pools[:1] for way in ways.get(pool.id, ())))
        for pools in groups.values()
    )


class ItemChoices:
    """The states of one item, for a base that is ready at a given time."""

    def __init__(self, layout: Layout, classes: Sequence[PoolClass], item: Item, copies_most: int) -> None:
        self._layout = layout
        self._copies_most = copies_most  # on devices, beyond which no state is better
        self._item = item
        self._classes = classes
        self._moves = [self._copies(group) for group in classes]
        self._starts = [
            min((load_ns(item, way.route) for way in group.ways if way.takes(item)), default=None) for group in classes
        ]
        self._bytes = [item.part_bytes * item.devices if group.tier is Tier.DEVICE else item.bytes for group in classes]

    def states(self, *, hot: bool, cold: bool, base_ns: int = 0) -> list[State]:
        """States with copies on devices (`hot`), and without (`cold`)."""
        found = list(self._with_copies(None, 0, base_ns)) if cold else []
        for index, group in enumerate(self._classes):
            if hot and group.tier is Tier.DEVICE:
                most = min(len(self._moves[index]), self._copies_most)
                for count in range(1, most + 1):
                    found += self._with_copies(index, count, base_ns)
        return found

    def _with_copies(self, devices: int | None, count: int, base_ns: int) -> Iterator[State]:
        waiting = self._item.cold_requests(count)
        on_devices = {} if devices is None else {devices: count}
        if not waiting:
            yield from self._on_nodes(on_devices, None, None)
            return
        own_ns = None if devices is None else self._starts[devices]
        if own_ns is not None:
            yield from self._on_nodes(on_devices, None, base_ns + own_ns)
        for index, group in enumerate(self._classes):
            start_ns = self._starts[index]
            if group.tier is Tier.DEVICE or start_ns is None or not self._moves[index]:
                continue
            if own_ns is None or start_ns < own_ns:
                yield from self._on_nodes({**on_devices, index: 1}, index, base_ns + start_ns)

    def _on_nodes(self, copies: dict[int, int], source: int | None, start_ns: int | None) -> Iterator[State]:
        """Add copies until there are enough on nodes, all in one class."""
        late = start_ns is not None and self._layout.is_late(self._item, start_ns)
        if late and self._layout.question.objective is not Objective.LATE_ITEMS:
            return
        on_nodes = sum(count for index, count in copies.items() if self._classes[index].in_nodes)
        further = self._item.copies_min - on_nodes
        if further <= 0:
            yield self._state(copies, source, start_ns, late=late)
            return
        for index, group in enumerate(self._classes):
            count = copies.get(index, 0) + further
            if group.in_nodes and count <= len(self._moves[index]):
                yield self._state({**copies, index: count}, source, start_ns, late=late)

    def _state(self, copies: dict[int, int], source: int | None, start_ns: int | None, *, late: bool) -> State:
        on_devices = sum(count for index, count in copies.items() if self._classes[index].tier is Tier.DEVICE)
        moved = sum(sum(self._moves[index][:count]) for index, count in copies.items())
        match self._layout.question.objective:
            case Objective.START_TIME:
                value = self._item.cold_requests(on_devices) * (start_ns or 0)
            case Objective.LATE_ITEMS:
                value = int(late)
            case Objective.MOVED_BYTES:
                value = moved
        return State(
            device_copies=on_devices,
            source=source,
            copies=tuple(copies.items()),
            room=tuple((index, self._bytes[index] * count) for index, count in copies.items()),
            moved_bytes=moved,
            start_ns=start_ns,
            value=value,
        )

    def _copies(self, group: PoolClass) -> list[int]:
        """Bytes that the 1st, 2nd .. copy in a class moves, the least first."""
        item, layout = self._item, self._layout
        moves: list[int] = []
        for pool in group.pools:
            parts = item.devices if pool.tier is Tier.DEVICE else 1
            part_bytes = item.part_bytes if pool.tier is Tier.DEVICE else item.bytes
            mine = [memory for memory in pool.memories if layout.may_keep(item, memory.id)]
            room = sum(1 for memory in mine if memory.bytes >= part_bytes)
            there = sum(1 for memory in mine if (item.id, memory.id) in layout.held_at)
            most = min(room // parts, max(self._copies_most, item.copies_min)) if parts else 0
            moves += [part_bytes * max(0, min(parts, count * parts - there)) for count in range(1, most + 1)]
        return sorted(moves)


def part_in(item: Item, tier: Tier) -> tuple[int, int]:
    """Bytes of each part of a copy, and how many parts it has."""
    return (item.part_bytes, item.devices) if tier is Tier.DEVICE else (item.bytes, 1)
