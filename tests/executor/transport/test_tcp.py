"""The TCP transport keeps every transport's promises, bears bad callers, and leaves nothing behind."""

import asyncio
import contextlib
import gc
import logging
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from typing import TypeVar

import pytest

from executor.transport import framing
from executor.transport.framing import Hello, Offer, Verdict
from executor.transport.interface import (
    BlobArrived,
    BlobFailed,
    BlobSent,
    Event,
    FailureKind,
    MessageReceived,
    Peer,
    PeerLost,
)
from executor.transport.message_link import MessageLimits
from executor.transport.tcp import TcpLimits, TcpTransport, listen_tcp
from specs.units import Bytes, Nanos
from tests.conformance.check_transport import CHECKS, NODE_NAMES, Check, expect, noise, send
from tests.conformance.relay import Harm, Relay

E = TypeVar("E")

PATIENCE_SECONDS = 60
FRAME_BYTES = Bytes(4 << 20)
LIMITS = TcpLimits(messages=MessageLimits(frame_bytes=FRAME_BYTES, silence_ns=Nanos(2_000_000_000)))


class TcpWorld:
    """Nodes on loopback, each behind a relay."""

    def __init__(self) -> None:
        self.frame_bytes = FRAME_BYTES
        self.nodes: dict[str, TcpTransport] = {}
        self._harm = Harm()
        self._relays = {name: Relay(self._harm) for name in NODE_NAMES}
        self._events: dict[str, list[Event]] = {name: [] for name in NODE_NAMES}
        self._news = asyncio.Event()

    async def node(self, name: str) -> TcpTransport:
        def note(event: Event) -> None:
            self._events[name].append(event)
            self._news.set()

        node = await listen_tcp(Peer(name=name, host="127.0.0.1", port=0), realm="realm", on_event=note, limits=LIMITS)
        self._relays[name].node_port = node.port
        node.meet(
            [Peer(name=other, host="127.0.0.1", port=relay.port) for other, relay in self._relays.items()],
        )
        self.nodes[name] = node
        return node

    def events(self, name: str) -> list[Event]:
        return self._events[name]

    async def until(self, name: str, kind: type[E], count: int = 1) -> list[E]:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(found := [event for event in self._events[name] if isinstance(event, kind)]) < count:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pytest.fail(f"{name}: {count} of {kind.__name__} never came; there is {self._events[name]}")
        return found

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


@contextlib.asynccontextmanager
async def a_world() -> AsyncIterator[TcpWorld]:
    """A world that leaves no socket, thread, task or silent error behind."""
    errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    world = TcpWorld()
    try:
        yield world
    finally:
        await world.close()
    gc.collect()
    assert errors == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == (threads, files)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_keeps_every_promise(check: Check) -> None:
    async def run() -> None:
        async with a_world() as world:
            await check(world)

    asyncio.run(run())
