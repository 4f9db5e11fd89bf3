"""The sending end of a blob that is written into its receiver's memory: the blocking half, in a thread of its own."""

import logging
import time
from collections import deque

from executor.errors import DeviceFailed, MalformedFrame
from executor.transport import pacing
from executor.transport.blob_line import Course, Halt, Line
from executor.transport.blob_stream import stream_out
from executor.transport.interface import FailureKind, OutgoingBlob
from executor.transport.rdma.blob_words import (
    RECEIVERS_WORD,
    ReceiverSays,
    ReceiversWord,
    SenderSays,
    decode_receivers_word,
    encode_senders_word,
)
from executor.transport.rdma.spans import terms_of
from executor.transport.rdma.verbs import Contact, Device, QueuePair, Region
from specs.protocols import remote_writes as protocol
from specs.protocols.remote_writes import Way
from specs.units import Bytes, Nanos

_log = logging.getLogger(__name__)


class BlobWriter:
    """Writes one blob, or what it can of it, and streams the rest."""

    def __init__(
        self, line: Line, blob: OutgoingBlob, span_bytes: Bytes, device: Device, pair: QueuePair, course: Course
    ) -> None:
        self._line, self._blob, self._course = line, blob, course
        self._span_bytes = span_bytes
        self._terms = terms_of(Bytes(len(blob.buffer)), span_bytes)
        self._device, self._pair = device, pair
        self._state = protocol.SenderState()
        self._word = b""  # what has come of the receiver's next
        self._granted: dict[int, ReceiversWord] = {}
        self._due: deque[int] = deque()  # spans to write
        self._regions: dict[int, Region] = {}  # of the spans that are being written
        self._asked = 0  # the first span of the stream
        self._why = "the receiver asked for a stream."  # if there is no reason here
        rate, now_ns = blob.bytes_per_second, Nanos(time.monotonic_ns())
        self._pace = None if rate is None else pacing.Pace(bytes_per_second=rate, start_ns=now_ns)
        self._paid_at_ns: int | None = None  # when the next span may leave; None: it was not asked for yet

    def run(self, peer: Contact) -> None:
        """Move all bytes; what is left is the receipt.  Raises Halt."""
        try:
            self._connect(peer)
            while self._state.way in (Way.WRITES, Way.BROKEN):
                self._write()
                self._line.wait(self._pair.fd if self._state.way is Way.WRITES else None, self._pause_ns())
                self._line.note(moved=self._take_completions())
                self._take_word()
        finally:
            self._shut()
        if self._state.way is Way.STREAM:
            self._course.detour = self._why
            self._course.moved_bytes = Bytes(self._asked * self._span_bytes)
            self._line.say(encode_senders_word(SenderSays.STREAM))
            stream_out(self._line, self._blob, self._course)

    def _connect(self, peer: Contact) -> None:
        try:
            self._pair.connect(peer)
        except DeviceFailed as failed:
            self._fail(str(failed))

    def _take(self, event: protocol.SenderEvent) -> None:
        self._state, actions = protocol.step_sender(self._terms, self._state, event)
        for action in actions:
            match action:
                case protocol.WriteSpan(span):
                    self._due.append(span)
                case protocol.Shut():
                    self._shut()
                case protocol.Say():
                    self._line.say(encode_senders_word(SenderSays.BROKEN))
                case protocol.Stream(span):
                    self._asked = span

    def _fail(self, why: str) -> None:
        if self._state.way is Way.WRITES:
            _log.warning("%s: it cannot be written to the end: %s", self._course.transfer, why)
            self._why = why
            self._take(protocol.Failed())

    def _shut(self) -> None:
        self._pair.close()
        for region in self._regions.values():
            region.close()
        self._regions.clear()
        self._due.clear()
        self._granted.clear()

    # --- writing -------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        """Write the spans that were granted, as far as the pace and the queue let them leave."""
        try:
            while self._due and self._pair.room and self._is_paid(self._due[0]):
                span = self._due.popleft()
                grant = self._granted.pop(span)
                piece = self._piece(span)
                region = self._regions[span] = self._device.register(piece, is_remote=False)
                self._pair.write(region, 0, len(piece), address=grant.address, key=grant.key, immediate=span, id=span)
        except DeviceFailed as failed:
            self._fail(str(failed))

    def _piece(self, span: int) -> memoryview:
        return self._blob.buffer[span * self._span_bytes : (span + 1) * self._span_bytes]

    def _is_paid(self, span: int) -> bool:
        if self._pace is None:
            return True
        now_ns = time.monotonic_ns()
        if self._paid_at_ns is None:
            self._paid_at_ns = now_ns + self._pace.wait_ns(Bytes(len(self._piece(span))), Nanos(now_ns))
        if now_ns < self._paid_at_ns:
            return False
        self._paid_at_ns = None
        return True

    def _pause_ns(self) -> Nanos | None:
        """How long the pace lets the next span wait, if it does: that is not the peer's fault."""
        if self._paid_at_ns is None or not self._due:
            return None
        self._line.note(moved=True)
        return Nanos(max(0, self._paid_at_ns - time.monotonic_ns()))

    def _take_completions(self) -> bool:
        """Tell whether any span was written."""
        if self._state.way is not Way.WRITES:
            return False
        moved = False
        try:
            for done in self._pair.completions():
                if done.failure is not None:
                    self._fail(f"{done.failure.value}.")
                    break
                self._regions[done.id].close()
                del self._regions[done.id]
                self._course.moved(len(self._piece(done.id)))
                moved = True
            if (failure := self._device.failed()) is not None:
                self._fail(f"{failure.value}.")
        except DeviceFailed as failed:
            self._fail(str(failed))
        return moved

    # --- words ---------------------------------------------------------------------------------------------------

    def _take_word(self) -> None:
        """Take the words that are here, one by one: after the last comes the receipt, which is not for this."""
        while self._state.way in (Way.WRITES, Way.BROKEN):
            self._line.note(moved=False)
            taken = self._line.take(RECEIVERS_WORD.size - len(self._word))
            self._word += taken
            if len(self._word) < RECEIVERS_WORD.size:
                if not taken:
                    return
                continue
            data, self._word = self._word, b""
            try:
                word = decode_receivers_word(data)
            except MalformedFrame as error:
                raise Halt(FailureKind.PATH_LOST, str(error)) from error
            match word.says:
                case ReceiverSays.GRANTED:
                    self._take(protocol.Granted(word.span))
                    if self._due and self._due[-1] == word.span:
                        self._granted[word.span] = word
                case ReceiverSays.ASKED:
                    self._take(protocol.Asked(word.span))
                case ReceiverSays.DONE:
                    self._course.moved_bytes = self._course.total_bytes  # whatever this device says of its last writes
                    self._take(protocol.Acknowledged())
