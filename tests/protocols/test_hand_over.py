"""KV hand-over: every order of events of small worlds, with faults; and single steps of one role."""

import attrs
import pytest

from specs.protocols import kv_hand_over
from specs.protocols import kv_hand_over_events as ev
from specs.protocols import kv_hand_over_target as target
from specs.protocols.kv_hand_over_nouns import (
    Chunk,
    Count,
    Final,
    Fresh,
    HandOverId,
    Held,
    Hosting,
    Invitation,
    Live,
    OpenSeat,
    Path,
    Row,
    Seats,
    SourceState,
    StageState,
    Successor,
    TargetState,
)
from tests.protocols.hand_over_moves import (
    JOIN,
    SPLIT,
    aborted_and_served,
    all_ended_in_the_new,
    listed_again,
    run,
    terms,
)
from tests.protocols.hand_over_world import Faults
from tests.protocols.verdicts import all_is_well

TWO = {"requests": 2, "old_slots": 2, "new_slots": 2}
FEW = {"requests": 2, "old_slots": 2, "new_slots": 1}
TURNS = {"requests": 2, "old_slots": 1, "new_slots": 1, "end": 3}  # one after the other in one slot
DONE, AGAIN, SERVED = all_ended_in_the_new, listed_again, aborted_and_served

# name: terms, faults, what must be reachable, the world at the start, exact number of states
SPACES = {
    "calm": (terms(), Faults(), (DONE,), {}, 377),
    "two requests": (terms(), Faults(), (DONE,), TWO, 1090),
    "two target stages": (terms(SPLIT), Faults(), (DONE,), {"stages": 2}, 3513),
    "two old stages": (terms(JOIN), Faults(), (DONE,), {}, 1969),
    "a prompt that is being computed": (terms(), Faults(losses=1), (DONE,), {"tokens": 3, "seen": 3, "end": 5}, 3501),
    "fewer seats than requests": (terms(), Faults(losses=1), (AGAIN,), FEW, 2363),
    "too much is left": (terms(rounds_max=1), Faults(), (AGAIN,), TWO, 1199),
    "short contexts": (terms(copy_tokens_min=2), Faults(), (DONE,), {**TWO, "end": 5}, 2223),
    "a message is lost": (terms(), Faults(losses=1), (DONE, AGAIN), TWO, 5530),
    "two messages are lost": (terms(), Faults(losses=2), (DONE, AGAIN), {}, 4966),
    "a message is late": (terms(), Faults(lates=1), (DONE,), {}, 5386),
    "a message is repeated": (terms(), Faults(repeats=1), (DONE,), {"strangers": 1}, 9012),
    "an abort": (terms(), Faults(aborts=1), (DONE, SERVED), {}, 8552),
    "the source dies": (terms(), Faults(source_deaths=1, losses=1), (DONE, AGAIN), {}, 3092),
    "the target dies": (terms(), Faults(target_deaths=1, losses=1), (DONE, AGAIN, SERVED), {}, 2621),
    "a request is cancelled": (terms(), Faults(cancels=1, losses=1), (DONE,), {}, 4863),
    "a front misses a token": (terms(), Faults(missed=1), (DONE, AGAIN), {}, 1471),
    "the target gives up": (terms(), Faults(impatience=1), (DONE, AGAIN, SERVED), {}, 5709),
    "the old pipeline gives its requests back": (terms(), Faults(source_drains=1), (DONE, AGAIN), TWO, 1778),
    "the new pipeline gives its requests back": (
        terms(),
        Faults(target_drains=1),
        (DONE, AGAIN),
        {"strangers": 1},
        2246,
    ),
}
LARGE = {
    "two target stages, a message is lost": (terms(SPLIT), Faults(losses=1), (DONE, AGAIN), {"stages": 2}, 19425),
    "two old stages, a message is late": (terms(JOIN), Faults(lates=1), (DONE,), {}, 37046),
    "two requests, one is cancelled": (terms(), Faults(cancels=1), (DONE,), TWO, 16843),
    "turns in a slot, a cancel and a late message": (terms(), Faults(cancels=1, lates=1), (), TURNS, 31627),
    "two target stages, a message is late": (terms(SPLIT), Faults(lates=1), (DONE,), {"stages": 2}, 68844),
    "two target stages, a message is repeated": (terms(SPLIT), Faults(repeats=1), (DONE,), {"stages": 2}, 53817),
    "an abort and a late message": (terms(), Faults(lates=1, aborts=1), (DONE, SERVED), {"strangers": 1}, 346398),
    "the target gives up, and a late message": (
        terms(),
        Faults(lates=1, impatience=1),
        (DONE,),
        {"strangers": 1},
        264057,
    ),
    "two requests, a message is late": (terms(), Faults(lates=1), (DONE,), TWO, 20807),
    "two requests to two stages, a message is lost": (
        terms(SPLIT),
        Faults(losses=1),
        (DONE,),
        {**TWO, "stages": 2},
        206305,
    ),
}


