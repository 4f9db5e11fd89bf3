"""Block multicast with early opening of pipelines: what one node does, whatever happens.

Theory of operation
===================

`step(plan, state, event) -> (state, actions)` is pure.  The daemon runs it, the simulated cluster of the tests runs it,
and the explorer runs it.  It works in three movements:

1. *Learn.*  The event's row in `learn.LEARN` adds facts to the state.  An event that does not fit changes nothing.
2. *Act.*  The rules of `_RULES` look at the state and nothing else.  Each does what is due and notes that it did, so
   that nothing is done twice.  They are repeated until none has anything to do.
3. *Tell.*  What each peer should know is a function of the state (`tell.reports`).  Who should know something else than
   before is told at once; on a Tick, which teaches nothing, everyone is told everything.

Why lost, late and repeated messages do no harm.  There is one message, the report, and it says how things are, never
what to do.  Its facts are of the kind that once true stays true (arrived, built, opened, closed, lost), so that hearing
them twice or in another order gives the same state, and what was lost comes again with the next Tick.  The one
exception is `ready`, a buffer that waits: hearing it late makes a sender offer a blob that nobody waits for, which the
transport refuses before any byte moves.

Transfers.  On each port transfers run in the plan's order.  The receiver moves first: the first transfer on its port
that is not over gets its buffer (Receive), and the sender is told `ready`.  The sender sends the first transfer on its
port that is not over, once it holds the blob and the buffer is ready.  So each port carries one blob at a time at both
ends, by construction.  No cycle of waits can form, because all ports follow one order: of the transfers that are not
over, the first in the plan is the first on both its ports, and what brings its blob stands before it.
A transfer that fails is tried again: the receiver gives it its buffer again, and the next report allows the next Send.
A transfer that has failed `tries_max` times at one end counts the node at the other end as lost.

Loss.  That a peer is lost is decided outside, by silence or a stalled transfer, or here, by failures.  It is for ever
within a generation, and mutual: a node that hears that it counts as lost answers in kind, so that the two never wait
for each other.  Whoever counts a node as lost ignores its reports.  Transfers to it are over.  Transfers from it are
abandoned if under way (and count if they arrive all the same), and over otherwise.  A node that can get a copy no more
tells the receivers of its transfers from that copy `cannot`, with the node at which the chain began, and they do the
same.  So every transfer ends, and `lacks` names each missing copy and the node to blame.

Pipelines.  A member builds its stage when it holds the stage's blobs, and tells the leader, the node of the first
stage.  When all members have, the leader proves the pipeline with a prompt whose right answer is known; if the answer
is right it opens.  Only the leader opens or closes.  A pipeline that was closed, opened or not, never opens again.
The leader closes it when two of its members have lost each other, a member can never build its stage, the answer was
wrong, or a switch of the plan names it as old and the new pipeline is open.  Draining, it closes for good when its
last request is finished.  Handing over, it stays open, new requests included, until the shell says that its requests'
KV is with the successor (HandedOver); where the successor closes first, the hand-over is aborted, the old pipeline
serves on, and a later successor begins another.  Members free their stages when they hear that a pipeline has closed,
or when they lose the leader.

Pipelines that run.  A plan may begin while pipelines serve (`Part.is_running`).  What a node knows of them under the
plan before, it carries over (`Carried`), and nothing that happens at adoption closes them: they are never built and
never proved again, and from then on they live by the rules above.  Nodes adopt at different moments, and hear each
other's reports only under the same plan.  What they carry may therefore disagree: a member may not have heard that a
pipeline is open, or that it has closed.  It does no harm, for only the leader's word counts, it is in every report, and
`closed` wins over `opened`.  Where another node leads, `closed` is not carried: it may only mean that the leader
counted as lost under the plan before, and losses end with their plan.  A member whose stage does not compute (it was
started again, has no memory, or freed it when it lost the leader) says `unable`, and the leader closes the pipeline.
A pipeline that no switch names as old is kept.  A hand-over that is under way when the next plan is adopted is not
carried over: the shell aborts it, and the next plan's switch, if there is one, begins it anew.  A pipeline that drains
is carried as draining, since it takes no requests any more.

What the next plan counts on.  Between a plan's acceptance and its adoption the plan before it goes on.  A pipeline that
the next plan finds open must be open still when it is adopted, or under it nobody might serve.  So while such a plan
may be adopted (CountedOn), no switch ends the pipeline, which serves beside its open successor, and a hand-over that is
under way is aborted.  Losses and failures close it as ever.

Releases.  A copy is given up once every transfer before the release that touches it is over, and every stage that
was activated before the release, or ran, and needs it is freed or will never be built.

Resizes.  The leader gives its pipeline other slots (Resize) once it is open, the resizes before that one are done and
the switches to it that stand before it are.  It serves on; that it is done, the shell says (Resized), and then every
report of the leader.  A switch waits for the resizes of both its pipelines that stand before it, so that no hand-over
goes with a resize.  Who waits for whose room is said in `room`; members tell the leader when their places have what a
resize needs.

Slots at adoption.  Of what runs the plan says how many slots it has, and there is a resize to that before all steps.
Where the leader may have given it more, it takes them back before anybody counts on their room; fewer it makes up for
once each member has said that it has adopted the plan, and so keeps the room.  A resize that is under way when the next
plan is adopted is not carried over: the slots are those that there were.
"""

