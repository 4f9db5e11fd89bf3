"""What the two ends of a blob say on its connection while its bytes are written: fixed layouts, big-endian.

The receiver says granted, asked and done; after the last comes the receipt, as after a stream.  The sender says broken,
and stream before the bytes of one.  See `specs.protocols.remote_writes`.
"""

import enum
import struct

import attrs

from executor.errors import MalformedFrame

RECEIVERS_WORD = struct.Struct("!BxxxIQI")  # kind, span, and of a grant: address, key
SENDERS_WORD = struct.Struct("!B")

SPANS_MAX = (1 << 32) - 1  # what a word, and the immediate of a write, can number


class ReceiverSays(enum.IntEnum):
    """What a receiver's word is."""

    GRANTED = 1  # the span is open at this address, with this key
    ASKED = 2  # all from this span on is to come as a stream
    DONE = 3  # every byte is here; the receipt follows


class SenderSays(enum.IntEnum):
    """What a sender's word is."""

    BROKEN = 1  # it writes no more, and waits to be asked
    STREAM = 2  # the bytes that were asked for follow


@attrs.frozen(kw_only=True)
class ReceiversWord:
    """A word of the receiver."""

    says: ReceiverSays
    span: int = 0
    address: int = 0
    key: int = 0


def encode_receivers_word(word: ReceiversWord) -> bytes:
    """Write a word of the receiver."""
    return RECEIVERS_WORD.pack(word.says, word.span, word.address, word.key)


def decode_receivers_word(data: bytes) -> ReceiversWord:
    """Read a word of the receiver.  Raises MalformedFrame."""
    kind, span, address, key = RECEIVERS_WORD.unpack(data)
    if kind not in ReceiverSays.__members__.values():
        raise MalformedFrame(f"a receiver's word of kind {kind}, wanted 1, 2 or 3.")
    return ReceiversWord(says=ReceiverSays(kind), span=span, address=address, key=key)


def encode_senders_word(says: SenderSays) -> bytes:
    """Write a word of the sender."""
    return SENDERS_WORD.pack(says)


def decode_senders_word(data: bytes) -> SenderSays:
    """Read a word of the sender.  Raises MalformedFrame."""
    (kind,) = SENDERS_WORD.unpack(data)
    if kind not in SenderSays.__members__.values():
        raise MalformedFrame(f"a sender's word of kind {kind}, wanted 1 or 2.")
    return SenderSays(kind)
