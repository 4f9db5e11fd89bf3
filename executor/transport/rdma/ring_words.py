"""What the two ends of a ring say beside it: where it is, once, and how much was taken, again and again."""

import struct

import attrs

from executor.errors import MalformedFrame
from executor.transport.rdma.contact import Contact, decode_contact, encode_contact
from specs.protocols.message_ring import Credit, Terms
from specs.units import Bytes

CREDIT = struct.Struct("!QQ")  # bytes taken, notes; all zero: nothing but that this end lives

RING_BYTES_MAX = Bytes(16 << 20)
NOTES_MAX = 1 << 16
_KEYS = {"address", "bytes", "contact", "key", "notes"}
_RANGES = {"address": (1 << 64) - 1, "bytes": RING_BYTES_MAX, "key": (1 << 32) - 1, "notes": NOTES_MAX}


@attrs.frozen(kw_only=True)
class RingOffer:
    """A ring, as its owner offers it to who is to write to it."""

    contact: Contact
    address: int
    key: int
    terms: Terms


def encode_ring_offer(offer: RingOffer) -> dict[str, object]:
    """Make a document that JSON can carry."""
    return {
        "address": offer.address,
        "bytes": offer.terms.size_bytes,
        "contact": encode_contact(offer.contact),
        "key": offer.key,
        "notes": offer.terms.notes_max,
    }


def decode_ring_offer(document: object) -> RingOffer:
    """Read a document strictly.  Raises MalformedFrame."""
    if not isinstance(document, dict) or set(document) != _KEYS:
        raise MalformedFrame(f"ring: wanted a mapping with the keys {sorted(_KEYS)}.")
    for key, highest in _RANGES.items():
        number = document[key]
        if type(number) is not int or not 1 <= number <= highest:
            raise MalformedFrame(f"ring: {key} {number!r}, wanted an integer from 1 to {highest}.")
    if document["address"] + document["bytes"] > 1 << 64:
        raise MalformedFrame(f"ring: {document['bytes']} bytes at {document['address']}, which is beyond any memory.")
    return RingOffer(
        contact=decode_contact(document["contact"]),
        address=document["address"],
        key=document["key"],
        terms=Terms(size_bytes=document["bytes"], notes_max=document["notes"]),
    )


def encode_credit(credit: Credit) -> bytes:
    """Write a credit."""
    return CREDIT.pack(credit.taken_bytes, credit.notes)


def decode_credit(data: bytes) -> Credit:
    """Read a credit; what it may say, `specs.protocols.message_ring.hear` knows."""
    taken_bytes, notes = CREDIT.unpack(data)
    return Credit(taken_bytes=taken_bytes, notes=notes)