from collections.abc import Callable, Mapping

import attrs

from specs.cluster import NodeId
from specs.plan import Continuity, PipelineId, StepId
from specs.protocols.events import (
    Abandon,
    AbortHandOver,
    Action,
    BuildStage,
    Close,
    Event,
    FreeStage,
    HandOver,
    Open,
    Prove,
    Receive,
    Release,
    Resize,
    Send,
    Tell,
    Tick,
)
from specs.protocols.facts import (
    doomed_because,
    is_lost,
    is_received,
    is_sent,
    is_unable,
    open_successor,
)
from specs.protocols.learn import LEARN, with_slots
from specs.protocols.nouns import (
    RUNNING,
    Carried,
    Copy,
    Ending,
    Handing,
    NodePlan,
    NodeState,
    Part,
    Passage,
    Ready,
    Report,
    Slots,
)
from specs.protocols.room import gives_more, may_begin, passage_awaits_room, stage_awaits_room, switch_awaits_resize
from specs.protocols.tell import reports

Outcome = tuple[NodeState, tuple[Action, ...]]


def carry(state: NodeState) -> Carried:
    """Say what a node brings to the next plan from the state under this one."""
    return Carried(
        built=state.built - state.freed,
        opened=state.opened,
        draining=state.draining,
        closed=state.closed,
        slots=state.slots,
    )


def begin(plan: NodePlan, carried: Carried = Carried()) -> Outcome:  # noqa: B008 - frozen
    """Adopt a plan: the first state, and what is due at once.  Carried pipelines that the plan does not name are none.

    A running pipeline whose stage should compute here and does not will never be again.
    """
    state, actions = _act(plan, _first(plan, carried))
    return state, (*actions, *_tell(plan, {}, state))


def _first(plan: NodePlan, carried: Carried) -> NodeState:
    running = frozenset(part.pipeline for part in plan.parts if part.is_running)
    mine = frozenset(part.pipeline for part in plan.parts if part.is_running and plan.node in part.members)
    led = frozenset(part.pipeline for part in plan.parts if part.is_running and part.leader == plan.node)
    brought = {each.pipeline: each.slots for each in carried.slots}
    slots = {pipeline: brought.get(pipeline, plan.part[pipeline].slots) for pipeline in led}
    return NodeState(
        held=frozenset(plan.held),
        building=mine & carried.built,
        built=mine & carried.built,
        unbuildable=mine - carried.built,
        draining=running & carried.draining,
        # What others lead may be closed here only because its leader was lost, and is open when that says so again:
        # until then it may not know this plan yet, and takes nothing from this node.
        opened=running & carried.opened - (carried.closed - led),
        closed=led & carried.closed,
        slots=frozenset(Slots(pipeline=pipeline, slots=has) for pipeline, has in slots.items()),
        resized=frozenset(
            each.step for each in plan.sizings if each.step < RUNNING and slots.get(each.pipeline) == each.slots
        ),
    )


def step(plan: NodePlan, state: NodeState, event: Event) -> Outcome:
    """Take one event in a state that `begin` or `step` gave.  See the module's text."""
    if isinstance(event, Tick):
        return state, _tell(plan, {}, state)
    learnt = LEARN[type(event)](plan, state, event)
    if learnt == state:  # most reports say nothing new, and no rule was left with anything to do
        return state, ()
    after, actions = _act(plan, learnt)
    return after, (*actions, *_tell(plan, reports(plan, state), after))


# --- act: what is due, by rules that look at the state only ----------------------------------------------------------


