"""Continuous batching at the first node of a pipeline: which tokens of which requests the next iteration computes.

Requests join and leave between iterations.  As many iterations can be under way as the pipeline has stages; a request
is in at most one of them, because its next token depends on the last.  All decisions are made in order of arrival and
depend on nothing but the calls made so far.
"""

from collections import deque
from collections.abc import Sequence
from enum import Enum

import attrs

from executor.engine.batch import Batch, Row
from executor.engine.errors import RequestRefused
from executor.engine.request import Request, RequestId, SamplingParams
from specs import fields
from specs.units import ceil_div


class Finish(Enum):
    """Why a request ended, in the words of OpenAI's interface."""

    STOP = "stop"  # an end token
    LENGTH = "length"  # max_tokens, or the pipeline's context is full


@attrs.frozen(kw_only=True)
class Limits:
    """What the stages of a pipeline have room for."""

    slots: int = fields.positive()  # requests with keys and values
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
    """What all stages compute next, in one pass from the first to the last."""

    id: int
    entries: tuple[Entry, ...]  # decoding ones first, by slot

    @property
    def batch(self) -> Batch:
        """The rows, for the stages."""
        return Batch(rows=tuple(entry.row for entry in self.entries))

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


@attrs.define
class _Running:
    """A request that has a slot."""

    request: Request
    slot: int
    tokens: list[int]
    computed: int = 0  # tokens whose keys and values are in the slot
    in_flight: bool = False
    cancelled: bool = False

    @property
    def left(self) -> int:
        """Tokens to compute before the next one can be sampled; 1 while decoding."""
        return len(self.tokens) - self.computed


