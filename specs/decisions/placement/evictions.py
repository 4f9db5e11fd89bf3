"""What each memory gives up first: the copies whose loss costs least waiting for each byte that it frees."""

from fractions import Fraction

from specs.decisions.placement.holding import Copies, Layout
from specs.decisions.placement.nouns import Copy, Eviction, Item, Tier


def evictions(layout: Layout, copies: Copies) -> tuple[Eviction, ...]:
    """For each memory that holds something, the order in which it gives up what it may, each judged alone.

    The price of a copy is what requests would wait longer per hour without it: their number times the time to start
    from the cheapest copy that is left, less what they wait now.  That is bytes / best rate, times requests, for a
    copy in device memory.  Lowest price per byte first; among equals the larger, then the name.  A copy does not
    appear when without it an item could not start, not start in time, or not be on enough nodes.
    """
    waits = {item.id: layout.request_ns(item, copies) for item in layout.question.items}
    ranked: dict[str, list[tuple[Fraction, int, str]]] = {}
    for item in layout.question.items:
        for copy in copies.get(item.id, ()):
            price = _price(layout, copies, waits, item, copy)
            for memory in copy.memories:
                rank = ranked.setdefault(memory, [])
                if price is not None:
                    size = layout.bytes_at(item, memory)
                    rank.append((Fraction(price, size * len(copy.memories)), -size, item.id))
    order = sorted(ranked, key=layout.memory_order.__getitem__)
    return tuple(
        Eviction(memory=memory, items=tuple(item for _, _, item in sorted(ranked[memory]))) for memory in order
    )


def _price(layout: Layout, copies: Copies, waits: dict[str, int | None], item: Item, lost: Copy) -> int | None:
    """How much longer requests wait per hour without a copy, and without what lies on its devices only beside it."""
    family = layout.family(item)
    on_devices = layout.pool(lost).tier is Tier.DEVICE
    left = {
        member.id: [
            copy
            for copy in copies.get(member.id, ())
            if copy is not lost and not (on_devices and copy.memories == lost.memories)
        ]
        for member in family
    }
    if item.base is not None:
        left[item.base] = list(copies.get(item.base, ()))
    price = 0
    for member in family:
        before, after = waits[member.id], layout.request_ns(member, left)
        if before is None or after is None:
            return None
        price += after - before
    return price
