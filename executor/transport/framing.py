"""The bytes on the wire of the TCP transport: fixed layouts, and canonical JSON of limited length.

A connection begins with the caller's hello: a fixed head and a JSON body that names both nodes, the realm and, for a
blob, the offer.  The other side answers with a verdict.  Then a connection carries either frames of messages, one way
(the other way only answers pings), or the bytes of one blob, answered by a receipt.  Where both ends can, the bytes are
written into the receiver's memory instead, and the connection carries words about that (`rdma.blob_words`).  All
integers are big-endian.
"""

import enum
import json
import struct
from typing import Any

import attrs

from executor.errors import MalformedFrame
from executor.transport.rdma.contact import Contact, decode_contact, encode_contact
from specs.units import INTEGER_MAX, Bytes

MAGIC = b"HFT1"
PROTOCOL = 1

HELLO_HEAD = struct.Struct("!4sHH")  # magic, protocol, body bytes
HELLO_BYTES_MAX = 4096
VERDICT_HEAD = struct.Struct("!4sBH")  # magic, verdict, sentence bytes
SENTENCE_BYTES_MAX = 1024
FRAME_HEAD = struct.Struct("!BxxxI")  # kind, payload bytes; the payload begins 8 bytes in
RECEIPT = struct.Struct("!4s?xxxI")  # magic, whether all digests match, the first segment that does not

FRAME_BYTES_MAX = Bytes(256 << 20)  # activations of a few thousand tokens; a bigger thing is a blob

SPAN_BYTES_MAX = Bytes(1 << 20)  # of memory that is open to a peer in one piece

_HELLO = frozenset({"from", "realm", "to"})
_HELLO_KEYS = (
    _HELLO,
    _HELLO | {"contact"},
    _HELLO | {"bytes", "transfer"},
    _HELLO | {"bytes", "contact", "span", "transfer"},
)


class FrameKind(enum.IntEnum):
    """What a frame on a message connection is."""

    MESSAGE = 1
    PING = 2


class Verdict(enum.IntEnum):
    """The answer to a hello."""

    WELCOME = 1  # go on: frames, or the bytes of the blob
    HAVE = 2  # the blob has arrived before: send nothing
    REFUSE = 3  # the sentence says why; the connection is closed
    STRANGER = 4  # as REFUSE, whatever was offered


@attrs.frozen(kw_only=True)
class Writing:
    """What a caller that can write into its peer's memory says with an offer."""

    contact: Contact
    span_bytes: Bytes  # it writes so much at a time; the last of a blob may be less


@attrs.frozen(kw_only=True)
class Offer:
    """A blob that the caller would send on this connection."""

    transfer_id: str
    size_bytes: Bytes
    writing: Writing | None = None  # the caller can write into its peer's memory


@attrs.frozen(kw_only=True)
class Hello:
    """Who calls whom, and what for."""

    sender: str
    receiver: str
    realm: str  # what both must agree on, such as the digest of the cluster
    offer: Offer | None  # None: a connection for messages
    contact: Contact | None = None  # with messages: the caller can write them into its peer's memory


def encode_hello(hello: Hello) -> bytes:
    """Make the first bytes of a connection."""
    document: dict[str, object] = {"from": hello.sender, "realm": hello.realm, "to": hello.receiver}
    if hello.contact is not None:
        document["contact"] = encode_contact(hello.contact)
    if hello.offer is not None:
        document |= {"bytes": hello.offer.size_bytes, "transfer": hello.offer.transfer_id}
        if (writing := hello.offer.writing) is not None:
            document |= {"contact": encode_contact(writing.contact), "span": writing.span_bytes}
    body = _canonical(document)
    assert len(body) <= HELLO_BYTES_MAX, "names and realm are short"
    return HELLO_HEAD.pack(MAGIC, PROTOCOL, len(body)) + body


def decode_hello_head(head: bytes) -> int:
    """Return the body's length.  Raises MalformedFrame for another protocol, or none."""
    magic, protocol, size_bytes = HELLO_HEAD.unpack(head)
    if magic != MAGIC:
        raise MalformedFrame(f"hello: begins with {magic!r}, wanted {MAGIC!r}.")
    if protocol != PROTOCOL:
        raise MalformedFrame(f"hello: protocol {protocol}, wanted {PROTOCOL}.")
    if size_bytes > HELLO_BYTES_MAX:
        raise MalformedFrame(f"hello: a body of {size_bytes} bytes, wanted at most {HELLO_BYTES_MAX}.")
    return int(size_bytes)