def check(space):
    conditions, faults, sometimes, start, states = space
    all_is_well(run(conditions, faults, sometimes, states_max=400_000, **start), states)


@pytest.mark.parametrize("space", SPACES)
def test_every_order_of_events(space):
    check(SPACES[space])


@pytest.mark.slow
@pytest.mark.parametrize("space", LARGE)
def test_every_order_of_events_of_larger_worlds(space):
    check(LARGE[space])


# --- one role ---------------------------------------------------------------------------------------------------------

ID = HandOverId(old="old", new="new", number=1)
PATH = Path(old_stage=0, new_stage=0)
HOST = Successor(pipeline="new", stages=1, patience=1)


def live(request, slot, computed):
    return Live(request=request, slot=slot, computed=computed, tokens=computed + 1)


def halted(*live, is_quiet=True):
    return ev.Boundary(live, is_heeded=True, is_quiet=is_quiet)


def row(request, seat=None, held=0, *, is_refused=False):
    return Row(request=request, seat=seat, held=held, is_refused=is_refused)


def told(*rows, is_whole=False):
    return ev.HostingIs(Hosting(id=ID, rows=rows, is_whole=is_whole))


def invitation(edition, *guests, number=1, old="old", rest=None, is_over=False):
    return Invitation(
        id=HandOverId(old=old, new="new", number=number),
        edition=edition,
        is_over=is_over,
        paths=(PATH,),
        guests=guests,
        fresh=tuple(Fresh(request=guest, tokens=5) for guest in guests),
        rest=rest,
    )


def chunk(start, end, request="a", seat=0, number=1):
    id_ = HandOverId(old="old", new="new", number=number)
    return ev.ChunkCame(Chunk(id=id_, path=PATH, request=request, seat=seat, start=start, end=end))


def opened(edition, *guests):
    seats = tuple(OpenSeat(id=ID, request=guest, seat=seat) for seat, guest in enumerate(guests))
    return ev.SeatsAre(Seats(pipeline="new", stage=0, edition=edition, seats=seats))


def test_a_source_copies_in_rounds_halts_and_hands_out():
    conditions = terms(rounds_max=5, rest_tokens_max=2, copy_tokens_min=4)
    state, actions = kv_hand_over.step(conditions, SourceState(), ev.Begin("new", (live("a", 3, 9), live("b", 1, 2))))
    assert [each.invitation.guests for each in actions] == [("a",)]  # b is too short
    state, actions = kv_hand_over.step(conditions, state, told(row("a")))
    assert actions == ()
    state, actions = kv_hand_over.step(conditions, state, told(row("a", seat=7)))
    assert actions == (ev.Copy(ID, (ev.CopyRow("a", 3, 7, 0, 9),)),)
    state, actions = kv_hand_over.step(conditions, state, ev.Boundary((live("a", 3, 12), live("b", 1, 5))))
    assert [each.invitation.guests for each in actions] == [("a", "b")]
    state, actions = kv_hand_over.step(conditions, state, told(row("a", seat=7, held=9), row("b", is_refused=True)))
    assert [type(each) for each in actions] == [ev.Invite, ev.Copy]
    assert actions[1].rows == (ev.CopyRow("a", 3, 7, 9, 12),)
    state, actions = kv_hand_over.step(conditions, state, told(row("a", seat=7, held=12)))
    assert actions == (ev.Halt(),)
    # Its last iteration is under way: the copy of the rest does not wait for its end, the word to the front does.
    under_way = attrs.evolve(live("a", 3, 12), under_way=1, samples=True)
    state, actions = kv_hand_over.step(conditions, state, halted(under_way, live("b", 1, 9), is_quiet=False))
    assert actions[0].invitation.rest == (Final(request="a", computed=13, tokens=14),)
    assert actions[1:] == (ev.Copy(ID, (ev.CopyRow("a", 3, 7, 12, 13),)),)
    state, actions = kv_hand_over.step(conditions, state, told(row("a", seat=7, held=13), is_whole=True))
    assert actions == ()
    state, actions = kv_hand_over.step(conditions, state, halted(live("a", 3, 13), live("b", 1, 9)))
    assert actions == (ev.HandOut(ID, ("a",)),)
    assert state.current is None


