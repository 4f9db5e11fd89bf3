"""Blobs that are written into their receivers' memory, where both ends can; streams otherwise."""

import contextlib
import json
import logging
import socket
import threading
from collections.abc import Iterator

from executor.errors import DeviceFailed, MalformedFrame
from executor.transport import handshake
from executor.transport.blob_line import BlobEnd, Course, Halt, Line, require_intact
from executor.transport.blob_stream import receive_stream, send_stream
from executor.transport.carrier import Outgoing
from executor.transport.framing import Offer, Verdict, Writing
from executor.transport.interface import ExpectedBlob, FailureKind, OutgoingBlob
from executor.transport.rdma.blob_taker import BlobTaker
from executor.transport.rdma.blob_words import SPANS_MAX
from executor.transport.rdma.blob_writer import BlobWriter
from executor.transport.rdma.spans import OPEN_MAX, span_bytes_of, terms_of
from executor.transport.rdma.verbs import Contact, Device, QueuePair, decode_contact, encode_contact
from specs.units import Bytes

_log = logging.getLogger(__name__)


class RdmaCarrier:
    """Moves blobs through a device.  It closes the device."""

    def __init__(self, device: Device) -> None:
        self._device = device

    @contextlib.contextmanager
    def outgoing(self, blob: OutgoingBlob) -> Iterator[Outgoing]:
        """As `Carrier.outgoing`."""
        span_bytes = span_bytes_of(blob)
        try:
            pair = self._device.queue_pair(writes_max=OPEN_MAX, receives_max=1)
        except DeviceFailed as failed:
            _log.warning("transfer %r to %r goes as a stream: %s", blob.transfer_id, blob.peer, failed)
            yield _OutgoingWrites(blob, span_bytes, self._device, None)
            return
        with contextlib.closing(pair):
            yield _OutgoingWrites(blob, span_bytes, self._device, pair)

    def receive(self, sock: socket.socket, blob: ExpectedBlob, offer: Offer, stop: threading.Event) -> BlobEnd:
        """As `Carrier.receive`."""
        if offer.writing is None or terms_of(offer.size_bytes, offer.writing.span_bytes).spans > SPANS_MAX:
            return receive_stream(sock, blob, stop)
        try:
            pair = self._device.queue_pair(writes_max=1, receives_max=OPEN_MAX)
        except DeviceFailed as failed:
            _log.warning("transfer %r from %r comes as a stream: %s", blob.transfer_id, blob.peer, failed)
            return receive_stream(sock, blob, stop)
        with contextlib.closing(pair):
            try:
                pair.connect(offer.writing.contact)
            except DeviceFailed as failed:
                _log.warning("transfer %r from %r comes as a stream: %s", blob.transfer_id, blob.peer, failed)
                return receive_stream(sock, blob, stop)
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

    def close(self) -> None:
        """As `Carrier.close`."""
        self._device.close()


class _OutgoingWrites:
    def __init__(self, blob: OutgoingBlob, span_bytes: Bytes, device: Device, pair: QueuePair | None) -> None:
        self._blob, self._span_bytes, self._device, self._pair = blob, span_bytes, device, pair
        self.writing = None if pair is None else Writing(contact=pair.contact, span_bytes=span_bytes)

    def send(self, sock: socket.socket, answer: str, stop: threading.Event) -> BlobEnd:
        """As `Outgoing.send`."""
        if self._pair is None or not answer:
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
