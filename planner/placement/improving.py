"""Local search: copies added where they are worth their room, others given up to make it, many placed anew."""

import heapq

from planner.placement.neighbourhoods import rearrange
from planner.placement.prices import Relaxed
from planner.placement.states import PoolClass
from planner.placement.stock import Cost, Stock
from planner.search import Search
from specs.decisions.placement.nouns import Copy, Item, Pool, Tier

_SWAPS_MAX = 500  # items tried in each round: those that cost most
_SWAP_STEPS = 100  # of work that one try is about
_PER_BYTES = 2**40  # gains and losses are ranked per so many bytes, in whole numbers


def improve(stock: Stock, relaxed: Relaxed, search: Search) -> None:
    """Add and exchange until nothing helps, or the limits of the search are reached.

    Where moves are limited, they have a price, in value for each `UNIT_BYTES`: what gains less than it costs to move
    waits until nothing else is left to do.
    """
    stock.scarce = relaxed.scarce
    for item in stock.layout.question.items:
        stock.drop_idle(item)
    for price in dict.fromkeys((relaxed.moved_price, 0)):
        stock.moved_price = price
        add_what_gains(stock, relaxed.classes, search)
        for exchange in (rearrange, swap, rearrange):
            if not search.over() and exchange(stock, relaxed, search):
                add_what_gains(stock, relaxed.classes, search)


def add_what_gains(stock: Stock, classes: tuple[PoolClass, ...], search: Search) -> None:
    """Add the copy that gains most per byte, again and again, as long as one fits that gains."""
    items = stock.layout.question.items
    queue: list[tuple[bool, int, int]] = []  # broken limits first, then the most per byte
    for index, item in enumerate(items):
        found = _best_addition(stock, classes, item)
        if found is not None:
            heapq.heappush(queue, (*found[0], index))
    while queue and search.spend():
        *promised, index = heapq.heappop(queue)
        found = _best_addition(stock, classes, items[index])
        if found is None:
            continue
        if list(found[0]) == promised:
            stock.add(found[1])
            stock.drop_idle(items[index])
            found = _best_addition(stock, classes, items[index])
        if found is not None:
            heapq.heappush(queue, (*found[0], index))


def swap(stock: Stock, relaxed: Relaxed, search: Search) -> bool:
    """Give each item once the copy that it gains most from, where others must give way; say whether any did."""
    changed = False
    costly = sorted(stock.layout.question.items, key=lambda item: _rank(stock, item))
    for item in costly[:_SWAPS_MAX]:
        if not search.spend(_SWAP_STEPS):
            break
        changed |= _swap_in(stock, relaxed.classes, item)
    return changed


def _rank(stock: Stock, item: Item) -> tuple[int, int]:
    broken, value = stock.cost_of(stock.layout.family(item))
    return -broken, -value


def _swap_in(stock: Stock, classes: tuple[PoolClass, ...], item: Item) -> bool:
    if stock.cost_of(stock.layout.family(item)) == (0, 0):
        return False
    best: tuple[Cost, list[Copy], list[Copy]] | None = None
    for pool in pools_to_try(stock, classes, item):
        found = _exchange(stock, item, pool)
        if found is not None and (best is None or found[0] > best[0]):
            best = found
    if best is None:
        return False
    for other in best[1]:
        stock.remove(other)
    for other in best[2]:
        stock.add(other)
    for name in dict.fromkeys(other.item for other in best[1]):
        again = _best_addition(stock, classes, stock.layout.items[name])
        if again is not None:
            stock.add(again[1])
    return True


def _exchange(stock: Stock, item: Item, pool: Pool) -> tuple[Cost, list[Copy], list[Copy]] | None:
    """The net gain of a copy in this pool, what must go for it, and what comes; None: there is no gain."""
    lost = _to_give_up(stock, item, pool)
    if lost is None:
        return None
    touched = {member.id: member for name in (item.id, *(copy.item for copy in lost))
               for member in stock.layout.family(stock.layout.items[name])}  # fmt: skip
    gone = list(dict.fromkeys(other for copy in lost for other in stock.leaving(copy)))
    found = stock.instead(gone, item, pool)
    if found is None:
        return None
    gone, gained = found
    before = stock.cost_of(touched.values())
    after = stock.cost_with(touched.values(), gone, gained)
    net = before[0] - after[0], before[1] - after[1] - stock.price_of_moves(gained, gone)
    return (net, gone, gained) if net > (0, 0) else None


