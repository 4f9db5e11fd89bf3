"""What a record may stand for: what the protocol has the node do now, or something that its state awaits."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from specs import journal
from specs.journal import What
from specs.protocols import events as core
from specs.protocols import plan_switch_nouns as switch
from specs.protocols.facts import lacks
from specs.protocols.nouns import Handing, Loss, NodePlan, NodeState

_PLAN = "a node accepts a plan once, which follows the one that it carries out, above every generation it ever accepted"

RULES: dict[type[What], str] = {
    journal.Accepted: _PLAN,
    journal.Adopted: "a node adopts the newest plan that it accepted, once every node of the plan has accepted it or "
    "one of them has adopted it; without a plan, a first one",
    journal.Declined: "a node declines what it cannot accept and a peer stands on, and never what it has accepted",
    journal.Forgotten: "a node forgets a plan that a node of it declines, or that lost against the one it adopts",
    journal.TransferStarted: "a blob is sent once, when it is held and its receiver is ready, and one at a time",
    journal.TransferSent: "only what is being sent is acknowledged",
    journal.TransferEnded: "only what is being received arrives",
    journal.TransferFailed: "only what is under way fails",
    journal.StageBuilt: "a stage is built once, when all its blobs are held",
    journal.StageFailed: "a stage is built once, when all its blobs are held",
    journal.StageFreed: "a stage is freed once, after its pipeline has closed",
    journal.Proved: "a pipeline is proved once, when every member has built its stage",
    journal.Opened: "a pipeline opens once, after a right proof, if it has not closed",
    journal.Closed: "a pipeline closes when it cannot go on, has handed over, or its successor is open",
    journal.HandedOver: "a pipeline hands over once, to its successor, while that is open",
    journal.Resized: "a resize is done once, after it began, and the pipeline then has as many slots as it says",
    journal.Released: "a copy is given up when no transfer and no stage before its release needs it",
    journal.PeerLost: "a node counts as lost who was lost, and for that reason",
    journal.Lacks: "a copy is lacking when nothing can bring it any more",
}

# Of what block multicast learns from plan switch.
COUNTED_ON = "a node keeps open what a plan counts on that it has accepted and may adopt next, and nothing else"


def done_about_plans(
    before: switch.SwitchState, after: switch.SwitchState, actions: Iterable[switch.Action]
) -> Iterator[What]:
    """Give the records of what plan switch has a node do in one step; it knows no problem, and names the plan twice."""
    for offer in after.accepted[len(before.accepted) :]:
        yield journal.Accepted(plan=offer.name.digest, generation=offer.name.generation)
    for each in after.declined:
        if each not in before.declined:
            yield journal.Declined(plan=each.plan.digest, generation=each.plan.generation, reason=each.reason)
    for action in actions:
        match action:
            case switch.Adopt(plan=plan):
                yield journal.Adopted(plan=plan.digest, problem=plan.digest)
            case switch.Forget(plan=plan, reason=reason) if any(each.name == plan for each in before.accepted):
                yield journal.Forgotten(plan=plan.digest, generation=plan.generation, reason=reason)


def done_under_plan(actions: Iterable[core.Action]) -> Iterator[What]:
    """Give the records of what block multicast has a node do; what has none leads to an event."""
    for action in actions:
        match action:
            case core.Send(step=step):
                yield journal.TransferStarted(step=step)
            case core.FreeStage(pipeline=pipeline):
                yield journal.StageFreed(pipeline=pipeline)
            case core.Open(pipeline=pipeline):
                yield journal.Opened(pipeline=pipeline)
            case core.Close(pipeline=pipeline, successor=successor, ending=ending):
                yield journal.Closed(pipeline=pipeline, ending=ending, successor=successor)
            case core.Release(step=step):
                yield journal.Released(step=step)


def _hands_over(_plan: NodePlan, state: NodeState, what: journal.HandedOver) -> bool:
    handing = Handing(pipeline=what.pipeline, successor=what.successor)
    return handing in state.handing and what.pipeline not in state.handed | state.closed


def _is_resizing(plan: NodePlan, state: NodeState, what: journal.Resized) -> bool:
    sizing = plan.sizing.get(what.step)
    if sizing is None or what.step not in state.resizing or sizing.pipeline in state.closed:
        return False
    return (what.pipeline, what.slots) == (sizing.pipeline, sizing.slots)


def _is_lacking(plan: NodePlan, state: NodeState, what: journal.Lacks) -> bool:
    found = ((each.copy.blob, each.copy.place, each.because) for each in lacks(plan, state))
    return (what.blob, what.place, what.because) in found


# What comes from outside, and is written before the protocol takes the event: whether the state awaits it.
AWAITED: dict[type[What], Callable[[NodePlan, NodeState, Any], bool]] = {
    journal.TransferSent: lambda _, state, what: what.step in state.sending,
    journal.TransferEnded: lambda _, state, what: what.step in state.receiving,
    journal.TransferFailed: lambda _, state, what: what.step in state.receiving | state.sending,
    journal.StageBuilt: lambda _, state, what: what.pipeline in state.building - state.built,
    journal.StageFailed: lambda _, state, what: what.pipeline in state.building - state.built,
    journal.Proved: lambda _, state, what: what.pipeline in state.proving - state.proved,
    journal.HandedOver: _hands_over,
    journal.Resized: _is_resizing,
    journal.PeerLost: lambda _, state, what: Loss(node=what.node, reason=what.reason) in state.lost,
    journal.Lacks: _is_lacking,
}

# Of those, what happens once under a plan.
ONCE = (journal.TransferEnded, journal.StageBuilt, journal.Proved, journal.HandedOver, journal.Resized)


def is_written(event: core.Event, written: Collection[What]) -> bool:
    """Tell whether the node has written down what an event says, where that has a record of its own."""
    match event:
        case core.Arrived(step=step):
            return any(isinstance(each, journal.TransferEnded) and each.step == step for each in written)
        case core.StageBuilt(pipeline=pipeline):
            return journal.StageBuilt(pipeline=pipeline) in written
        case core.Proved(pipeline=pipeline, right=right):
            return journal.Proved(pipeline=pipeline, right=right) in written
        case core.HandedOver(pipeline=pipeline):
            return any(isinstance(each, journal.HandedOver) and each.pipeline == pipeline for each in written)
        case core.Resized(step=step):
            return any(isinstance(each, journal.Resized) and each.step == step for each in written)
    return True
