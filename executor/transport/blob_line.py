"""The connection of one blob, in the thread that moves it: it knows when the last byte moved, and how it ended."""

import contextlib
import fcntl
import select
import socket
import struct
import termios
import threading
import time

import attrs

from executor.errors import MalformedFrame
from executor.transport import framing
from executor.transport.interface import FailureKind
from specs.units import NANOS_PER_SECOND, Bytes, Nanos, ceil_div

NANOS_PER_MILLISECOND = 1_000_000

# How often a blocked call returns to look at the clock, as a share of the deadline: a stall is noticed at most that
# much later than the deadline.
LOOKS_PER_DEADLINE = 8
LOOK_NS_MIN = Nanos(1_000_000)

SEE_OFF_NS = Nanos(500_000_000)
SEE_OFF_BYTES = Bytes(64)


@attrs.frozen(kw_only=True)
class BlobEnd:
    """How a blob ended on this side; kind None: well."""

    kind: FailureKind | None
    segment: int | None = None
    moved_bytes: Bytes
    elapsed_ns: Nanos
    detour: str = ""  # why it went on as a stream, where it began otherwise
    sentence: str


class Halt(Exception):
    """The blob cannot go on."""

    def __init__(self, kind: FailureKind, sentence: str, segment: int | None = None) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.sentence = sentence
        self.segment = segment


class Line:
    """A blocking socket that knows when the last byte moved.  What it cannot do it raises as Halt."""

    def __init__(self, sock: socket.socket, deadline_ns: Nanos, stop: threading.Event) -> None:
        self._sock = sock
        self._deadline_ns = deadline_ns
        self._stop = stop
        self._moved_at_ns = time.monotonic_ns()
        self._look_ns = max(deadline_ns // LOOKS_PER_DEADLINE, LOOK_NS_MIN)
        look_us = ceil_div(self._look_ns, 1000)
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
        self.halt_if_stopped()
        self._moved_at_ns = time.monotonic_ns()

    def send(self, piece: memoryview) -> int:
        """Hand bytes to the kernel; return how many it took, 0 when it has to be asked again."""
        try:
            sent = self._sock.send(piece)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise self.broken(str(error)) from error
        self.note(moved=sent > 0)
        return sent

    def receive_into(self, piece: memoryview) -> int:
        """Take bytes, all of the piece if they come in time; return how many, 0 when it has to be asked again."""
        try:
            received = self._sock.recv_into(piece, 0, socket.MSG_WAITALL)
        except BlockingIOError:
            received = 0
        except OSError as error:
            raise self.broken(str(error)) from error
        else:
            if received == 0:
                raise self.broken("it closed the connection")
        self.note(moved=received > 0)
        return received

    def wait(self, other: int | None, wait_ns: Nanos | None) -> None:
        """Wait until the connection or another descriptor has something to read, or for so long; not beyond a look."""
        asked = select.poll()
        for descriptor in (self._sock.fileno(), other):
            if descriptor is not None:
                asked.register(descriptor, select.POLLIN)
        asked.poll(ceil_div(self._look_ns if wait_ns is None else min(wait_ns, self._look_ns), NANOS_PER_MILLISECOND))

    def take(self, size_bytes: int) -> bytes:
        """Take at most so many bytes, of those that are here."""
        try:
            taken = self._sock.recv(size_bytes, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise self.broken(str(error)) from error
        if not taken:
            raise self.broken("it closed the connection")
        return taken

    def say(self, word: bytes) -> None:
        """Hand a few bytes to the kernel."""
        left = memoryview(word)
        while left:
            left = left[self.send(left) :]

    def see_off(self) -> None:
        """Say no more, and wait until the peer has closed: what it says unasked would else reset the connection.

        A reset may overtake the receipt.  A peer that takes its time is not waited for.
        """
        until_ns = time.monotonic_ns() + SEE_OFF_NS
        with contextlib.suppress(Halt, OSError):
            self._sock.shutdown(socket.SHUT_WR)
            while (left_ns := until_ns - time.monotonic_ns()) > 0:
                self.wait(None, Nanos(left_ns))
                self.take(SEE_OFF_BYTES)

    def receive_receipt(self) -> int | None:
        """Wait for the receipt; bytes that the network still takes from the kernel count as moving."""
        receipt = bytearray(framing.RECEIPT.size)
        received = 0
        unsent = self._unsent_bytes()
        while received < len(receipt):
            still_unsent = self._unsent_bytes()
            self.note(moved=still_unsent < unsent)
            unsent = still_unsent
            received += self.receive_into(memoryview(receipt)[received:])
        try:
            return framing.decode_receipt(bytes(receipt))
        except MalformedFrame as error:
            raise Halt(FailureKind.PATH_LOST, str(error)) from error

    def _unsent_bytes(self) -> int:
        """Bytes that the peer's kernel has not acknowledged."""
        answer = fcntl.ioctl(self._sock, termios.TIOCOUTQ, b"\0\0\0\0")
        return int.from_bytes(answer, "little")

    def note(self, *, moved: bool) -> None:
        """Note whether a byte has moved since the last look.  Raises Halt for a blob that is abandoned or stalled."""
        self.halt_if_stopped()
        now_ns = time.monotonic_ns()
        if moved:
            self._moved_at_ns = now_ns
        elif now_ns - self._moved_at_ns >= self._deadline_ns:
            raise Halt(FailureKind.STALLED, f"no byte moved for {self._deadline_ns} ns")

    def broken(self, what: str) -> Halt:
        """Make the end of a blob whose connection broke."""
        self.halt_if_stopped()
        return Halt(FailureKind.PATH_LOST, f"the connection broke: {what}")

    def halt_if_stopped(self) -> None:
        """Raise Halt when the blob was abandoned."""
        if self._stop.is_set():
            raise Halt(FailureKind.ABANDONED, "it was abandoned on this side")


@attrs.define(eq=False)
class Course:
    """One side of one blob: what moved so far, since when, and how it ended."""

    transfer: str  # as sentences name it
    total_bytes: Bytes
    moved_bytes: Bytes = Bytes(0)
    detour: str = ""
    _started_ns: int = attrs.field(init=False, factory=time.monotonic_ns)

    @property
    def started_ns(self) -> Nanos:
        """When it began, by a monotonic clock."""
        return Nanos(self._started_ns)

    def moved(self, size_bytes: int) -> None:
        """Count bytes."""
        self.moved_bytes = Bytes(self.moved_bytes + size_bytes)

    def ended(self, halt: Halt | None = None) -> BlobEnd:
        """Say how it ended; without a halt, well."""
        elapsed_ns = Nanos(time.monotonic_ns() - self._started_ns)
        if halt is None:
            return BlobEnd(
                kind=None, moved_bytes=self.moved_bytes, elapsed_ns=elapsed_ns, detour=self.detour, sentence=""
            )
        return BlobEnd(
            kind=halt.kind,
            segment=halt.segment,
            moved_bytes=self.moved_bytes,
            elapsed_ns=elapsed_ns,
            sentence=f"{self.transfer}: {halt.sentence}, after {self.moved_bytes} of {self.total_bytes} bytes.",
        )


def require_intact(corrupt_segment: int | None) -> None:
    """Raise Halt for a corrupt segment."""
    if corrupt_segment is not None:
        sentence = f"segment {corrupt_segment} arrived with another digest"
        raise Halt(FailureKind.CORRUPT, sentence, corrupt_segment)
