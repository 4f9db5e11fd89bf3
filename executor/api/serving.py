"""What the HTTP face asks of the daemon behind it.  The face holds no state of its own but counters."""

import enum
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import NewType, Protocol

import attrs
from prometheus_client import CollectorRegistry

from specs.state import RunningNode
from specs.units import Tokens

RequestId = NewType("RequestId", str)


@attrs.frozen(kw_only=True)
class ServedLlm:
    """An LLM that requests can name."""

    id: str
    created_s: int  # seconds since 1970
    context_tokens: Tokens  # prompt and generated tokens together


@attrs.frozen(kw_only=True)
class GenerationRequest:
    """One sequence to generate.  The tokens depend on this value and the LLM alone, not on when or where it runs."""

    id: RequestId
    llm: str
    prompt_tokens: tuple[int, ...]  # at least one
    max_tokens: Tokens  # at least one; with the prompt no more than the LLM's context
    temperature: float | None  # None: the likeliest token, always
    top_p: float  # above 0, at most 1
    seed: int  # 0 ... 2**63 - 1, drawn by the face where the client gave none
    logprobs: int | None  # how many alternatives to report with each token; None: not even its own
    ignore_eos: bool  # go on past the LLM's end tokens


@attrs.frozen
class TokenEvent:
    """One generated token; an end token is one too.  Log-probabilities are natural, before temperature and top_p."""

    token: int
    logprob: float | None = None  # None where none was asked for
    top: tuple[tuple[int, float], ...] = ()  # the likeliest tokens, likeliest first


class Reason(enum.StrEnum):
    """Why a generation ended: an end token, or max_tokens."""

    STOP = "stop"
    LENGTH = "length"


@attrs.frozen
class Finished:
    """The last event of a generation that went well."""

    reason: Reason


@attrs.frozen
class Failed:
    """The last event of a generation that did not; retryable if the same request may do well later or elsewhere."""

    sentence: str
    retryable: bool


GenerationEvent = TokenEvent | Finished | Failed


@attrs.frozen
class Health:
    """Whether this node can generate, and the sentence that says why not."""

    ok: bool
    sentence: str


@attrs.frozen(kw_only=True)
class Load:
    """How many requests are being generated, and how many wait."""

    running: int
    waiting: int


class Phase(enum.StrEnum):
    """How far a plan is at a node."""

    ACCEPTED = "accepted"  # it will be adopted once every node of its cluster has accepted it
    ADOPTED = "adopted"  # it is carried out


@attrs.frozen(kw_only=True)
class Adopted:
    """A plan that passed the checker here and is being carried out, or will be when the other nodes are as far."""

    generation: int
    digest: str
    phase: Phase


class Refusal(enum.StrEnum):
    """Why a plan was not adopted."""

    MALFORMED = "malformed"  # not a problem and a plan
    REJECTED = "rejected"  # breaks an invariant
    STALE = "stale"  # a newer generation was adopted before
    WRONG_CLUSTER = "wrong_cluster"  # not for this node


@attrs.frozen(kw_only=True)
class Refused:
    """A plan that was not adopted; nothing changed."""

    kind: Refusal
    reasons: tuple[str, ...]  # at least one sentence


class Serving(Protocol):
    """The daemon, as the HTTP face sees it.  All methods run on the event loop of the face."""

    @property
    def registry(self) -> CollectorRegistry:
        """The daemon's own metrics; the face adds its metrics to them."""

    def llms(self) -> tuple[ServedLlm, ...]:
        """Give the LLMs that requests can name now."""

    async def tokenizer_directory(self, llm: str) -> Path:
        """Give the directory of an LLM's tokenizer; waits while it is still on its way to this node."""

    def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """Generate one sequence: tokens, then one Finished or Failed.  Closing the iterator (aclose) cancels it."""

    def health(self) -> Health:
        """Tell whether this node can generate."""

    def load(self) -> Load:
        """Count the requests here."""

    def status(self) -> Mapping[str, object]:
        """Give what GET /status shows: a document of strings, integers, lists and mappings."""

    async def adopt(self, document: bytes) -> Adopted | Refused:
        """Decode, verify and adopt a document {"problem": ..., "plan": ...}."""

    def document(self) -> bytes | None:
        """Give the document of the plan that is carried out; None without one."""

    def state(self) -> RunningNode:
        """Say what this node holds and leads."""

    def journal(self, *, since: int, follow: bool) -> AsyncGenerator[str, None]:
        """Give the journal's lines from line number `since`, without newlines; if `follow`, wait for new ones."""
