"""The transport within one process keeps every transport's promises, repeats itself, and does harm when told to."""

import asyncio
from typing import TypeVar

import pytest

from executor.transport.interface import BlobArrived, BlobFailed, Event, FailureKind, MessageReceived, Peer, PeerLost
from executor.transport.memory import MemoryLimits, MemoryNetwork, MemoryTransport
from specs.units import NANOS_PER_SECOND, Bytes, Nanos
from tests.conformance.check_transport import CHECKS, Check
from tests.conformance.world import NODE_NAMES, expect, noise, send

E = TypeVar("E")


class MemoryWorld:
    """A world on virtual time: nothing is waited for."""

    def __init__(self) -> None:
        self.frame_bytes = Bytes(4 << 20)
        self.network = MemoryNetwork(MemoryLimits(frame_bytes=self.frame_bytes))
        self._events: dict[str, list[Event]] = {name: [] for name in NODE_NAMES}

    async def node(self, name: str) -> MemoryTransport:
        return self.start(name)

    def start(self, name: str) -> MemoryTransport:
        node = self.network.node(name, self._events[name].append)
        node.meet([Peer(name=other, host="", port=0) for other in NODE_NAMES if other != name])
        return node

    def events(self, name: str) -> list[Event]:
        return self._events[name]

    async def until(self, name: str, kind: type[E], count: int = 1) -> list[E]:
        while len(found := [event for event in self._events[name] if isinstance(event, kind)]) < count:
            assert self.network.step(), f"{name}: {count} of {kind.__name__} never came; there is {self._events[name]}"
        return found

    async def settle(self, duration_ns: int) -> None:
        self.network.run(Nanos(self.network.clock.now_ns + duration_ns))

    def corrupt(self, transfer_id: str, offset_bytes: Bytes) -> None:
        self.network.corrupt_blob(transfer_id, offset_bytes)

    async def kill(self, name: str) -> None:
        self.network.kill(name)

    def stop(self, name: str) -> None:
        self.network.stop(name)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_keeps_every_promise(check: Check) -> None:
    asyncio.run(check(MemoryWorld()))


def payloads(world: MemoryWorld, name: str) -> list[bytes]:
    return [bytes(event.payload) for event in world.events(name) if isinstance(event, MessageReceived)]


def test_messages_are_dropped_duplicated_and_delayed_on_demand() -> None:
    world = MemoryWorld()
    a, _ = world.start("a"), world.start("b")
    world.network.drop_next_message("a", "b")
    world.network.duplicate_next_message("a", "b")
    world.network.delay_next_message("a", "b", Nanos(NANOS_PER_SECOND))
    for text in (b"dropped", b"twice", b"late", b"behind"):
        a.send_message("b", [text])
    world.network.run(Nanos(NANOS_PER_SECOND))
    assert payloads(world, "b") == [b"twice", b"twice"]
    world.network.run()
    assert payloads(world, "b") == [b"twice", b"twice", b"late", b"behind"]
    assert world.events("a") == []


def test_a_resumed_node_goes_on() -> None:
    world = MemoryWorld()
    a, b = world.start("a"), world.start("b")
    data = noise(1 << 20)
    place = expect(b, "a", data)
    send(a, "b", data, rate=1 << 20)
    a.send_message("b", [b"x"])
    half_ns = NANOS_PER_SECOND // 2
    for stopped in ("b", "a"):
        world.network.run(Nanos(world.network.clock.now_ns + half_ns // 2))
        world.network.stop(stopped)
        world.network.run(Nanos(world.network.clock.now_ns + half_ns))
        assert not any(isinstance(event, BlobArrived) for event in world.events("b"))
        world.network.resume(stopped)
    world.network.run()
    assert place == data
    assert [type(event) for event in world.events("b")] == [MessageReceived, BlobArrived]


def test_a_node_that_was_stopped_too_long_learns_so_when_it_is_resumed() -> None:
    world = MemoryWorld()
    a, b = world.start("a"), world.start("b")
    data = noise(1 << 20)
    expect(b, "a", data)
    send(a, "b", data, rate=1 << 20)
    a.send_message("b", [b"x"])
    world.network.run(Nanos(NANOS_PER_SECOND // 4))
    world.network.stop("b")
    world.network.run()
    assert [type(event) for event in world.events("a")] == [BlobFailed, PeerLost]
    assert [type(event) for event in world.events("b")] == [MessageReceived]
    world.network.resume("b")
    world.network.run()
    failed = world.events("b")[1]
    assert isinstance(failed, BlobFailed)
    assert failed.kind is FailureKind.STALLED
    assert isinstance(world.events("b")[2], PeerLost)


def test_a_killed_node_comes_back_with_nothing_remembered() -> None:
    world = MemoryWorld()
    a, b = world.start("a"), world.start("b")
    expect(b, "a", noise(10))
    world.network.kill("b")
    b = world.start("b")
    send(a, "b", noise(10))
    world.network.run()
    (failed,) = world.events("a")
    assert isinstance(failed, BlobFailed)
    assert failed.kind is FailureKind.REFUSED


def test_the_same_calls_give_the_same_run() -> None:
    def run() -> list[str]:
        world = MemoryWorld()
        a, b, c = (world.start(name) for name in NODE_NAMES)
        for n, (source, target) in enumerate(((a, b), (b, c), (c, a))):
            data = noise(300_000, n)
            expect(target, NODE_NAMES[n], data)
            send(source, NODE_NAMES[(n + 1) % 3], data, rate=(n + 1) * 1_000_000)
        world.network.run(Nanos(NANOS_PER_SECOND // 8))
        world.network.kill("c")
        world.network.run()
        return [f"{name} {event}" for name in NODE_NAMES for event in world.events(name)]

    first = run()
    assert run() == first
    assert sum("Blob" in line for line in first) == 5  # c to a: both ends; a to b: both ends; b to c: what b sees
