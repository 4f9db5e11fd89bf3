"""KV hand-over, the target: the leader that seats guests, and the stages that take their KV.

See `specs.protocols.kv_hand_over` for the theory of operation.
"""

from collections.abc import Sequence

import attrs

from specs.plan import PipelineId
from specs.protocols.kv_hand_over_events import (
    Answer,
    ChunkCame,
    GiveBack,
    HeldIs,
    Invited,
    Reserve,
    Reserved,
    Resumed,
    SeatsAre,
    StageAction,
    StageEvent,
    TakeOver,
    TargetAction,
    TargetEvent,
    TellHeld,
    TellSeats,
    Tick,
    TurnAway,
    Write,
)
from specs.protocols.kv_hand_over_nouns import (
    Chunk,
    Count,
    HandOverId,
    Held,
    Hosting,
    Invitation,
    OpenSeat,
    Row,
    Seated,
    Seats,
    StageState,
    Stay,
    Successor,
    TargetState,
)

LeaderOutcome = tuple[TargetState, tuple[TargetAction, ...]]
StageOutcome = tuple[StageState, tuple[StageAction, ...]]

# --- the leader ------------------------------------------------------------------------------------------------------


def step(successor: Successor, state: TargetState, event: TargetEvent) -> LeaderOutcome:
    """Take one event at the leader of a pipeline to which requests are handed over."""
    actions: tuple[TargetAction, ...] = ()
    answered: Stay | None = None
    match event:
        case Invited(invitation):
            learnt, actions = _hear(state, invitation)
            if actions:
                return learnt, actions  # Reserved comes next
            answered = _find(learnt, invitation.id)
            if answered is None:  # over, now or before
                actions = (Answer(Hosting(id=invitation.id, is_over=True)),)
        case Reserved(id_):
            learnt, actions = _seat(state, event)
            answered = _find(learnt, id_)
        case HeldIs(held):
            learnt = attrs.evolve(state, stages=_merge(successor, state.stages, held))
        case Resumed():
            learnt, actions = _resume(state, event)
        case Tick():
            waited = tuple(attrs.evolve(stay, quiet=stay.quiet + 1) for stay in state.stays)
            learnt = attrs.evolve(state, stays=waited)
            for stay in waited:
                if stay.quiet > successor.patience:
                    learnt = _end(learnt, stay)
    learnt, free = _give_back(successor, learnt)
    return learnt, (*actions, *free, *_tell(successor, state, learnt, answered, is_tick=isinstance(event, Tick)))


def _find(state: TargetState, id_: HandOverId) -> Stay | None:
    return next((stay for stay in state.stays if stay.id == id_), None)


def _hear(state: TargetState, invitation: Invitation) -> LeaderOutcome:
    """Learn who comes, and ask for a seat for those who are new."""
    before = next((stay for stay in state.stays if stay.id.old == invitation.id.old), None)
    if before is not None and before.id.number < invitation.id.number:
        state, before = _end(state, before), None
    if invitation.id.number <= dict(state.over).get(invitation.id.old, 0):
        return state, ()
    if before is not None and before.id != invitation.id:  # of an earlier number, and late
        return state, ()
    stay = before or Stay(id=invitation.id, paths=invitation.paths)
    if before is None:
        state = attrs.evolve(state, stays=(*state.stays, stay))
    if invitation.is_over:
        return _end(state, stay), ()
    if invitation.edition < stay.edition:
        return state, ()
    return _welcome(state, attrs.evolve(stay, edition=invitation.edition, quiet=0), invitation)


def _welcome(state: TargetState, stay: Stay, invitation: Invitation) -> LeaderOutcome:
    """Close the seats of those who do not come any more, and ask for seats for those who are new."""
    finals = {final.request: final for final in invitation.rest or ()}
    staying = tuple(
        attrs.evolve(guest, final=finals.get(guest.request))
        for guest in stay.guests
        if guest.request in invitation.guests
    )
    leaving = [guest.seat for guest in stay.guests if guest.request not in invitation.guests]
    known = {guest.request for guest in stay.guests} | set(stay.refused)
    coming = tuple(fresh.request for fresh in invitation.fresh if fresh.request not in known)
    edition = state.edition + bool(leaving)
    state = attrs.evolve(
        _put(state, attrs.evolve(stay, guests=staying, is_rest=invitation.rest is not None)),
        edition=edition,
        closing=(*state.closing, *((seat, edition) for seat in leaving)),
    )
    return state, (Reserve(stay.id, coming),) if coming else ()


