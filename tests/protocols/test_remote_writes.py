"""A blob by one-sided writes: every order of events of small blobs, with failures, and with a hostile sender."""

import attrs
import pytest

from specs.protocols import remote_writes as protocol
from specs.protocols.remote_writes import Terms, Way
from tests.protocols.remote_writes_world import APART, CHECKED, WHOLE, Pair, is_good, run
from tests.protocols.verdicts import all_is_well

# --- what must be reachable -------------------------------------------------------------------------------------------


def all_written(world):
    return is_good(world) and world.asked is None


def written_and_streamed(world):
    """Some spans were written, and the others came as a stream."""
    return is_good(world) and world.asked not in (None, 0)


def a_write_is_too_late(world):
    """A span is on its way, whole, and the receiver has closed its key: the device refuses it."""
    return bool(world.flying) and not world.keys and world.receiver.way is Way.STREAM


def torn(world):
    """A write that broke off has left a part behind, and the stream has brought the whole."""
    return "part" in world.memory and world.asked is not None


def both_said_so(world):
    """The sender says that it is broken when it is being asked already."""
    return protocol.Said() in world.to_receiver and world.receiver.way is Way.STREAM


def overwritten(world):
    """What the hostile sender wrote was checked as it was."""
    return any(world.memory[span] == "other" for span in world.checked)


FAULTS = [all_written, written_and_streamed, a_write_is_too_late, torn, both_said_so]
SPACES = {
    "no byte": (Pair(0, 1, 0), [], 5),
    "one span": (Pair(1, 1, 0), [all_written], 12),
    "one span, a failure": (Pair(1, 1, 1), [all_written], 118),
    "three spans": (Pair(3, 2, 0), [all_written], 54),
    "three spans, a failure": (Pair(3, 2, 1), FAULTS, 695),
    "three spans, failures at both ends": (Pair(3, 2, 2), FAULTS, 1219),
    "four spans, three open, failures at both ends": (Pair(4, 3, 2), FAULTS, 2778),
    "three spans, a failure, a hostile sender": (Pair(3, 2, 1, is_hostile=True), [*FAULTS, overwritten], 3570),
}


@pytest.mark.parametrize("space", SPACES)
def test_every_order_of_events(space):
    pair, sometimes, states = SPACES[space]
    all_is_well(run(pair, sometimes), states)


# --- bugs put in on purpose -------------------------------------------------------------------------------------------


def change_receiver(monkeypatch, change):
    real = protocol.step_receiver

    def step(terms, state, event):
        after, actions = real(terms, state, event)
        return change(state, event, after, actions)

    monkeypatch.setattr(protocol, "step_receiver", step)


def a_span_is_checked_while_its_key_is_open(monkeypatch):
    def change(_state, event, after, actions):
        if isinstance(event, protocol.Arrived) and isinstance(actions[0], protocol.CloseSpan):
            actions = (actions[1], actions[0], *actions[2:])
        return after, actions

    change_receiver(monkeypatch, change)


def a_stream_is_asked_for_while_keys_are_open(monkeypatch):
    def change(_state, _event, after, actions):
        asks = any(isinstance(each, protocol.Ask) for each in actions)
        return after, tuple(reversed(actions)) if asks else actions

    change_receiver(monkeypatch, change)


def the_rest_is_asked_for_from_what_was_opened(monkeypatch):
    def change(state, _event, after, actions):
        asks = any(isinstance(each, protocol.Ask) for each in actions)
        first = max(state.opened - 1, state.arrived)
        return after, (protocol.Shut(), protocol.Ask(first)) if asks else actions

    change_receiver(monkeypatch, change)


def a_broken_sender_is_not_heard(monkeypatch):
    def change(state, event, after, actions):
        return (state, ()) if isinstance(event, protocol.Said) else (after, actions)

    change_receiver(monkeypatch, change)


def any_news_stands_for_the_span_that_is_due(monkeypatch):
    """As if word of a span came before its bytes."""
    begin = protocol.begin_receiver

    def begins(terms):
        state, actions = begin(terms)
        after, more = protocol.step_receiver(terms, state, protocol.Arrived(0))
        return after, (*actions, *more)

    monkeypatch.setattr(protocol, "begin_receiver", begins)


BUGS = {
    a_span_is_checked_while_its_key_is_open: (Pair(2, 2, 0, is_hostile=True), CHECKED),
    a_stream_is_asked_for_while_keys_are_open: (Pair(2, 2, 1, is_hostile=True), APART),
    the_rest_is_asked_for_from_what_was_opened: (Pair(3, 3, 1), "no good state"),
    a_broken_sender_is_not_heard: (Pair(2, 2, 1), "no good state"),
    any_news_stands_for_the_span_that_is_due: (Pair(1, 1, 0), WHOLE),
}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_seeded_bug_is_found_with_a_short_trace(bug, monkeypatch):
    pair, about = BUGS[bug]
    bug(monkeypatch)
    found = run(pair)
    trace = found.broken or found.stuck
    assert trace is not None
    assert trace.about.startswith(about), str(trace)
    assert len(trace.labels) <= 15, str(trace)


# --- what a peer must not say -----------------------------------------------------------------------------------------

TERMS = Terms(spans=3, open_max=2)


def test_a_grant_out_of_turn_breaks_the_sender():
    state, actions = protocol.step_sender(TERMS, protocol.SenderState(), protocol.Granted(1))
    assert (state.way, actions) == (Way.BROKEN, (protocol.Shut(), protocol.Say()))


@pytest.mark.parametrize("span", [1, 3, 4])
def test_what_was_not_granted_is_not_asked_for(span):
    state = protocol.SenderState()
    assert protocol.step_sender(TERMS, state, protocol.Asked(span)) == (state, ())
    granted = attrs.evolve(state, granted=3)
    after, _ = protocol.step_sender(TERMS, granted, protocol.Asked(span))
    assert (after.way is Way.STREAM) == (span < 3)


def test_nothing_is_late_once_it_is_over():
    over = protocol.ReceiverState(way=Way.OVER, opened=3, arrived=3)
    for event in (protocol.Arrived(2), protocol.Said(), protocol.Failed(), protocol.Streamed()):
        assert protocol.step_receiver(TERMS, over, event) == (over, ())
    over = protocol.SenderState(way=Way.OVER, granted=3)
    for event in (protocol.Granted(2), protocol.Asked(0), protocol.Acknowledged(), protocol.Failed()):
        assert protocol.step_sender(TERMS, over, event) == (over, ())
