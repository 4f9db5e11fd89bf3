"""Rounding: from what the relaxation would hold in each class of pools to copies in memories."""

from collections.abc import Iterable, Sequence

from planner.placement.packing import Piece, pack
from planner.placement.prices import Relaxed
from planner.placement.states import PoolClass
from planner.placement.stock import Stock
from specs.decisions.placement.holding import Layout, by_item
from specs.decisions.placement.nouns import Copy, Item, Pool, Tier


def fill(layout: Layout, relaxed: Relaxed) -> Stock:
    """Hold what the relaxation says, as far as it fits.

    Every item gets a copy in a slow memory first of all, so that nothing depends on what comes after; copies of a
    family gather in the nodes where its base is.
    """
    stock = Stock(layout)
    bases = _busiest_first(layout)
    for base in bases:
        for member in layout.family(base):
            _hold_anywhere(stock, member)
    _pack(stock, relaxed, bases)
    for base in bases:
        _hold(stock, relaxed, base, devices=False)
        for adapter in layout.adapters.get(base.id, ()):
            _hold(stock, relaxed, adapter, devices=True)
            _hold(stock, relaxed, adapter, devices=False)
    return stock


def _pack(stock: Stock, relaxed: Relaxed, bases: list[Item]) -> None:
    """Copies over several devices first, large parts before small ones; then single devices as full as can be."""
    for base in sorted(bases, key=lambda base: (-base.part_bytes, -base.devices)):
        if base.devices > 1:
            _hold(stock, relaxed, base, devices=True)
    for index, group in enumerate(relaxed.classes):
        if group.tier is Tier.DEVICE:
            single = [base for base in bases if base.devices == 1]
            pieces = [piece for base in single for piece in _pieces(stock.layout, relaxed, base, index)]
            pack(stock, pieces, group.pools)


def _pieces(layout: Layout, relaxed: Relaxed, base: Item, index: int) -> list[Piece]:
    """Copies of a base that the relaxation would hold in a class of devices, each with its adapters there."""

    def copies(item: Item) -> int:
        return dict(relaxed.states[item.id].copies).get(index, 0)

    adapters = layout.adapters.get(base.id, ())
    return [
        Piece(item=base, beside_bytes=sum(each.part_bytes for each in adapters if copies(each) > number))
        for number in range(copies(base))
    ]


def keep(layout: Layout) -> Stock:
    """Hold what is held now, as far as it fits, and of each other item a copy in a slow memory."""
    stock = Stock(layout)
    bases = _busiest_first(layout)
    held = by_item(layout.question.held)
    for base in bases:
        for item in layout.family(base):
            for copy in held.get(item.id, ()):
                if stock.takes(copy):
                    stock.add(copy)
    for base in bases:
        for item in layout.family(base):
            if not stock.copies[item.id]:
                _hold_anywhere(stock, item)
    return stock


def _busiest_first(layout: Layout) -> list[Item]:
    bases = [item for item in layout.question.items if item.base is None]
    return sorted(bases, key=lambda base: -sum(member.requests_per_hour for member in layout.family(base)))


def _hold(stock: Stock, relaxed: Relaxed, item: Item, *, devices: bool) -> None:
    for index, count in relaxed.states[item.id].copies:
        group = relaxed.classes[index]
        if (group.tier is Tier.DEVICE) is devices:
            for _ in range(count):
                pools = _pools(stock, item, group)
                copy = _tightest(stock, item, pools) if devices else _first(stock, item, pools)
                if copy is not None:
                    stock.add(copy)


def _tightest(stock: Stock, item: Item, pools: Iterable[Pool]) -> Copy | None:
    """The copy that moves least, and then leaves least room beside it: devices take few items, and waste adds up."""
    copies = [copy for pool in pools if (copy := stock.place(item, pool)) is not None]
    moved = stock.layout.moved_bytes
    return min(
        copies, key=lambda copy: (moved(copy), sum(stock.room[memory] for memory in copy.memories)), default=None
    )


def _pools(stock: Stock, item: Item, group: PoolClass) -> Sequence[Pool]:
    """Pools of a class: where the item is now, then nodes of its base, then nodes without it, then the emptiest."""
    layout = stock.layout
    base_nodes = {layout.pool(copy).node for copy in stock.copies[str(item.base)]} if item.base else set()
    own_nodes = {layout.pool(copy).node for copy in stock.copies[item.id]}

    def rank(pool: Pool) -> tuple[bool, bool, bool, int]:
        held = any((item.id, memory.id) in layout.held_at for memory in pool.memories)
        return (
            not held,
            pool.node not in base_nodes,
            pool.node in own_nodes,
            -sum(stock.room[memory.id] for memory in pool.memories),
        )

    return sorted(group.pools, key=rank)


def _hold_anywhere(stock: Stock, item: Item) -> None:
    order = (Tier.SSD, Tier.REMOTE, Tier.HOST, Tier.DEVICE)
    pools = sorted(stock.layout.question.pools, key=lambda pool: order.index(pool.tier))
    copy = _first(stock, item, pools)
    if copy is not None:
        stock.add(copy)


def _first(stock: Stock, item: Item, pools: Iterable[Pool]) -> Copy | None:
    return next((copy for pool in pools if (copy := stock.place(item, pool)) is not None), None)
