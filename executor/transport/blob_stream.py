"""One blob over one connected socket: the blocking half of the TCP transport.

These functions run in threads of their own, so that neither the pacing nor the copying delays the event loop.  They
never raise for what a peer or a network can do: they return how it ended.
"""

import contextlib
import fcntl
import socket
import struct
import termios
import threading
import time

import attrs

from executor.errors import MalformedFrame
from executor.transport import framing, pacing
from executor.transport.digests import SegmentHasher
from executor.transport.interface import ExpectedBlob, FailureKind, OutgoingBlob
from specs.units import NANOS_PER_SECOND, Bytes, Nanos, ceil_div

# What is hashed right after it has been received must still be in the processor's second-level cache.
RECEIVE_BYTES = Bytes(256 << 10)

# How often a blocked call returns to look at the clock, as a share of the deadline: a stall is noticed at most that
# much later than the deadline.
LOOKS_PER_DEADLINE = 8
LOOK_NS_MIN = Nanos(1_000_000)


@attrs.frozen(kw_only=True)
class StreamEnd:
    """How a stream ended on this side; kind None: well."""

    kind: FailureKind | None
    segment: int | None = None
    moved_bytes: Bytes
    elapsed_ns: Nanos
    sentence: str


class _Halt(Exception):
    """The stream cannot go on."""

    def __init__(self, kind: FailureKind, sentence: str, segment: int | None = None) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.sentence = sentence
        self.segment = segment


