"""What daemons say to each other about requests, activations and small files; strict both ways.

A message is a header, canonical JSON of one of the classes below, and raw bytes behind it (a tensor, a file).  The
message names pipelines and attempts by ids that never come again, so it means the same under whichever plan it is read.
"""

import struct

import attrs
import torch

from executor.choices import Choice, Chosen, tokens_field
from executor.engine.batch import Batch, Row
from executor.engine.iteration import Entry, Finish, Iteration
from executor.engine.request import Request, RequestId, SamplingParams
from executor.errors import MalformedFrame
from executor.kv_traffic import CopyKv, HandedOver, Invited, Kv, Resume
from specs import codec, fields
from specs.errors import MalformedDocument
from specs.llm import LlmId
from specs.plan import PipelineId
from specs.protocols.kv_hand_over_nouns import Held, Hosting, Seats

_HEADER_LENGTH = struct.Struct("<I")
_FINISHES = frozenset(finish.value for finish in Finish)


@attrs.frozen(kw_only=True)
class Submit:
    """Front to leader: serve this request in this pipeline.  `request` is new for every attempt."""

    pipeline: PipelineId = fields.name()
    request: str = fields.name()
    tokens: tuple[int, ...] = tokens_field(1)
    prompt_tokens: int = fields.positive()
    max_tokens: int = fields.positive()
    end_tokens: tuple[int, ...] = tokens_field(0)
    choice: Choice

    @classmethod
    def of(cls, pipeline: PipelineId, request: Request) -> "Submit":
        """Write a request for the wire."""
        return cls(
            pipeline=pipeline,
            request=request.id,
            tokens=request.tokens,
            prompt_tokens=request.prompt_tokens,
            max_tokens=request.max_tokens,
            end_tokens=tuple(sorted(request.end_tokens)),
            choice=Choice.of(request.sampling),
        )

    def read(self) -> Request:
        """Read the request.  Raises RequestRefused when its numbers contradict each other."""
        return Request(
            id=RequestId(self.request),
            tokens=self.tokens,
            prompt_tokens=self.prompt_tokens,
            max_tokens=self.max_tokens,
            end_tokens=frozenset(self.end_tokens),
            sampling=self.choice.params(),
        )


@attrs.frozen(kw_only=True)
class Cancel:
    """Front to leader: nobody waits for this request any more."""

    pipeline: PipelineId = fields.name()
    request: str = fields.name()


@attrs.frozen(kw_only=True)
class Token:
    """Leader to front: one more token of a request."""

    request: str = fields.name()
    index: int = fields.natural()  # counted from the end of the prompt
    chosen: Chosen
    finish: str | None = None  # "stop" or "length" with the last

    def __attrs_post_init__(self) -> None:
        if self.finish is not None and self.finish not in _FINISHES:
            raise MalformedDocument(f"Token.finish is {self.finish!r:.40}; stop, length or nothing is wanted")


@attrs.frozen(kw_only=True)
class Returned:
    """Leader to front: the pipeline does not serve this request (any more); serve it elsewhere."""

    request: str = fields.name()
    shut: bool  # the pipeline will never take a request again
    refusal: str | None = None  # why no other pipeline of the plan would take it either


@attrs.frozen(kw_only=True)
class WireEntry:
    """One request's part of an iteration, without its tokens."""

    slot: int = fields.natural()
    start: int = fields.natural()
    tokens: int = fields.positive()
    wants_logits: bool
    index: int = fields.natural()
    choice: Choice | None = None  # where logits are wanted

    def __attrs_post_init__(self) -> None:
        if self.wants_logits != (self.choice is not None):
            raise MalformedDocument("WireEntry.choice must be there where logits are wanted, and only there")


@attrs.frozen(kw_only=True)
class Forward:
    """Stage to stage: compute this iteration; the hidden states [T, width] follow as raw bytes."""

    pipeline: PipelineId = fields.name()
    stage: int = fields.positive()  # that computes now; the first gets its iterations from the leader beside it
    iteration: int = fields.natural()
    width: int = fields.positive()
    entries: tuple[WireEntry, ...]
    freed: tuple[int, ...] = ()  # slots whose requests have left

    @classmethod
    def of(cls, pipeline: PipelineId, stage: int, iteration: Iteration, width: int) -> "Forward":
        """Describe an iteration for the stages after the first."""
        return cls(
            pipeline=pipeline,
            stage=stage,
            iteration=iteration.id,
            width=width,
            entries=tuple(_wire_entry(entry) for entry in iteration.entries),
            freed=iteration.freed,
        )

    def batch(self) -> Batch:
        """Read the rows."""
        return Batch(
            rows=tuple(
                Row(slot=entry.slot, start=entry.start, tokens=entry.tokens, wants_logits=entry.wants_logits)
                for entry in self.entries
            ),
            freed=self.freed,
        )

    def choices(self) -> tuple[list[SamplingParams], list[int]]:
        """Read how to sample the rows that want logits."""
        wanted = [entry for entry in self.entries if entry.choice is not None]
        return [entry.choice.params() for entry in wanted if entry.choice], [entry.index for entry in wanted]


