"""The question where many LLMs and adapters wait for requests, and its answer."""

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

import attrs

from specs import fields
from specs.errors import InvalidProblem
from specs.units import INTEGER_MAX, Bytes, BytesPerSecond, Nanos, ceil_div, duration_ns

MOVED = "moved-bytes"  # the name under which a witness prices the limit on bytes moved


class Tier(StrEnum):
    """What kind of memory a pool is."""

    DEVICE = "device"
    HOST = "host"
    SSD = "ssd"
    REMOTE = "remote"


class Objective(StrEnum):
    """What to make small.  Starting in time is a hard limit, except where it is what is counted."""

    START_TIME = "start-time"  # sum over items of cold requests per hour times start time: request nanoseconds per hour
    LATE_ITEMS = "late-items"  # number of items whose cold requests start later than their limit
    MOVED_BYTES = "moved-bytes"  # bytes that come into memories which do not hold that item now


@attrs.frozen(kw_only=True)
class Memory:
    """One memory: a device's, a host's, a disk, a remote store."""

    id: str = fields.name()
    bytes: Bytes = fields.natural()  # what waiting items may use


@attrs.frozen(kw_only=True)
class Pool:
    """Memories of one node and tier that every route treats alike, as the eight GPUs of one node."""

    id: str = fields.name()
    node: str | None = fields.optional_name()  # absent: of no node of this cluster, as a remote store
    tier: Tier
    memories: tuple[Memory, ...]
    landing_bytes: Bytes = fields.natural()  # kept free on each device, beside `bytes`, for what starts cold


@attrs.frozen(kw_only=True)
class Route:
    """How quickly devices of one pool are filled from a copy in another pool, or from a peer in the same pool."""

    source: str = fields.name()
    destination: str = fields.name()  # a pool of devices
    bytes_per_second: BytesPerSecond = fields.positive()  # into one device
    bytes_per_second_all: BytesPerSecond = fields.positive()  # into all devices of the pool together
    latency_ns: Nanos = fields.natural()


@attrs.frozen(kw_only=True)
class Item:
    """The weights of an LLM, or of an adapter, which is of use only together with its base."""

    id: str = fields.name()
    base: str | None = fields.optional_name()  # present exactly for adapters
    bytes: Bytes = fields.positive()
    devices: int = fields.positive()  # over which a copy in device memory is cut evenly; an adapter's are its base's
    requests_per_hour: int = fields.positive()
    requests_per_hour_per_copy: int = fields.positive()  # that one copy in device memory serves without a start
    start_ns_max: Nanos | None = attrs.field(default=None)
    copies_min: int = fields.natural()  # on so many different nodes; copies outside of nodes do not count
    memories: tuple[str, ...] | None = None  # that may keep it; absent: all

    @property
    def part_bytes(self) -> int:
        """Bytes that a copy takes on each of its devices."""
        return ceil_div(self.bytes, self.devices)

    @property
    def hot_copies(self) -> int:
        """Copies in device memory with which no request has to wait for a start."""
        return ceil_div(self.requests_per_hour, self.requests_per_hour_per_copy)

    def cold_requests(self, device_copies: int) -> int:
        """Requests per hour that wait for a start when so many copies lie in device memory."""
        return max(0, self.requests_per_hour - device_copies * self.requests_per_hour_per_copy)


@attrs.frozen(kw_only=True)
class Copy:
    """A whole copy: in one memory, or cut over `Item.devices` devices of one pool."""

    item: str = fields.name()
    memories: tuple[str, ...]  # in the order of the question


@attrs.frozen(kw_only=True)
class Question:
    """Items, memories and routes, each in a fixed order; what is held now; what may be moved."""

    objective: Objective
    pools: tuple[Pool, ...]
    routes: tuple[Route, ...]
    items: tuple[Item, ...]
    held: tuple[Copy, ...] = ()
    moved_bytes_max: Bytes | None = attrs.field(default=None)

    def __attrs_post_init__(self) -> None:
        """Raise InvalidProblem where the question names what it does not have, or contradicts itself."""
        memories = {memory.id: pool for pool in self.pools for memory in pool.memories}
        pools = {pool.id: pool for pool in self.pools}
        items = {item.id: item for item in self.items}
        _each_once("pool", (pool.id for pool in self.pools))
        _each_once("memory", (memory.id for pool in self.pools for memory in pool.memories))
        _each_once("item", (item.id for item in self.items))
        _each_once("route", (f"{route.source} to {route.destination}" for route in self.routes))
        for limit in (self.moved_bytes_max, *(item.start_ns_max for item in self.items)):
            if limit is not None and not 0 <= limit <= INTEGER_MAX:
                raise InvalidProblem(f"a limit is {limit}; it must be a whole number from 0 to {INTEGER_MAX}")
        if MOVED in pools:
            raise InvalidProblem(f"a pool is called {MOVED}, which names the limit on moved bytes")
        for route in self.routes:
            if route.source not in pools or route.destination not in pools:
                raise InvalidProblem(f"route {route.source} to {route.destination}: both must be pools of the question")
            if pools[route.destination].tier is not Tier.DEVICE:
                raise InvalidProblem(f"route {route.source} to {route.destination}: it must end at devices")
        for item in self.items:
            base = items.get(item.base) if item.base is not None else None
            if item.base is not None and (base is None or base.base is not None or base.devices != item.devices):
                raise InvalidProblem(f"adapter {item.id}: its base {item.base} must be an LLM on as many devices")
            if any(memory not in memories for memory in item.memories or ()):
                raise InvalidProblem(f"item {item.id}: the memories that may keep it must be of the question")
        for copy in self.held:
            if copy.item not in items or not all(memory in memories for memory in copy.memories):
                raise InvalidProblem(f"held copy of {copy.item}: its item and memories must be of the question")


@attrs.frozen(kw_only=True)
class Start:
    """How the cold requests of an item start: into which devices, and from which copies.

    A copy is named by its first memory.
    """

    item: str = fields.name()
    pool: str = fields.name()  # of devices
    source: str = fields.name()
    base_source: str | None = fields.optional_name()  # of an adapter whose base has no copy on devices of this pool
    start_ns: Nanos = fields.natural()


@attrs.frozen(kw_only=True)
class Eviction:
    """What one memory gives up, first to last, when it must; items that are not named must stay."""

    memory: str = fields.name()
    items: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Answer:
    """What is held where, and what follows from it: the quickest starts and the order of eviction."""

    copies: tuple[Copy, ...]
    starts: tuple[Start, ...]  # one per item with cold requests, in the order of the question
    evictions: tuple[Eviction, ...]  # one per memory that holds something, in the order of the question


def load_ns(item: Item, route: Route) -> int:
    """Time to fill the devices of one copy: each device by its own link, all of them by what they share.

    latency + max(part / rate into one device, bytes / rate into all devices), rounded up
    """
    alone = duration_ns(item.part_bytes, route.bytes_per_second)
    return route.latency_ns + max(alone, duration_ns(item.bytes, route.bytes_per_second_all))


def _each_once(what: str, names: Iterable[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise InvalidProblem(f"{what} {name} is there {count} times; each must be there once")
