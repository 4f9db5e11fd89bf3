"""Small placement questions, and their optimum by an independent brute force."""

from itertools import chain, combinations, product

from hypothesis import strategies as st

from specs.decisions.placement.nouns import Copy, Item, Memory, Objective, Pool, Question, Route, Tier

NS = 1_000_000_000
MIB = 2**20  # sizes and rates of `questions` count in these


def pool(name, tier, *room, node=None, landing=100):
    memories = tuple(Memory(id=f"{name}.{index}", bytes=size) for index, size in enumerate(room))
    return Pool(id=name, node=node, tier=tier, memories=memories, landing_bytes=landing if tier is Tier.DEVICE else 0)


def mebibytes(low, high):
    return st.integers(low, high).map(lambda count: count * MIB)


def route(source, destination, rate, latency=0, all_rate=None):
    return Route(
        source=source,
        destination=destination,
        bytes_per_second=rate,
        bytes_per_second_all=all_rate or rate * 8,
        latency_ns=latency,
    )


def llm(name, size, rate=10, **more):
    known = {"base": None, "devices": 1, "requests_per_hour_per_copy": rate, "copies_min": 0} | more
    return Item(id=name, bytes=size, requests_per_hour=rate, **known)


@st.composite
def questions(draw, items_min=1, items_max=4):
    kinds = draw(st.sampled_from([
        [("g", Tier.DEVICE, 1), ("h", Tier.HOST, 1), ("s", Tier.SSD, 1), ("r", Tier.REMOTE, 1)],
        [("g", Tier.DEVICE, 2), ("h", Tier.HOST, 1), ("r", Tier.REMOTE, 1)],
        [("g", Tier.DEVICE, 1), ("k", Tier.DEVICE, 1), ("h", Tier.HOST, 1), ("i", Tier.HOST, 1)],
        [("g", Tier.DEVICE, 1), ("k", Tier.DEVICE, 2), ("r", Tier.REMOTE, 1)],
        [("g", Tier.DEVICE, 3), ("h", Tier.HOST, 1)],
        [("g", Tier.DEVICE, 4)],
    ]))  # fmt: skip
    node = {"g": "n0", "h": "n0", "s": "n0", "k": "n1", "i": "n1", "r": None}
    size = mebibytes(0, 12)
    pools = tuple(
        pool(
            name,
            tier,
            *(draw(size) for _ in range(count)),
            node=node[name],
            landing=draw(st.sampled_from([4, 8, 20])) * MIB,
        )
        for name, tier, count in kinds
    )
    routes = tuple(
        route(source.id, to.id, draw(mebibytes(1, 4)), draw(st.integers(0, 3)) * NS // 2, draw(mebibytes(1, 6)))
        for source in pools
        for to in pools
        if to.tier is Tier.DEVICE and draw(st.integers(0, 5)) > 0
    )
    every = [memory.id for each in pools for memory in each.memories]
    keepers = st.one_of(st.none(), st.none(), st.lists(st.sampled_from(every), unique=True).map(tuple))
    items = []
    for index in range(draw(st.integers(items_min, items_max))):
        bases = [item for item in items if item.base is None]
        base = draw(st.sampled_from([None, None, *bases])) if bases else None
        items.append(
            llm(
                f"m{index}",
                draw(mebibytes(1, 3 if base else 8)),
                draw(st.integers(1, 9)),
                base=base.id if base else None,
                devices=base.devices if base else draw(st.sampled_from([1, 1, 1, 2])),
                requests_per_hour_per_copy=draw(st.integers(2, 9)),
                copies_min=draw(st.sampled_from([0, 0, 1, 2])),
                start_ns_max=draw(st.sampled_from([None, None, NS, 3 * NS, 8 * NS])),
                memories=draw(keepers),
            )
        )
    question = Question(
        objective=draw(st.sampled_from(list(Objective))), pools=pools, routes=routes, items=tuple(items)
    )
    held = draw(st.lists(st.sampled_from(every_copy(question) or [None]), max_size=4, unique=True))
    limit = draw(st.sampled_from([None, None, 0, 5 * MIB, 10 * MIB, 20 * MIB]))
    return Question(
        objective=question.objective,
        pools=pools,
        routes=routes,
        items=tuple(items),
        held=tuple(copy for copy in held if copy),
        moved_bytes_max=limit,
    )


def every_copy(question):
    found = []
    for item in question.items:
        for place in question.pools:
            parts = item.devices if place.tier is Tier.DEVICE else 1
            chosen = combinations([memory.id for memory in place.memories], parts)
            found += [Copy(item=item.id, memories=memories) for memories in chosen]
    return found


def brute_force(question):
    """The least value over all sets of copies, straight from the words of the question; None: no set is permitted."""
    of_item = []
    for item in question.items:
        mine = [copy for copy in every_copy(question) if copy.item == item.id and kept_by(item, copy)]
        sets = chain.from_iterable(combinations(mine, count) for count in range(len(mine) + 1))
        disjoint = [s for s in sets if len({m for c in s for m in c.memories}) == sum(len(c.memories) for c in s)]
        of_item.append(disjoint)
    values = (brute_value(question, tuple(chain.from_iterable(chosen))) for chosen in product(*of_item))
    return min((value for value in values if value is not None), default=None)


def kept_by(item, copy):
    return item.memories is None or set(copy.memories) <= set(item.memories)


def brute_value(question, copies):
    pool_of = {memory.id: place for place in question.pools for memory in place.memories}
    items = {item.id: item for item in question.items}
    room = {memory.id: memory.bytes for place in question.pools for memory in place.memories}
    was = {(copy.item, memory) for copy in question.held for memory in copy.memories}
    moved = 0
    for copy in copies:
        for memory in copy.memories:
            size = -(-items[copy.item].bytes // len(copy.memories))
            room[memory] -= size
            moved += 0 if (copy.item, memory) in was else size
    if min(room.values()) < 0 or (question.moved_bytes_max is not None and moved > question.moved_bytes_max):
        return None
    total = 0
    for item in question.items:
        mine = [copy for copy in copies if copy.item == item.id]
        hot = [copy for copy in mine if pool_of[copy.memories[0]].tier is Tier.DEVICE]
        if item.base and any(Copy(item=item.base, memories=copy.memories) not in copies for copy in hot):
            return None
        if len({pool_of[copy.memories[0]].node for copy in mine} - {None}) < item.copies_min:
            return None
        cold = item.requests_per_hour - len(hot) * item.requests_per_hour_per_copy
        if cold <= 0:
            continue
        times = [brute_start(question, items, pool_of, copies, item, place) for place in question.pools]
        start = min((time for time in times if time is not None), default=None)
        if start is None:
            return None
        late = item.start_ns_max is not None and start > item.start_ns_max
        if question.objective is Objective.LATE_ITEMS:
            total += late
        elif late:
            return None
        elif question.objective is Objective.START_TIME:
            total += cold * start
    return moved if question.objective is Objective.MOVED_BYTES else total


def brute_start(question, items, pool_of, copies, item, to):
    chain_of_items = [item]
    if item.base and not any(copy.item == item.base and pool_of[copy.memories[0]] is to for copy in copies):
        chain_of_items.append(items[item.base])
    if to.tier is not Tier.DEVICE:
        return None
    if sum(-(-one.bytes // one.devices) for one in chain_of_items) > to.landing_bytes:
        return None
    total = 0
    for one in chain_of_items:
        times = []
        for copy in copies:
            source = pool_of[copy.memories[0]]
            ways = [way for way in question.routes if (way.source, way.destination) == (source.id, to.id)]
            needed = one.devices * (2 if source is to else 1)
            if copy.item == one.id and ways and len(to.memories) >= needed:
                part = -(-one.bytes // one.devices)
                alone = -(-part * NS // ways[0].bytes_per_second)
                together = -(-one.bytes * NS // ways[0].bytes_per_second_all)
                times.append(ways[0].latency_ns + max(alone, together))
        if not times:
            return None
        total += min(times)
    return total
