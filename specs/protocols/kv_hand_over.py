"""KV hand-over: live requests go on in another pipeline, from a copy of their KV, after a short pause.

Theory of operation
===================

A request belongs to its front, which has all its tokens and can submit them again anywhere.  KV is a cache of a
function of the tokens.  A hand-over ships that cache ahead, so that the next submission finds it.  Whatever goes
wrong, a request is computed again from its tokens: slower, never wrong and never lost.

Three roles, each a pure function `step(terms, state, event) -> (state, actions)`: the *source leader* (this module)
leads the old pipeline, the *target leader* the new one, and a *target stage* is one stage of the new one (both in
`kv_hand_over_target`). Between them and the fronts:

    source leader --Invitation--> target leader --Seats--> target stage
    source leader <--Hosting----- target leader <--Held--- target stage <--Chunk--- old stage <--Copy--- source leader
    source leader --HandOut--> front --Resumed--> target leader

1. *Rounds.* The source leader sees its requests at each iteration boundary.  Those with `copy_tokens_min` tokens or
   more are invited.  The target leader reserves a slot for each, a *seat*, and tells its stages to open it for this
   guest.  Once every stage has, the source leader hears of the seat, and from the next round on copies the guest's
   KV, in order of position: what was computed until the round begins and is not there.  KV only grows, so what is
   left for the next round is what was computed meanwhile.  A prompt that is being computed is copied as far as it is:
   the new pipeline goes on with the rest of it.
2. *Rest.* When a round is whole, every guest is answered and at most `rest_tokens_max` tokens are left, or
   `rounds_max` rounds are over, guests with most left are given up until no more than that are left.  The source
   leader forms no more iterations.  Those under way end: what they compute is known from how they were formed.  So the
   target leader is told at once with how many tokens each guest will come, and the rest is copied at once, each row as
   soon as its old stage has computed it: what the last iteration computes leaves each stage while it goes on to the
   next.  Once no iteration is under way and the source leader hears that all is there, it tells each front, in one
   message, which of its requests were handed over, and forgets them all.  Until that instant it can go back to
   decoding, and nothing is lost.
3. *Resume.* A front submits those requests under new names, in one message, with the number of its tokens, and those
   that the target leader does not know.  The target leader decodes a guest whose KV is whole and whose tokens are as
   many as the front's; any other it returns.

So between the last token of the old pipeline and the first iteration of the new one there are HandOut and Resumed, and
what is left of the last copy, Held and Hosting, which began one stage before the last token came.

Why lost, late, repeated and reordered messages do no harm.  Invitation, Hosting, Seats and Held say how things are.
Invitations and Seats can be taken back (a guest leaves), so they carry an edition, and an older one teaches nothing.
What Hosting and Held say only grows: a guest has at most one seat in one hand-over, and what is held stays held.
Only the source leader repeats itself, on each Tick.  Whoever is told answers with all that he has to say, so what was
lost comes again.  A stage takes a chunk only for a guest whose seat is open, only as the continuation of what it has
from that old stage, and never what it has already.  Therefore a late or repeated chunk changes nothing, and a guest
whose KV is whole at every stage is sealed: the source leader never has more copied than that.

Why nobody's KV is overwritten.  A seat is given back to the batcher only once every stage goes by an edition in which
it is closed; from then on no chunk for it is taken.  A seat that was resumed from is sealed.  The other way round, an
iteration of the new pipeline from before its batcher gave everything up may still be on its way; a slot to which it can
write is no seat (`Reserved`).  A
stale Copy may read a slot of the old pipeline that has another request by now.  Its guest has then ended, never comes
back under this name, and is never resumed: what gets into its seat matters to nobody.

Why one pipeline at most decodes a request.  Fronts take tokens of the latest submission alone.  The target leader
begins with a guest only when its front says so, and the front only when the source leader has forgotten the request.

Ends.  A request that ends or is cancelled is missing at the next boundary, and its guest is dropped; also one that ends
with the last iteration, whatever the target leader was told to expect.  A guest without seat, or whose chunks do not
arrive for `late_max` ticks, is dropped and not invited again.  When the rest makes no progress for `tries_max` ticks,
the source leader gives up the hand-over and decodes on; after `hand_overs_max` tries of a pipeline, whoever ended them
and under whichever plan, it lets all requests be computed again.  It also gives up when the successor closes (a stage
or the target leader is lost), when another plan is adopted or may be that counts on the old pipeline, or the target
leader says that the hand-over is over.  The target leader ends a hand-over when it is told, when one with a higher
number begins, or when it has heard no invitation for `patience` ticks: the source leader is lost, or done and a front
has not resumed.  Ids do not repeat, and what is over stays over.
"""

