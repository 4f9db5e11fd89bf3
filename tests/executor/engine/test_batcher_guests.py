"""The batcher against a model: stages that compute late, pauses, requests that come and go with their KV, resizes.

The model's stages are a queue: an iteration writes when it leaves it, not when it is formed, also when the batcher has
forgotten it in the meantime.  The KV of a position is the token it was computed from and all before it, so that every
row can be checked to stand on the keys and values of its own request, and the pages that stages have can be counted.
"""

from collections import deque

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from executor.engine.batcher import Batcher
from executor.engine.errors import RequestRefused
from executor.engine.iteration import Iteration, Limits
from executor.engine.pages import PAGE_TOKENS, paged
from executor.engine.request import Request, RequestId

CONTEXT = 3 * PAGE_TOKENS + 5


def request(name: str, prompt: int, max_tokens: int, generated: int = 0) -> Request:
    """With a prompt of its own, which no two requests share a token of."""
    first = 1000 * int(name[1:])
    tokens = tuple(range(first, first + prompt + generated))
    return Request(
        id=RequestId(name), tokens=tokens, prompt_tokens=prompt, max_tokens=max_tokens, end_tokens=frozenset()
    )


def need(asked: Request) -> int:
    return paged(min(asked.prompt_tokens + asked.max_tokens, CONTEXT), CONTEXT)


@attrs.define
class Member:
    """A request that has a slot in the model."""

    request: Request
    slot: int
    tokens: list[int]
    computed: int = 0
    in_flight: bool = False
    cancelled: bool = False


