"""A blob by one-sided writes: what its two ends do, whatever becomes of the device, the path or the other end.

Theory of operation
===================

The sender writes into the receiver's memory; no processor there takes part.  The two have a connection beside, on which
they speak and on which the blob can go as a stream of bytes instead.  The connection delivers in order or breaks, and
when it breaks the transfer is over at both ends; all else is here.

Spans.  The destination is cut into spans of a fixed length.  The receiver opens a span: it makes a key that allows to
write there and nowhere else, and grants it to the sender.  At most `open_max` spans are open at once, so that making
keys, writing and checking go on side by side.  The sender writes each span that it was granted, in order; its last
write carries word of it, which the device delivers after all bytes of the span.  Then the receiver closes the key, and
only then looks at the bytes: from there on nobody can change what was checked.

When writes do not go on (the device, the port or the path fails, memory cannot be registered, a key is refused), the
end that sees it shuts its side and says so.  The receiver shuts its side before it asks for the rest: once a stream is
asked for no key is open, and no write that was late can land in what the stream brings.  It asks from the first span
that has not arrived, which it alone knows.  The sender that fails says that it is broken, and waits to be asked.

`step_receiver` and `step_sender` are pure; the threads of `executor.transport.rdma`, in `blob_taker` and `blob_writer`,
run them.
"""

from collections.abc import Iterator
from enum import Enum

import attrs


class Way(Enum):
    """How the rest of a blob goes."""

    WRITES = "writes"
    BROKEN = "broken"  # at the sender: no write goes any more, and it has not been asked for a stream yet
    STREAM = "stream"
    OVER = "over"  # every byte has arrived, as this end knows


@attrs.frozen(kw_only=True)
class Terms:
    """What both ends know from the offer."""

    spans: int
    open_max: int


# --- what happens ----------------------------------------------------------------------------------------------------


@attrs.frozen
class Arrived:
    """At the receiver: the device says that a span was written whole."""

    span: int


@attrs.frozen
class Granted:
    """At the sender: the receiver has opened a span."""

    span: int


@attrs.frozen
class Asked:
    """At the sender: the receiver wants all from this span on as a stream."""

    span: int


@attrs.frozen
class Acknowledged:
    """At the sender: the receiver has every byte."""


@attrs.frozen
class Said:
    """At the receiver: the sender is broken."""


@attrs.frozen
class Failed:
    """At either end: writes do not go on here."""


@attrs.frozen
class Streamed:
    """At the receiver: the stream has brought all that was asked for."""


# --- what is done ----------------------------------------------------------------------------------------------------


@attrs.frozen
class OpenSpan:
    """Make a key for a span and grant it to the sender."""

    span: int


@attrs.frozen
class CloseSpan:
    """Take the key of a span away; no write to it can land afterwards."""

    span: int


@attrs.frozen
class Check:
    """Look at the bytes of a span."""

    span: int


@attrs.frozen
class WriteSpan:
    """Write a span, with word of it at the end."""

    span: int


@attrs.frozen
class Shut:
    """Close this side of the queue pair and every key: no write lands or leaves afterwards."""


@attrs.frozen
class Say:
    """Tell the receiver that this sender is broken."""


@attrs.frozen
class Ask:
    """Tell the sender to send all from this span on as a stream, and take that."""

    span: int


@attrs.frozen
class Stream:
    """Send all from this span on as a stream."""

    span: int


@attrs.frozen
class Acknowledge:
    """Tell the sender that every byte is here."""


ReceiverEvent = Arrived | Said | Failed | Streamed
SenderEvent = Granted | Asked | Acknowledged | Failed
ReceiverAction = OpenSpan | CloseSpan | Check | Shut | Ask | Acknowledge
SenderAction = WriteSpan | Shut | Say | Stream


# --- the receiver ----------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class ReceiverState:
    """Spans arrive in order: of those that were opened, the first `arrived` are closed."""

    way: Way = Way.WRITES
    opened: int = 0
    arrived: int = 0


def begin_receiver(terms: Terms) -> tuple[ReceiverState, tuple[ReceiverAction, ...]]:
    """Open the first spans."""
    return _go_on(terms, ReceiverState())


def step_receiver(
    terms: Terms, state: ReceiverState, event: ReceiverEvent
) -> tuple[ReceiverState, tuple[ReceiverAction, ...]]:
    """Take one event.  One that is late changes nothing."""
    match event:
        case Streamed() if state.way is Way.STREAM:
            return attrs.evolve(state, way=Way.OVER), (Acknowledge(),)
        case Arrived(span) if state.way is Way.WRITES and span == state.arrived < state.opened:
            after, actions = _go_on(terms, attrs.evolve(state, arrived=span + 1))
            return after, (CloseSpan(span), Check(span), *actions)
        case Arrived() | Said() | Failed() if state.way is Way.WRITES:  # another span than is due: a device in disorder
            return attrs.evolve(state, way=Way.STREAM), (Shut(), Ask(state.arrived))
    return state, ()


def _go_on(terms: Terms, state: ReceiverState) -> tuple[ReceiverState, tuple[ReceiverAction, ...]]:
    if state.arrived == terms.spans:
        return attrs.evolve(state, way=Way.OVER), (Shut(), Acknowledge())
    end = min(state.arrived + terms.open_max, terms.spans)
    return attrs.evolve(state, opened=end), tuple(_opening(state.opened, end))


def _opening(first: int, end: int) -> Iterator[ReceiverAction]:
    for span in range(first, end):
        yield OpenSpan(span)


# --- the sender ------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class SenderState:
    """Spans are granted in order, and written as they are granted."""

    way: Way = Way.WRITES
    granted: int = 0


def step_sender(terms: Terms, state: SenderState, event: SenderEvent) -> tuple[SenderState, tuple[SenderAction, ...]]:
    """Take one event.  One that is late changes nothing; one that no receiver says makes this end broken."""
    match event:
        case Acknowledged() if state.way is not Way.OVER:
            shut = (Shut(),) if state.way is Way.WRITES else ()
            return attrs.evolve(state, way=Way.OVER), shut
        case Asked(span) if state.way in (Way.WRITES, Way.BROKEN) and span <= state.granted and span < terms.spans:
            shut = (Shut(),) if state.way is Way.WRITES else ()
            return attrs.evolve(state, way=Way.STREAM), (*shut, Stream(span))
        case Granted(span) if state.way is Way.WRITES and span == state.granted < terms.spans:
            return attrs.evolve(state, granted=span + 1), (WriteSpan(span),)
        case Granted() | Failed() if state.way is Way.WRITES:
            return attrs.evolve(state, way=Way.BROKEN), (Shut(), Say())
    return state, ()
