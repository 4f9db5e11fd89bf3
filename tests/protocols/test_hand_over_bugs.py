"""Bugs that are put into KV hand-over on purpose: each must be found, by the property that it breaks."""

import attrs
import pytest

from specs.protocols import kv_hand_over, kv_hand_over_target
from specs.protocols import kv_hand_over_events as ev
from specs.protocols.kv_hand_over_nouns import Phase, Seats
from tests.protocols.hand_over_moves import SPLIT, aborted_and_served, all_ended_in_the_new, listed_again, run, terms
from tests.protocols.hand_over_world import Faults, Roles


def stages_take_what_they_have_already(monkeypatch):
    def take(state, chunk):
        return real(state, chunk) if chunk.end > kv_hand_over_target.held_of(state, chunk) else write(state, chunk)

    def write(state, chunk):
        is_open = any((e.request, e.seat) == (chunk.request, chunk.seat) for e in state.seats)
        return state, (ev.Write(chunk),) if is_open else ()

    real = kv_hand_over_target._take
    monkeypatch.setattr(kv_hand_over_target, "_take", take)


def stages_take_chunks_with_a_gap_before_them(monkeypatch):
    def take_any(state, chunk):
        return take(state, attrs.evolve(chunk, start=min(chunk.start, held(state, chunk))))

    take, held = kv_hand_over_target._take, kv_hand_over_target.held_of
    monkeypatch.setattr(kv_hand_over_target, "_take", take_any)


def stages_go_by_older_seats(monkeypatch):
    def opens(state, seats: Seats):
        after = real(attrs.evolve(state, edition=min(state.edition, seats.edition - 1)), seats)
        return attrs.evolve(after, edition=max(state.edition, seats.edition))

    real = kv_hand_over_target._open
    monkeypatch.setattr(kv_hand_over_target, "_open", opens)


def a_slot_is_a_seat_while_an_iteration_can_write_to_it(monkeypatch):
    monkeypatch.setattr(Roles, "is_untouched", lambda *_: True)


def seats_are_given_back_before_all_stages_know(monkeypatch):
    def give_back(_successor, state):
        free = tuple(ev.GiveBack(seat) for seat, _ in state.closing)
        return attrs.evolve(state, closing=()), free

    monkeypatch.setattr(kv_hand_over_target, "_give_back", give_back)


def seats_are_open_before_all_stages_know(monkeypatch):
    monkeypatch.setattr(kv_hand_over_target, "_is_open", lambda *_: True)
    monkeypatch.setattr(kv_hand_over_target, "_take", lambda state, _: (state, ()))


def one_path_is_enough(monkeypatch):
    def held(state, stay):
        counts = [e for h in state.stages for e in h.counts if e.id == stay.id]
        return {g.request: max((e.tokens for e in counts if e.request == g.request), default=0) for g in stay.guests}

    monkeypatch.setattr(kv_hand_over_target, "_held", held)


def a_guest_goes_on_with_other_tokens_than_its_front_has(monkeypatch):
    def resume(state, event):
        finals = {guest.request: guest.final for stay in state.stays for guest in stay.guests}
        claims = tuple(
            attrs.evolve(claim, tokens=finals[claim.request].tokens) if finals.get(claim.request) else claim
            for claim in event.claims
        )
        return real(state, attrs.evolve(event, claims=claims))

    real = kv_hand_over_target._resume
    monkeypatch.setattr(kv_hand_over_target, "_resume", resume)


def a_silent_source_is_waited_for(monkeypatch):
    def end(state, _):
        return attrs.evolve(state, stays=tuple(attrs.evolve(stay, quiet=0) for stay in state.stays))

    monkeypatch.setattr(kv_hand_over_target, "_end", end)


def what_is_lost_is_not_copied_again(monkeypatch):
    monkeypatch.setattr(kv_hand_over, "_tick", lambda _terms, state, _current: (state, ()))


def the_source_does_not_wait_for_the_copy_of_the_rest(monkeypatch):
    def hand_out(_terms, state, current):
        if current.phase is not Phase.REST or not state.is_quiet:
            return state, ()
        requests = tuple(guest.request for guest in current.guests)
        return attrs.evolve(state, current=None), (ev.HandOut(current.id, requests),)

    replace_rule(monkeypatch, "_hand_out", hand_out)


