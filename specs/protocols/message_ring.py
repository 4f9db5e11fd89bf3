"""Messages by one-sided writes: a stream of bytes from one node to another through a ring in the other's memory.

Theory of operation
===================

The receiver owns a ring of `size_bytes`, and keeps `notes_max` receives posted.  The sender writes bytes at the place
that follows those written before, in one piece or, at the end of the ring, in two; with the last piece goes a note, of
four bytes, which says how many bytes have been written so far, modulo 2^32.  The device delivers it after the bytes.
The receiver takes bytes out in order and, beside, tells the sender how many it has taken and how many notes have come:
a credit.  Both numbers only grow, and each credit says all: that one is lost or late does no harm.

The sender never writes over a byte that was not taken, and never sends a note for which no receive is posted, because
it counts against the credits that it has heard.  The receiver tells a credit once a quarter of the bytes or notes is
not told yet: whenever the sender can write no more, at least a quarter is on its way to be, so that nobody waits for
ever, and credits are few.

A note that tells of no byte, or of more than there is room for, is no sender's that follows this protocol; a credit
for bytes that were not written is no receiver's.  Either is refused, and the connection ends.

These functions are pure; `executor.transport.rdma.ring_paths` runs them.
"""

import attrs

NOTE_MODULUS = 1 << 32  # a note has four bytes
SHARE = 4  # of the ring or of the notes: a credit is told for each


class Refused(Exception):
    """What the peer says cannot be."""


@attrs.frozen(kw_only=True)
class Terms:
    """What both ends know."""

    size_bytes: int
    notes_max: int


@attrs.frozen(kw_only=True)
class Credit:
    """What the receiver has done so far."""

    taken_bytes: int = 0
    notes: int = 0


@attrs.frozen(kw_only=True)
class Piece:
    """A run of bytes within the ring."""

    offset_bytes: int
    size_bytes: int


# --- the sender ------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class SenderState:
    """How much was written, and what the receiver has said."""

    written_bytes: int = 0
    notes: int = 0
    credit: Credit = Credit()


def room_bytes(terms: Terms, state: SenderState) -> int:
    """How many bytes may be written now."""
    if state.notes - state.credit.notes == terms.notes_max:
        return 0
    return terms.size_bytes - (state.written_bytes - state.credit.taken_bytes)


def write(terms: Terms, state: SenderState, size_bytes: int) -> tuple[SenderState, tuple[Piece, ...], int]:
    """Write at least one byte, for which there must be room; give the pieces, and the note that goes with the last."""
    assert 0 < size_bytes <= room_bytes(terms, state), "the caller has asked for the room"
    offset = state.written_bytes % terms.size_bytes
    first = min(size_bytes, terms.size_bytes - offset)
    pieces = [Piece(offset_bytes=offset, size_bytes=first)]
    if first < size_bytes:
        pieces.append(Piece(offset_bytes=0, size_bytes=size_bytes - first))
    written = state.written_bytes + size_bytes
    after = attrs.evolve(state, written_bytes=written, notes=state.notes + 1)
    return after, tuple(pieces), written % NOTE_MODULUS


def hear(state: SenderState, credit: Credit) -> SenderState:
    """Take a credit; one that was overtaken changes nothing.  Raises Refused."""
    if credit.taken_bytes > state.written_bytes or credit.notes > state.notes:
        raise Refused(
            f"a credit for {credit.taken_bytes} bytes and {credit.notes} notes, of {state.written_bytes} bytes and "
            f"{state.notes} notes that were written"
        )
    before = state.credit
    return attrs.evolve(
        state,
        credit=Credit(taken_bytes=max(before.taken_bytes, credit.taken_bytes), notes=max(before.notes, credit.notes)),
    )


# --- the receiver ----------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class ReceiverState:
    """How much has come, how much was taken, and what the sender was told."""

    come_bytes: int = 0
    done: Credit = Credit()
    told: Credit = Credit()


def note(terms: Terms, state: ReceiverState, number: int) -> ReceiverState:
    """Take a note, after which its receive is posted again.  Raises Refused."""
    size_bytes = (number - state.come_bytes) % NOTE_MODULUS
    room = terms.size_bytes - (state.come_bytes - state.done.taken_bytes)
    if not 0 < size_bytes <= room:
        raise Refused(f"a note of {size_bytes} more bytes, wanted 1 to {room}")
    done = attrs.evolve(state.done, notes=state.done.notes + 1)
    return attrs.evolve(state, come_bytes=state.come_bytes + size_bytes, done=done)


def next_piece(terms: Terms, state: ReceiverState, size_bytes: int) -> Piece:
    """Find the next bytes to take: at most so many, of no bytes where none have come, in one piece."""
    offset = state.done.taken_bytes % terms.size_bytes
    there = state.come_bytes - state.done.taken_bytes
    return Piece(offset_bytes=offset, size_bytes=min(size_bytes, there, terms.size_bytes - offset))


def take(state: ReceiverState, size_bytes: int) -> ReceiverState:
    """Have taken the next bytes out of the ring."""
    assert size_bytes <= state.come_bytes - state.done.taken_bytes
    done = attrs.evolve(state.done, taken_bytes=state.done.taken_bytes + size_bytes)
    return attrs.evolve(state, done=done)


def tell(terms: Terms, state: ReceiverState) -> tuple[ReceiverState, Credit | None]:
    """Give the credit that is due, if one is."""
    bytes_ = state.done.taken_bytes - state.told.taken_bytes
    notes = state.done.notes - state.told.notes
    if SHARE * bytes_ < terms.size_bytes and SHARE * notes < terms.notes_max:
        return state, None
    return attrs.evolve(state, told=state.done), state.done
