"""One life's part in KV hand-overs, replayed: its leaders', its stages' and its front's."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple, TypeVar

import attrs

from specs import journal
from specs.checker import VerifiedPlan
from specs.cluster import NodeId
from specs.invariants.facts import Facts
from specs.journal import What
from specs.llm import Llm
from specs.plan import HandOver, Pipeline, PipelineId, Switch
from specs.protocols import kv_hand_over, kv_hand_over_target
from specs.protocols import kv_hand_over_events as ev
from specs.protocols.kv_hand_over_nouns import Chunk, Phase, SourceState, StageState, TargetState, Terms
from specs.protocols.kv_hand_over_terms import successor_of, terms_of
from specs.protocols.nouns import Handing, NodeState
from specs.replay.hand_over_told import HandOverTold

_State = TypeVar("_State")
_Event = TypeVar("_Event")
_Action = TypeVar("_Action")

ROLES = (
    journal.LearntAsSource,
    journal.LearntAsTarget,
    journal.LearntAsStage,
    journal.CopyOrdered,
    journal.LearntAsFront,
    journal.Moved,
    journal.TookOver,
)

# Of what a role does: when it does it.
_DEEDS: dict[type, str] = {
    ev.Copy: "a round begins when the one before is whole, and copies what was computed since",
    ev.Halt: "iterations stop when a round is whole, and little is left or it was the last",
    ev.GoOn: "iterations go on when a hand-over fails after they were stopped",
    ev.HandOut: "requests are handed out once all of their KV is there, and no iteration is under way",
    ev.Failed: "a hand-over fails when its successor is over or nothing has come for too long",
    ev.GiveBack: "a seat is free once every stage has closed it",
    ev.TakeOver: "a request goes on, once, from a seat that is whole, with as many tokens as its front has",
    ev.TurnAway: "a request is returned when its seat is not whole or its front has other tokens",
}

_ORDERED = "what is copied is what the source leader says"
_HANDED = "a front hears what was handed out, with its KV there"
_CLAIMED = "a front goes on with a request that was handed over to it under a new name, with all its tokens"
_SEATED = "a stage goes by the seats that its leader says"


class Breach(Exception):
    """A record does not follow from those before it."""


class Awaited(NamedTuple):
    """Who has to tell something before it is heard, and the rule."""

    node: NodeId
    rule: str = ""


@attrs.frozen(kw_only=True)
class _Known:
    """A pipeline, by some plan that was adopted."""

    pipeline: Pipeline
    llm: Llm
    homes: tuple[NodeId | None, ...]  # of its stages


class HandOverReplay:
    """What a life knows as source leader, target leader, stages and front of every pipeline."""

    def __init__(self, told: HandOverTold) -> None:
        self._told = told
        self._known: dict[PipelineId, _Known] = {}
        self._ways: dict[tuple[PipelineId, PipelineId], HandOver | None] = {}  # of the switches of the plan in force
        self._terms: dict[PipelineId, Terms] = {}
        self._sources: dict[PipelineId, SourceState] = {}
        self._targets: dict[PipelineId, TargetState] = {}
        self._stages: dict[tuple[PipelineId, int], StageState] = {}
        self._handed_out: dict[PipelineId, int] = {}  # how many requests
        self._moved: dict[str, int] = {}  # by attempt that another follows: its tokens
        self._tokens: dict[str, int] = {}  # of attempts
        self._heard_handed: set[tuple[object, str]] = set()
        self._taken: set[str] = set()  # attempts with which leaders of this life go on, and have not said that they do

    def adopt(self, verified: VerifiedPlan) -> None:
        """Go by this plan from now on."""
        places = {place.id: place.node for place in verified.problem.cluster.places}
        for pipeline in Facts(verified.problem, verified.plan).pipelines.values():
            homes = tuple(places[stage.place] for stage in pipeline.stages)
            self._known[pipeline.id] = _Known(pipeline=pipeline, llm=verified.problem.llm(pipeline.llm), homes=homes)
        switches = (step for step in verified.plan.steps if isinstance(step, Switch))
        self._ways = {(step.old, step.new): step.hand_over for step in switches if step.new is not None}

    # --- what is heard -------------------------------------------------------------------------------------------

    def awaits(self, what: What) -> Awaited | None:  # noqa: PLR0911 - one table
        """Name who has not told yet what is heard in this record."""
        told = self._told
        match what:
            case journal.LearntAsSource(event=ev.HostingIs(hosting)) if not told.was_hosted(hosting):
                return self._awaits(hosting.id.new, 0, "a source leader hears what its target leader has")
            case journal.LearntAsTarget(event=ev.Invited(invitation)) if not told.was_invited(invitation):
                return self._awaits(invitation.id.old, 0, "a target leader hears whom its source leader invites")
            case journal.LearntAsTarget(event=ev.HeldIs(held)) if not told.was_held(held):
                return self._awaits(held.pipeline, held.stage, "a stage holds what was written to it")
            case journal.LearntAsTarget(event=ev.Resumed(id_, claims)):
                unsaid = (claim.attempt for claim in claims if not told.was_claimed(id_, claim))
                return next((Awaited(_front_of(attempt), _CLAIMED) for attempt in unsaid), None)
            case journal.LearntAsStage(events=events):
                untold = (e.seats for e in events if isinstance(e, ev.SeatsAre) and not told.was_seated(e.seats))
                return next((self._awaits(seats.pipeline, 0, _SEATED) for seats in untold), None)
            case journal.CopyOrdered(id=id_) if not told.was_ordered(what):
                return self._awaits(id_.old, 0, _ORDERED)
            case journal.LearntAsFront(id=id_, requests=requests) if not told.were_handed_out(id_, requests):
                return self._awaits(id_.old, 0, _HANDED)
            case journal.TookOver(attempt=attempt) if attempt not in told.moves:
                return Awaited(_front_of(attempt), _CLAIMED)
        return None

    def lacks(self, chunk: Chunk) -> Awaited | None:
        """Name who has not told that a chunk that was written is to be copied; to ask when all journals are read.

        Chunks of several rounds may be in one record, before what led to the later ones.
        """
        return None if self._told.was_to_be_copied(chunk) else self._awaits(chunk.id.old, 0, _ORDERED)

    def _awaits(self, pipeline: PipelineId, stage: int, rule: str) -> Awaited | None:
        known = self._known.get(pipeline)
        home = None if known is None or stage >= len(known.homes) else known.homes[stage]
        return None if home is None else Awaited(home, rule)

    # --- what is done --------------------------------------------------------------------------------------------

    def take(self, what: What, core: NodeState) -> None:
        """Take a record of one of the roles, while the core is in this state.  Raises Breach."""
        match what:
            case journal.LearntAsSource():
                self._take_at_source(what, core)
            case journal.LearntAsTarget() if what.pipeline in self._known:
                self._take_at_target(what)
            case journal.LearntAsStage(events=events):
                for event in events:
                    self._take_at_stage(event)
            case journal.LearntAsFront(id=id_, requests=requests):
                self._heard_handed |= {(id_, request) for request in requests}
            case journal.Moved():
                self._move(what)
            case journal.TookOver():
                self._take_over(what)

    def _take_at_source(self, what: journal.LearntAsSource, core: NodeState) -> None:
        before = self._sources.get(what.pipeline, SourceState())
        new = before.current.id.new if before.current is not None else None
        if isinstance(what.event, ev.Begin):
            new = what.event.new
            self._terms[what.pipeline] = self._terms_of(what.pipeline, new)
        if new is None:
            raise Breach("no hand-over of it is under way")
        handing = Handing(pipeline=what.pipeline, successor=new)
        if not isinstance(what.event, ev.Abort) and (handing not in core.handing or new in core.closed):
            raise Breach("requests are handed over only to a successor that is open, as the plan says")
        _check_still(before, what.event)
        terms = self._terms[what.pipeline]
        after, actions = _step_often(partial(kv_hand_over.step, terms), before, what.event, what.times)
        _compare(actions, what.done)
        self._sources[what.pipeline] = after
        for action in actions:
            match action:
                case ev.Invite(invitation):
                    self._told.invite(invitation)
                case ev.Copy():
                    self._told.copy(action)
                case ev.HandOut():
                    self._hand_out(action)

    def _terms_of(self, old: PipelineId, new: PipelineId) -> Terms:
        how = self._ways.get((old, new))
        if how is None:
            raise Breach("the plan says nothing of copying its KV there")
        known = self._known[old]
        return terms_of(known.llm, known.pipeline, self._known[new].pipeline, how)

    def _hand_out(self, action: ev.HandOut) -> None:
        self._handed_out[action.id.old] = len(action.requests)
        for request in action.requests:
            if request in self._told.handed_out:
                raise Breach(f"{request} was handed out before; a request is handed out once")
            self._told.handed_out[request] = action.id

    def check_receipt(self, receipt: journal.HandedOver) -> None:
        """Compare what a leader says that it has handed over with what it has.  Raises Breach."""
        copies = self._ways.get((receipt.pipeline, receipt.successor)) is not None
        if receipt.copied != (self._handed_out.get(receipt.pipeline) if copies else 0):
            raise Breach("a pipeline has handed over when its requests were handed out, as many as it says")

    def _take_at_target(self, what: journal.LearntAsTarget) -> None:
        successor = successor_of(self._known[what.pipeline].pipeline)
        before = self._targets.get(what.pipeline, TargetState())
        if isinstance(what.event, ev.Reserved):
            _check_free(before, what.event)
        after, actions = _step_often(partial(kv_hand_over_target.step, successor), before, what.event, what.times)
        _compare(actions, what.done)
        self._targets[what.pipeline] = after
        for stay in after.stays:
            self._told.host(stay, successor.stages)
        for stage in range(successor.stages):
            self._told.seat(kv_hand_over_target.seats(successor, after, stage))
        self._taken |= {action.attempt for action in actions if isinstance(action, ev.TakeOver)}

    def _take_at_stage(self, event: ev.StageEvent) -> None:
        match event:
            case ev.SeatsAre(seats):
                key = seats.pipeline, seats.stage
            case ev.ChunkCame(chunk):
                key = chunk.id.new, chunk.path.new_stage
        after, actions = kv_hand_over_target.step_stage(*key, self._stages.get(key, StageState()), event)
        if isinstance(event, ev.ChunkCame) and not isinstance(actions[0], ev.Write):
            raise Breach(
                "nothing is written to a seat that is not open for it, nor to one that has it or has not so far"
            )
        self._stages[key] = after
        for action in actions:
            if isinstance(action, ev.TellHeld):
                self._told.hold(action.held)

    def _move(self, move: journal.Moved) -> None:
        """A front goes on with a request: attempts of one request follow one another, and none forks."""
        if move.before in self._moved or move.attempt in self._told.moves or not move.was_left:
            raise Breach(f"{move.before} is not over; two pipelines never have attempts of one request")
        if move.tokens < self._tokens.get(move.before, 0):
            raise Breach("a front submits a request with all the tokens that it has")
        if move.resumes is not None and (
            (move.resumes, move.before) not in self._heard_handed or move.pipeline != move.resumes.new
        ):
            raise Breach(_CLAIMED)
        self._moved[move.before] = move.tokens
        self._tokens[move.attempt] = move.tokens
        self._told.moves[move.attempt] = move

    def _take_over(self, what: journal.TookOver) -> None:
        if what.attempt not in self._taken:
            raise Breach(_DEEDS[ev.TakeOver])
        self._taken.remove(what.attempt)
        move = self._told.moves.get(what.attempt)
        if move is not None and move.digest != what.digest:
            raise Breach("a request goes on from the KV of the very tokens that its front has")


def _step_often(
    step: Callable[[_State, _Event], tuple[_State, tuple[_Action, ...]]], state: _State, event: _Event, times: int
) -> tuple[_State, tuple[_Action, ...]]:
    actions: tuple[_Action, ...] = ()
    for _ in range(times):
        state, now = step(state, event)
        actions += now
    return state, actions


def _front_of(attempt: str) -> NodeId:
    """Name the node whose front gave an attempt its name: NODE:LIFE:NUMBER."""
    return NodeId(attempt.rsplit(":", 2)[0])


def _check_still(before: SourceState, event: ev.SourceEvent) -> None:
    """When no more iterations are formed, requests come to what those under way compute; then nothing is computed."""
    if before.current is None or before.current.phase is not Phase.REST or not isinstance(event, ev.Boundary):
        return
    was = {live.request: live for live in before.live}
    if before.is_quiet and any(live != was.get(live.request, live) for live in event.live):
        raise Breach("no iteration ends after the last boundary, at which no iteration is under way")
    if any(live.final != was.get(live.request, live).final for live in event.live):
        raise Breach("a request comes to what is under way when no more iterations are formed, or ends")


def _check_free(before: TargetState, event: ev.Reserved) -> None:
    """A slot is the seat of one guest at a time."""
    taken = [guest.seat for stay in before.stays for guest in stay.guests] + [seat for seat, _ in before.closing]
    for request, seat in event.seats:
        if seat is not None and seat in taken:
            raise Breach(f"{request} gets seat {seat}, which is another's or not closed everywhere yet")
        taken += [] if seat is None else [seat]


def _compare(actions: Iterable[object], done: tuple[object, ...]) -> None:
    """Compare what a role has to do with what it did, besides telling."""
    due = tuple(action for action in actions if not isinstance(action, ev.TELLING))
    for index in range(max(len(due), len(done))):
        wanted, found = (each[index] if index < len(each) else None for each in (due, done))
        if wanted == found:
            continue
        if found is None or (wanted is not None and type(wanted) is not type(found)):
            raise Breach(f"{type(wanted).__name__} was due, and was not done; {_DEEDS[type(wanted)]}")
        raise Breach(f"{type(found).__name__} was done as it was not due; {_DEEDS[type(found)]}")
