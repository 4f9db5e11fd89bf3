"""What a batcher gives and takes: its limits, iterations, the progress of requests, and how they stand."""

from enum import Enum

import attrs

from executor.engine.batch import Batch, Row
from executor.engine.request import Request, RequestId, SamplingParams
from specs import fields


class Finish(Enum):
    """Why a request ended, in the words of OpenAI's interface."""

    STOP = "stop"  # an end token
    LENGTH = "length"  # max_tokens, or the pipeline's context is full


@attrs.frozen(kw_only=True)
class Limits:
    """What the stages of a pipeline have room for."""

    slots: int = fields.positive()  # requests with keys and values, at most
    context_tokens: int = fields.positive()  # of each request, prompt and generated together
    tokens_per_iteration: int = fields.positive()
    in_flight_max: int = fields.positive()  # iterations; the number of stages keeps all of them busy


@attrs.frozen(kw_only=True)
class Entry:
    """One request's part of an iteration."""

    request: RequestId
    row: Row
    tokens: tuple[int, ...]  # as many as the row says
    index: int = fields.natural()  # of the token that is sampled, counted from the end of the prompt
    sampling: SamplingParams


@attrs.frozen(kw_only=True)
class Iteration:
    """What all stages compute next, in one pass from the first to the last; without entries, it frees slots only."""

    id: int
    entries: tuple[Entry, ...]  # decoding ones first, by slot
    freed: tuple[int, ...] = ()  # slots that requests have left since the last iteration

    @property
    def batch(self) -> Batch:
        """The rows, for the stages."""
        return Batch(rows=tuple(entry.row for entry in self.entries), freed=self.freed)

    @property
    def tokens(self) -> tuple[int, ...]:
        """All tokens, back to back, for the embedding."""
        return tuple(token for entry in self.entries for token in entry.tokens)

    @property
    def sampled(self) -> tuple[Entry, ...]:
        """The entries that want logits, in their order."""
        return tuple(entry for entry in self.entries if entry.row.wants_logits)


@attrs.frozen(kw_only=True)
class Progress:
    """One more token of a request."""

    request: RequestId
    index: int  # counted from the end of the prompt
    token: int
    finish: Finish | None  # None: more will come


@attrs.frozen(kw_only=True)
class Held:
    """A request that has a slot, as it stands."""

    request: Request  # with its tokens so far
    slot: int
    computed: int  # its first tokens, those of completed iterations: every stage has their keys and values