class _Line:
    """A blocking socket that knows when the last byte moved."""

    def __init__(self, sock: socket.socket, deadline_ns: Nanos, stop: threading.Event) -> None:
        self._sock = sock
        self._deadline_ns = deadline_ns
        self._stop = stop
        self._moved_at_ns = time.monotonic_ns()
        look_us = ceil_div(max(deadline_ns // LOOKS_PER_DEADLINE, LOOK_NS_MIN), 1000)
        # The kernel's own timeouts keep the socket blocking, so that one call can wait for a whole piece; those of
        # Python's sockets would poll before every call.
        timeout = struct.pack("@ll", *divmod(look_us, 1_000_000))
        sock.settimeout(None)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)

    def sleep(self, wait_ns: Nanos) -> None:
        """Wait as the pace demands; it is not the peer's fault, so the deadline starts again."""
        if wait_ns:
            self._stop.wait(wait_ns / NANOS_PER_SECOND)
        self._halt_if_stopped()
        self._moved_at_ns = time.monotonic_ns()

    def send(self, piece: memoryview) -> int:
        """Hand bytes to the kernel; return how many it took, 0 when it has to be asked again."""
        try:
            sent = self._sock.send(piece)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise self._broken(str(error)) from error
        self._note(moved=sent > 0)
        return sent

    def receive_into(self, piece: memoryview) -> int:
        """Take bytes, all of the piece if they come in time; return how many, 0 when it has to be asked again."""
        try:
            received = self._sock.recv_into(piece, 0, socket.MSG_WAITALL)
        except BlockingIOError:
            received = 0
        except OSError as error:
            raise self._broken(str(error)) from error
        else:
            if received == 0:
                raise self._broken("it closed the connection")
        self._note(moved=received > 0)
        return received

    def receive_receipt(self) -> int | None:
        """Wait for the receipt; bytes that the network still takes from the kernel count as moving."""
        receipt = bytearray(framing.RECEIPT.size)
        received = 0
        unsent = self._unsent_bytes()
        while received < len(receipt):
            still_unsent = self._unsent_bytes()
            self._note(moved=still_unsent < unsent)
            unsent = still_unsent
            received += self.receive_into(memoryview(receipt)[received:])
        try:
            return framing.decode_receipt(bytes(receipt))
        except MalformedFrame as error:
            raise _Halt(FailureKind.PATH_LOST, str(error)) from error

    def _unsent_bytes(self) -> int:
        """Bytes that the peer's kernel has not acknowledged."""
        answer = fcntl.ioctl(self._sock, termios.TIOCOUTQ, b"\0\0\0\0")
        return int.from_bytes(answer, "little")

    def _note(self, *, moved: bool) -> None:
        self._halt_if_stopped()
        now_ns = time.monotonic_ns()
        if moved:
            self._moved_at_ns = now_ns
        elif now_ns - self._moved_at_ns >= self._deadline_ns:
            raise _Halt(FailureKind.STALLED, f"no byte moved for {self._deadline_ns} ns")

    def _broken(self, what: str) -> _Halt:
        self._halt_if_stopped()
        return _Halt(FailureKind.PATH_LOST, f"the connection broke: {what}")

    def _halt_if_stopped(self) -> None:
        if self._stop.is_set():
            raise _Halt(FailureKind.ABANDONED, "it was abandoned on this side")


def send_stream(sock: socket.socket, blob: OutgoingBlob, stop: threading.Event) -> StreamEnd:
    """Send the blob at its rate and wait for the receipt.  `stop`, once set, ends it soon."""
    started_ns = time.monotonic_ns()
    total = len(blob.buffer)
    chunk = pacing.chunk_size_bytes(blob.bytes_per_second, blob.progress_deadline_ns)
    rate = blob.bytes_per_second
    pace = None if rate is None else pacing.Pace(bytes_per_second=rate, start_ns=Nanos(started_ns))
    line = _Line(sock, blob.progress_deadline_ns, stop)
    sent = 0
    try:
        while sent < total:
            chunk_end = min(sent + chunk, total)
            if pace is not None:
                line.sleep(pace.wait_ns(Bytes(chunk_end - sent), Nanos(time.monotonic_ns())))
            while sent < chunk_end:
                sent += line.send(blob.buffer[sent:chunk_end])
        _require_intact(line.receive_receipt())
    except _Halt as halt:
        return _ended(halt, sent, started_ns, f"transfer {blob.transfer_id!r} to {blob.peer!r}", total)
    return _ended(None, sent, started_ns, "", total)


def receive_stream(sock: socket.socket, blob: ExpectedBlob, stop: threading.Event) -> StreamEnd:
    """Take the blob into its destination, check it and send the receipt.  `stop`, once set, ends it soon."""
    started_ns = time.monotonic_ns()
    total = len(blob.destination)
    line = _Line(sock, blob.progress_deadline_ns, stop)
    hasher = SegmentHasher(blob.segments)
    received = 0
    try:
        while received < total:
            piece = blob.destination[received : received + RECEIVE_BYTES]
            moved = line.receive_into(piece)
            hasher.update(piece[:moved])
            received += moved
        segment = hasher.first_corrupt_segment()
        # A sender that is gone by now changes nothing about the blob; if it comes back, it is told that we have it.
        with contextlib.suppress(_Halt):
            line.send(memoryview(framing.encode_receipt(segment)))
        _require_intact(segment)
    except _Halt as halt:
        return _ended(halt, received, started_ns, f"transfer {blob.transfer_id!r} from {blob.peer!r}", total)
    return _ended(None, received, started_ns, "", total)


def _require_intact(corrupt_segment: int | None) -> None:
    if corrupt_segment is not None:
        sentence = f"segment {corrupt_segment} arrived with another digest"
        raise _Halt(FailureKind.CORRUPT, sentence, corrupt_segment)


def _ended(halt: _Halt | None, moved: int, started_ns: int, transfer: str, total: int) -> StreamEnd:
    elapsed_ns = Nanos(time.monotonic_ns() - started_ns)
    if halt is None:
        return StreamEnd(kind=None, moved_bytes=Bytes(moved), elapsed_ns=elapsed_ns, sentence="")
    return StreamEnd(
        kind=halt.kind,
        segment=halt.segment,
        moved_bytes=Bytes(moved),
        elapsed_ns=elapsed_ns,
        sentence=f"{transfer}: {halt.sentence}, after {moved} of {total} bytes.",
    )
