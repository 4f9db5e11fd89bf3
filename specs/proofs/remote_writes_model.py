"""The model of a blob by one-sided writes: what is proved, and with what.  See `specs.proofs.remote_writes`."""

from collections.abc import Callable, Mapping

import attrs

from specs.proofs.logic import Logic, Thing, Truth


@attrs.frozen(kw_only=True)
class Terms:
    """What never changes.  Spans are numbers, from 0."""

    spans: Thing
    open_max: Thing
    is_honest: Truth  # the sender writes and streams what it should; else it may do anything that a key allows


@attrs.frozen(kw_only=True)
class State:
    """Where both ends, their devices and the receiver's memory are."""

    # The receiver: of how many spans, from the first on, something was done.
    made: Thing  # its key was made, and granted
    arrived: Thing  # the device said so
    closed: Thing  # its key was taken away, and no other
    looked: Thing  # its bytes were looked at, as they had been written
    gave_up: Truth  # writes do not go on; the rest is to come as a stream
    has_shut: Truth
    asked: Truth
    start: Thing  # the first span that was asked for
    taken: Thing  # how many spans came out of the stream
    over: Truth  # nothing more is to come
    acknowledged: Truth

    # The receiver's device and memory.
    key: Callable[[Thing], Truth]  # span: its key is open
    landed: Callable[[Thing], Truth]  # span: all bytes that the sender wrote of it have landed
    told: Callable[[Thing], Truth]  # span: the device has word of it
    whole: Callable[[Thing], Truth]  # span: the memory holds its bytes

    # The sender, if it is honest.
    granted: Thing  # of so many spans, from the first on, it knows the keys
    streams: Truth
    first: Thing  # the first span that it streams

    # What was done, ever.
    checked: Callable[[Thing], Truth]  # span: its bytes were looked at, written or streamed
    brought: Callable[[Thing], Truth]  # span: the stream has brought it
    spoilt: Truth  # something was written where the bytes had been looked at
    crossed: Truth  # a write has landed when a stream had been asked for


Sentences = Mapping[str, Truth]


def _among(logic: Logic, first: Thing, n: Thing, end: Thing) -> Truth:
    return logic.both(first <= n, n < end)


def _spans(logic: Logic, holds: Callable[[Thing], Truth]) -> Truth:
    return logic.every(("number",), holds)


def axioms(terms: Terms) -> tuple[Truth, ...]:
    """A blob may have no byte."""
    return (terms.spans >= 0, terms.open_max >= 0)


def at_start(terms: Terms, state: State) -> State:
    """Nothing was done.  The memory holds anything."""
    return attrs.evolve(
        state,
        made=0,
        arrived=0,
        closed=0,
        looked=0,
        gave_up=False,
        has_shut=False,
        asked=False,
        taken=0,
        over=terms.spans == 0,
        acknowledged=False,
        key=lambda _n: False,
        landed=lambda _n: False,
        told=lambda _n: False,
        granted=0,
        streams=False,
        checked=lambda _n: False,
        brought=lambda _n: False,
        spoilt=False,
        crossed=False,
    )


def shown(logic: Logic, terms: Terms, s: State) -> Sentences:
    """What is promised, besides what the invariant says itself: CHECKED and ORDER."""
    return {
        "WHOLE": _spans(logic, lambda n: logic.implies(logic.both(terms.is_honest, s.checked(n)), s.whole(n))),
        "APART": logic.both(
            logic.without(s.crossed), _spans(logic, lambda n: logic.implies(s.asked, logic.without(s.key(n))))
        ),
        "STREAM": logic.both(
            _spans(
                logic,
                lambda n: s.brought(n) == logic.both(s.asked, _among(logic, s.arrived, n, s.arrived + s.taken)),
            ),
            logic.implies(logic.both(s.asked, s.acknowledged), s.arrived + s.taken == terms.spans),
            logic.implies(logic.both(terms.is_honest, s.streams), s.first == s.arrived),
        ),
        "ASK": logic.both(
            s.granted <= terms.spans,
            logic.implies(
                s.asked, logic.both(s.start < terms.spans, logic.implies(terms.is_honest, s.start <= s.granted))
            ),
        ),
        "ALL": _spans(
            logic,
            lambda n: logic.implies(
                s.acknowledged,
                logic.both(logic.implies(_among(logic, 0, n, terms.spans), s.checked(n)), logic.without(s.key(n))),
            ),
        ),
        "OPEN": _spans(
            logic,
            lambda n: logic.implies(
                s.key(n), logic.both(_among(logic, s.closed, n, s.closed + terms.open_max), n < terms.spans)
            ),
        ),
    }


def invariant(logic: Logic, terms: Terms, s: State) -> Sentences:
    """What is true of every state, and kept by every step."""
    return {**_counts(logic, terms, s), **_deeds(logic, s), **_honesty(logic, terms, s)}