from collections.abc import Callable, Mapping

import attrs

from specs.protocols.kv_hand_over_events import (
    Abort,
    Begin,
    Boundary,
    Copy,
    CopyRow,
    Failed,
    GoOn,
    Halt,
    HandOut,
    HostingIs,
    Invite,
    SourceAction,
    SourceEvent,
    Tick,
)
from specs.protocols.kv_hand_over_nouns import (
    Current,
    Final,
    Fresh,
    Guest,
    HandOverId,
    Hosting,
    Invitation,
    Phase,
    SourceState,
    Terms,
)

Outcome = tuple[SourceState, tuple[SourceAction, ...]]


def step(terms: Terms, state: SourceState, event: SourceEvent) -> Outcome:
    """Take one event at the source leader of a pipeline."""
    actions: tuple[SourceAction, ...] = ()
    match event:
        case Begin():
            return _begin(terms, state, event)
        case Boundary():
            learnt = attrs.evolve(state, live=event.live, is_heeded=event.is_heeded, is_quiet=event.is_quiet)
        case HostingIs(hosting) if state.current is not None and hosting.id == state.current.id:
            if hosting.is_over:
                return _fail(state, state.current)
            learnt = attrs.evolve(state, current=_hear(state.current, hosting))
        case Abort() if state.current is not None:
            return _fail(state, state.current)
        case Tick() if state.current is not None:
            learnt, actions = _tick(terms, state, state.current)
        case _:
            return state, ()
    if learnt.current is None:  # a tick ended it, or none is under way
        return learnt, actions
    after, due = _act(terms, learnt)
    return _tell(terms, state, after, (*actions, *due), is_due=isinstance(event, Tick))


# --- learn -----------------------------------------------------------------------------------------------------------


def _begin(terms: Terms, state: SourceState, event: Begin) -> Outcome:
    if state.current is not None:
        return state, ()
    id_ = HandOverId(old=terms.pipeline, new=event.new, number=state.number + 1)
    begun = attrs.evolve(state, number=id_.number, live=event.live, is_heeded=False, is_quiet=False)
    if id_.number > terms.hand_overs_max:
        return begun, (HandOut(id_, ()),)
    after, actions = _act(terms, attrs.evolve(begun, current=Current(id=id_)))
    return _tell(terms, state, after, actions, is_due=True)


def _hear(current: Current, hosting: Hosting) -> Current:
    """Learn what the target leader has: an older Hosting says less, and teaches nothing."""
    rows = {row.request: row for row in hosting.rows}
    guests = []
    refused = []
    for guest in current.guests:
        row = rows.get(guest.request)
        if row is None:
            guests.append(guest)
        elif row.is_refused:
            refused.append(guest.request)
        else:
            seat = guest.seat if row.seat is None else row.seat
            guests.append(attrs.evolve(guest, is_known=True, seat=seat, held=max(guest.held, row.held)))
    changed = attrs.evolve(
        current,
        guests=tuple(guests),
        again=current.again | frozenset(refused),
        is_whole=current.is_whole or (hosting.is_whole and current.phase is Phase.REST),
    )
    return current if changed == current else attrs.evolve(changed, stalls=0)


