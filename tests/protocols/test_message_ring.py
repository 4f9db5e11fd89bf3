"""A stream of bytes through a ring: every order of events of small rings, and what peers must not say."""

from collections.abc import Iterator

import attrs
import pytest

from specs.protocols import message_ring as ring
from specs.protocols.explore import Move, explore
from specs.protocols.message_ring import Credit, Refused, Terms
from tests.protocols.verdicts import all_is_well

ORDER = "bytes are taken as they were written"
RECEIVES = "no note comes for which no receive is posted"
KEPT = "no byte is written over before it was taken"
IDS = (ORDER, RECEIVES, KEPT)


@attrs.frozen(kw_only=True, cache_hash=True)
class World:
    sender: ring.SenderState = ring.SenderState()
    receiver: ring.ReceiverState = ring.ReceiverState()
    memory: tuple[int, ...]  # which byte of the stream is at each place
    flying: tuple[tuple[tuple[int, int], ...], ...] = ()  # writes: (place, byte) of each
    notes: tuple[int, ...] = ()  # with each write
    come: tuple[int, ...] = ()  # notes at the receiver's device
    credits: tuple[Credit, ...] = ()
    breaches: frozenset[str] = frozenset()


class Ring:
    def __init__(self, size: int, notes: int, stream: int) -> None:
        self.terms, self.stream = Terms(size_bytes=size, notes_max=notes), stream

    def moves(self, world: World) -> Iterator[Move[World]]:
        room = min(ring.room_bytes(self.terms, world.sender), self.stream - world.sender.written_bytes)
        for size in range(1, room + 1):
            yield Move(f"{size} bytes are written", self._write(world, size))
        if world.flying:
            yield Move("a write lands", self._land(world))
        if world.come:
            number, *rest = world.come
            receiver = ring.note(self.terms, world.receiver, number)
            yield Move(f"note {number}", self._tell(attrs.evolve(world, come=tuple(rest), receiver=receiver)))
        for size in range(1, self.terms.size_bytes + 1):
            piece = ring.next_piece(self.terms, world.receiver, size)
            if piece.size_bytes == size:
                yield Move(f"{size} bytes are taken", self._take(world, piece))
        if world.credits:
            heard = ring.hear(world.sender, world.credits[0])
            yield Move(f"{world.credits[0]}", attrs.evolve(world, sender=heard, credits=world.credits[1:]))
        if len(world.credits) > 1:  # the newest says all
            yield Move("a credit is LOST", attrs.evolve(world, credits=world.credits[1:]), True)

    def _write(self, world: World, size: int) -> World:
        first = world.sender.written_bytes
        sender, pieces, number = ring.write(self.terms, world.sender, size)
        places = [at for piece in pieces for at in range(piece.offset_bytes, piece.offset_bytes + piece.size_bytes)]
        written = tuple(zip(places, range(first, first + size), strict=True))
        return attrs.evolve(world, sender=sender, flying=(*world.flying, written), notes=(*world.notes, number))

    def _land(self, world: World) -> World:
        memory = list(world.memory)
        broken = set()
        for place, byte in world.flying[0]:
            if memory[place] >= world.receiver.done.taken_bytes:
                broken.add(KEPT)
            memory[place] = byte
        if len(world.come) == self.terms.notes_max:
            broken.add(RECEIVES)
        return attrs.evolve(
            world,
            memory=tuple(memory),
            flying=world.flying[1:],
            notes=world.notes[1:],
            come=(*world.come, world.notes[0]),
            breaches=world.breaches | broken,
        )

    def _take(self, world: World, piece: ring.Piece) -> World:
        found = world.memory[piece.offset_bytes : piece.offset_bytes + piece.size_bytes]
        first = world.receiver.done.taken_bytes
        broken = set() if found == tuple(range(first, first + piece.size_bytes)) else {ORDER}
        taken = attrs.evolve(
            world, receiver=ring.take(world.receiver, piece.size_bytes), breaches=world.breaches | broken
        )
        return self._tell(taken)

    def _tell(self, world: World) -> World:
        receiver, credit = ring.tell(self.terms, world.receiver)
        return attrs.evolve(world, receiver=receiver, credits=world.credits + (() if credit is None else (credit,)))


