"""What follows from who holds what: quickest starts, requests that wait, bytes in use and moved."""

from collections.abc import Iterable, Mapping, Sequence

from specs.decisions.placement.nouns import Copy, Item, Objective, Pool, Question, Route, Start, Tier, load_ns
from specs.units import Nanos

Copies = Mapping[str, Sequence[Copy]]  # of each item; an item without copies may be absent


class Layout:
    """The fixed part of a question, indexed.  Nothing in it depends on an answer.  Not thread-safe."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.items = {item.id: item for item in question.items}
        self.pools = {pool.id: pool for pool in question.pools}
        self.pool_of = {memory.id: pool for pool in question.pools for memory in pool.memories}
        self.device_pools = tuple(pool for pool in question.pools if pool.tier is Tier.DEVICE)
        self.routes = {(route.source, route.destination): route for route in question.routes}
        self.routes_to: dict[str, dict[str, Route]] = {pool.id: {} for pool in question.pools}  # destination, source
        for route in question.routes:
            self.routes_to[route.destination][route.source] = route
        self.memory_bytes = {memory.id: memory.bytes for pool in question.pools for memory in pool.memories}
        self.memory_order = {memory: index for index, memory in enumerate(self.memory_bytes)}
        self.adapters: dict[str, list[Item]] = {}
        for item in question.items:
            if item.base is not None:
                self.adapters.setdefault(item.base, []).append(item)
        self._loads_ns: dict[tuple[str, str, str], int | None] = {}  # worked out once: item, source, destination
        self._only = {item.id: frozenset(item.memories) for item in question.items if item.memories is not None}
        self.held_at = {(copy.item, memory) for copy in question.held for memory in copy.memories}

    def pool(self, copy: Copy) -> Pool:
        """The pool in which a copy lies."""
        return self.pool_of[copy.memories[0]]

    def may_keep(self, item: Item, memory: str) -> bool:
        """Whether the item may lie in the memory, if there is room."""
        only = self._only.get(item.id)
        return only is None or memory in only

    def bytes_at(self, item: Item, memory: str) -> int:
        """Bytes that a copy of the item takes in one memory: the whole, or one device's part."""
        return item.part_bytes if self.pool_of[memory].tier is Tier.DEVICE else item.bytes

    def moved_bytes(self, copy: Copy) -> int:
        """Bytes of a copy that come into memories which do not hold its item now."""
        item = self.items[copy.item]
        return sum(self.bytes_at(item, memory) for memory in copy.memories if (item.id, memory) not in self.held_at)

    def on_devices(self, copies: Iterable[Copy]) -> int:
        """How many of the copies lie in device memory."""
        return sum(1 for copy in copies if self.pool(copy).tier is Tier.DEVICE)

    def start(self, item: Item, copies: Copies) -> Start | None:
        """The quickest start of an item, from the copies that are held; None when it cannot start.

        Ties fall to the pool, then the copy, that stands first.  An adapter starts on devices where its base already
        is, or after its base has been loaded; what is loaded must fit in the room that the devices keep free.
        """
        best = self._quickest_start(item, copies)
        if best is None:
            return None
        start_ns, pool, source, base_source = best
        return Start(item=item.id, pool=pool, source=source, base_source=base_source, start_ns=Nanos(start_ns))

    def _quickest_start(self, item: Item, copies: Copies) -> tuple[int, str, str, str | None] | None:
        """Time, pool, source, source of the base."""
        best: tuple[int, str, str, str | None] | None = None
        base = self.items[item.base] if item.base is not None else None
        for pool in self.device_pools:
            room = pool.landing_bytes - item.part_bytes
            own = self._quickest(copies.get(item.id, ()), item, pool) if room >= 0 else None
            if own is None or (best is not None and own[0] >= best[0]):
                continue
            under = self._base_ready(base, copies, pool, room) if base is not None else (0, None)
            if under is not None and (best is None or own[0] + under[0] < best[0]):
                best = own[0] + under[0], pool.id, own[1], under[1]
        return best

    def _base_ready(self, base: Item, copies: Copies, pool: Pool, room: int) -> tuple[int, str | None] | None:
        """When the base of an adapter is on devices of this pool, and from where; None: never."""
        if any(self.pool(copy) is pool for copy in copies.get(base.id, ())):
            return 0, None
        return self._quickest(copies.get(base.id, ()), base, pool) if base.part_bytes <= room else None

    def _quickest(self, copies: Sequence[Copy], item: Item, pool: Pool) -> tuple[int, str] | None:
        """Least time to bring the item to devices of a pool, and the copy that it comes from."""
        best: tuple[int, str] | None = None
        for copy in copies:
            needed_ns = self._load_ns(item, self.pool_of[copy.memories[0]], pool)
            if needed_ns is not None and (best is None or needed_ns < best[0]):
                best = needed_ns, copy.memories[0]
        return best

    def _load_ns(self, item: Item, source: Pool, destination: Pool) -> int | None:
        """Time to bring the item from one pool to devices of another; None: it cannot be."""
        key = item.id, source.id, destination.id
        if key not in self._loads_ns:
            route = self.routes.get(key[1:])
            can = route is not None and reaches(item, source, destination)
            self._loads_ns[key] = load_ns(item, route) if route is not None and can else None
        return self._loads_ns[key]

    def is_late(self, item: Item, start_ns: int) -> bool:
        """Whether cold requests of the item would start after its limit."""
        return item.start_ns_max is not None and start_ns > item.start_ns_max

    def waiting(self, item: Item, copies: Copies) -> int:
        """Requests per hour of the item that wait for a start."""
        return item.cold_requests(self.on_devices(copies.get(item.id, ())))

    def request_ns(self, item: Item, copies: Copies) -> int | None:
        """Time that the item's requests of one hour wait for starts; None when a hard limit of its own does not hold.

        Its own limits are that it can start, that it starts in time (unless late items are what is counted) and that
        it has copies on enough nodes.
        """
        if self.nodes(copies.get(item.id, ())) < item.copies_min:
            return None
        waiting = self.waiting(item, copies)
        if not waiting:
            return 0
        quickest = self._quickest_start(item, copies)
        if quickest is None:
            return None
        if self.question.objective is not Objective.LATE_ITEMS and self.is_late(item, quickest[0]):
            return None
        return waiting * quickest[0]

    def cost(self, item: Item, copies: Copies) -> int | None:
        """What the item adds to the objective; None when a hard limit of its own does not hold."""
        request_ns = self.request_ns(item, copies)
        if request_ns is None or self.question.objective is Objective.START_TIME:
            return request_ns
        if self.question.objective is Objective.MOVED_BYTES:
            return sum(self.moved_bytes(copy) for copy in copies.get(item.id, ()))
        waiting = self.waiting(item, copies)
        return int(waiting > 0 and self.is_late(item, request_ns // waiting))

    def nodes(self, copies: Iterable[Copy]) -> int:
        """On how many different nodes the copies lie."""
        return len({node for copy in copies if (node := self.pool(copy).node) is not None})

    def family(self, item: Item) -> list[Item]:
        """The item and what starts later when it has fewer copies: the adapters of a base."""
        return [item, *self.adapters.get(item.id, ())]


def reaches(item: Item, source: Pool, destination: Pool) -> bool:
    """Whether the destination has devices for the item, others than those from which it comes."""
    copies = 2 if source.id == destination.id else 1
    return len(destination.memories) >= copies * item.devices


def by_item(copies: Iterable[Copy]) -> dict[str, list[Copy]]:
    """Group copies by their item."""
    grouped: dict[str, list[Copy]] = {}
    for copy in copies:
        grouped.setdefault(copy.item, []).append(copy)
    return grouped