def the_source_does_not_wait_for_the_last_iterations(monkeypatch):
    def hand_out(terms, state, current):
        after, actions = real(terms, attrs.evolve(state, is_quiet=True), current)
        return (after, actions) if actions else (state, ())

    real = kv_hand_over._hand_out
    hand_out.__name__ = "_hand_out"
    replace_rule(monkeypatch, "_hand_out", hand_out)


def an_aborted_source_stays_halted(monkeypatch):
    def fail(state, current):
        after, actions = real(state, current)
        return after, tuple(each for each in actions if not isinstance(each, ev.GoOn))

    real = kv_hand_over._fail
    monkeypatch.setattr(kv_hand_over, "_fail", fail)


def replace_rule(monkeypatch, name, rule):
    rules = tuple(rule if each.__name__ == name else each for each in kv_hand_over._RULES)
    assert rules != kv_hand_over._RULES
    monkeypatch.setattr(kv_hand_over, "_RULES", rules)


WHOLE, OVERWRITE = "a resumed request decodes on whole", "no chunk is written but into the seat"
COUNT, STUCK = "a request goes on with the tokens", "no good state"
LONG = {"computed": 2, "tokens": 3, "seen": 3, "end": 5}
STRANGER = {"strangers": 1, "end": 3}

BUGS = {
    stages_take_what_they_have_already: (terms(), Faults(repeats=1), {}, OVERWRITE),
    stages_take_chunks_with_a_gap_before_them: (terms(), Faults(losses=1), LONG, WHOLE),
    a_slot_is_a_seat_while_an_iteration_can_write_to_it: (terms(), Faults(target_drains=1), STRANGER, WHOLE),
    seats_are_given_back_before_all_stages_know: (terms(), Faults(aborts=1), STRANGER, OVERWRITE),
    one_path_is_enough: (terms(SPLIT), Faults(), {"stages": 2}, WHOLE),
    a_guest_goes_on_with_other_tokens_than_its_front_has: (terms(), Faults(missed=1), {}, COUNT),
    a_silent_source_is_waited_for: (terms(), Faults(source_deaths=1), {}, STUCK),
    what_is_lost_is_not_copied_again: (terms(), Faults(losses=1), {}, STUCK),
}
LARGE = {stages_go_by_older_seats: (terms(), Faults(lates=1, impatience=1), STRANGER, OVERWRITE)}
# Bugs by which something good can never happen.
SPOILERS = {
    seats_are_open_before_all_stages_know: (Faults(), all_ended_in_the_new),
    an_aborted_source_stays_halted: (Faults(aborts=1), aborted_and_served),
}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_seeded_bug_is_found_with_a_short_trace(bug, monkeypatch):
    check(bug, BUGS[bug], monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("bug", LARGE, ids=lambda bug: bug.__name__)
def test_a_seeded_bug_is_found_in_a_larger_world(bug, monkeypatch):
    check(bug, LARGE[bug], monkeypatch)


def check(bug, space, monkeypatch):
    conditions, faults, start, about = space
    bug(monkeypatch)
    found = run(conditions, faults, **start)
    trace = found.broken or found.stuck
    assert trace is not None
    assert trace.about.startswith(about), str(trace)
    assert len(trace.labels) <= 30, str(trace)


@pytest.mark.parametrize("bug", SPOILERS, ids=lambda bug: bug.__name__)
def test_a_bug_that_spoils_everything_is_found(bug, monkeypatch):
    faults, wanted = SPOILERS[bug]
    bug(monkeypatch)
    found = run(terms(), faults, (wanted,))
    assert found.unwitnessed == (wanted.__name__,)


HASTY = (the_source_does_not_wait_for_the_copy_of_the_rest, the_source_does_not_wait_for_the_last_iterations)


@pytest.mark.parametrize("bug", HASTY, ids=lambda bug: bug.__name__)
def test_a_source_that_does_not_wait_is_found(bug, monkeypatch):
    """Its guests are turned away, and computed again although nothing has gone wrong."""
    assert run(terms(), Faults(), (listed_again,)).unwitnessed == ("listed_again",)
    bug(monkeypatch)
    assert run(terms(), Faults(), (listed_again,)).unwitnessed == ()