def _counts(logic: Logic, terms: Terms, s: State) -> Sentences:
    """How far the receiver is."""
    return {
        "what is looked at was closed": logic.both(s.looked >= 0, s.looked <= s.closed),
        "what was closed has arrived": s.closed <= s.arrived,
        "what has arrived was opened": s.arrived <= s.made,
        "no more are open than may be": logic.both(s.made <= s.closed + terms.open_max, s.made <= terms.spans),
        "where writes are given up a span is missing": logic.implies(s.gave_up, s.arrived < terms.spans),
        "what was asked for is what has not arrived": logic.implies(
            s.asked, logic.both(s.gave_up, s.has_shut, s.start == s.arrived)
        ),
        "the stream brings no more than was asked for": logic.both(
            s.taken >= 0, logic.where(s.asked, s.start + s.taken <= terms.spans, s.taken == 0)
        ),
        "nothing is missing when it is over": logic.implies(
            s.over,
            logic.either(s.arrived == terms.spans, logic.both(s.asked, s.start + s.taken == terms.spans)),
        ),
        "when all has arrived it is over": logic.implies(s.arrived == terms.spans, s.over),
        "what is acknowledged is over": logic.implies(s.acknowledged, s.over),
    }


def _deeds(logic: Logic, s: State) -> Sentences:
    """What was done to each span."""
    return {
        "CHECKED": logic.without(s.spoilt),
        "no write has crossed a stream": logic.without(s.crossed),
        "what has a key was made, and not closed": _spans(
            logic,
            lambda n: logic.implies(
                s.key(n), logic.both(_among(logic, s.closed, n, s.made), logic.without(s.has_shut))
            ),
        ),
        "ORDER": logic.both(
            _spans(logic, lambda n: s.checked(n) == logic.either(_among(logic, 0, n, s.looked), s.brought(n))),
            s.looked <= s.arrived,
            s.arrived <= s.looked + 1,
            logic.implies(logic.either(s.asked, s.acknowledged), s.looked == s.arrived),
        ),
        "the stream has brought the first of what was asked for": _spans(
            logic, lambda n: s.brought(n) == logic.both(s.asked, _among(logic, s.start, n, s.start + s.taken))
        ),
    }


def _honesty(logic: Logic, terms: Terms, s: State) -> Sentences:
    """What an honest sender adds."""

    def honestly(holds: Truth) -> Truth:
        return logic.implies(terms.is_honest, holds)

    return {
        "what has landed was granted, and is whole": _spans(
            logic,
            lambda n: honestly(logic.implies(s.landed(n), logic.both(_among(logic, 0, n, s.granted), s.whole(n)))),
        ),
        "what there is word of has landed": _spans(logic, lambda n: honestly(logic.implies(s.told(n), s.landed(n)))),
        "what has arrived has landed": _spans(
            logic, lambda n: honestly(logic.implies(_among(logic, 0, n, s.arrived), s.landed(n)))
        ),
        "what the stream has brought is whole": _spans(
            logic, lambda n: honestly(logic.implies(s.brought(n), s.whole(n)))
        ),
        "a stream begins where it was asked for": honestly(
            logic.implies(s.streams, logic.both(s.asked, s.first == s.start))
        ),
        "what was granted was opened": logic.both(s.granted >= 0, s.granted <= s.made),
    }


# --- steps: the guards, by name, and the state after ------------------------------------------------------------------


def _put(logic: Logic, to: Callable[[Thing], Truth], n: Thing, truth: Truth) -> Callable[[Thing], Truth]:
    return lambda m: logic.where(m == n, truth, to(m))


def open_span(logic: Logic, terms: Terms, s: State, n: Thing) -> tuple[Sentences, State]:
    """The receiver makes the key of a span, and grants it."""
    guards = {
        "it is the next": n == s.made,
        "there is such a span": n < terms.spans,
        "no more are open than may be": n < s.closed + terms.open_max,
        "this side is not shut": logic.without(s.has_shut),
    }
    return guards, attrs.evolve(s, made=n + 1, key=_put(logic, s.key, n, True))


def arrive(logic: Logic, terms: Terms, s: State, n: Thing) -> tuple[Sentences, State]:
    """The receiver hears from its device that a span was written whole."""
    guards = {
        "writes were not given up": logic.without(s.gave_up),
        "it is the span that is due": n == s.arrived,
        "its key was made": n < s.made,
        "what arrived before was looked at": s.looked == s.arrived,
        "the device has word of it": s.told(n),
    }
    return guards, attrs.evolve(s, arrived=n + 1, over=logic.either(s.over, n + 1 == terms.spans))


def close_span(logic: Logic, s: State, n: Thing) -> tuple[Sentences, State]:
    """The receiver takes the key of a span away."""
    guards = {"it is the next": n == s.closed, "it has arrived": n < s.arrived}
    return guards, attrs.evolve(s, closed=n + 1, key=_put(logic, s.key, n, False))


def check(logic: Logic, s: State, n: Thing) -> tuple[Sentences, State]:
    """The receiver looks at the bytes of a span."""
    guards = {"it is the next": n == s.looked, "its key was taken away": n < s.closed}
    return guards, attrs.evolve(s, looked=n + 1, checked=_put(logic, s.checked, n, True))


