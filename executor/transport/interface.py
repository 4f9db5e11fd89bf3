"""What every transport promises: requests go in, events come out.

A transport moves two things between named nodes and never reads either:

- messages: frames of opaque bytes, whole and in order, for control and for activations;
- blobs: large buffers, each on a path of its own, sent no faster than a rate, checked on arrival.

Promises, kept by every implementation and tested by `tests/conformance/check_transport.py`:

- Messages from one node to another arrive in the order sent, each at most once, unless that peer is lost: then those
  under way may vanish.  A vanished message is never reported on its own; `PeerLost` is.
- `send_blob` ends in exactly one of `BlobSent` and `BlobFailed`.  `BlobSent` means that the receiver checked every
  segment.  An `expect_blob` ends in exactly one of `BlobArrived` and `BlobFailed` once its sender has offered it;
  before that only `abandon_blob` ends it.  A failed expectation is over: to try again, expect again.
- Between offer and end the transport may write anywhere in the destination; before and after it never does.
- A blob that is not expected, comes from another peer than expected or has another length is refused before any byte
  of it is sent.  One that has arrived already is acknowledged without being sent again.
- A transfer on which no byte moves for its progress deadline fails on both sides, though the peer's machine may answer.
- Over any stretch of time a blob's bytes leave at no more than its rate, plus one burst of `pacing.BURST_NS`; over the
  whole transfer at no more than its rate.
- After `close` no event comes, and no thread, task or socket is left.

Methods are called on the event loop's thread; events come there, one call each, never from inside a method.
"""

import enum
from collections.abc import Callable, Sequence
from typing import Protocol

import attrs

from executor.errors import BadSegments
from specs.units import Bytes, BytesPerSecond, Nanos

# What a message is made of and what a blob is sent from; never copied before it reaches the kernel, so it must not
# change before the message has gone, or the blob has ended.
Buffer = bytes | bytearray | memoryview

DIGEST_HEX_DIGITS = 64


@attrs.frozen(kw_only=True)
class Peer:
    """Another node and where its transport listens."""

    name: str
    host: str  # an address, or a name that the resolver knows
    port: int


@attrs.frozen(kw_only=True)
class Segment:
    """A run of bytes in a blob (a tensor) and the BLAKE3 digest that it must have."""

    offset_bytes: Bytes
    size_bytes: Bytes
    blake3_hex: str


@attrs.frozen(kw_only=True)
class OutgoingBlob:
    """A blob to send.  The buffer must not change before the transfer has ended."""

    peer: str
    transfer_id: str
    buffer: memoryview  # of single bytes, contiguous
    bytes_per_second: BytesPerSecond | None  # None: as fast as the path takes it
    progress_deadline_ns: Nanos

    def __attrs_post_init__(self) -> None:
        view = self.buffer
        assert (view.itemsize, view.ndim, view.c_contiguous) == (1, 1, True), "a blob is a run of bytes"
        assert self.bytes_per_second is None or self.bytes_per_second > 0
        assert self.progress_deadline_ns > 0


@attrs.frozen(kw_only=True)
class ExpectedBlob:
    """A blob to take from one peer, into memory that the caller owns.  Bytes outside the segments are not checked."""

    peer: str
    transfer_id: str
    destination: memoryview  # writable; its length is the blob's
    segments: tuple[Segment, ...]  # in order of offset, without overlap
    progress_deadline_ns: Nanos

    def __attrs_post_init__(self) -> None:
        assert self.progress_deadline_ns > 0


class FailureKind(enum.Enum):
    """Why a blob failed; the sentence of the event says more."""

    UNREACHABLE = "unreachable"  # no connection, or the peer took it for a stranger
    REFUSED = "refused"  # not expected there, or not like this
    PATH_LOST = "path lost"  # it broke before the end: the peer died, or abandoned the transfer
    STALLED = "stalled"  # no byte moved for the progress deadline
    CORRUPT = "corrupt"  # a segment's digest is not the one that was promised
    ABANDONED = "abandoned"  # `abandon_blob` on this side