def _to_give_up(stock: Stock, item: Item, pool: Pool) -> list[Copy] | None:
    """The copies whose loss costs least per byte, so that the item fits; None: it cannot."""
    on_devices = pool.tier is Tier.DEVICE
    parts = item.devices if on_devices else 1
    size = item.part_bytes if on_devices else item.bytes
    ways: list[tuple[Cost, int, list[Copy]]] = []
    if on_devices and item.base is not None:
        bases = [copy for copy in stock.copies[item.base] if stock.layout.pool(copy) is pool]
        groups = [copy.memories for copy in bases]
        parts = 1
    else:
        bases = []
        groups = [(memory.id,) for memory in pool.memories]
    for index, memories in enumerate(groups):
        if any(item.id in stock.at[memory] or not stock.layout.may_keep(item, memory) for memory in memories):
            continue
        found = [_from_memory(stock, memory, size, bases) for memory in memories]
        if all(one is not None for one in found):
            lost = [copy for one in found if one is not None for copy in one]
            ways.append((_sum(stock, lost), index, lost))
    if len(ways) < parts:
        return None
    ways.sort(key=lambda way: way[:2])
    return list(dict.fromkeys(copy for _, _, lost in ways[:parts] for copy in lost))


def _from_memory(stock: Stock, memory: str, size: int, kept: list[Copy]) -> list[Copy] | None:
    missing = size - stock.room[memory]
    layout = stock.layout
    lost: list[Copy] = []
    if missing <= 0:
        return lost

    def per_byte(copy: Copy) -> tuple[int, int]:
        broken, value = stock.loss(copy)
        return broken, value * _PER_BYTES // layout.bytes_at(layout.items[copy.item], memory)

    def bytes_of(copy: Copy) -> int:
        return layout.bytes_at(layout.items[copy.item], memory)

    ranked = sorted((copy for copy in stock.at[memory].values() if copy not in kept), key=per_byte)
    for copy in ranked:
        lost.append(copy)
        missing -= bytes_of(copy)
        if missing <= 0:
            break
    else:
        return None
    for copy in sorted(lost, key=stock.loss, reverse=True):  # what was taken before a large one may be too much
        if missing + bytes_of(copy) <= 0:
            lost.remove(copy)
            missing += bytes_of(copy)
    needed = size - stock.room[memory]
    alone = min((copy for copy in ranked if bytes_of(copy) >= needed), key=stock.loss, default=None)
    return [alone] if alone is not None and stock.loss(alone) < _sum(stock, lost) else lost


def _sum(stock: Stock, copies: list[Copy]) -> Cost:
    losses = [stock.loss(copy) for copy in copies]
    return sum(broken for broken, _ in losses), sum(value for _, value in losses)


def _best_addition(stock: Stock, classes: tuple[PoolClass, ...], item: Item) -> tuple[tuple[bool, int], Copy] | None:
    """The addition of one item that gains most per byte, and its rank: less is better."""
    if stock.cost_of(stock.layout.family(item)) == (0, 0):
        return None
    best: tuple[tuple[bool, int], Copy] | None = None
    for pool in pools_to_try(stock, classes, item):
        copy = stock.place(item, pool)
        if copy is None:
            continue
        broken, value = gain(stock, item, copy)
        if (broken, value) <= (0, 0):
            continue
        size = stock.layout.bytes_at(item, copy.memories[0]) * len(copy.memories)
        rank = broken == 0, -value * _PER_BYTES // size
        if best is None or rank < best[0]:
            best = rank, copy
    return best


def gain(stock: Stock, item: Item, copy: Copy) -> Cost:
    """What adding a copy would take off the costs."""
    family = stock.layout.family(item)
    before = stock.cost_of(family)
    after = stock.cost_with(family, (), (copy,))
    return before[0] - after[0], before[1] - after[1] - stock.price_of_moves((copy,), ())


def pools_to_try(stock: Stock, classes: tuple[PoolClass, ...], item: Item) -> list[Pool]:
    """Of each class: the pools in nodes where the item's family is, and the one with the most room."""
    layout = stock.layout
    near = {layout.pool(copy).node for copy in stock.copies[item.base or item.id]}
    tries: list[Pool] = []
    for group in classes:
        roomiest = max(group.pools, key=lambda pool: max((stock.room[m.id] for m in pool.memories), default=0))
        tries += [pool for pool in group.pools if pool is roomiest or pool.node in near]
    return tries