def run(small: Ring, sometimes=()):
    return explore(
        [World(memory=(-1,) * small.terms.size_bytes)],
        small.moves,
        always={name: (lambda world, name=name: name not in world.breaches) for name in IDS},
        sometimes={each.__name__: each for each in sometimes},
        good=lambda world: world.receiver.done.taken_bytes == small.stream,
        states_max=200_000,
    )


def full(world):
    return world.sender.written_bytes - world.receiver.done.taken_bytes == len(world.memory)


def without_notes(world):
    """The sender waits for notes to come back, though the ring has room."""
    return world.sender.notes - world.sender.credit.notes == 2 and not full(world)


def in_two_pieces(world):
    return any(abs(write[i][0] - write[i + 1][0]) > 1 for write in world.flying for i in range(len(write) - 1))


SPACES = {
    "three bytes, two notes": (Ring(3, 2, 7), [full, without_notes, in_two_pieces], 2646),
    "four bytes, one note": (Ring(4, 1, 9), [full, in_two_pieces], 5020),
    "two bytes, four notes": (Ring(2, 4, 6), [full], 549),
}


@pytest.mark.parametrize("space", SPACES)
def test_every_order_of_events(space):
    small, sometimes, states = SPACES[space]
    all_is_well(run(small, sometimes), states)


def notes_are_not_counted(monkeypatch):
    monkeypatch.setattr(
        ring, "room_bytes", lambda terms, s: terms.size_bytes - (s.written_bytes - s.credit.taken_bytes)
    )


def a_byte_more_is_written_than_there_is_room_for(monkeypatch):
    real = ring.room_bytes
    monkeypatch.setattr(ring, "room_bytes", lambda terms, s: real(terms, s) + (real(terms, s) < terms.size_bytes))


def credits_are_told_for_the_whole_ring_alone(monkeypatch):
    def tell(terms, state):
        if state.done.taken_bytes - state.told.taken_bytes < terms.size_bytes:
            return state, None
        return attrs.evolve(state, told=state.done), state.done

    monkeypatch.setattr(ring, "tell", tell)


BUGS = {
    notes_are_not_counted: RECEIVES,
    a_byte_more_is_written_than_there_is_room_for: KEPT,
    credits_are_told_for_the_whole_ring_alone: "no good state",
}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_seeded_bug_is_found(bug, monkeypatch):
    bug(monkeypatch)
    found = run(Ring(3, 2, 7))
    trace = found.broken or found.stuck
    assert trace is not None
    assert trace.about.startswith(BUGS[bug]), str(trace)


# --- what a peer must not say -----------------------------------------------------------------------------------------

TERMS = Terms(size_bytes=8, notes_max=2)


@pytest.mark.parametrize("number", [0, 9, 2**32 - 1])
def test_a_note_of_no_or_too_many_bytes_is_refused(number):
    with pytest.raises(Refused, match="more bytes, wanted 1 to 8"):
        ring.note(TERMS, ring.ReceiverState(), number)


def test_notes_go_round():
    """Bytes are counted for ever, notes modulo 2^32."""
    before = Credit(taken_bytes=2**32 - 2)
    sender = ring.SenderState(written_bytes=2**32 - 2, credit=before)
    sender, pieces, number = ring.write(TERMS, sender, 5)
    assert ([(piece.offset_bytes, piece.size_bytes) for piece in pieces], number) == ([(6, 2), (0, 3)], 3)
    receiver = ring.note(TERMS, ring.ReceiverState(come_bytes=2**32 - 2, done=before), number)
    assert receiver.come_bytes == sender.written_bytes == 2**32 + 3


@pytest.mark.parametrize("credit", [Credit(taken_bytes=4, notes=1), Credit(taken_bytes=3, notes=2)])
def test_a_credit_for_what_was_not_written_is_refused(credit):
    state, _, _ = ring.write(TERMS, ring.SenderState(), 3)
    with pytest.raises(Refused, match="of 3 bytes and 1 notes that were written"):
        ring.hear(state, credit)


def test_a_late_credit_takes_nothing_back():
    state, _, _ = ring.write(TERMS, ring.SenderState(), 3)
    state = ring.hear(state, Credit(taken_bytes=3, notes=1))
    assert ring.hear(state, Credit(taken_bytes=1, notes=0)) == state