def _receive(plan: NodePlan, state: NodeState) -> Outcome:
    """On each receive port, the first transfer that is not over gets its buffer, or is abandoned if it is doomed."""
    for port in plan.receives:
        current = next((passage for passage in port if not is_received(plan, state, passage)), None)
        if current is None or passage_awaits_room(plan, state, current):
            continue
        if current.step not in state.receiving:
            return attrs.evolve(state, receiving=state.receiving | {current.step}), (Receive(current.step),)
        if current.step not in state.abandoned and doomed_because(plan, state, current) is not None:
            return _abandon(state, current)
    return state, ()


def _send(plan: NodePlan, state: NodeState) -> Outcome:
    """On each send port that is idle, the first transfer that is not over is sent, once held and granted."""
    for port in plan.sends:
        head = next((passage for passage in port if not is_sent(plan, state, passage)), None)
        running = next((passage for passage in port if passage.step in state.sending), None)
        if running is not None:
            if running.step not in state.abandoned and is_lost(state, running.receiver):
                return _abandon(state, running)
        elif head is not None and head.source in state.held and _is_granted(plan, state, head):
            changed = attrs.evolve(state, sending=state.sending | {head.step}, granted=state.granted - {head.step})
            return changed, (Send(head.step),)
    return state, ()


def _is_granted(plan: NodePlan, state: NodeState, passage: Passage) -> bool:
    """Tell whether the receiver's buffer is ready; for a local copy this node sees it itself."""
    return passage.step in (state.receiving if passage.receiver == plan.node else state.granted)


def _abandon(state: NodeState, passage: Passage) -> Outcome:
    return attrs.evolve(state, abandoned=state.abandoned | {passage.step}), (Abandon(passage.step),)


def _build(plan: NodePlan, state: NodeState) -> Outcome:
    """A stage is built once its blobs are held (EARLY) and there is room."""
    for part in plan.parts:
        begun = part.pipeline in state.building | state.unbuildable | state.closed
        if not part.needs or begun or not state.held.issuperset(part.needs):
            continue
        if not stage_awaits_room(plan, state, part):
            return attrs.evolve(state, building=state.building | {part.pipeline}), (BuildStage(part.pipeline),)
    return state, ()


def _close(plan: NodePlan, state: NodeState) -> Outcome:
    """The leader closes a pipeline that cannot go on, that has drained or handed over, or whose successor is open."""
    for part in plan.parts:
        if part.leader != plan.node or part.pipeline in state.closed:
            continue
        pipeline = part.pipeline
        closed = attrs.evolve(state, closed=state.closed | {pipeline})
        successor = open_successor(plan, state, pipeline)
        new = None if successor is None else successor[0]
        ending = _spoilt_by(plan, state, part)
        if ending is not None:
            return closed, (Close(pipeline, new, Continuity.RECOMPUTE, ending),)
        if pipeline in state.drained:
            return closed, ()
        handing = next((each for each in state.handing if each.pipeline == pipeline), None)
        if handing is not None and pipeline in state.handed:
            return closed, (Close(pipeline, handing.successor, Continuity.COPY, Ending.SUPERSEDED),)
        is_counted_on = pipeline in state.counted_on
        if handing is not None and (is_counted_on or handing.successor in state.closed):
            return attrs.evolve(state, handing=state.handing - {handing}), (AbortHandOver(pipeline),)
        if successor is None or is_counted_on or handing is not None or pipeline in state.draining:
            continue
        if pipeline in state.opened and switch_awaits_resize(plan, state, pipeline):
            continue
        return _supersede(state, pipeline, *successor)
    return state, ()


def _supersede(state: NodeState, old: PipelineId, new: PipelineId, continuity: Continuity) -> Outcome:
    """The new pipeline is open: the old one closes, or begins to."""
    act = Close(old, new, continuity, Ending.SUPERSEDED)
    if old in state.opened and continuity is Continuity.COPY:
        handing = Handing(pipeline=old, successor=new)
        return attrs.evolve(state, handing=state.handing | {handing}), (HandOver(old, new),)
    if old in state.opened and continuity is Continuity.DRAIN:
        return attrs.evolve(state, draining=state.draining | {old}), (act,)
    return attrs.evolve(state, closed=state.closed | {old}), (act,)