def decode_hello_body(body: bytes) -> Hello:
    """Read the body strictly.  Raises MalformedFrame for anything that `encode_hello` does not write."""
    try:
        document = json.loads(body)
        is_canonical = isinstance(document, dict) and _canonical(document) == body
    except (ValueError, RecursionError) as error:
        raise MalformedFrame(f"hello: the body is not JSON ({error}).") from error
    if not is_canonical:
        raise MalformedFrame("hello: the body is not a canonical JSON object.")
    if set(document) not in _HELLO_KEYS:
        wanted = "; or ".join(", ".join(sorted(keys)) for keys in _HELLO_KEYS)
        raise MalformedFrame(f"hello: keys {', '.join(sorted(document))}, wanted {wanted}.")
    texts = [document[key] for key in ("from", "realm", "to", "transfer") if key in document]
    if not all(isinstance(text, str) for text in texts):
        raise MalformedFrame("hello: a name that is not a string.")
    offer = _offer(document) if "transfer" in document else None
    contact = decode_contact(document["contact"]) if offer is None and "contact" in document else None
    return Hello(
        sender=document["from"], receiver=document["to"], realm=document["realm"], offer=offer, contact=contact
    )


def _offer(document: dict[str, Any]) -> Offer:
    size_bytes = document["bytes"]
    if type(size_bytes) is not int or not 0 <= size_bytes <= INTEGER_MAX:
        raise MalformedFrame(f"hello: an offer of {size_bytes!r} bytes, wanted an integer from 0 to {INTEGER_MAX}.")
    writing = None
    if "contact" in document:
        span_bytes = document["span"]
        if type(span_bytes) is not int or not 1 <= span_bytes <= SPAN_BYTES_MAX:
            raise MalformedFrame(
                f"hello: a span of {span_bytes!r} bytes, wanted an integer from 1 to {SPAN_BYTES_MAX}."
            )
        writing = Writing(contact=decode_contact(document["contact"]), span_bytes=Bytes(span_bytes))
    return Offer(transfer_id=document["transfer"], size_bytes=Bytes(size_bytes), writing=writing)


def encode_verdict(verdict: Verdict, sentence: str) -> bytes:
    """Make the answer to a hello; a long sentence is cut."""
    text = sentence.encode(errors="backslashreplace")[:SENTENCE_BYTES_MAX]
    return VERDICT_HEAD.pack(MAGIC, verdict, len(text)) + text


def decode_verdict_head(head: bytes) -> tuple[Verdict, int]:
    """Return the verdict and the length of the sentence that follows.  Raises MalformedFrame."""
    magic, verdict, size_bytes = VERDICT_HEAD.unpack(head)
    known = verdict in Verdict.__members__.values()
    if magic != MAGIC or not known or size_bytes > SENTENCE_BYTES_MAX:
        raise MalformedFrame(f"verdict: {head!r} is none.")
    return Verdict(verdict), size_bytes


def decode_frame_head(head: memoryview, limit_bytes: Bytes) -> tuple[FrameKind, int]:
    """Return a frame's kind and payload length.  Raises MalformedFrame, also for a payload over the limit."""
    kind, size_bytes = FRAME_HEAD.unpack_from(head)
    if kind not in FrameKind.__members__.values():
        raise MalformedFrame(f"frame: kind {kind}, wanted 1 or 2.")
    if size_bytes > limit_bytes:
        raise MalformedFrame(f"frame: a message of {size_bytes} bytes, wanted at most {limit_bytes}.")
    return FrameKind(kind), size_bytes


def encode_receipt(corrupt_segment: int | None) -> bytes:
    """Make the last bytes of a blob's connection; None says that every digest matches."""
    return RECEIPT.pack(MAGIC, corrupt_segment is None, corrupt_segment or 0)


def decode_receipt(receipt: bytes) -> int | None:
    """Return the first corrupt segment, or None.  Raises MalformedFrame."""
    magic, intact, segment = RECEIPT.unpack(receipt)
    if magic != MAGIC:
        raise MalformedFrame(f"receipt: begins with {magic!r}, wanted {MAGIC!r}.")
    return None if intact else int(segment)


def _canonical(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