@attrs.frozen(kw_only=True)
class SampledTokens:
    """Last stage to leader: the tokens of an iteration."""

    pipeline: PipelineId = fields.name()
    iteration: int = fields.natural()
    tokens: tuple[Chosen, ...]


@attrs.frozen(kw_only=True)
class Missed:
    """To a node that counted as lost here under the plan before: nothing was taken from it, and nothing said to it."""


@attrs.frozen(kw_only=True)
class Interrupted:
    """Stage to leader: a connection between two stages broke, so iterations under way may be lost."""

    pipeline: PipelineId = fields.name()


@attrs.frozen(kw_only=True)
class ResizeStage:
    """Leader to stage: have room for the KV of so many slots, whatever you were told with a lower number."""

    pipeline: PipelineId = fields.name()
    stage: int = fields.natural()
    number: int = fields.positive()
    slots: int = fields.positive()


@attrs.frozen(kw_only=True)
class StageResized:
    """Stage to leader: it has that room, and no more."""

    pipeline: PipelineId = fields.name()
    stage: int = fields.natural()
    number: int = fields.positive()


@attrs.frozen(kw_only=True)
class AskFile:
    """Ask a holder of the checkpoint for one of its small files."""

    llm: LlmId = fields.name()
    digest: str = fields.digest()


@attrs.frozen(kw_only=True)
class FileIs:
    """Its content follows as raw bytes."""

    llm: LlmId = fields.name()
    digest: str = fields.digest()


@attrs.frozen(kw_only=True)
class AskCanary:
    """Ask a holder of the LLM for a prompt and its right tokens."""

    llm: LlmId = fields.name()


@attrs.frozen(kw_only=True)
class CanaryIs:
    """A prompt and the tokens that `transformers` generates after it."""

    llm: LlmId = fields.name()
    prompt: tuple[int, ...] = tokens_field(1)
    tokens: tuple[int, ...] = tokens_field(1)


Message = (
    Submit
    | Cancel
    | Token
    | Returned
    | Forward
    | SampledTokens
    | Interrupted
    | Missed
    | ResizeStage
    | StageResized
    | AskFile
    | FileIs
    | AskCanary
    | CanaryIs
    | Invited
    | Hosting
    | Seats
    | Held
    | CopyKv
    | Kv
    | HandedOver
    | Resume
)


@attrs.frozen(kw_only=True)
class _Envelope:
    message: Message


def write(message: Message, body: memoryview | bytes = b"") -> list[bytes | memoryview]:
    """Write a message and its raw bytes as the buffers of one frame."""
    header = codec.encode(_Envelope(message=message))
    return [_HEADER_LENGTH.pack(len(header)), header, body]


def read(frame: memoryview) -> tuple[Message, memoryview]:
    """Read a frame.  Raises MalformedFrame."""
    if len(frame) < _HEADER_LENGTH.size:
        raise MalformedFrame(f"a message of {len(frame)} bytes has no header")
    (length,) = _HEADER_LENGTH.unpack_from(frame)
    end = _HEADER_LENGTH.size + length
    if end > len(frame):
        raise MalformedFrame(f"a message of {len(frame)} bytes announces a header of {length}")
    try:
        envelope = codec.decode(_Envelope, bytes(frame[_HEADER_LENGTH.size : end]))
    except MalformedDocument as error:
        raise MalformedFrame(f"a message between daemons: {error}") from error
    return envelope.message, frame[end:]


def tensor_bytes(tensor: torch.Tensor) -> memoryview:
    """View the bytes of a tensor, moved to the host when it is not there."""
    flat: memoryview = tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy().data
    return flat


def hidden_states(body: memoryview, tokens: int, width: int, dtype: torch.dtype) -> torch.Tensor:
    """Read hidden states [tokens, width] from raw bytes.  Raises MalformedFrame when their number is wrong."""
    wanted = tokens * width * dtype.itemsize
    if len(body) != wanted:
        raise MalformedFrame(f"hidden states of {tokens} tokens have {wanted} bytes; {len(body)} came")
    if not tokens:  # of which torch makes no tensor
        return torch.empty(0, width, dtype=dtype)
    return torch.frombuffer(body, dtype=dtype).view(tokens, width)


def _wire_entry(entry: Entry) -> WireEntry:
    row = entry.row
    return WireEntry(
        slot=row.slot,
        start=row.start,
        tokens=row.tokens,
        wants_logits=row.wants_logits,
        index=entry.index,
        choice=Choice.of(entry.sampling) if row.wants_logits else None,
    )