def _spoilt_by(plan: NodePlan, state: NodeState, part: Part) -> Ending | None:
    """Tell why a pipeline that this node leads cannot go on; None when it can."""
    if any(is_lost(state, member) for member in part.members) or any(
        rift.reporter in part.members and rift.lost in part.members for rift in state.rifts
    ):
        return Ending.MEMBER_LOST
    if is_unable(plan, state, part):
        return Ending.UNABLE
    return next((each.ending for each in state.spoilt if each.pipeline == part.pipeline), None)


def _prove(plan: NodePlan, state: NodeState) -> Outcome:
    """The leader proves a pipeline once every member's stage is built."""
    for part in plan.parts:
        begun = part.is_running or part.pipeline in state.proving | state.closed
        if part.leader == plan.node and not begun and _is_ready(plan, state, part):
            return attrs.evolve(state, proving=state.proving | {part.pipeline}), (Prove(part.pipeline),)
    return state, ()


def _is_ready(plan: NodePlan, state: NodeState, part: Part) -> bool:
    return part.pipeline in state.built and all(
        member == plan.node or Ready(pipeline=part.pipeline, member=member) in state.ready for member in part.members
    )


def _open(plan: NodePlan, state: NodeState) -> Outcome:
    """The leader opens a pipeline that gave the right answer, unless it was closed meanwhile."""
    for pipeline in sorted(state.proved - state.opened - state.closed):
        slots = Slots(pipeline=pipeline, slots=plan.part[pipeline].slots)
        opened = attrs.evolve(state, opened=state.opened | {pipeline}, slots=state.slots | {slots})
        return opened, (Open(pipeline),)
    return state, ()


def _resize(plan: NodePlan, state: NodeState) -> Outcome:
    """The leader gives a pipeline other slots; more of them it may have from then on."""
    for sizing in plan.sizings:
        begun = sizing.step in state.resizing | state.resized
        if not begun and plan.part[sizing.pipeline].leader == plan.node and may_begin(plan, state, sizing):
            began = attrs.evolve(state, resizing=state.resizing | {sizing.step})
            after = with_slots(began, sizing) if gives_more(state, sizing) else began
            return after, (Resize(sizing.step, sizing.pipeline, sizing.slots),)
    return state, ()


def _free(_plan: NodePlan, state: NodeState) -> Outcome:
    """A member frees the stage of a pipeline that has closed."""
    for pipeline in sorted((state.built & state.closed) - state.freed):
        return attrs.evolve(state, freed=state.freed | {pipeline}), (FreeStage(pipeline),)
    return state, ()


def _release(plan: NodePlan, state: NodeState) -> Outcome:
    """A copy is given up once nothing before the release needs it any more."""
    for release in plan.releases:
        copy = Copy(blob=release.blob, place=release.place)
        if release.id in state.released or _is_needed(plan, state, copy, release.id):
            continue
        actions = (Release(release.id, copy),) if copy in state.held else ()
        return attrs.evolve(state, released=state.released | {release.id}, held=state.held - {copy}), actions
    return state, ()


def _is_needed(plan: NodePlan, state: NodeState, copy: Copy, until: StepId) -> bool:
    """Tell whether a transfer or stage that stands before this step in the plan still uses a copy."""
    for passage in plan.passages:
        if passage.step < until and (
            (passage.destination == copy and not is_received(plan, state, passage))
            or (passage.source == copy and not is_sent(plan, state, passage))
        ):
            return True
    return any(
        part.step < until
        and copy in part.needs
        and (part.pipeline not in state.closed or part.pipeline in state.building - state.freed)
        for part in plan.parts
    )


_RULES: tuple[Callable[[NodePlan, NodeState], Outcome], ...] = (
    _receive,
    _send,
    _build,
    _close,  # before _prove and _open: what must close does not open first
    _prove,
    _open,
    _free,
    _release,
    _resize,
)


def _act(plan: NodePlan, state: NodeState) -> Outcome:
    """Apply the rules until none has anything to do; each application adds a fact, so this ends."""
    actions: list[Action] = []
    before = None
    while before is not state:
        before = state
        for rule in _RULES:
            state, due = rule(plan, state)
            actions += due
    return state, tuple(actions)


# --- tell: what each peer should know --------------------------------------------------------------------------------


def _tell(plan: NodePlan, told: Mapping[NodeId, Report], state: NodeState) -> tuple[Action, ...]:
    """Tell every peer that should know something else than it was told."""
    return tuple(Tell(peer, report) for peer, report in reports(plan, state).items() if told.get(peer) != report)