def test_a_request_that_ends_with_the_last_iteration_is_not_handed_over():
    conditions = terms(rounds_max=5, rest_tokens_max=2)
    both = live("a", 0, 1), live("b", 1, 1)
    state, _ = kv_hand_over.step(conditions, SourceState(), ev.Begin("new", both))
    state, actions = kv_hand_over.step(conditions, state, told(row("a", seat=0), row("b", seat=1)))
    assert actions == (ev.Halt(),)
    under_way = tuple(attrs.evolve(each, under_way=1, samples=True) for each in both)
    state, actions = kv_hand_over.step(conditions, state, halted(*under_way, is_quiet=False))
    assert [each.tokens for each in actions[0].invitation.rest] == [3, 3]
    state, _ = kv_hand_over.step(conditions, state, told(row("a", 0, 2), row("b", 1, 2), is_whole=True))
    for _ in range(9):  # an iteration takes as long as it takes
        state, actions = kv_hand_over.step(conditions, state, ev.Tick())
        assert [type(each) for each in actions] == [ev.Invite]
    state, actions = kv_hand_over.step(conditions, state, halted(live("b", 1, 2)))
    assert actions == (ev.HandOut(ID, ("b",)),)


def test_guests_with_most_left_stay_behind_when_too_much_is_left():
    conditions = terms(rounds_max=1, rest_tokens_max=3)
    state, _ = kv_hand_over.step(conditions, SourceState(), ev.Begin("new", (live("a", 0, 9), live("b", 1, 9))))
    state, _ = kv_hand_over.step(conditions, state, told(row("a", seat=0), row("b", seat=1)))
    state, _ = kv_hand_over.step(conditions, state, ev.Boundary((live("a", 0, 11), live("b", 1, 12))))
    state, actions = kv_hand_over.step(conditions, state, told(row("a", 0, 9), row("b", 1, 9)))
    assert actions[0].invitation.guests == ("a",)
    assert actions[1] == ev.Halt()
    state, actions = kv_hand_over.step(conditions, state, halted(live("a", 0, 12), live("b", 1, 13)))
    assert actions[1].rows == (ev.CopyRow("a", 0, 0, 9, 12),)


def test_a_prompt_that_grows_too_much_in_the_last_iterations_stays_behind():
    conditions = terms(rest_tokens_max=1)
    state, _ = kv_hand_over.step(conditions, SourceState(), ev.Begin("new", (live("a", 0, 1),)))
    state, actions = kv_hand_over.step(conditions, state, told(row("a", seat=0)))
    assert actions == (ev.Halt(),)
    state, actions = kv_hand_over.step(conditions, state, halted(live("a", 0, 9)))
    assert actions[-1] == ev.HandOut(ID, ())


def test_after_too_many_hand_overs_all_requests_are_computed_again():
    conditions = terms(hand_overs_max=1)
    state, _ = kv_hand_over.step(conditions, SourceState(), ev.Begin("new", (live("a", 0, 9),)))
    state, actions = kv_hand_over.step(conditions, state, ev.Abort())
    assert actions[-1] == ev.Failed(ID)
    state, actions = kv_hand_over.step(conditions, state, ev.Begin("new", (live("a", 0, 9),)))
    assert actions == (ev.HandOut(attrs.evolve(ID, number=2), ()),)


