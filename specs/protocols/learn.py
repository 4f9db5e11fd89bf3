"""How each event of block multicast becomes facts of the state.  An event that does not fit changes nothing."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any

import attrs

from specs.cluster import NodeId
from specs.plan import PipelineId, StepId
from specs.protocols.events import (
    Arrived,
    Corrupt,
    CountedOn,
    Drained,
    Event,
    HandedOver,
    Heard,
    PeerLost,
    Proved,
    ReceiveFailed,
    Resized,
    SendDone,
    SendFailed,
    StageBuilt,
    StageFailed,
)
from specs.protocols.facts import is_lost
from specs.protocols.nouns import (
    Cannot,
    Ending,
    Loss,
    LossReason,
    NodePlan,
    NodeState,
    Ready,
    Rift,
    Roomy,
    Sizing,
    Slots,
    Spoilt,
)


def _arrived(plan: NodePlan, state: NodeState, event: Arrived) -> NodeState:
    if event.step not in state.receiving:
        return state
    return attrs.evolve(
        state,
        receiving=state.receiving - {event.step},
        arrived=state.arrived | {event.step},
        held=state.held | {plan.passage[event.step].destination},
    )


def _receive_failed(plan: NodePlan, state: NodeState, event: ReceiveFailed | Corrupt) -> NodeState:
    if event.step not in state.receiving:
        return state
    state = attrs.evolve(state, receiving=state.receiving - {event.step})
    reason = LossReason.CORRUPT if isinstance(event, Corrupt) else LossReason.FAILING
    return _count_failure(plan, state, event.step, plan.passage[event.step].sender, reason)


def _send_done(_plan: NodePlan, state: NodeState, event: SendDone) -> NodeState:
    if event.step not in state.sending:
        return state
    return attrs.evolve(state, sending=state.sending - {event.step}, sent=state.sent | {event.step})


def _send_failed(plan: NodePlan, state: NodeState, event: SendFailed) -> NodeState:
    if event.step not in state.sending:
        return state
    state = attrs.evolve(state, sending=state.sending - {event.step})
    receiver = plan.passage[event.step].receiver
    if event.step in state.sent or receiver == plan.node:  # of a local copy the receiving side counts the failures
        return state
    return _count_failure(plan, state, event.step, receiver, LossReason.FAILING)


def _count_failure(plan: NodePlan, state: NodeState, step_id: StepId, other: NodeId, reason: LossReason) -> NodeState:
    if step_id in state.abandoned:
        return state
    state = attrs.evolve(state, failures=tuple(sorted((*state.failures, step_id))))
    if state.failures.count(step_id) < plan.tries_max:
        return state
    if other == plan.node:
        return attrs.evolve(state, refused=state.refused | {Cannot(step=step_id, because=other)})
    return _lose(plan, state, Loss(node=other, reason=reason))


def _peer_lost(plan: NodePlan, state: NodeState, event: PeerLost) -> NodeState:
    return _lose(plan, state, Loss(node=event.node, reason=event.reason))


def _lose(plan: NodePlan, state: NodeState, loss: Loss) -> NodeState:
    if loss.node not in plan.peers or is_lost(state, loss.node):
        return state
    return attrs.evolve(
        state,
        lost=state.lost | {loss},
        granted=frozenset(each for each in state.granted if plan.passage[each].receiver != loss.node),
        closed=state.closed | {part.pipeline for part in plan.parts if part.leader == loss.node},
    )


def _heard(plan: NodePlan, state: NodeState, event: Heard) -> NodeState:
    """Take from a report only what its teller may say: facts of its own transfers, stages and pipelines."""
    peer, report = event.peer, event.report
    if peer not in plan.peers or is_lost(state, peer):
        return state
    if plan.node in report.lost:
        return _lose(plan, state, Loss(node=peer, reason=LossReason.MUTUAL))
    over = {each for each in report.over if _joins(plan, each, plan.node, peer)}
    sent = state.sent | over
    ready = {each for each in report.ready if _joins(plan, each, plan.node, peer)}
    led_here = {each.pipeline for each in plan.led_by.get(plan.node, ()) if peer in each.members}
    led_there = {each.pipeline for each in plan.led_by.get(peer, ())}
    company = {member for pipeline in led_here for member in plan.part[pipeline].members}
    return attrs.evolve(
        state,
        sent=sent,
        granted=(state.granted | (ready - state.sending)) - sent,
        refused=state.refused | {each for each in report.cannot if _joins(plan, each.step, peer, plan.node)},
        ready=state.ready | {Ready(pipeline=each, member=peer) for each in led_here.intersection(report.built)},
        spoilt=state.spoilt
        | {Spoilt(pipeline=each, ending=Ending.UNABLE) for each in led_here.intersection(report.unable)},
        rifts=state.rifts | {Rift(reporter=peer, lost=each) for each in company.intersection(report.lost)},
        opened=state.opened | led_there.intersection(report.opened),
        closed=state.closed | led_there.intersection(report.closed),
        resized=state.resized | {each for each in report.resized if _sizes_one_of(plan, each, led_there)},
        roomy=state.roomy
        | {Roomy(step=each, member=peer) for each in report.roomy if _sizes_one_of(plan, each, led_here)},
    )


def _joins(plan: NodePlan, step_id: StepId, sender: NodeId, receiver: NodeId) -> bool:
    """Tell whether this is a transfer from the one node to the other."""
    passage = plan.passage.get(step_id)
    return passage is not None and passage.sender == sender and passage.receiver == receiver


def _sizes_one_of(plan: NodePlan, step_id: StepId, pipelines: AbstractSet[PipelineId]) -> bool:
    """Tell whether this is a resize of one of these pipelines."""
    sizing = plan.sizing.get(step_id)
    return sizing is not None and sizing.pipeline in pipelines


def _stage_built(_plan: NodePlan, state: NodeState, event: StageBuilt) -> NodeState:
    if event.pipeline not in state.building:
        return state
    return attrs.evolve(state, built=state.built | {event.pipeline})


def _stage_failed(_plan: NodePlan, state: NodeState, event: StageFailed) -> NodeState:
    if event.pipeline not in state.building or event.pipeline in state.built:
        return state
    pipeline = {event.pipeline}
    return attrs.evolve(state, building=state.building - pipeline, unbuildable=state.unbuildable | pipeline)


def _proved(_plan: NodePlan, state: NodeState, event: Proved) -> NodeState:
    if event.pipeline not in state.proving or event.pipeline in state.proved:
        return state
    if event.right:
        return attrs.evolve(state, proved=state.proved | {event.pipeline})
    return attrs.evolve(state, spoilt=state.spoilt | {Spoilt(pipeline=event.pipeline, ending=Ending.WRONG_TOKEN)})


def _drained(_plan: NodePlan, state: NodeState, event: Drained) -> NodeState:
    if event.pipeline not in state.draining:
        return state
    return attrs.evolve(state, drained=state.drained | {event.pipeline})


def _handed_over(_plan: NodePlan, state: NodeState, event: HandedOver) -> NodeState:
    if event.pipeline in state.closed or all(each.pipeline != event.pipeline for each in state.handing):
        return state
    return attrs.evolve(state, handed=state.handed | {event.pipeline})


def _resized(plan: NodePlan, state: NodeState, event: Resized) -> NodeState:
    if event.step not in state.resizing or plan.sizing[event.step].pipeline in state.closed:
        return state
    state = attrs.evolve(state, resizing=state.resizing - {event.step}, resized=state.resized | {event.step})
    return with_slots(state, plan.sizing[event.step])


def _counted_on(_plan: NodePlan, state: NodeState, event: CountedOn) -> NodeState:
    return attrs.evolve(state, counted_on=frozenset(event.pipelines))


def with_slots(state: NodeState, sizing: Sizing) -> NodeState:
    """A pipeline that this node leads has as many slots as a resize says."""
    others = frozenset(each for each in state.slots if each.pipeline != sizing.pipeline)
    return attrs.evolve(state, slots=others | {Slots(pipeline=sizing.pipeline, slots=sizing.slots)})


# A Tick teaches nothing.
LEARN: dict[type[Event], Callable[[NodePlan, NodeState, Any], NodeState]] = {
    Heard: _heard,
    Arrived: _arrived,
    Corrupt: _receive_failed,
    ReceiveFailed: _receive_failed,
    SendDone: _send_done,
    SendFailed: _send_failed,
    PeerLost: _peer_lost,
    StageBuilt: _stage_built,
    StageFailed: _stage_failed,
    Proved: _proved,
    Drained: _drained,
    HandedOver: _handed_over,
    Resized: _resized,
    CountedOn: _counted_on,
}
