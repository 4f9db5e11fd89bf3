"""Packing copies on single devices: one device after another gets the set that leaves least of it unused.

The minimum bin slack heuristic (Gupta and Ho, 1999).  Sets are found by sums in buckets, so that many different sizes
cost no more than `_BUCKETS` sums for each item that is tried.
"""

from collections.abc import Sequence

from planner.placement.stock import Stock
from specs.decisions.placement.nouns import Copy, Item, Pool

_BUCKETS = 1024
_TRIED_MAX = 48  # items for one device: beyond that, small ones wait for the next


def pack(stock: Stock, items: Sequence[Item], pools: Sequence[Pool]) -> None:
    """Hold one copy more of each item (given twice: two) on one device each, as far as they fit."""
    left = sorted(items, key=lambda item: -item.part_bytes)
    memories = [memory.id for pool in pools for memory in pool.memories]
    for memory in sorted(memories, key=stock.room.__getitem__):
        for item in _fullest(stock, left, memory):
            copy = Copy(item=item.id, memories=(memory,))
            if stock.takes(copy) and stock.may_move(copy):
                stock.add(copy)
                left.remove(item)


def _fullest(stock: Stock, items: Sequence[Item], memory: str) -> list[Item]:
    """A set of the items that fills the memory best; among equals one of large items."""
    room = stock.room[memory]
    fit: dict[str, Item] = {}
    taken: dict[int, int] = {}  # part bytes -> items of that size: more than fit are of no use
    for item in items:
        size = item.part_bytes
        if size <= room and taken.get(size, 0) < room // size and stock.takes(Copy(item=item.id, memories=(memory,))):
            if item.id not in fit:
                taken[size] = taken.get(size, 0) + 1
            fit[item.id] = item
        if len(fit) == _TRIED_MAX:
            break
    bucket = max(1, room // _BUCKETS)
    sums: dict[int, tuple[int, Item | None, int]] = {0: (0, None, 0)}  # bucket: sum, last item, bucket before
    for item in fit.values():
        for key, (total, _, _) in list(sums.items()):
            more = total + item.part_bytes
            if more <= room:
                sums.setdefault(more // bucket, (more, item, key))
    key = max(sums, key=lambda each: sums[each][0])
    found: list[Item] = []
    while True:
        _, last, before = sums[key]
        if last is None:
            return found
        found.append(last)
        key = before