@attrs.frozen(kw_only=True)
class MessageReceived:
    """A whole message.  The payload is writable memory that nobody else holds."""

    peer: str
    payload: memoryview


@attrs.frozen(kw_only=True)
class BlobArrived:
    """Every byte is in the destination and every segment has its digest."""

    transfer_id: str
    peer: str
    size_bytes: Bytes
    elapsed_ns: Nanos  # from the offer
    detour: str = ""  # why it came as a stream in the end, though it was to be written to memory


@attrs.frozen(kw_only=True)
class BlobSent:
    """The receiver has the blob and has checked it."""

    transfer_id: str
    peer: str
    sent_bytes: Bytes  # 0 when the receiver had it already
    elapsed_ns: Nanos  # from the receiver's consent to its receipt
    detour: str = ""  # why it went as a stream in the end, though it was to be written to memory


@attrs.frozen(kw_only=True)
class BlobFailed:
    """The transfer ended otherwise; of the destination nothing is known.  The sentence names peer and transfer."""

    transfer_id: str
    peer: str
    kind: FailureKind
    segment: int | None  # the first segment that is corrupt, where kind is CORRUPT
    moved_bytes: Bytes  # what this side saw moved
    sentence: str


@attrs.frozen(kw_only=True)
class PeerLost:
    """A path of messages to or from the peer broke, fell silent or could not be made; now there is none.

    Messages under way are lost.  The next `send_message` on either side tries to make contact again.  Blobs have paths
    of their own and end by themselves.
    """

    peer: str
    sentence: str


Event = MessageReceived | BlobArrived | BlobSent | BlobFailed | PeerLost
OnEvent = Callable[[Event], None]


class Transport(Protocol):
    """One node's end.  The module's docstring has the promises."""

    def meet(self, peers: Sequence[Peer]) -> None:
        """Introduce peers, or say where known ones listen now.  Only peers that were introduced are let in."""

    def send_message(self, peer: str, payload: Sequence[Buffer]) -> None:
        """Send the buffers, end to end, as one message.

        Connects when needed.  Raises UnknownPeer, FrameTooLarge or TransportClosed.
        """

    def send_blob(self, blob: OutgoingBlob) -> None:
        """Offer a blob to a peer and send it if the peer consents.

        Raises UnknownPeer, TransferInUse (same peer and transfer id) or TransportClosed.
        """

    def expect_blob(self, blob: ExpectedBlob) -> None:
        """Consent to one offer of this transfer by this peer.

        Raises UnknownPeer, TransferInUse, BadSegments or TransportClosed.
        """

    def abandon_blob(self, peer: str, transfer_id: str) -> None:
        """End this transfer, whichever side this is; `BlobFailed` with ABANDONED says when its memory is free.

        A transfer that has ended, or was never heard of, is left as it is.
        """

    async def close(self) -> None:
        """End everything.  May be called again."""


def check_expected(blob: ExpectedBlob) -> None:
    """Raise BadSegments unless the destination is writable bytes and the segments lie in it in order, apart."""
    view = blob.destination
    where = f"transfer {blob.transfer_id!r} from {blob.peer!r}"
    if view.readonly or not view.c_contiguous or view.itemsize != 1 or view.ndim != 1:
        raise BadSegments(f"{where}: the destination is not a writable, contiguous run of bytes.")
    free_from = 0
    for index, segment in enumerate(blob.segments):
        end = segment.offset_bytes + segment.size_bytes
        if segment.offset_bytes < free_from or segment.size_bytes < 0 or end > len(view):
            raise BadSegments(
                f"{where}: segment {index} covers bytes {segment.offset_bytes} to {end}, "
                f"wanted within {free_from} to {len(view)}."
            )
        digits = segment.blake3_hex
        if len(digits) != DIGEST_HEX_DIGITS or set(digits) - set("0123456789abcdef"):
            raise BadSegments(f"{where}: segment {index} has digest {digits!r}, wanted 64 lower-case hex digits.")
        free_from = end