class Model(RuleBasedStateMachine):
    @initialize(
        slots=st.integers(1, 4),
        budget=st.integers(40, 300),
        in_flight=st.integers(1, 3),
    )
    def begin(self, slots, budget, in_flight):
        self.slots = self.in_force = slots
        self.batcher = Batcher(
            Limits(
                slots=slots,
                context_tokens=CONTEXT,
                tokens_per_iteration=budget,
                in_flight_max=in_flight,
            )
        )
        self.names = 0
        self.paused = False
        self.waiting: list[Request] = []
        self.members: dict[RequestId, Member] = {}
        self.guests: dict[int, tuple[Request, int]] = {}  # by slot: who comes, and what is reserved
        self.kv: list[list[tuple[int, ...]]] = [[() for _ in range(CONTEXT)] for _ in range(slots)]
        self.queue: deque[tuple[Iteration, bool]] = deque()  # and whether the batcher still counts on it
        self.pages = [0] * slots  # tokens of the pages that the stages have
        self.stages_kv_tokens = slots * CONTEXT
        self.stale: dict[int, tuple[int, int | None]] = {}  # by slot: pages left there, and which iteration says so
        self.lost: set[int] = set()  # slots of iterations that never arrived
        self.finished: list[RequestId] = []

    def draw(self, prompt: int, max_tokens: int, generated: int = 0) -> Request:
        self.names += 1
        return request(f"r{self.names}", prompt, max_tokens, generated)

    def by_slot(self) -> dict[int, int]:
        members = {member.slot: need(member.request) for member in self.members.values()}
        return members | {slot: tokens for slot, (_, tokens) in self.guests.items()}

    def occupied(self, beside: int | None = None) -> int:
        reserved = self.by_slot()
        stale = {slot: tokens for slot, (tokens, _) in self.stale.items()}
        return sum(max(reserved.get(n, 0), stale.get(n, 0)) for n in range(self.slots) if n != beside)

    def fits(self) -> bool:
        return self.occupied() <= self.in_force * CONTEXT

    def left(self, slot: int, tokens: int) -> None:
        self.stale[slot] = max(tokens, self.stale.get(slot, (0,))[0]), None

    def free(self) -> list[int]:
        taken = {member.slot for member in self.members.values()} | set(self.guests)
        return [slot for slot in range(self.slots) if slot not in taken]

    def admit(self) -> None:
        while self.waiting and len(self.by_slot()) < self.in_force:
            joined, slot = self.waiting.pop(0), self.free()[0]
            self.members[joined.id] = Member(joined, slot, list(joined.tokens))

    def write(self, slot: int, tokens: list[int], first: int, end: int) -> None:
        for position in range(first, end):
            self.kv[slot][position] = tuple(tokens[: position + 1])
        self.pages[slot] = max(self.pages[slot], paged(end, CONTEXT))

    def empty(self, slot: int) -> None:
        self.kv[slot] = [()] * CONTEXT
        self.pages[slot] = 0

    @rule(prompt=st.integers(1, CONTEXT - 1), max_tokens=st.integers(1, 150))
    def add(self, prompt, max_tokens):
        new = self.draw(prompt, max_tokens)
        self.batcher.add(new)
        self.waiting.append(new)

    @rule()
    def form(self):
        if not self.paused and self.batcher.in_flight < self.batcher.limits.in_flight_max:
            self.admit()
        iteration = self.batcher.next_iteration()
        if iteration is None:
            assert (
                self.paused
                or self.batcher.in_flight == self.batcher.limits.in_flight_max
                or not any(not member.in_flight for member in self.members.values())
            )
            untold = any(told is None for _, told in self.stale.values())
            full = self.batcher.in_flight == self.batcher.limits.in_flight_max
            assert self.paused or full or self.fits() or not untold, "stages are told while somebody waits for them"
            return
        assert not self.paused
        assert iteration.batch.tokens <= self.batcher.limits.tokens_per_iteration
        assert iteration.entries or (iteration.freed and not self.fits())
        for entry in iteration.entries:
            member = self.members[entry.request]
            assert not member.in_flight
            assert (entry.row.slot, entry.row.start) == (member.slot, member.computed)
            assert list(entry.tokens) == member.tokens[entry.row.start : entry.row.end]
            member.in_flight = True
        assert iteration.freed == tuple(sorted(slot for slot, (_, told) in self.stale.items() if told is None))
        self.stale |= {slot: (self.stale[slot][0], iteration.id) for slot in iteration.freed}
        self.queue.append((iteration, True))

    @precondition(lambda self: self.queue)
    @rule()
    def compute(self):
        """The oldest iteration leaves the last stage, and its tokens reach the batcher."""
        iteration, counts = self.queue.popleft()
        self.lost.clear()
        for slot in iteration.freed:
            assert slot not in self.guests, "nothing empties a guest's slot"
            self.empty(slot)
        for entry in iteration.entries:
            row = entry.row
            if counts:
                tokens = self.members[entry.request].tokens
                for position in range(row.start):
                    assert self.kv[row.slot][position] == tuple(tokens[: position + 1]), "KV of its own, and whole"
                self.write(row.slot, tokens, row.start, row.end)
            else:
                assert row.slot not in self.guests, "nothing writes beside the guest's own KV"
                self.write(row.slot, [-1] * CONTEXT, row.start, row.end)
        self.stale = {
            slot: (tokens, told) for slot, (tokens, told) in self.stale.items() if told is None or told > iteration.id
        }
        chosen = [900_000 + entry.index for entry in iteration.sampled]
        progress = {each.request: each for each in self.batcher.complete(iteration.id, chosen)}
        assert counts or not progress
        for entry in iteration.entries if counts else ():
            member = self.members[entry.request]
            member.in_flight = False
            member.computed = entry.row.end
            if member.cancelled:
                self.remove(entry.request)
            elif entry.row.wants_logits:
                member.tokens.append(900_000 + entry.index)
                ended = entry.index + 1 == member.request.max_tokens or len(member.tokens) == CONTEXT
                assert (progress.pop(entry.request).finish is not None) == ended
                if ended:
                    self.finished.append(entry.request)
                    self.remove(entry.request)
        assert not progress

    @precondition(lambda self: self.queue and not self.queue[0][1])
    @rule()
    def lose(self):
        """A forgotten iteration never arrives; that it is gone shows when a later one does."""
        iteration, _ = self.queue.popleft()
        self.lost |= {row.slot for row in iteration.batch.rows} | set(iteration.freed)

    def remove(self, request_id: RequestId) -> None:
        member = self.members.pop(request_id, None)
        if member is not None:
            self.left(member.slot, need(member.request))

    def give_up(self, request_id: RequestId) -> None:
        self.waiting = [each for each in self.waiting if each.id != request_id]
        member = self.members.get(request_id)
        if member is not None and member.in_flight:
            member.cancelled = True
        else:
            self.remove(request_id)

    def known(self) -> list[RequestId]:
        return [each.id for each in self.waiting] + [
            name for name, member in self.members.items() if not member.cancelled
        ]

    @rule(data=st.data(), take_out=st.booleans())
    def leave(self, data, take_out):
        chosen = data.draw(st.lists(st.sampled_from([*self.known(), RequestId("r0")]), unique=True, max_size=2))
        if take_out:
            tokens = {each.id: each.tokens for each in self.waiting} | {
                name: tuple(member.tokens) for name, member in self.members.items()
            }
            taken = self.batcher.take_out(chosen)
            assert [(each.id, each.tokens) for each in taken] == [
                (name, tokens[name]) for name in chosen if name != "r0"
            ]
        else:
            assert [self.batcher.cancel(name) for name in chosen] == [name != "r0" for name in chosen]
        for name in chosen:
            self.give_up(name)

    @rule()
    def pause_or_go_on(self):
        (self.batcher.go_on if self.paused else self.batcher.pause)()
        self.paused = not self.paused

    @rule(data=st.data())
    def resize(self, data):
        self.in_force = data.draw(st.integers(1, self.slots))
        self.batcher.resize(self.in_force)
        self.stages_kv_tokens = max(self.stages_kv_tokens, self.in_force * CONTEXT)

    @rule(
        prompt=st.integers(1, 200),
        generated=st.integers(0, 100),
        max_tokens=st.integers(101, 200),
        more=st.integers(0, 99),
    )
    def reserve(self, prompt, generated, max_tokens, more):
        guest = self.draw(prompt, max_tokens, generated)
        self.admit()
        tokens = guest.prompt_tokens + guest.max_tokens + more
        slot = self.batcher.reserve(guest.id, tokens)
        named = {row.slot for iteration, _ in self.queue for row in iteration.batch.rows} | self.lost
        named |= {slot for iteration, _ in self.queue for slot in iteration.freed}
        clean = [slot for slot in self.free() if slot not in named]
        needed = paged(min(tokens, CONTEXT), CONTEXT)
        room = self.in_force * CONTEXT - needed if len(self.by_slot()) < self.in_force else -1
        fitting = [slot for slot in clean if self.occupied(beside=slot) <= room]
        assert slot == (fitting[0] if fitting else None)
        if slot is not None:
            self.stale.pop(slot, None)
            self.empty(slot)
            self.guests[slot] = (guest, needed)
            with pytest.raises(RequestRefused, match="already"):
                self.batcher.reserve(guest.id, 1)

    @precondition(lambda self: self.guests)
    @rule(data=st.data())
    def copy(self, data):
        slot = data.draw(st.sampled_from(sorted(self.guests)))
        tokens = self.guests[slot][0].tokens
        self.write(slot, list(tokens), 0, data.draw(st.integers(0, len(tokens))))

    @precondition(lambda self: self.guests)
    @rule(data=st.data(), left=st.integers(1, 4), comes=st.booleans())
    def settle(self, data, left, comes):
        slot = data.draw(st.sampled_from(sorted(self.guests)))
        guest, _ = self.guests[slot]
        computed = len(guest.tokens) - left
        if not comes:
            self.batcher.give_back(slot)
            self.left(slot, self.guests[slot][1])
        elif computed < 1:
            with pytest.raises(RequestRefused, match="computed"):
                self.batcher.seat(guest, slot, computed)
            return
        else:
            self.write(slot, list(guest.tokens), 0, computed)
            self.batcher.seat(guest, slot, computed)
            self.members[guest.id] = Member(guest, slot, list(guest.tokens), computed)
        del self.guests[slot]

    @rule()
    def drain(self):
        given = self.batcher.drain()
        expected = [(name, tuple(m.tokens)) for name, m in self.members.items() if not m.cancelled]
        expected += [(each.id, each.tokens) for each in self.waiting]
        assert [(each.id, each.tokens) for each in given] == expected
        self.queue = deque((iteration, False) for iteration, _ in self.queue)
        self.waiting.clear()
        for name in list(self.members):
            self.remove(name)
        self.stale = {slot: (tokens, None) for slot, (tokens, _) in self.stale.items()}

    @invariant()
    def agrees(self):
        if not hasattr(self, "batcher"):
            return
        assert (self.batcher.slots, self.batcher.fits) == (self.in_force, self.fits())
        if self.fits():
            self.stages_kv_tokens = self.in_force * CONTEXT
        assert sum(self.pages) <= self.stages_kv_tokens
        assert (self.batcher.waiting, self.batcher.running) == (len(self.waiting), len(self.members))
        assert self.batcher.boundary == (self.paused and not any(counts for _, counts in self.queue))
        held = [(h.request.id, h.request.tokens, h.slot, h.computed) for h in self.batcher.running_requests()]
        members = [(name, tuple(m.tokens), m.slot, m.computed) for name, m in self.members.items() if not m.cancelled]
        assert held == members

    def teardown(self):
        """Whoever is left ends, and the stages come to have no more than they may, however few slots are in force."""
        if not hasattr(self, "batcher"):
            return
        self.batcher.go_on()
        self.paused = False
        for slot in self.guests:
            self.batcher.give_back(slot)
            self.left(slot, self.guests[slot][1])
        self.guests.clear()
        left = self.known()
        for _ in range(10_000):
            if not self.batcher.waiting + self.batcher.running and self.batcher.fits:
                break
            self.form()
            if self.queue:
                self.compute()
        assert set(left) <= set(self.finished)
        assert self.batcher.fits


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)


