"""Blobs and messages that are written into their receivers' memory, where both ends can; streams otherwise."""

import asyncio
import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator

import attrs

from executor.errors import DeviceFailed, MalformedFrame
from executor.transport import handshake
from executor.transport.blob_line import BlobEnd, Course, Halt, Line, require_intact
from executor.transport.blob_stream import receive_stream, send_stream
from executor.transport.carrier import MessageStream, Outgoing, OutgoingMessages
from executor.transport.framing import Offer, Verdict, Writing
from executor.transport.interface import ExpectedBlob, FailureKind, OutgoingBlob
from executor.transport.message_path import ReadingPath, SocketReading, SocketWriting, WritingPath
from executor.transport.rdma.blob_taker import BlobTaker
from executor.transport.rdma.blob_words import SPANS_MAX
from executor.transport.rdma.blob_writer import BlobWriter
from executor.transport.rdma.ring_paths import RING, WRITES_MAX, OnFailed, RingReading, RingWriting
from executor.transport.rdma.ring_words import decode_ring_offer, encode_ring_offer
from executor.transport.rdma.spans import OPEN_MAX, span_bytes_of, terms_of
from executor.transport.rdma.verbs import Contact, Device, QueuePair, decode_contact, encode_contact
from specs.units import Bytes, Nanos

_log = logging.getLogger(__name__)


# When a ring has failed, a path that is made sooner than this is a stream, as long as it lasts: a device that is down
# does not come up at once.
SHUN_NS = Nanos(30_000_000_000)


