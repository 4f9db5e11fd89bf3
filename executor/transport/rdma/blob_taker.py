"""The receiving end of a blob that is written into this node's memory: the blocking half, in a thread of its own."""

import contextlib
import logging

from executor.errors import DeviceFailed, MalformedFrame
from executor.transport.blob_line import Course, Halt, Line
from executor.transport.blob_stream import give_receipt, stream_in
from executor.transport.digests import SegmentHasher
from executor.transport.interface import ExpectedBlob, FailureKind
from executor.transport.rdma.blob_words import (
    SENDERS_WORD,
    ReceiverSays,
    ReceiversWord,
    SenderSays,
    decode_senders_word,
    encode_receivers_word,
)
from executor.transport.rdma.spans import terms_of
from executor.transport.rdma.verbs import Device, QueuePair, Region
from specs.protocols import remote_writes as protocol
from specs.protocols.remote_writes import Way
from specs.units import Bytes

_log = logging.getLogger(__name__)


class BlobTaker:
    """Lets one blob be written, or what can be of it, and takes the rest as a stream."""

    def __init__(
        self, line: Line, blob: ExpectedBlob, span_bytes: Bytes, device: Device, pair: QueuePair, course: Course
    ) -> None:
        self._line, self._blob, self._course = line, blob, course
        self._span_bytes = span_bytes
        self._terms = terms_of(Bytes(len(blob.destination)), span_bytes)
        self._device, self._pair = device, pair
        self._hasher = SegmentHasher(blob.segments)
        self._regions: dict[int, Region] = {}  # of the spans that are open
        self._state = protocol.ReceiverState()

    def run(self) -> None:
        """Take and check all bytes, and give the receipt.  Raises Halt."""
        try:
            self._state, actions = protocol.begin_receiver(self._terms)
            self._do(actions)
            while self._state.way is Way.WRITES:
                self._line.wait(self._pair.fd, None)
                self._line.note(moved=self._take_completions())
                self._hear()
        finally:
            self._shut()
        if self._state.way is Way.STREAM:
            self._wait_for_stream()
            stream_in(self._line, self._blob.destination, self._hasher, self._course)
            self._take(protocol.Streamed())
        try:
            give_receipt(self._line, self._hasher)
        finally:
            self._line.see_off()  # the sender may have said meanwhile that it is broken

    def _take(self, event: protocol.ReceiverEvent) -> None:
        is_writing = self._state.way is Way.WRITES
        self._state, actions = protocol.step_receiver(self._terms, self._state, event)
        self._do(actions, is_writing=is_writing)

    def _do(self, actions: tuple[protocol.ReceiverAction, ...], *, is_writing: bool = True) -> None:
        for action in actions:
            match action:
                case protocol.OpenSpan(span):
                    try:
                        self._open(span)
                    except DeviceFailed as failed:
                        self._fail(str(failed))
                        return  # what else was due is void
                case protocol.CloseSpan(span):
                    self._close(span)
                case protocol.Check(span):
                    self._check(self._piece(span))
                case protocol.Shut():
                    self._shut()
                case protocol.Ask(span):
                    self._course.detour = self._course.detour or "the peer wrote spans out of turn."
                    self._course.moved_bytes = Bytes(span * self._span_bytes)
                    self._say(ReceiversWord(says=ReceiverSays.ASKED, span=span))
                case protocol.Acknowledge() if is_writing:
                    with contextlib.suppress(Halt):  # as with the receipt: who is gone by now changes nothing
                        self._say(ReceiversWord(says=ReceiverSays.DONE))

    def _fail(self, why: str) -> None:
        if self._state.way is Way.WRITES:
            _log.warning("%s: it cannot be written to the end: %s", self._course.transfer, why)
            self._course.detour = why
            self._take(protocol.Failed())

    def _open(self, span: int) -> None:
        region = self._regions[span] = self._device.register(self._piece(span), is_remote=True)
        self._pair.expect(span)
        self._say(ReceiversWord(says=ReceiverSays.GRANTED, span=span, address=region.address, key=region.remote_key))

    def _close(self, span: int) -> None:
        """Take the key away.  Where that cannot be, nothing may be looked at: the blob ends."""
        try:
            self._regions[span].close()
        except DeviceFailed as failed:
            raise Halt(FailureKind.PATH_LOST, str(failed)) from failed
        del self._regions[span]

    def _check(self, piece: memoryview) -> None:
        self._hasher.update(piece)
        self._course.moved(len(piece))

    def _piece(self, span: int) -> memoryview:
        return self._blob.destination[span * self._span_bytes : (span + 1) * self._span_bytes]

    def _shut(self) -> None:
        self._pair.close()
        for region in self._regions.values():
            region.close()
        self._regions.clear()

    def _say(self, word: ReceiversWord) -> None:
        self._line.say(encode_receivers_word(word))

    def _take_completions(self) -> bool:
        """Tell whether any span has arrived."""
        arrived = self._state.arrived
        try:
            for done in self._pair.completions():
                if done.failure is not None or done.immediate is None:
                    self._fail(
                        f"{'the peer wrote what was not agreed' if done.failure is None else done.failure.value}."
                    )
                    break
                self._take(protocol.Arrived(done.immediate))
            if (failure := self._device.failed()) is not None:
                self._fail(f"{failure.value}.")
        except DeviceFailed as failed:
            self._fail(str(failed))
        return self._state.arrived > arrived

    def _hear(self) -> None:
        """Hear that the sender is broken, or gone."""
        if self._state.way is Way.WRITES and (word := self._line.take(SENDERS_WORD.size)):
            if _decoded(word) is not SenderSays.BROKEN:
                raise Halt(FailureKind.PATH_LOST, "the sender streams what it was not asked for")
            self._course.detour = "the sender said that it cannot write."
            self._take(protocol.Said())

    def _wait_for_stream(self) -> None:
        """Pass over what the sender said before it heard that it was asked: once, that it is broken."""
        word = bytearray(SENDERS_WORD.size)
        for passed in (SenderSays.BROKEN, SenderSays.STREAM):
            while not self._line.receive_into(memoryview(word)):
                pass
            says = _decoded(bytes(word))
            if says is SenderSays.STREAM:
                return
            if says is not passed:
                raise Halt(FailureKind.PATH_LOST, "the sender says again that it is broken")


def _decoded(word: bytes) -> SenderSays:
    try:
        return decode_senders_word(word)
    except MalformedFrame as error:
        raise Halt(FailureKind.PATH_LOST, str(error)) from error
