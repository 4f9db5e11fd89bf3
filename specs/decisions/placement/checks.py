"""Whether an answer to a placement question is right, and what it achieves.  Plain loops; nothing is searched."""

from collections.abc import Iterator
from itertools import pairwise

from specs.decisions.placement.evictions import evictions
from specs.decisions.placement.holding import Copies, Layout, by_item
from specs.decisions.placement.nouns import Answer, Copy, Item, Objective, Question, Start, Tier


def faults(question: Question, answer: Answer) -> Iterator[str]:
    """Every way in which an answer is wrong, one sentence each: where, what, what instead.

    The rules that follow from copies (room, starts, evictions) are judged only when every copy is what a copy is.
    """
    layout = Layout(question)
    malformed = [sentence for copy in answer.copies for sentence in _malformed(layout, copy)]
    if malformed:
        yield from malformed
        return
    copies = by_item(answer.copies)
    yield from _held_twice(answer)
    yield from _adapters_alone(layout, copies)
    yield from _too_full(layout, answer)
    yield from _too_few(layout, copies)
    yield from _moved_too_much(layout, answer)
    yield from _starts(layout, copies, answer)
    yield from _evictions(layout, copies, answer)


def value(question: Question, answer: Answer) -> int:
    """What a faultless answer achieves for the objective of its question; less is better."""
    layout = Layout(question)
    return value_of(layout, by_item(answer.copies))


def value_of(layout: Layout, copies: Copies) -> int:
    """Add up what the items cost.  Raises ValueError when some item's own limits do not hold."""
    total = 0
    for item in layout.question.items:
        cost = layout.cost(item, copies)
        if cost is None:
            raise ValueError(f"item {item.id} breaks a limit of its own: it has no value")
        total += cost
    return total


def moved_bytes(layout: Layout, copies: tuple[Copy, ...]) -> int:
    """Bytes that come into memories which do not hold that item now."""
    return sum(layout.moved_bytes(copy) for copy in copies)


def answer_of(layout: Layout, copies: tuple[Copy, ...]) -> Answer:
    """Complete copies with the starts and evictions that follow from them, in the order of the question."""
    place = layout.memory_order.__getitem__
    rank = {item.id: index for index, item in enumerate(layout.question.items)}
    ordered = sorted(copies, key=lambda copy: (rank[copy.item], [place(memory) for memory in copy.memories]))
    held = by_item(ordered)
    starts = (layout.start(item, held) for item in layout.question.items if layout.waiting(item, held))
    return Answer(
        copies=tuple(ordered),
        starts=tuple(start for start in starts if start is not None),
        evictions=evictions(layout, held),
    )


def _malformed(layout: Layout, copy: Copy) -> Iterator[str]:
    name = f"copy of {copy.item} in {', '.join(copy.memories) or 'no memory'}"
    item = layout.items.get(copy.item)
    pools = [layout.pool_of.get(memory) for memory in copy.memories]
    if item is None or not pools or any(pool is None for pool in pools):
        yield f"{name}: the question has no such item or memory"
        return
    if len({pool.id for pool in pools if pool is not None}) > 1:
        yield f"{name}: its parts are in different pools; they must be in one"
        return
    wanted = item.devices if pools[0] is not None and pools[0].tier is Tier.DEVICE else 1
    order = [layout.memory_order[memory] for memory in copy.memories]
    if len(order) != wanted or any(after <= before for before, after in pairwise(order)):
        yield f"{name}: it must be in {wanted} different memories there, in the order of the question"
    if other := [memory for memory in copy.memories if not layout.may_keep(item, memory)]:
        yield f"{name}: {other[0]} may not keep it"


def _held_twice(answer: Answer) -> Iterator[str]:
    seen: set[tuple[str, str]] = set()
    for copy in answer.copies:
        for memory in copy.memories:
            if (copy.item, memory) in seen:
                yield f"memory {memory}: it holds {copy.item} twice; once is enough"
            seen.add((copy.item, memory))


