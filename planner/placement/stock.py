"""A holding that changes: what is where, what room is left, and what each family costs."""

from collections.abc import Iterable, Sequence

from specs.decisions.placement.bounds import UNIT_BYTES
from specs.decisions.placement.holding import Layout
from specs.decisions.placement.nouns import Copy, Item, Pool, Tier

Cost = tuple[int, int]  # items of which a limit of their own does not hold, value of the others


class Stock:
    """Copies that always fit: in room, in bytes moved, adapters only beside their bases."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.copies: dict[str, list[Copy]] = {item.id: [] for item in layout.question.items}
        self.room: dict[str, int] = dict(layout.memory_bytes)
        most = layout.question.moved_bytes_max
        self.moves_left: int | None = most
        self.scarce: frozenset[str] = frozenset()  # pools whose room has a price
        self.moved_price = 0  # value for each `UNIT_BYTES` of the objective
        self.at: dict[str, dict[str, Copy]] = {memory: {} for memory in self.room}  # item -> copy
        order = (Tier.HOST, Tier.SSD, Tier.REMOTE)
        slow = [pool for pool in layout.question.pools if pool.tier is not Tier.DEVICE]
        self._refuge_pools = sorted(slow, key=lambda pool: order.index(pool.tier))
        self._costs: dict[str, Cost] = {}
        self._losses: dict[str, dict[tuple[str, ...], Cost]] = {}  # item, memories of the copy

    def all_copies(self) -> tuple[Copy, ...]:
        """Every copy, by the question's items."""
        return tuple(copy for copies in self.copies.values() for copy in copies)

    def cost(self, item: Item) -> Cost:
        """What an item costs as it and its base are held now."""
        known = self._costs.get(item.id)
        if known is None:
            known = self._costs[item.id] = self._cost(item)
        return known

    def cost_of(self, items: Iterable[Item]) -> Cost:
        """What several items cost."""
        costs = [self.cost(item) for item in items]
        return sum(broken for broken, _ in costs), sum(value for _, value in costs)

    def cost_with(self, items: Iterable[Item], lost: Sequence[Copy], gained: Sequence[Copy]) -> Cost:
        """What several items would cost if these copies went, then those came.  Nothing is changed."""
        for copy in lost:
            self._move(copy, -1)
        for copy in gained:
            self._move(copy, 1)
        costs = [self._cost(item) for item in items]
        for copy in gained:
            self._move(copy, -1)
        for copy in reversed(lost):
            self._move(copy, 1)
        return sum(broken for broken, _ in costs), sum(value for _, value in costs)

    def cost_if(self, items: Sequence[Item], lost: Sequence[Copy], gained: Sequence[Copy]) -> Cost:
        """What several items would cost if these copies went and those came, whether or not they fit."""
        copies = {
            name: [copy for copy in self.copies[name] if copy not in lost]
            + [copy for copy in gained if copy.item == name]
            for item in items
            for name in ((item.id,) if item.base is None else (item.id, item.base))
        }
        costs = [self.layout.cost(item, copies) for item in items]
        return sum(1 for cost in costs if cost is None), sum(cost for cost in costs if cost is not None)

    def instead(self, lost: Sequence[Copy], item: Item, pool: Pool) -> tuple[list[Copy], list[Copy]] | None:
        """What goes and what comes if some copies gave way to one of an item in a pool.

        With them goes what of the item is then idle, and with it come others of what has none left.  None when the item
        does not fit.  Nothing is changed.
        """
        for copy in lost:
            self._move(copy, -1)
        gone, gained = list(lost), []
        place = self.place(item, pool)
        if place is not None:
            self._move(place, 1)
            idle = self._without_idle(item, place)
            gone += idle
            gained = [place, *self._refuges(lost)]
            for copy in gained:
                self._move(copy, -1)
            for copy in reversed(idle):
                self._move(copy, 1)
        for copy in reversed(lost):
            self._move(copy, 1)
        return (gone, gained) if gained else None

    def drop_idle(self, item: Item) -> None:
        """Give up copies of an item where room is scarce, without which no request waits longer."""
        idle = self._without_idle(item)
        for copy in reversed(idle):
            self._move(copy, 1)
        for copy in idle:
            self.remove(copy)

    def _without_idle(self, item: Item, kept: Copy | None = None) -> list[Copy]:
        """Take out idle copies of an item, except one that is kept; say which."""
        slow = [
            copy
            for copy in self.copies[item.id]
            if copy is not kept
            and self.layout.pool(copy).tier is not Tier.DEVICE
            and self.layout.pool(copy).id in self.scarce
        ]
        family = self.layout.family(item)
        found = []
        for copy in slow:
            before = [self._cost(member) for member in family]
            self._move(copy, -1)
            if [self._cost(member) for member in family] == before:
                found.append(copy)
            else:
                self._move(copy, 1)
        return found

    def _refuges(self, lost: Sequence[Copy]) -> list[Copy]:
        """Hold a copy of everything that has none left in the quickest memory with room; say which."""
        found = []
        for name in dict.fromkeys(copy.item for copy in lost):
            pools = iter(self._refuge_pools if not self.copies[name] else ())
            item = self.layout.items[name]
            refuge = next((copy for pool in pools if (copy := self.place(item, pool)) is not None), None)
            if refuge is not None:
                self._move(refuge, 1)
                found.append(refuge)
        return found

    def price_of_moves(self, gained: Iterable[Copy], lost: Iterable[Copy]) -> int:
        """What it costs to move some copies in, less what is saved on those that then need not be moved."""
        if not self.moved_price:
            return 0
        moved = sum(map(self.layout.moved_bytes, gained)) - sum(map(self.layout.moved_bytes, lost))
        return moved * self.moved_price // UNIT_BYTES[self.layout.question.objective]

    def add(self, copy: Copy) -> None:
        """Hold a copy for which there is room."""
        self._move(copy, 1)
        self._forget(copy)

    def remove(self, copy: Copy) -> None:
        """Give up a copy beside which no adapter lies."""
        self._move(copy, -1)
        self._forget(copy)

    def loss(self, copy: Copy) -> Cost:
        """What giving up a copy, and the adapters that lie on its devices beside it, would add to the costs."""
        of_item = self._losses.setdefault(copy.item, {})
        known = of_item.get(copy.memories)
        if known is None:
            family = self.layout.family(self.layout.items[copy.item])
            before = self.cost_of(family)
            after = self._cost_without(family, self.leaving(copy))
            known = of_item[copy.memories] = after[0] - before[0], after[1] - before[1]
        return known

    def _cost_without(self, items: Iterable[Item], lost: Sequence[Copy]) -> Cost:
        """What several items would cost without some copies, when what has none left finds refuge elsewhere."""
        for copy in lost:
            self._move(copy, -1)
        refuges = self._refuges(lost)
        costs = [self._cost(item) for item in items]
        for copy in reversed(refuges):
            self._move(copy, -1)
        for copy in reversed(lost):
            self._move(copy, 1)
        return sum(broken for broken, _ in costs), sum(value for _, value in costs)

    def leaving(self, copy: Copy) -> list[Copy]:
        """What goes with a copy: first the adapters that lie on its devices beside it, then itself."""
        return [*self.beside(copy), copy]

    def beside(self, copy: Copy) -> list[Copy]:
        """Copies of adapters that lie on the devices of a copy of their base."""
        adapters = self.layout.adapters.get(copy.item, ())
        if self.layout.pool(copy).tier is not Tier.DEVICE:
            return []
        return [other for adapter in adapters for other in self.copies[adapter.id] if other.memories == copy.memories]

    def takes(self, copy: Copy) -> bool:
        """Whether a copy is one, and fits: in room, nothing twice, an adapter on devices beside its base."""
        item = self.layout.items[copy.item]
        on_devices = self.layout.pool(copy).tier is Tier.DEVICE
        order = [self.layout.memory_order[memory] for memory in copy.memories]
        one_pool = all(self.layout.pool_of[memory] is self.layout.pool(copy) for memory in copy.memories)
        if len(set(order)) != (item.devices if on_devices else 1) or order != sorted(order) or not one_pool:
            return False
        if on_devices and item.base is not None and all(o.memories != copy.memories for o in self.copies[item.base]):
            return False
        return all(
            item.id not in self.at[memory]
            and self.layout.may_keep(item, memory)
            and self.room[memory] >= self.layout.bytes_at(item, memory)
            for memory in copy.memories
        )

    def place(self, item: Item, pool: Pool) -> Copy | None:
        """Where in a pool another copy fits best: what is there already, then the tightest fit.  None: nowhere."""
        if pool.tier is Tier.DEVICE and item.base is not None:
            return self._beside_base(item, pool)
        parts = item.devices if pool.tier is Tier.DEVICE else 1
        size = item.part_bytes if pool.tier is Tier.DEVICE else item.bytes
        mine = {memory for copy in self.copies[item.id] for memory in copy.memories}
        held_at = self.layout.held_at
        fit = [
            memory.id
            for memory in pool.memories
            if memory.id not in mine and self.room[memory.id] >= size and self.layout.may_keep(item, memory.id)
        ]
        fit.sort(key=lambda memory: ((item.id, memory) not in held_at, self.room[memory]))
        return self._permitted(item, fit[:parts], parts)

    def _beside_base(self, item: Item, pool: Pool) -> Copy | None:
        mine = {copy.memories for copy in self.copies[item.id]}
        fit = [
            copy.memories
            for copy in self.copies[str(item.base)]
            if self.layout.pool(copy) is pool
            and copy.memories not in mine
            and min(self.room[memory] for memory in copy.memories) >= item.part_bytes
            and all(self.layout.may_keep(item, memory) for memory in copy.memories)
        ]
        held_at = self.layout.held_at
        fit.sort(key=lambda memories: sum((item.id, memory) not in held_at for memory in memories))
        return self._permitted(item, list(fit[0]), item.devices) if fit else None

    def _permitted(self, item: Item, memories: Sequence[str], parts: int) -> Copy | None:
        if len(memories) < parts:
            return None
        order = sorted(memories, key=self.layout.memory_order.__getitem__)
        copy = Copy(item=item.id, memories=tuple(order))
        return copy if self.may_move(copy) else None

    def may_move(self, copy: Copy) -> bool:
        """Whether the limit on moved bytes permits one copy more."""
        return self.moves_left is None or self.layout.moved_bytes(copy) <= self.moves_left

    def _cost(self, item: Item) -> Cost:
        cost = self.layout.cost(item, self.copies)
        return (1, 0) if cost is None else (0, cost)

    def _move(self, copy: Copy, sign: int) -> None:
        """Put a copy in (1) or take it out (-1)."""
        item = self.layout.items[copy.item]
        if sign > 0:
            self.copies[copy.item].append(copy)
        else:
            self.copies[copy.item].remove(copy)
        for memory in copy.memories:
            self.room[memory] -= sign * self.layout.bytes_at(item, memory)
            assert self.room[memory] >= 0, memory
            if sign > 0:
                self.at[memory][item.id] = copy
            else:
                del self.at[memory][item.id]
        if self.moves_left is not None:
            self.moves_left -= sign * self.layout.moved_bytes(copy)

    def _forget(self, copy: Copy) -> None:
        """What is known of costs and losses holds no longer once this copy came or went."""
        item = self.layout.items[copy.item]
        for member in self.layout.family(item):
            self._costs.pop(member.id, None)
            self._losses.pop(member.id, None)
        if item.base is not None:
            self._losses.pop(item.base, None)
