"""How blobs move in the transport within one process: chunk by chunk, at their rates, on virtual time."""

import attrs

from executor.transport import pacing
from executor.transport.digests import SegmentHasher
from executor.transport.interface import (
    BlobArrived,
    BlobFailed,
    BlobSent,
    ExpectedBlob,
    FailureKind,
    OutgoingBlob,
)
from executor.transport.memory_clock import Actor, Clock
from specs.units import Bytes, BytesPerSecond, Nanos

_Key = tuple[str, str]  # peer, transfer id


@attrs.define(eq=False)
class BlobTables:
    """What one node knows of its blobs."""

    actor: Actor
    outgoing: set[_Key] = attrs.field(factory=set)
    expected: dict[_Key, ExpectedBlob] = attrs.field(factory=dict)
    incoming: set[_Key] = attrs.field(factory=set)
    arrived: dict[_Key, Bytes] = attrs.field(factory=dict)


@attrs.define(eq=False)
class _Stream:
    """The part of a transfer that begins with the receiver's consent."""

    expected: ExpectedBlob
    hasher: SegmentHasher
    pace: pacing.Pace
    chunk_bytes: Bytes
    started_ns: Nanos
    moved_bytes: Bytes = Bytes(0)
    waiting_bytes: Bytes = Bytes(0)  # a chunk that a stopped receiver does not take


@attrs.define(eq=False)
class _Transfer:
    """A blob that was offered and has not ended."""

    blob: OutgoingBlob
    sender: BlobTables
    receiver: BlobTables
    stream: _Stream | None = None  # None until consent
    over: bool = False

    @property
    def deadline_ns(self) -> Nanos:
        """The shorter of both sides' deadlines: the end of one side's path ends the other's."""
        if self.stream is None:
            return self.blob.progress_deadline_ns
        return min(self.blob.progress_deadline_ns, self.stream.expected.progress_deadline_ns)

    @property
    def moved_bytes(self) -> Bytes:
        """How many bytes have landed."""
        return Bytes(0) if self.stream is None else self.stream.moved_bytes

    @property
    def key_there(self) -> _Key:
        """What the receiver calls it; the sender calls it (blob.peer, blob.transfer_id)."""
        return self.sender.actor.name, self.blob.transfer_id