def resumed(attempt, tokens):
    return ev.Resumed(ID, (ev.Claim("a", attempt, tokens),))


def invited(state, invitation, **seats):
    state, actions = target.step(HOST, state, ev.Invited(invitation))
    assert actions == (ev.Reserve(invitation.id, tuple(seats)),)
    return target.step(HOST, state, ev.Reserved(invitation.id, tuple(seats.items())))


def test_two_sources_share_the_seats_of_a_target():
    state, _ = invited(TargetState(), invitation(1, "a", "b"), a=0, b=1)
    state, actions = invited(state, invitation(1, "c", "d", old="other"), c=2, d=None)
    assert actions[0].seats.seats[2] == OpenSeat(id=state.stays[1].id, request="c", seat=2)
    assert actions[1].hosting.rows == (row("c"), row("d", is_refused=True))
    # The one ends, and the other's seat stays open.
    state, actions = target.step(HOST, state, ev.Invited(invitation(2, is_over=True)))
    assert [each.request for each in actions[1].seats.seats] == ["c"]
    assert not any(isinstance(each, ev.GiveBack) for each in actions)
    state, actions = target.step(HOST, state, ev.HeldIs(Held(pipeline="new", stage=0, edition=state.edition)))
    assert actions[:2] == (ev.GiveBack(0), ev.GiveBack(1))


def test_a_target_resumes_what_is_whole_and_has_as_many_tokens():
    state, _ = invited(TargetState(), invitation(1, "a"), a=0)
    rest = (Final(request="a", computed=5, tokens=6),)
    state, _ = target.step(HOST, state, ev.Invited(invitation(2, "a", rest=rest)))
    held = Held(pipeline="new", stage=0, edition=1, counts=(Count(id=ID, request="a", old_stage=0, tokens=4),))
    state, _ = target.step(HOST, state, ev.HeldIs(held))
    assert target.step(HOST, state, resumed("a2", 6))[1] == (ev.TurnAway("a2"),)
    whole = attrs.evolve(held, counts=(attrs.evolve(held.counts[0], tokens=5),))
    state, actions = target.step(HOST, state, ev.HeldIs(whole))
    assert actions[0].hosting.is_whole
    assert target.step(HOST, state, ev.HeldIs(held)) == (state, ())  # late
    assert target.step(HOST, state, resumed("a2", 7))[1] == (ev.TurnAway("a2"),)
    state, actions = target.step(HOST, state, resumed("a2", 6))
    assert actions[0] == ev.TakeOver(ID, "a", "a2", 0, 5, 6)
    assert target.step(HOST, state, resumed("a3", 6))[1] == (ev.TurnAway("a3"),)


def test_an_older_number_is_over_for_a_target():
    state, _ = invited(TargetState(), invitation(1, "a"), a=0)
    state, actions = invited(state, invitation(1, "a", number=2), a=None)
    assert actions[-1].hosting.rows == (row("a", is_refused=True),)  # its seat is not given back yet
    after, actions = target.step(HOST, state, ev.Invited(invitation(9, "a")))
    assert (after, actions) == (state, (ev.Answer(Hosting(id=ID, is_over=True)),))


def test_a_stage_takes_only_what_continues_the_kv_of_a_guest_whose_seat_is_open():
    state, _ = target.step_stage("new", 0, StageState(), opened(2, "a"))
    state, actions = target.step_stage("new", 0, state, chunk(0, 3))
    assert actions[0] == ev.Write(chunk(0, 3).chunk)
    state, actions = target.step_stage("new", 0, state, chunk(1, 5))
    assert actions[0] == ev.Write(chunk(1, 5).chunk)
    for wrong in (chunk(0, 5), chunk(6, 7), chunk(5, 6, "b"), chunk(5, 6, seat=1), chunk(5, 6, number=2)):
        after, actions = target.step_stage("new", 0, state, wrong)
        assert after == state
        assert [type(each) for each in actions] == [ev.TellHeld]
    assert target.step_stage("new", 0, state, opened(1, "b"))[0] == state  # older
    state, _ = target.step_stage("new", 0, state, opened(3))
    assert (state.seats, state.counts) == ((), ())
    assert target.step_stage("new", 0, state, chunk(5, 6))[0] == state