def _seat(state: TargetState, event: Reserved) -> LeaderOutcome:
    """Open the seats that there are for those who are new."""
    stay = _find(state, event.id)
    if stay is None:
        return state, tuple(GiveBack(seat) for _, seat in event.seats if seat is not None)
    edition = state.edition + any(seat is not None for _, seat in event.seats)
    seated = tuple(
        Seated(request=request, seat=seat, since=edition) for request, seat in event.seats if seat is not None
    )
    refused = tuple(request for request, seat in event.seats if seat is None)
    stay = attrs.evolve(stay, guests=stay.guests + seated, refused=stay.refused + refused)
    return attrs.evolve(_put(state, stay), edition=edition), ()


def _put(state: TargetState, stay: Stay) -> TargetState:
    return attrs.evolve(state, stays=tuple(stay if each.id == stay.id else each for each in state.stays))


def _end(state: TargetState, stay: Stay) -> TargetState:
    """Close every seat of a hand-over, for ever."""
    edition = state.edition + bool(stay.guests)
    over = {**dict(state.over), stay.id.old: stay.id.number}
    return attrs.evolve(
        state,
        edition=edition,
        stays=tuple(each for each in state.stays if each.id != stay.id),
        over=tuple(sorted(over.items())),
        closing=(*state.closing, *((guest.seat, edition) for guest in stay.guests)),
    )


def _merge(successor: Successor, stages: Sequence[Held], held: Held) -> tuple[Held, ...]:
    """Take what a stage says, unless it has said more already: late words teach nothing."""
    if held.pipeline != successor.pipeline or held.stage >= successor.stages:
        return tuple(stages)
    known = {each.stage: each for each in stages}
    before = known.get(held.stage)
    if before is None or (before.edition, sum(e.tokens for e in before.counts)) <= (
        held.edition,
        sum(each.tokens for each in held.counts),
    ):
        known[held.stage] = held
    return tuple(known[stage] for stage in sorted(known))


def _resume(state: TargetState, event: Resumed) -> LeaderOutcome:
    """Take over guests whose KV is whole and whose tokens are those of their front; their seats are slots now."""
    stay = _find(state, event.id)
    held = {} if stay is None else _held(state, stay)
    guests = {} if stay is None else {guest.request: guest for guest in stay.guests}
    actions: list[TargetAction] = []
    for claim in event.claims:
        guest = guests.get(claim.request)
        final = None if guest is None else guest.final
        if guest is None or final is None or (held[claim.request], claim.tokens) != (final.computed, final.tokens):
            actions.append(TurnAway(claim.attempt))
            continue
        del guests[claim.request]
        actions.append(TakeOver(event.id, claim.request, claim.attempt, guest.seat, final.computed, final.tokens))
    if stay is None or len(guests) == len(stay.guests):
        return state, tuple(actions)
    left = attrs.evolve(stay, guests=tuple(guests.values()))
    return attrs.evolve(_put(state, left), edition=state.edition + 1), tuple(actions)


def _give_back(successor: Successor, state: TargetState) -> LeaderOutcome:
    """A closed seat is a free slot again once every stage knows that it is closed."""
    known = min((held.edition for held in state.stages), default=0) if len(state.stages) == successor.stages else 0
    free = tuple(seat for seat, edition in state.closing if edition <= known)
    closing = tuple(each for each in state.closing if each[1] > known)
    return attrs.evolve(state, closing=closing), tuple(GiveBack(seat) for seat in free)


def _is_open(successor: Successor, state: TargetState, guest: Seated) -> bool:
    return len(state.stages) == successor.stages and all(held.edition >= guest.since for held in state.stages)


def _held(state: TargetState, stay: Stay) -> dict[str, int]:
    """Count the first tokens of each guest whose KV has come on every path."""
    counts = {
        (count.request, held.stage, count.old_stage): count.tokens
        for held in state.stages
        for count in held.counts
        if count.id == stay.id
    }
    return {
        guest.request: min(counts.get((guest.request, path.new_stage, path.old_stage), 0) for path in stay.paths)
        for guest in stay.guests
    }