def _adapters_alone(layout: Layout, copies: Copies) -> Iterator[str]:
    for item in layout.question.items:
        if item.base is None:
            continue
        beside = {copy.memories for copy in copies.get(item.base, ())}
        for copy in copies.get(item.id, ()):
            if layout.pool(copy).tier is Tier.DEVICE and copy.memories not in beside:
                where = ", ".join(copy.memories)
                yield f"adapter {item.id} on {where}: no copy of its base {item.base} is on these devices"


def _too_full(layout: Layout, answer: Answer) -> Iterator[str]:
    used = dict.fromkeys(layout.memory_bytes, 0)
    for copy in answer.copies:
        for memory in copy.memories:
            used[memory] += layout.bytes_at(layout.items[copy.item], memory)
    for memory, has in layout.memory_bytes.items():
        if used[memory] > has:
            yield f"memory {memory}: its copies need {used[memory]} bytes, it has {has}: {used[memory] - has} too few"


def _too_few(layout: Layout, copies: Copies) -> Iterator[str]:
    for item in layout.question.items:
        nodes = layout.nodes(copies.get(item.id, ()))
        if nodes < item.copies_min:
            yield f"item {item.id}: copies on {nodes} nodes, at least {item.copies_min} are wanted"


def _moved_too_much(layout: Layout, answer: Answer) -> Iterator[str]:
    moved, most = moved_bytes(layout, answer.copies), layout.question.moved_bytes_max
    if most is not None and moved > most:
        yield f"the answer moves {moved} bytes, at most {most} may be: {moved - most} too many"


def _starts(layout: Layout, copies: Copies, answer: Answer) -> Iterator[str]:
    wanted: list[Start] = []
    for item in layout.question.items:
        if not layout.waiting(item, copies):
            continue
        start = layout.start(item, copies)
        if start is None:
            yield f"item {item.id}: requests wait for a start, and no copy in reach can give one"
            continue
        wanted.append(start)
        yield from _late(layout, item, start)
    given = {start.item: start for start in answer.starts}
    for start in wanted:
        if given.get(start.item) != start:
            yield f"item {start.item}: its start is {_words(given.get(start.item))}, the quickest is {_words(start)}"
    names, right = [start.item for start in answer.starts], [start.item for start in wanted]
    for name in sorted(set(names) - set(right)):
        yield f"item {name}: a start is given, and none can be or is needed"
    if set(names) == set(right) and names != right:
        yield "starts: each item with cold requests must have one, in the order of the question's items"


def _late(layout: Layout, item: Item, start: Start) -> Iterator[str]:
    if layout.question.objective is not Objective.LATE_ITEMS and layout.is_late(item, start.start_ns):
        limit = item.start_ns_max
        yield f"item {item.id}: it starts after {start.start_ns} ns from {start.source}, at most {limit} are allowed"


def _words(start: Start | None) -> str:
    if start is None:
        return "not given"
    under = "" if start.base_source is None else f" with its base from {start.base_source}"
    return f"on {start.pool} from {start.source}{under} after {start.start_ns} ns"


def _evictions(layout: Layout, copies: Copies, answer: Answer) -> Iterator[str]:
    wanted = {eviction.memory: eviction for eviction in evictions(layout, copies)}
    given = {eviction.memory: eviction for eviction in answer.evictions}
    for memory in layout.memory_bytes:
        order, right = given.get(memory), wanted.get(memory)
        if order != right:
            named = "nothing" if order is None else ", ".join(order.items) or "that all must stay"
            instead = "nothing" if right is None else ", ".join(right.items) or "that all must stay"
            yield f"memory {memory}: its order of eviction says {named}; by price it is {instead}"
    if [e.memory for e in answer.evictions] != list(wanted) and given == wanted:
        yield "orders of eviction: they must be one per memory, in the order of the question's memories"
    for memory in sorted(given.keys() - layout.memory_bytes.keys()):
        yield f"memory {memory}: the question has no such memory"
