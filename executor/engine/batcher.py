"""Continuous batching at the first node of a pipeline: which tokens of which requests the next iteration computes.

Requests join and leave between iterations, in order of arrival, when fewer have a slot than slots are in force.  As
many iterations can be under way as the pipeline has stages; a request is in at most one of them, because its next token
depends on the last.  All decisions depend on nothing but the calls made so far.

A guest is a request of another pipeline whose keys and values are copied into a slot here, reserved for it, before it
joins.  It does not queue behind those that wait: it has been served already, and a hand-over has an end.
"""

from collections import deque
from collections.abc import Iterable, Sequence

import attrs

from executor.engine.batch import Row
from executor.engine.errors import RequestRefused
from executor.engine.iteration import Entry, Finish, Held, Iteration, Limits, Progress
from executor.engine.request import Request, RequestId
from executor.engine.room import Room
from specs.protocols.kv_hand_over_nouns import Live
from specs.units import ceil_div


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

    def as_it_stands(self) -> Request:
        """The request with its tokens so far: another pipeline can go on from it."""
        return attrs.evolve(self.request, tokens=tuple(self.tokens))


class Batcher:
    """The requests of one pipeline, waiting and running; all of its slots are in force at first."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._room = Room(slots=limits.slots, context_tokens=limits.context_tokens)
        self._waiting: deque[Request] = deque()
        self._running: dict[RequestId, _Running] = {}  # in order of admission
        self._ready: deque[_Running] = deque()  # running and in no iteration
        self._guests: dict[int, RequestId] = {}  # by slot: requests of other pipelines whose KV comes
        self._in_flight: dict[int, Iteration] = {}
        self._next_id = 0
        self._paused = False

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

    @property
    def slots(self) -> int:
        """How many slots are in force."""
        return self._room.slots

    @property
    def fits(self) -> bool:
        """Whether no stage has more pages than the slots in force hold; nor does any later, until `resize`."""
        return self._room.fits

    @property
    def is_paused(self) -> bool:
        """Whether no iteration is formed."""
        return self._paused

    @property
    def boundary(self) -> bool:
        """Whether the batcher is paused and every iteration has been completed: nothing changes but by our calls."""
        return self._paused and not self._in_flight

    def pause(self) -> None:
        """Form no iteration until `go_on`; those under way are completed as always."""
        self._paused = True

    def go_on(self) -> None:
        """Form iterations again."""
        self._paused = False

    def resize(self, slots: int) -> None:
        """Put so many slots in force, from 1 to all.  Nobody loses one; see `fits` for when fewer really are left.

        While what is occupied does not fit, iterations that compute nothing tell the stages which slots are free.
        """
        self._room.resize(slots)

    def add(self, request: Request) -> None:
        """Take a request; raises RequestRefused when its tokens and one more do not fit into a slot, or it is known."""
        self._check_new(request)
        self._waiting.append(request)

    def running_requests(self) -> tuple[Held, ...]:
        """Give the requests that have a slot, as they stand, in order of admission; cancelled ones left out."""
        return tuple(
            Held(request=running.as_it_stands(), slot=running.slot, computed=running.computed)
            for running in self._running.values()
            if not running.cancelled
        )

    def live(self) -> tuple[Live, ...]:
        """List the requests that have a slot, with counts of tokens only, as `running_requests` does."""
        rows = {entry.request: entry.row for each in self._in_flight.values() for entry in each.entries}
        return tuple(
            Live(
                request=name,
                slot=running.slot,
                computed=running.computed,
                tokens=len(running.tokens),
                under_way=rows[name].tokens if name in rows else 0,
                samples=name in rows and rows[name].wants_logits,
            )
            for name, running in self._running.items()
            if not running.cancelled
        )

    def as_it_stands(self, request_id: RequestId) -> Request:
        """Give a request that has a slot, with its tokens so far."""
        return self._running[request_id].as_it_stands()

    def take_out(self, ids: Iterable[RequestId]) -> tuple[Request, ...]:
        """Give up requests, waiting or running, as `cancel` does; give those that were known, as they stand."""
        waiting = {request.id: request for request in self._waiting}
        taken = []
        for request_id in ids:
            running = self._running.get(request_id)
            if self.cancel(request_id):
                taken.append(waiting[request_id] if running is None else running.as_it_stands())
        return tuple(taken)

    def reserve(self, request_id: RequestId, tokens: int) -> int | None:
        """Reserve a slot for a guest that may come to so many tokens; None when there is no room now.

        The slot must be emptied in every stage (`SlotCache.release`) before the first keys and values are copied into
        it; no iteration writes to it or frees it before the guest is seated.  Raises RequestRefused when the guest has
        a slot already.
        """
        if request_id in self._guests.values():
            raise RequestRefused(f"guest {request_id} has a slot already")
        self._admit()
        slot = self._room.take_for_guest(tokens)
        if slot is not None:
            self._guests[slot] = request_id
        return slot

    def give_back(self, slot: int) -> None:
        """Free the slot of a guest that will not come, once nothing can be copied into it any more."""
        del self._guests[slot]
        self._room.give_back(slot)

    def seat(self, request: Request, slot: int, computed: int) -> None:
        """Let a guest join whose first `computed` tokens have their keys and values in its slot, in every stage.

        The request may have another id than the guest.  Raises RequestRefused when it is known, too long for the
        context, may come to more tokens than are reserved, or has nothing computed or nothing left to compute; then the
        slot is still reserved.
        """
        assert slot in self._guests, slot
        self._check_new(request)
        if self._need(request) > self._room.reserved(slot):
            raise RequestRefused(
                f"request {request.id} may come to {self._need(request)} KV tokens, but {self._room.reserved(slot)} "
                f"are reserved in slot {slot}"
            )
        if not 0 < computed < len(request.tokens):
            raise RequestRefused(
                f"request {request.id} has {len(request.tokens)} tokens, {computed} of them computed; it joins with at "
                "least one computed, and one not"
            )
        del self._guests[slot]
        self._room.shrink(slot, self._need(request))
        self._join(request, slot, computed)

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
        """Form the next iteration; None when paused, when nothing can be computed now, or enough is under way."""
        if self._paused or len(self._in_flight) == self.limits.in_flight_max:
            return None
        self._admit()
        if not self._ready and (self._room.fits or not self._room.has_news):
            return None
        entries = sorted(self._grant(), key=lambda entry: (entry.row.tokens > 1, entry.row.slot))
        freed = self._room.formed(self._next_id, [entry.row.slot for entry in entries])
        iteration = Iteration(id=self._next_id, entries=tuple(entries), freed=freed)
        self._next_id += 1
        self._in_flight[iteration.id] = iteration
        return iteration

    def complete(self, iteration_id: int, sampled: Sequence[int]) -> tuple[Progress, ...]:
        """Take the tokens sampled for `Iteration.sampled`, in its order; give the progress of each of those requests.

        Nothing comes of an iteration from before `drain`.
        """
        assert iteration_id < self._next_id, iteration_id
        self._room.passed(iteration_id)
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

        Iterations under way are forgotten.  A slot can be taken again at once: stages compute iterations in order, and
        a request only ever reads positions that it has written.  Guests keep theirs.
        """
        moved = [running.as_it_stands() for running in self._running.values() if not running.cancelled]
        moved.extend(self._waiting)
        for running in self._running.values():
            self._room.give_back(running.slot)
        self._room.forget_iterations()
        self._waiting.clear()
        self._running.clear()
        self._ready.clear()
        self._in_flight.clear()
        return tuple(moved)

    def _check_new(self, request: Request) -> None:
        if len(request.tokens) >= self.limits.context_tokens:
            raise RequestRefused(
                f"request {request.id} has {len(request.tokens)} tokens, but the context holds "
                f"{self.limits.context_tokens}, the next token included"
            )
        if request.id in self._running or any(other.id == request.id for other in self._waiting):
            raise RequestRefused(f"request {request.id} is already being served")

    def _need(self, request: Request) -> int:
        return self._room.pages_of(request.prompt_tokens + request.max_tokens)

    def _admit(self) -> None:
        """Let the first that wait join, in their order, until one of them finds no room.

        No one waits for ever: the budget holds the need of any request, and those that hold it back end.
        """
        while self._waiting:
            slot = self._room.take(self._need(self._waiting[0]))
            if slot is None:
                return
            self._join(self._waiting.popleft(), slot, computed=0)

    def _join(self, request: Request, slot: int, computed: int) -> None:
        running = _Running(request, slot, list(request.tokens), computed)
        self._running[request.id] = running
        self._ready.append(running)

    def _grant(self) -> list[Entry]:
        """Share the iteration's tokens among the first that are ready.

        Each iteration takes an equal part of the requests, so that all stages have work.  Whoever is first gets at
        least one token, so nobody waits for ever; prompts leave one token to each decoding request after them, and
        wait for the next iteration, in their order, when that leaves them none.
        """
        share = ceil_div(len(self._running), self.limits.in_flight_max)
        budget = self.limits.tokens_per_iteration
        decoding = sum(running.left == 1 for running in self._ready)
        entries: list[Entry] = []
        kept: deque[_Running] = deque()
        for running in self._ready:
            decoding -= running.left == 1
            least = 1 if running.left == 1 or not entries else 0
            tokens = min(running.left, budget, max(least, budget - min(decoding, share - 1))) if share else 0
            if tokens:
                entries.append(self._entry(running, tokens))
                budget -= tokens
                share -= 1
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
        self._room.give_back(running.slot)