def _tick(terms: Terms, state: SourceState, current: Current) -> Outcome:
    """Copy again what has not arrived; after too many ticks without progress, give up whom it concerns.

    It is copied again ever less often: where nothing was lost, and a process is only slow, that makes it slower.
    """
    late = tuple(guest.request for guest in current.guests if guest.held < guest.goal)
    if current.phase is Phase.ROUNDS and not late:
        return state, ()
    if current.phase is not Phase.ROUNDS and not state.is_quiet:
        return state, ()  # iterations take as long as they take
    if current.stalls <= (terms.late_max if current.phase is Phase.ROUNDS else terms.tries_max):
        again = attrs.evolve(current, stalls=current.stalls + 1)
        is_due = current.stalls.bit_count() == 1  # after 1, 2, 4, 8 and so on
        return attrs.evolve(state, current=again), _copy(state, again) if is_due else ()
    if current.phase is Phase.ROUNDS:
        return attrs.evolve(state, current=_give_up(current, late)), ()
    return _fail(state, current)


def _fail(state: SourceState, current: Current) -> Outcome:
    """Go back to decoding in the old pipeline."""
    gone = Invitation(id=current.id, edition=current.edition + 1, is_over=True)
    halted = () if current.phase is Phase.ROUNDS else (GoOn(),)
    return attrs.evolve(state, current=None), (*halted, Invite(gone), Failed(current.id))


# --- act: what is due, by rules that look at the state only ----------------------------------------------------------


def _act(terms: Terms, state: SourceState) -> Outcome:
    """Apply the rules until none has anything to do."""
    actions: list[SourceAction] = []
    before = None
    while before is not state:
        before = state
        for rule in _RULES:
            if state.current is not None:
                state, due = rule(terms, state, state.current)
                actions += due
    return state, tuple(actions)


def _drop(_terms: Terms, state: SourceState, current: Current) -> Outcome:
    """A request that has ended is a guest no more."""
    live = {each.request for each in state.live}
    guests = tuple(guest for guest in current.guests if guest.request in live)
    if guests == current.guests:
        return state, ()
    return attrs.evolve(state, current=attrs.evolve(current, guests=guests)), ()


def _invite(terms: Terms, state: SourceState, current: Current) -> Outcome:
    """A request that has become long enough is invited while there are rounds to come."""
    if current.phase is not Phase.ROUNDS or current.round == terms.rounds_max:
        return state, ()
    known = {guest.request for guest in current.guests} | current.again
    fresh = tuple(
        Guest(request=each.request, known=each.tokens)
        for each in state.live
        if each.request not in known and each.computed >= max(terms.copy_tokens_min, 1)
    )
    if not fresh:
        return state, ()
    return attrs.evolve(state, current=attrs.evolve(current, guests=current.guests + fresh)), ()


def _next_round(terms: Terms, state: SourceState, current: Current) -> Outcome:
    """When a round is whole: another, or the last iterations."""
    if current.phase is not Phase.ROUNDS or any(each.seat is None or each.held < each.goal for each in current.guests):
        return state, ()
    if current.round == terms.rounds_max or sum(_left(state, current).values()) <= terms.rest_tokens_max:
        fitting = _fit(state, current, terms.rest_tokens_max)
        return attrs.evolve(state, current=attrs.evolve(fitting, phase=Phase.HALTING)), (Halt(),)
    return _set_goals(state, attrs.evolve(current, round=current.round + 1))


def _rest(terms: Terms, state: SourceState, current: Current) -> Outcome:
    """Once no iteration is formed any more: what is left is copied, and what those under way compute, as they end."""
    if current.phase is not Phase.HALTING or not state.is_heeded:
        return state, ()
    fitting = _fit(state, current, terms.rest_tokens_max + len(current.guests))
    return _set_goals(state, attrs.evolve(fitting, phase=Phase.REST))