def hosting(successor: Successor, state: TargetState, stay: Stay) -> Hosting:
    """Say what the target leader has to tell a source leader."""
    held = _held(state, stay)
    rows = [
        Row(
            request=guest.request,
            seat=guest.seat if _is_open(successor, state, guest) else None,
            held=held[guest.request],
        )
        for guest in stay.guests
    ]
    rows += [Row(request=request, is_refused=True) for request in stay.refused]
    is_whole = stay.is_rest and all(
        guest.final is not None and held[guest.request] == guest.final.computed for guest in stay.guests
    )
    return Hosting(id=stay.id, rows=tuple(rows), is_whole=is_whole)


def seats(successor: Successor, state: TargetState, stage: int) -> Seats:
    """Say what the target leader has to tell a stage."""
    opened = tuple(
        OpenSeat(id=stay.id, request=guest.request, seat=guest.seat) for stay in state.stays for guest in stay.guests
    )
    return Seats(pipeline=successor.pipeline, stage=stage, edition=state.edition, seats=opened)


def _tell(
    successor: Successor, before: TargetState, after: TargetState, answered: Stay | None, *, is_tick: bool
) -> tuple[TargetAction, ...]:
    """Tell stages of other seats, and source leaders of what has changed; on a tick, the stages that lag behind."""
    actions: list[TargetAction] = []
    known = {held.stage: held.edition for held in after.stages}
    actions += [
        TellSeats(seats(successor, after, stage))
        for stage in range(successor.stages)
        if after.edition != before.edition or (is_tick and known.get(stage, 0) < after.edition)
    ]
    told = {stay.id: hosting(successor, before, stay) for stay in before.stays}
    for stay in after.stays:
        now = hosting(successor, after, stay)
        if stay == answered or now != told.get(stay.id):
            actions.append(Answer(now))
    return tuple(actions)


# --- a stage ---------------------------------------------------------------------------------------------------------


def step_stage(pipeline: PipelineId, stage: int, state: StageState, event: StageEvent) -> StageOutcome:
    """Take one event at a stage of a pipeline to which requests are handed over; it always answers."""
    actions: tuple[StageAction, ...] = ()
    match event:
        case SeatsAre(seats):
            state = _open(state, seats)
        case ChunkCame(chunk):
            state, actions = _take(state, chunk)
    held = Held(pipeline=pipeline, stage=stage, edition=state.edition, counts=state.counts)
    return state, (*actions, TellHeld(held))


def _open(state: StageState, seats: Seats) -> StageState:
    """Go by the latest seats; what was written for a guest who has left counts no more."""
    if seats.edition <= state.edition:
        return state
    guests = {(each.id, each.request) for each in seats.seats}
    return attrs.evolve(
        state,
        edition=seats.edition,
        seats=seats.seats,
        counts=tuple(each for each in state.counts if (each.id, each.request) in guests),
    )


def _take(state: StageState, chunk: Chunk) -> StageOutcome:
    """Take a chunk that continues what there is of its guest."""
    if not any(e.request == chunk.request and (e.id, e.seat) == (chunk.id, chunk.seat) for e in state.seats):
        return state, ()
    rest = tuple(each for each in state.counts if not _counts(each, chunk))
    held = held_of(state, chunk)
    if not chunk.start <= held < chunk.end:
        return state, ()
    count = Count(id=chunk.id, request=chunk.request, old_stage=chunk.path.old_stage, tokens=chunk.end)
    counts = sorted((*rest, count), key=lambda each: (each.request, each.old_stage))
    return attrs.evolve(state, counts=tuple(counts)), (Write(chunk),)


def held_of(state: StageState, chunk: Chunk) -> int:
    """Count the first tokens of the chunk's guest whose KV has come from the chunk's old stage."""
    return next((each.tokens for each in state.counts if _counts(each, chunk)), 0)


def _counts(count: Count, chunk: Chunk) -> bool:
    return count.request == chunk.request and (count.id, count.old_stage) == (chunk.id, chunk.path.old_stage)