def test_slots_below_one_or_beyond_those_that_have_addresses_are_none():
    batcher = Batcher(Limits(slots=2, context_tokens=CONTEXT, tokens_per_iteration=8, in_flight_max=1))
    for slots in (0, 3):
        with pytest.raises(AssertionError):
            batcher.resize(slots)
    assert batcher.slots == 2


def test_a_guest_that_does_not_fit_its_seat_is_refused_and_keeps_it():
    batcher = Batcher(Limits(slots=2, context_tokens=CONTEXT, tokens_per_iteration=8, in_flight_max=1))
    assert batcher.reserve(RequestId("r1"), 100) == 0
    batcher.add(request("r3", 5, 5))
    with pytest.raises(RequestRefused, match="may come to 256 KV tokens, but 128 are reserved in slot 0"):
        batcher.seat(request("r1", 100, 100, 1), 0, 100)
    with pytest.raises(RequestRefused, match="but the context holds"):
        batcher.seat(request("r1", CONTEXT, 1), 0, 1)
    with pytest.raises(RequestRefused, match="already being served"):
        batcher.seat(request("r3", 5, 5), 0, 1)
    for computed in (0, 6):
        with pytest.raises(RequestRefused, match=f"6 tokens, {computed} of them computed"):
            batcher.seat(request("r1", 5, 5, 1), 0, computed)
    batcher.seat(request("r2", 5, 5, 1), 0, 5)  # the attempt that goes on has a name of its own
    iteration = batcher.next_iteration()
    assert iteration is not None
    first, second = iteration.entries
    assert (first.request, first.row.slot, first.row.start, first.row.tokens) == ("r2", 0, 5, 1)
    assert first.index == 1
    assert (second.request, second.row.slot) == ("r3", 1)


class Long(Model):
    pass


TestLong = pytest.mark.slow(Long.TestCase)
TestLong.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
