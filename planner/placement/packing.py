"""Packing copies on single devices: one device after another gets the set that leaves least of it unused.

The minimum bin slack heuristic (Gupta and Ho, 1999).  Sets are found by sums in buckets, so that many different sizes
cost no more than `_BUCKETS` sums for each item that is tried.
"""

from collections.abc import Sequence

import attrs

from planner.placement.stock import Stock
from specs.decisions.placement.nouns import Copy, Item, Pool

_BUCKETS = 1024
_TRIED_MAX = 48  # items for one device: beyond that, small ones wait for the next


@attrs.frozen(kw_only=True, eq=False)
class Piece:
    """One copy to pack, with the bytes that are to stay free beside it, for adapters."""

    item: Item
    beside_bytes: int

    @property
    def bytes(self) -> int:
        """What it takes on its device."""
        return self.item.part_bytes + self.beside_bytes


def pack(stock: Stock, pieces: Sequence[Piece], pools: Sequence[Pool]) -> None:
    """Hold one copy of each piece on one device each, as far as they fit."""
    left = sorted(pieces, key=lambda piece: -piece.bytes)
    memories = [memory.id for pool in pools for memory in pool.memories]
    for memory in sorted(memories, key=stock.room.__getitem__):
        for piece in _fullest(stock, left, memory):
            copy = Copy(item=piece.item.id, memories=(memory,))
            if stock.takes(copy) and stock.may_move(copy):
                stock.add(copy)
                left.remove(piece)


def _fullest(stock: Stock, pieces: Sequence[Piece], memory: str) -> list[Piece]:
    """A set of the pieces that fills the memory best; among equals one of large pieces."""
    room = stock.room[memory]
    bucket = max(1, room // _BUCKETS)
    sums: dict[int, tuple[int, Piece | None, int]] = {0: (0, None, 0)}  # bucket: sum, last piece, bucket before
    for piece in _candidates(stock, pieces, memory):
        for key, (total, _, _) in list(sums.items()):
            more = total + piece.bytes
            if more <= room:
                sums.setdefault(more // bucket, (more, piece, key))
    key = max(sums, key=lambda each: sums[each][0])
    found: list[Piece] = []
    while True:
        _, last, before = sums[key]
        if last is None:
            return found
        found.append(last)
        key = before


def _candidates(stock: Stock, pieces: Sequence[Piece], memory: str) -> list[Piece]:
    """Pieces that fit: one of each item, of each size no more than fit together."""
    room = stock.room[memory]
    fit: dict[str, Piece] = {}
    taken: dict[int, int] = {}
    for piece in pieces:
        size, item = piece.bytes, piece.item.id
        if item in fit or size > room or taken.get(size, 0) == room // size:
            continue
        if stock.takes(Copy(item=item, memories=(memory,))):
            taken[size] = taken.get(size, 0) + 1
            fit[item] = piece
        if len(fit) == _TRIED_MAX:
            break
    return list(fit.values())