class RdmaCarrier:
    """Moves blobs and messages through a device.  It closes the device."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._shunned_ns: dict[str, int] = {}  # by peer: when a ring failed, by a monotonic clock

    @contextlib.contextmanager
    def outgoing(self, blob: OutgoingBlob) -> Iterator[Outgoing]:
        """As `Carrier.outgoing`."""
        span_bytes = span_bytes_of(blob)
        try:
            pair = self._device.queue_pair(writes_max=OPEN_MAX, receives_max=1)
        except DeviceFailed as failed:
            _log.warning("transfer %r to %r goes as a stream: %s", blob.transfer_id, blob.peer, failed)
            yield _OutgoingStream(blob, str(failed))
            return
        with contextlib.closing(pair):
            yield _OutgoingWrites(blob, span_bytes, self._device, pair)

    def receive(self, sock: socket.socket, blob: ExpectedBlob, offer: Offer, stop: threading.Event) -> BlobEnd:
        """As `Carrier.receive`."""
        if offer.writing is None or terms_of(offer.size_bytes, offer.writing.span_bytes).spans > SPANS_MAX:
            return receive_stream(sock, blob, stop)
        with contextlib.ExitStack() as stack:
            try:
                pair = self._device.queue_pair(writes_max=1, receives_max=OPEN_MAX)
                stack.enter_context(contextlib.closing(pair))
                pair.connect(offer.writing.contact)
            except DeviceFailed as failed:
                _log.warning("transfer %r from %r comes as a stream: %s", blob.transfer_id, blob.peer, failed)
                return attrs.evolve(receive_stream(sock, blob, stop), detour=str(failed))
            handshake.answer(sock, Verdict.WELCOME, json.dumps(encode_contact(pair.contact)))
            return self._take(sock, blob, offer.writing.span_bytes, pair, stop)

    def _take(
        self, sock: socket.socket, blob: ExpectedBlob, span_bytes: Bytes, pair: QueuePair, stop: threading.Event
    ) -> BlobEnd:
        course = Course(f"transfer {blob.transfer_id!r} from {blob.peer!r}", Bytes(len(blob.destination)))
        try:
            line = Line(sock, blob.progress_deadline_ns, stop)
            BlobTaker(line, blob, span_bytes, self._device, pair, course).run()
        except Halt as halt:
            return course.ended(halt)
        return course.ended()

    @contextlib.contextmanager
    def outgoing_messages(self, peer: str) -> Iterator[OutgoingMessages]:
        """As `Carrier.outgoing_messages`."""
        pair = None if self._is_shunned(peer) else self._pair(peer, writes_max=WRITES_MAX, receives_max=1)
        if pair is None:
            yield MessageStream()
            return
        with contextlib.closing(pair):
            yield _OutgoingRing(self._device, pair, lambda failed: self._shun(peer, failed))

    @contextlib.asynccontextmanager
    async def incoming_messages(
        self, sock: socket.socket, peer: str, contact: Contact | None
    ) -> AsyncIterator[ReadingPath]:
        """As `Carrier.incoming_messages`."""
        with contextlib.ExitStack() as stack:
            ring = None
            if contact is not None and not self._is_shunned(peer):
                ring = await self._ring(sock, peer, contact, stack)
            if ring is None:
                handshake.answer(sock, Verdict.WELCOME)
                yield SocketReading(sock)
            else:
                handshake.answer(sock, Verdict.WELCOME, json.dumps(encode_ring_offer(ring.offer)))
                yield ring

    async def _ring(
        self, sock: socket.socket, peer: str, contact: Contact, stack: contextlib.ExitStack
    ) -> RingReading | None:
        """Make a ring; the stack gives it up.  None where that cannot be."""
        with contextlib.ExitStack() as parts:
            pair = self._pair(peer, writes_max=1, receives_max=RING.notes_max)
            if pair is None:
                return None
            parts.enter_context(contextlib.closing(pair))
            try:
                await asyncio.to_thread(pair.connect, contact)  # it may have to look for the peer
                ring = RingReading(self._device, pair, sock, lambda failed: self._shun(peer, failed))
                parts.callback(ring.close)
                ring.begin()
            except DeviceFailed as failed:
                self._shun(peer, failed)
                return None
            stack.push(parts.pop_all())
        return ring

    def _pair(self, peer: str, *, writes_max: int, receives_max: int) -> QueuePair | None:
        try:
            return self._device.queue_pair(writes_max=writes_max, receives_max=receives_max)
        except DeviceFailed as failed:
            self._shun(peer, failed)
            return None

    def _is_shunned(self, peer: str) -> bool:
        since_ns = self._shunned_ns.get(peer)
        return since_ns is not None and time.monotonic_ns() - since_ns < SHUN_NS

    def _shun(self, peer: str, failed: DeviceFailed) -> None:
        if not self._is_shunned(peer):
            _log.warning("the next path of messages with %r is a stream: %s", peer, failed)
            self._shunned_ns[peer] = time.monotonic_ns()

    def close(self) -> None:
        """As `Carrier.close`."""
        self._device.close()


class _OutgoingRing:
    def __init__(self, device: Device, pair: QueuePair, on_failed: OnFailed) -> None:
        self._device, self._pair, self._on_failed = device, pair, on_failed
        self.contact: Contact | None = pair.contact

    @contextlib.asynccontextmanager
    async def path(self, sock: socket.socket, answer: str) -> AsyncIterator[WritingPath]:
        """As `OutgoingMessages.path`."""
        if not answer:
            yield SocketWriting(sock)
            return
        try:
            offer = decode_ring_offer(json.loads(answer))
        except (ValueError, RecursionError, MalformedFrame) as error:
            raise OSError(f"the answer makes no sense: {error}") from error
        try:
            await asyncio.to_thread(self._pair.connect, offer.contact)  # it may have to look for the peer
            ring = RingWriting(self._device, self._pair, offer, sock, self._on_failed)
        except DeviceFailed as failed:
            self._on_failed(failed)
            raise OSError(str(failed)) from failed
        with contextlib.closing(ring):
            yield ring


class _OutgoingStream:
    """A blob that was to be written, and cannot be."""

    def __init__(self, blob: OutgoingBlob, why: str) -> None:
        self._blob, self._why = blob, why
        self.writing: Writing | None = None

    def send(self, sock: socket.socket, answer: str, stop: threading.Event) -> BlobEnd:
        """As `Outgoing.send`."""
        del answer  # nothing was asked
        return attrs.evolve(send_stream(sock, self._blob, stop), detour=self._why)


class _OutgoingWrites:
    def __init__(self, blob: OutgoingBlob, span_bytes: Bytes, device: Device, pair: QueuePair) -> None:
        self._blob, self._span_bytes, self._device, self._pair = blob, span_bytes, device, pair
        self.writing: Writing | None = Writing(contact=pair.contact, span_bytes=span_bytes)

    def send(self, sock: socket.socket, answer: str, stop: threading.Event) -> BlobEnd:
        """As `Outgoing.send`."""
        if not answer:  # the receiver has no device, or it says itself why it does not use it
            return send_stream(sock, self._blob, stop)
        blob = self._blob
        course = Course(f"transfer {blob.transfer_id!r} to {blob.peer!r}", Bytes(len(blob.buffer)))
        line = Line(sock, blob.progress_deadline_ns, stop)
        try:
            writer = BlobWriter(line, blob, self._span_bytes, self._device, self._pair, course)
            writer.run(_contact_in(answer))
            require_intact(line.receive_receipt())
        except Halt as halt:
            return course.ended(halt)
        return course.ended()


def _contact_in(answer: str) -> Contact:
    try:
        return decode_contact(json.loads(answer))
    except (ValueError, RecursionError) as error:
        raise Halt(FailureKind.PATH_LOST, f"the answer to the offer is not JSON ({error})") from error
    except MalformedFrame as error:
        raise Halt(FailureKind.PATH_LOST, str(error)) from error
