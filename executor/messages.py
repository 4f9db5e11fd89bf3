"""What nodes say about plans: reports under one plan, and words about which plan comes next; strict both ways.

A report speaks about steps and pipelines by the ids of one plan.  So it carries that plan's digest and generation, and
a report under another plan is stale: `Message.report` may be used only where `Message.name` is the plan in force.  It
also carries the life of its process: one that was started again knows nothing of what its earlier life did under the
plan.  Who sent a message is known from the connection, not from the bytes.
"""

import struct
from functools import lru_cache

import attrs

from specs import codec, fields
from specs.errors import MalformedDocument
from specs.protocols.nouns import Report
from specs.protocols.plan_switch_nouns import PlanName, Standing

_HEADER_LENGTH = struct.Struct("<I")


@attrs.frozen(kw_only=True)
class Message:
    """A report and the plan under which it was made."""

    plan: str = fields.digest()
    generation: int = fields.positive()
    life: str = fields.name()  # other for each process
    report: Report

    @property
    def name(self) -> PlanName:
        """The plan that it is about; under any other the report must be dropped."""
        return PlanName(generation=self.generation, digest=self.plan)


def encode(message: Message) -> bytes:
    """Write a report for the wire."""
    return codec.encode(message)


@lru_cache(maxsize=256)  # every tick a peer says the same as before, mostly
def decode(data: bytes) -> Message:
    """Read a report from the wire.  Raises MalformedDocument for anything that `encode` does not write."""
    return codec.decode(Message, data)


@attrs.frozen(kw_only=True)
class StandingIs:
    """Where the teller stands, and in which life of its node."""

    standing: Standing
    life: str = fields.name()  # as in `Message`


@attrs.frozen(kw_only=True)
class AskPlan:
    """Please send the document of this plan."""

    plan: PlanName


@attrs.frozen(kw_only=True)
class PlanIs:
    """The document follows as raw bytes."""

    plan: PlanName


Word = StandingIs | AskPlan | PlanIs


@attrs.frozen(kw_only=True)
class _Envelope:
    word: Word


def write(word: Word, document: bytes = b"") -> list[bytes]:
    """Write a word about plans, and a document, as the buffers of one frame."""
    header = codec.encode(_Envelope(word=word))
    return [_HEADER_LENGTH.pack(len(header)), header, document]


def read(frame: memoryview) -> tuple[Word, memoryview]:
    """Read a word and the bytes behind it.  Raises MalformedDocument."""
    if len(frame) < _HEADER_LENGTH.size:
        raise MalformedDocument(f"a word of {len(frame)} bytes has no header")
    (length,) = _HEADER_LENGTH.unpack_from(frame)
    end = _HEADER_LENGTH.size + length
    if end > len(frame):
        raise MalformedDocument(f"a word of {len(frame)} bytes announces a header of {length}")
    return _word(bytes(frame[_HEADER_LENGTH.size : end])), frame[end:]


@lru_cache(maxsize=256)  # as of reports
def _word(header: bytes) -> Word:
    return codec.decode(_Envelope, header).word