class Batcher:
    """The requests of one pipeline, waiting and running."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._waiting: deque[Request] = deque()
        self._running: dict[RequestId, _Running] = {}  # in order of admission
        self._ready: deque[_Running] = deque()  # running and in no iteration
        self._free_slots = list(range(limits.slots))
        self._in_flight: dict[int, Iteration] = {}
        self._next_id = 0

    @property
    def waiting(self) -> int:
        """Requests without a slot."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Requests with a slot."""
        return len(self._running)

    @property
    def in_flight(self) -> int:
        """Iterations that have been given out and not completed."""
        return len(self._in_flight)

    def add(self, request: Request) -> None:
        """Take a request; raises RequestRefused when its tokens and one more do not fit into a slot, or it is known."""
        if len(request.tokens) >= self.limits.context_tokens:
            raise RequestRefused(
                f"request {request.id} has {len(request.tokens)} tokens, but the context holds "
                f"{self.limits.context_tokens}, the next token included"
            )
        if request.id in self._running or any(other.id == request.id for other in self._waiting):
            raise RequestRefused(f"request {request.id} is already being served")
        self._waiting.append(request)

    def cancel(self, request_id: RequestId) -> bool:
        """Give up a request; False when it is not known.  No progress of it is reported any more."""
        running = self._running.get(request_id)
        if running is None:
            kept = deque(request for request in self._waiting if request.id != request_id)
            found = len(kept) < len(self._waiting)
            self._waiting = kept
            return found
        if running.cancelled:
            return False
        running.cancelled = True
        if not running.in_flight:
            self._ready.remove(running)
            self._release(running)
        return True

    def next_iteration(self) -> Iteration | None:
        """Form the next iteration; None when nothing can be computed now, or enough is under way."""
        if len(self._in_flight) == self.limits.in_flight_max:
            return None
        self._admit()
        if not self._ready:
            return None
        entries = sorted(self._grant(), key=lambda entry: (entry.row.tokens > 1, entry.row.slot))
        iteration = Iteration(id=self._next_id, entries=tuple(entries))
        self._next_id += 1
        self._in_flight[iteration.id] = iteration
        return iteration

    def complete(self, iteration_id: int, sampled: Sequence[int]) -> tuple[Progress, ...]:
        """Take the tokens sampled for `Iteration.sampled`, in its order; give the progress of each of those requests.

        Nothing comes of an iteration from before `drain`.
        """
        assert iteration_id < self._next_id, iteration_id
        iteration = self._in_flight.pop(iteration_id, None)
        if iteration is None:
            return ()
        assert len(sampled) == len(iteration.sampled), (len(sampled), len(iteration.sampled))
        tokens = iter(sampled)
        progress = []
        for entry in iteration.entries:
            running = self._running[entry.request]
            running.in_flight = False
            running.computed += entry.row.tokens
            token = next(tokens) if entry.row.wants_logits else None
            if running.cancelled:
                self._release(running)
            elif token is None:
                self._ready.appendleft(running)  # its prompt goes on before those of later requests
            else:
                progress.append(self._advance(running, token))
        return tuple(progress)

    def drain(self) -> tuple[Request, ...]:
        """Give up all requests, in order of arrival, with their tokens so far: another pipeline can go on from them.

        A slot can be taken again at once: stages compute iterations in order, and a request only ever reads positions
        that it has written.
        """
        moved = [
            attrs.evolve(running.request, tokens=tuple(running.tokens))
            for running in self._running.values()
            if not running.cancelled
        ]
        moved.extend(self._waiting)
        self._waiting.clear()
        self._running.clear()
        self._ready.clear()
        self._in_flight.clear()
        self._free_slots = list(range(self.limits.slots))
        return tuple(moved)

    def _admit(self) -> None:
        """Give the lowest free slots to the first that wait: slots close together are computed fastest."""
        while self._waiting and self._free_slots:
            request = self._waiting.popleft()
            slot = min(self._free_slots)
            self._free_slots.remove(slot)
            running = _Running(request, slot, list(request.tokens))
            self._running[request.id] = running
            self._ready.append(running)

    def _grant(self) -> list[Entry]:
        """Share the iteration's tokens among the first that are ready.

        Each iteration takes an equal part of the requests, so that all stages have work.  Whoever is first gets at
        least one token, so nobody waits for ever; prompts leave one token to each decoding request after them, and
        wait for the next iteration, in their order, when that leaves them none.
        """
        seats = ceil_div(len(self._running), self.limits.in_flight_max)
        budget = self.limits.tokens_per_iteration
        decoding = sum(running.left == 1 for running in self._ready)
        entries: list[Entry] = []
        kept: deque[_Running] = deque()
        for running in self._ready:
            decoding -= running.left == 1
            least = 1 if running.left == 1 or not entries else 0
            tokens = min(running.left, budget, max(least, budget - min(decoding, seats - 1))) if seats else 0
            if tokens:
                entries.append(self._entry(running, tokens))
                budget -= tokens
                seats -= 1
            else:
                kept.append(running)
        self._ready = kept
        return entries

    def _entry(self, running: _Running, tokens: int) -> Entry:
        running.in_flight = True
        end = running.computed + tokens
        row = Row(slot=running.slot, start=running.computed, tokens=tokens, wants_logits=end == len(running.tokens))
        return Entry(
            request=running.request.id,
            row=row,
            tokens=tuple(running.tokens[running.computed : end]),
            index=len(running.tokens) - running.request.prompt_tokens,
            sampling=running.request.sampling,
        )

    def _advance(self, running: _Running, token: int) -> Progress:
        request = running.request
        index = len(running.tokens) - request.prompt_tokens
        running.tokens.append(token)
        finish = None
        if token in request.end_tokens:
            finish = Finish.STOP
        elif index + 1 == request.max_tokens or len(running.tokens) == self.limits.context_tokens:
            finish = Finish.LENGTH
        if finish is None:
            self._ready.append(running)
        else:
            self._release(running)
        return Progress(request=request.id, index=index, token=token, finish=finish)

    def _release(self, running: _Running) -> None:
        del self._running[running.request.id]
        self._free_slots.append(running.slot)
