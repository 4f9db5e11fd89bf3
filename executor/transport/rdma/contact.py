"""What the two ends of an RDMA connection must know of each other, and how it is written in a message."""

import ipaddress
from collections.abc import Mapping

import attrs

from executor.errors import MalformedFrame

QUEUE_PAIR_MAX = (1 << 24) - 1  # the width of these fields in InfiniBand's headers
LID_MAX = (1 << 16) - 1
MTUS_BYTES = (256, 512, 1024, 2048, 4096)  # the only ones that InfiniBand knows

_RANGES = {"lid": LID_MAX, "psn": QUEUE_PAIR_MAX, "queue_pair": QUEUE_PAIR_MAX}


@attrs.frozen(kw_only=True)
class Contact:
    """One end: where packets for its queue pair go."""

    queue_pair: int  # 24 bits
    psn: int  # the number of its first packet, 24 bits
    gid: str  # as pyverbs writes it: eight groups of four hexadecimal digits, in lower case
    mtu_bytes: int  # one of MTUS_BYTES; the smaller of the two ends' is used
    lid: int = 0  # 16 bits; 0 except on InfiniBand


def encode_contact(contact: Contact) -> dict[str, str | int]:
    """Make a document that JSON can carry."""
    return attrs.asdict(contact)


def decode_contact(document: object) -> Contact:
    """Read a document strictly.  Raises MalformedFrame for anything that `encode_contact` does not write."""
    wanted = {field.name for field in attrs.fields(Contact)}
    if not isinstance(document, Mapping) or set(document) != wanted:
        found = sorted(map(str, document)) if isinstance(document, Mapping) else f"a {type(document).__name__}"
        raise MalformedFrame(f"contact: {found}, wanted a mapping with the keys {sorted(wanted)}.")
    for key, highest in _RANGES.items():
        number = document[key]
        if type(number) is not int or not 0 <= number <= highest:
            raise MalformedFrame(f"contact: {key} {number!r}, wanted an integer from 0 to {highest}.")
    mtu_bytes = document["mtu_bytes"]
    if type(mtu_bytes) is not int or mtu_bytes not in MTUS_BYTES:
        raise MalformedFrame(f"contact: mtu_bytes {mtu_bytes!r}, wanted one of {MTUS_BYTES}.")
    gid = document["gid"]
    if not isinstance(gid, str) or not _is_gid(gid):
        raise MalformedFrame(f"contact: gid {gid!r}, wanted eight groups of four lower-case hex digits.")
    return Contact(**document)


def _is_gid(text: str) -> bool:
    try:
        return ipaddress.IPv6Address(text).exploded == text
    except ValueError:
        return False