class BlobTraffic:
    """Every blob under way in one network."""

    def __init__(self, clock: Clock, *, latency_ns: Nanos, bytes_per_second: BytesPerSecond) -> None:
        self._clock = clock
        self._latency_ns = latency_ns
        self._bytes_per_second = bytes_per_second
        self._transfers: list[_Transfer] = []
        self._flips: dict[str, Bytes] = {}

    def flip(self, transfer_id: str, offset_bytes: Bytes) -> None:
        """Flip every bit of one byte when this transfer next lands it."""
        self._flips[transfer_id] = offset_bytes

    def offer(self, sender: BlobTables, receiver: BlobTables | None, blob: OutgoingBlob) -> None:
        """Carry an offer and, with consent, the blob; None: the peer is not there or does not know the sender."""
        if receiver is None:
            sentence = f"transfer {blob.transfer_id!r} to {blob.peer!r}: it cannot be reached, or turned us away."
            unreachable = BlobFailed(
                transfer_id=blob.transfer_id,
                peer=blob.peer,
                kind=FailureKind.UNREACHABLE,
                segment=None,
                moved_bytes=Bytes(0),
                sentence=sentence,
            )
            self._end_out(sender, blob, unreachable)
            return
        transfer = _Transfer(blob=blob, sender=sender, receiver=receiver)
        self._transfers.append(transfer)
        self._clock.at(self._latency_ns, receiver.actor, lambda: self._judge(transfer))
        self._watch(transfer)

    def watch(self, actor: Actor) -> None:
        """A node was stopped: its transfers fail at their deadlines if no byte moves until then."""
        for transfer in self._of(actor):
            self._watch(transfer)

    def resume(self, actor: Actor) -> None:
        """A node goes on: so do the chunks that waited for it."""
        for transfer in self._of(actor):
            stream = transfer.stream
            if transfer.receiver.actor is actor and stream is not None and stream.waiting_bytes:
                size_bytes, stream.waiting_bytes = stream.waiting_bytes, Bytes(0)
                self._land(transfer, stream, size_bytes)

    def end_all(self, actor: Actor) -> None:
        """A node died: its transfers fail on the other side."""
        for transfer in self._of(actor):
            self._fail(transfer, FailureKind.PATH_LOST, FailureKind.PATH_LOST, "the connection broke")

    def abandon(self, actor: Actor, peer: str, transfer_id: str) -> None:
        """End what this node has under way with a peer by that id."""
        lost, abandoned = FailureKind.PATH_LOST, FailureKind.ABANDONED
        for transfer in self._of(actor):
            if transfer.sender.actor is actor and (peer, transfer_id) == (
                transfer.blob.peer,
                transfer.blob.transfer_id,
            ):
                self._fail(transfer, abandoned, lost, "it was abandoned by its sender")
            elif transfer.receiver.actor is actor and (peer, transfer_id) == transfer.key_there and transfer.stream:
                self._fail(transfer, lost, abandoned, "it was abandoned by its receiver")

    def _of(self, actor: Actor) -> list[_Transfer]:
        return [one for one in self._transfers if actor in (one.sender.actor, one.receiver.actor)]

    def _judge(self, transfer: _Transfer) -> None:
        if transfer.over:
            return
        blob, receiver, key = transfer.blob, transfer.receiver, transfer.key_there
        expected = receiver.expected.get(key)
        size_bytes = Bytes(len(blob.buffer))
        if expected is not None and len(expected.destination) == size_bytes:
            del receiver.expected[key]
            receiver.incoming.add(key)
            self._begin(transfer, expected)
            return
        self._over(transfer)
        if expected is None and receiver.arrived.get(key) == size_bytes:
            self._say_sent(transfer, Bytes(0), Nanos(0))
            return
        found = "is not expected" if expected is None else f"is {size_bytes} bytes, wanted {len(expected.destination)}"
        self._tell_sender(transfer, FailureKind.REFUSED, f"refused there: it {found}")

    def _begin(self, transfer: _Transfer, expected: ExpectedBlob) -> None:
        blob = transfer.blob
        rate = blob.bytes_per_second or self._bytes_per_second
        now_ns = self._clock.now_ns
        stream = _Stream(
            expected=expected,
            hasher=SegmentHasher(expected.segments),
            pace=pacing.Pace(bytes_per_second=rate, start_ns=now_ns),
            chunk_bytes=pacing.chunk_size_bytes(rate, blob.progress_deadline_ns),
            started_ns=now_ns,
        )
        transfer.stream = stream
        self._go_on(transfer, stream)

    def _go_on(self, transfer: _Transfer, stream: _Stream) -> None:
        """Plan the next chunk, or end."""
        left_bytes = len(transfer.blob.buffer) - stream.moved_bytes
        if left_bytes == 0:
            self._finish(transfer, stream)
            return
        size_bytes = Bytes(min(stream.chunk_bytes, left_bytes))
        wait_ns = stream.pace.wait_ns(size_bytes, self._clock.now_ns)
        self._clock.at(wait_ns, transfer.sender.actor, lambda: self._land(transfer, stream, size_bytes))

    def _land(self, transfer: _Transfer, stream: _Stream, size_bytes: Bytes) -> None:
        if transfer.over:
            return
        if transfer.receiver.actor.stopped:
            stream.waiting_bytes = size_bytes
            return
        start, end = stream.moved_bytes, Bytes(stream.moved_bytes + size_bytes)
        piece = stream.expected.destination[start:end]
        piece[:] = transfer.blob.buffer[start:end]
        flip = self._flips.get(transfer.blob.transfer_id)
        if flip is not None and start <= flip < end:
            piece[flip - start] ^= 0xFF
            del self._flips[transfer.blob.transfer_id]
        stream.hasher.update(piece)
        stream.moved_bytes = end
        self._go_on(transfer, stream)

    def _finish(self, transfer: _Transfer, stream: _Stream) -> None:
        segment = stream.hasher.first_corrupt_segment()
        if segment is not None:
            what = f"segment {segment} arrived with another digest"
            self._fail(transfer, FailureKind.CORRUPT, FailureKind.CORRUPT, what, segment)
            return
        self._over(transfer)
        receiver, (peer, transfer_id) = transfer.receiver, transfer.key_there
        size_bytes, elapsed_ns = stream.moved_bytes, Nanos(self._clock.now_ns - stream.started_ns)
        receiver.arrived[transfer.key_there] = size_bytes

        def say_arrived() -> None:
            receiver.incoming.remove((peer, transfer_id))
            receiver.actor.on_event(
                BlobArrived(transfer_id=transfer_id, peer=peer, size_bytes=size_bytes, elapsed_ns=elapsed_ns)
            )

        self._clock.at(0, receiver.actor, say_arrived)
        self._say_sent(transfer, size_bytes, Nanos(elapsed_ns + self._latency_ns))

    def _watch(self, transfer: _Transfer) -> None:
        seen_bytes = transfer.moved_bytes

        def look() -> None:
            stopped = transfer.sender.actor.stopped or transfer.receiver.actor.stopped
            if stopped and not transfer.over and transfer.moved_bytes == seen_bytes:
                what = f"no byte moved for {transfer.deadline_ns} ns"
                self._fail(transfer, FailureKind.STALLED, FailureKind.STALLED, what)

        self._clock.at(transfer.deadline_ns, None, look)

    def _fail(
        self, transfer: _Transfer, here: FailureKind, there: FailureKind, what: str, segment: int | None = None
    ) -> None:
        """End a transfer with a kind for its sender and one for its receiver, if that had consented."""
        self._over(transfer)
        self._tell_sender(transfer, here, what, segment)
        if transfer.stream is None:
            return
        receiver, (peer, transfer_id) = transfer.receiver, transfer.key_there
        failed = BlobFailed(
            transfer_id=transfer_id,
            peer=peer,
            kind=there,
            segment=segment,
            moved_bytes=transfer.moved_bytes,
            sentence=f"transfer {transfer_id!r} from {peer!r}: {what}, {self._progress(transfer)}.",
        )

        def say_failed() -> None:
            receiver.incoming.remove((peer, transfer_id))
            receiver.actor.on_event(failed)

        self._clock.at(0, receiver.actor, say_failed)

    def _tell_sender(self, transfer: _Transfer, kind: FailureKind, what: str, segment: int | None = None) -> None:
        sender, blob = transfer.sender, transfer.blob
        failed = BlobFailed(
            transfer_id=blob.transfer_id,
            peer=blob.peer,
            kind=kind,
            segment=segment,
            moved_bytes=transfer.moved_bytes,
            sentence=f"transfer {blob.transfer_id!r} to {blob.peer!r}: {what}, {self._progress(transfer)}.",
        )
        self._end_out(sender, blob, failed)

    def _say_sent(self, transfer: _Transfer, sent_bytes: Bytes, elapsed_ns: Nanos) -> None:
        blob = transfer.blob
        sent = BlobSent(transfer_id=blob.transfer_id, peer=blob.peer, sent_bytes=sent_bytes, elapsed_ns=elapsed_ns)
        self._end_out(transfer.sender, blob, sent)

    def _end_out(self, sender: BlobTables, blob: OutgoingBlob, event: BlobSent | BlobFailed) -> None:
        def say() -> None:
            sender.outgoing.remove((blob.peer, blob.transfer_id))
            sender.actor.on_event(event)

        self._clock.at(self._latency_ns, sender.actor, say)

    def _over(self, transfer: _Transfer) -> None:
        transfer.over = True
        self._transfers.remove(transfer)

    def _progress(self, transfer: _Transfer) -> str:
        return f"after {transfer.moved_bytes} of {len(transfer.blob.buffer)} bytes"