def give_up(logic: Logic, s: State) -> tuple[Sentences, State]:
    """The receiver sees that writes do not go on, or hears it."""
    return {"it is not over": logic.without(s.over)}, attrs.evolve(s, gave_up=True)


def shut(s: State) -> tuple[Sentences, State]:
    """The receiver closes its side of the queue pair, and every key."""
    return {}, attrs.evolve(s, has_shut=True, key=lambda _n: False)


def ask(s: State) -> tuple[Sentences, State]:
    """The receiver asks for all that has not arrived as a stream."""
    guards = {
        "writes were given up": s.gave_up,
        "this side is shut": s.has_shut,
        "what has arrived was looked at": s.looked == s.arrived,
    }
    return guards, attrs.evolve(s, asked=True, start=s.arrived)


def bring(logic: Logic, terms: Terms, s: State, n: Thing, whole: Truth) -> tuple[Sentences, State]:
    """The receiver takes a span out of the stream; they have no numbers there.  `whole`: it has its own bytes now."""
    guards = {
        "a stream was asked for": s.asked,
        "it is the next": n == s.start + s.taken,
        "there is such a span": n < terms.spans,
        "an honest sender streams what it was asked for": logic.implies(terms.is_honest, s.streams),
        "an honest sender streams span after span": logic.implies(terms.is_honest, whole == (n == s.first + s.taken)),
    }
    after = attrs.evolve(
        s,
        taken=s.taken + 1,
        whole=_put(logic, s.whole, n, whole),
        checked=_put(logic, s.checked, n, True),
        brought=_put(logic, s.brought, n, True),
        spoilt=logic.either(s.spoilt, s.checked(n)),
    )
    return guards, after


def end_stream(terms: Terms, s: State) -> tuple[Sentences, State]:
    """The stream has brought all."""
    guards = {"a stream was asked for": s.asked, "nothing is missing": s.start + s.taken == terms.spans}
    return guards, attrs.evolve(s, over=True)


def acknowledge(s: State) -> tuple[Sentences, State]:
    """The receiver tells the sender that it has every byte."""
    guards = {"it is over": s.over, "what has arrived was looked at": s.looked == s.arrived}
    return guards, attrs.evolve(s, acknowledged=True)


# --- the sender, and the devices -------------------------------------------------------------------------------------


def be_granted(s: State, n: Thing) -> tuple[Sentences, State]:
    """The sender hears that it may write a span."""
    return {"it is the next": n == s.granted, "it was opened": n < s.made}, attrs.evolve(s, granted=n + 1)


def write(logic: Logic, terms: Terms, s: State, n: Thing, last: Truth, whole: Truth) -> tuple[Sentences, State]:
    """Bytes of a span land, or what a hostile sender makes of them.  `last`: all have; `whole`: the memory has all."""
    guards = {
        "its key is open": s.key(n),
        "an honest sender was granted it": logic.implies(terms.is_honest, n < s.granted),
        "an honest sender writes what belongs there": logic.implies(
            logic.both(terms.is_honest, logic.either(last, s.whole(n))), whole
        ),
    }
    after = attrs.evolve(
        s,
        whole=_put(logic, s.whole, n, whole),
        landed=_put(logic, s.landed, n, logic.either(s.landed(n), last)),
        spoilt=logic.either(s.spoilt, s.checked(n)),
        crossed=logic.either(s.crossed, s.asked),
    )
    return guards, after


def tell(logic: Logic, terms: Terms, s: State, n: Thing) -> tuple[Sentences, State]:
    """The device has word of a span."""
    guards = {"word of an honest sender comes after all bytes": logic.implies(terms.is_honest, s.landed(n))}
    return guards, attrs.evolve(s, told=_put(logic, s.told, n, True))


def stream(s: State, n: Thing) -> tuple[Sentences, State]:
    """The sender begins to send all from a span on as a stream."""
    guards = {"it was asked for": s.asked, "it begins there": n == s.start}
    return guards, attrs.evolve(s, streams=True, first=n)


def steps(
    logic: Logic, terms: Terms, s: State, n: Thing, last: Truth, whole: Truth
) -> Mapping[str, tuple[Sentences, State]]:
    """Every step by its name, those that concern a span with this one."""
    return {
        "open": open_span(logic, terms, s, n),
        "arrive": arrive(logic, terms, s, n),
        "close": close_span(logic, s, n),
        "check": check(logic, s, n),
        "give up": give_up(logic, s),
        "shut": shut(s),
        "ask": ask(s),
        "bring": bring(logic, terms, s, n, whole),
        "end stream": end_stream(terms, s),
        "acknowledge": acknowledge(s),
        "be granted": be_granted(s, n),
        "write": write(logic, terms, s, n, last, whole),
        "tell": tell(logic, terms, s, n),
        "stream": stream(s, n),
    }
