"""Nodes of the TCP transport on loopback, each behind a relay."""

import asyncio
import contextlib
import gc
import pathlib
import threading
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import pytest

from executor.transport.carrier import Carrier
from executor.transport.interface import Event, Peer
from executor.transport.message_link import MessageLimits
from executor.transport.tcp import TcpLimits, TcpTransport, listen_tcp
from specs.units import Bytes, Nanos
from tests.conformance.relay import Harm, Relay
from tests.conformance.world import NODE_NAMES, SLOWNESS

E = TypeVar("E")

PATIENCE_SECONDS = 60 * SLOWNESS
FRAME_BYTES = Bytes(4 << 20)
LIMITS = TcpLimits(messages=MessageLimits(frame_bytes=FRAME_BYTES, silence_ns=Nanos(SLOWNESS * 2_000_000_000)))


class Diary:
    """The events of one node, and a way to wait for them."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._news = asyncio.Event()

    def note(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    async def until(self, kind: type[E], count: int = 1) -> list[E]:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(found := [event for event in self.events if isinstance(event, kind)]) < count:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pytest.fail(f"{count} of {kind.__name__} never came; there is {self.events}")
        return found


class TcpWorld:
    """Nodes on loopback, each behind a relay."""

    def __init__(self) -> None:
        self.frame_bytes = FRAME_BYTES
        self.nodes: dict[str, TcpTransport] = {}
        self._harm = Harm()
        self._relays = {name: Relay(self._harm) for name in NODE_NAMES}
        self._diaries = {name: Diary() for name in NODE_NAMES}

    async def node(self, name: str) -> TcpTransport:
        address = Peer(name=name, host="127.0.0.1", port=0)
        node = await listen_tcp(
            address, realm="realm", on_event=self._diaries[name].note, limits=LIMITS, carrier=self.carrier(name)
        )
        self._relays[name].node_port = node.port
        node.meet(
            [Peer(name=other, host="127.0.0.1", port=relay.port) for other, relay in self._relays.items()],
        )
        self.nodes[name] = node
        return node

    def carrier(self, name: str) -> Carrier | None:
        """What moves the blobs of a node; None: streams."""
        return None

    def events(self, name: str) -> list[Event]:
        return self._diaries[name].events

    async def until(self, name: str, kind: type[E], count: int = 1) -> list[E]:
        return await self._diaries[name].until(kind, count)

    async def settle(self, duration_ns: int) -> None:
        await asyncio.sleep(duration_ns / 1e9)

    def corrupt(self, transfer_id: str, offset_bytes: Bytes) -> None:
        self._harm.flips[transfer_id] = offset_bytes

    async def kill(self, name: str) -> None:
        self._harm.killed.add(name)
        for relay in self._relays.values():
            relay.cut(name)

    def stop(self, name: str) -> None:
        self._harm.stopped.add(name)

    async def close(self) -> None:
        for node in self.nodes.values():
            await node.close()
        for relay in self._relays.values():
            await relay.close()


def open_files() -> int:
    return len(list(pathlib.Path("/proc/self/fd").iterdir()))


def blob_threads() -> int:
    return sum(thread.name.startswith("blob") for thread in threading.enumerate())


@contextlib.asynccontextmanager
async def a_world(make: Callable[[], TcpWorld] = TcpWorld) -> AsyncIterator[TcpWorld]:
    """A world that leaves no socket, thread, task or silent error behind."""
    errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    files = open_files()
    world = make()
    try:
        yield world
    finally:
        await world.close()
    gc.collect()
    assert errors == [], errors
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert (blob_threads(), open_files()) == (0, files)