def _hand_out(_terms: Terms, state: SourceState, current: Current) -> Outcome:
    """Once no iteration is under way, and all is there or nobody is to come, the requests are the fronts' again."""
    if current.phase is not Phase.REST or not state.is_quiet or not (current.is_whole or not current.guests):
        return state, ()
    requests = tuple(guest.request for guest in current.guests)
    return attrs.evolve(state, current=None), (HandOut(current.id, requests),)


_RULES: tuple[Callable[[Terms, SourceState, Current], Outcome], ...] = (_drop, _invite, _next_round, _rest, _hand_out)


def _left(state: SourceState, current: Current) -> dict[str, int]:
    """Count the tokens of each guest that are computed and not there."""
    computed = _computed(state)
    return {guest.request: computed[guest.request] - guest.held for guest in current.guests}


def _computed(state: SourceState) -> Mapping[str, int]:
    """Count computed tokens: in the end those too that the iterations under way compute."""
    return {each.request: each.final.computed if state.is_heeded else each.computed for each in state.live}


def _set_goals(state: SourceState, current: Current) -> Outcome:
    computed = _computed(state)
    guests = tuple(attrs.evolve(guest, goal=computed[guest.request]) for guest in current.guests)
    current = attrs.evolve(current, guests=guests, stalls=0)
    return attrs.evolve(state, current=current), _copy(state, current)


def _copy(state: SourceState, current: Current) -> tuple[SourceAction, ...]:
    slots = {each.request: each.slot for each in state.live}
    rows = tuple(
        CopyRow(guest.request, slots[guest.request], guest.seat, guest.held, guest.goal)
        for guest in current.guests
        if guest.seat is not None and guest.held < guest.goal
    )
    return (Copy(current.id, rows),) if rows else ()


def _fit(state: SourceState, current: Current, tokens_max: int) -> Current:
    """Leave those with most left behind, until no more tokens than this are left."""
    left = _left(state, current)
    behind = []
    for request in sorted(left, key=lambda each: (-left[each], each)):
        if sum(left.values()) <= tokens_max:
            break
        behind.append(request)
        del left[request]
    return _give_up(current, tuple(behind))


def _give_up(current: Current, requests: tuple[str, ...]) -> Current:
    """Let these be computed again."""
    guests = tuple(guest for guest in current.guests if guest.request not in requests)
    return attrs.evolve(current, guests=guests, again=current.again | frozenset(requests), stalls=0)


# --- tell ------------------------------------------------------------------------------------------------------------


def _tell(
    terms: Terms, before: SourceState, after: SourceState, actions: tuple[SourceAction, ...], *, is_due: bool
) -> Outcome:
    """Tell the target leader first of all: in a new edition, if another matters to it than before."""
    if after.current is None:
        return after, actions
    if before.current is None or _substance(after, after.current) != _substance(before, before.current):
        current = attrs.evolve(after.current, edition=after.current.edition + 1)
        after, is_due = attrs.evolve(after, current=current), True
    told = (Invite(invitation(terms, after)),) if is_due else ()
    return after, (*told, *actions)


def invitation(terms: Terms, state: SourceState) -> Invitation:
    """Say what the source leader has to tell the target leader, while a hand-over is under way."""
    current = state.current
    assert current is not None
    guests, rest = _substance(state, current)
    fresh = tuple(Fresh(request=each.request, tokens=each.known) for each in current.guests if not each.is_known)
    return Invitation(id=current.id, edition=current.edition, paths=terms.paths, guests=guests, fresh=fresh, rest=rest)


def _substance(state: SourceState, current: Current) -> tuple[tuple[str, ...], tuple[Final, ...] | None]:
    """Say what makes an edition: who comes, and in the end with what."""
    names = tuple(guest.request for guest in current.guests)
    if current.phase is not Phase.REST:
        return names, None
    live = {each.request: each for each in state.live}
    return names, tuple(live[name].final for name in names)
