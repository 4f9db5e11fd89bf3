"""Where the checks of transports take place, and what they move there."""

import itertools
import os
import random
from typing import Protocol, TypeVar

import blake3

from executor.transport.interface import Event, ExpectedBlob, OutgoingBlob, Segment, Transport
from specs.units import NANOS_PER_SECOND, Bytes, BytesPerSecond, Nanos

E = TypeVar("E")

MEBI = 1 << 20
SLOWNESS = 8 if "RDMA_LAB" in os.environ else 1  # in an emulated machine all takes so much longer
DEADLINE_NS = Nanos(2 * SLOWNESS * NANOS_PER_SECOND)
READ_BYTES = Bytes(256 << 10)  # no transport reads more at once; what it has read it counts before it reads on


class World(Protocol):
    """Nodes that can reach each other, what happened to each, and the power to do them harm."""

    frame_bytes: Bytes  # the limit of a message

    async def node(self, name: str) -> Transport:
        """Start a node that knows, and is known to, every other: those of NODE_NAMES."""

    def events(self, name: str) -> list[Event]:
        """Every event of that node."""

    async def until(self, name: str, kind: type[E], count: int = 1) -> list[E]:
        """Wait until so many events of a kind have come; return all of that kind.  Fails after a generous while."""

    async def settle(self, duration_ns: int) -> None:
        """Let time pass."""

    def corrupt(self, transfer_id: str, offset_bytes: Bytes) -> None:
        """Flip one byte of the next attempt of a transfer."""

    async def kill(self, name: str) -> None:
        """As SIGKILL."""

    def stop(self, name: str) -> None:
        """As SIGSTOP."""


NODE_NAMES = ("a", "b", "c")


async def underway(world: World, place: bytearray) -> None:
    """Wait until a blob has begun to arrive, and its receiver has counted some of its bytes."""
    while not any(place[READ_BYTES : READ_BYTES + 64]):
        await world.settle(NANOS_PER_SECOND // 100)


def noise(size: int, seed: int = 0) -> bytearray:
    return bytearray(random.Random(seed).randbytes(size))


def segments_of(data: bytearray, cuts: tuple[int, ...]) -> tuple[Segment, ...]:
    """Segments between successive cuts."""
    return tuple(
        Segment(
            offset_bytes=Bytes(start),
            size_bytes=Bytes(end - start),
            blake3_hex=blake3.blake3(memoryview(data)[start:end]).hexdigest(),
        )
        for start, end in itertools.pairwise(cuts)
    )


def expect(node: Transport, peer: str, data: bytearray, transfer: str = "t", cuts: tuple[int, ...] = ()) -> bytearray:
    """Expect a blob like this; return where it will be."""
    destination = bytearray(len(data))
    node.expect_blob(
        ExpectedBlob(
            peer=peer,
            transfer_id=transfer,
            destination=memoryview(destination),
            segments=segments_of(data, cuts or (0, len(data))),
            progress_deadline_ns=DEADLINE_NS,
        )
    )
    return destination


def send(node: Transport, peer: str, data: bytearray, transfer: str = "t", rate: int | None = None) -> None:
    node.send_blob(
        OutgoingBlob(
            peer=peer,
            transfer_id=transfer,
            buffer=memoryview(data),
            bytes_per_second=None if rate is None else BytesPerSecond(rate),
            progress_deadline_ns=DEADLINE_NS,
        )
    )
