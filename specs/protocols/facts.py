"""What follows from a node's state: which transfers are over, what is lacking, and who is to blame."""

from specs.cluster import NodeId
from specs.plan import Continuity, PipelineId
from specs.protocols.nouns import Copy, Lack, NodePlan, NodeState, Part, Passage


def is_lost(state: NodeState, node: NodeId) -> bool:
    """Tell whether this node counts another as lost."""
    return any(loss.node == node for loss in state.lost)


def hopeless_because(plan: NodePlan, state: NodeState, copy: Copy) -> NodeId | None:
    """Name the node because of which a copy will never be held here; None when it is held or may still come."""
    if copy in state.held:
        return None
    because: NodeId | None = plan.node  # nothing brings it: this node should have held it from the start
    for passage in plan.arrivals.get(copy, ()):
        because = given_up_because(plan, state, passage)
        if because is None:
            return None
    return because


def given_up_because(plan: NodePlan, state: NodeState, passage: Passage) -> NodeId | None:
    """Name the node because of which a transfer to this node is over without arrival; None when it is not."""
    if passage.step in state.arrived or passage.step in state.receiving:
        return None
    return doomed_because(plan, state, passage)


def doomed_because(plan: NodePlan, state: NodeState, passage: Passage) -> NodeId | None:
    """Like `given_up_because`, but also for a transfer under way."""
    if is_lost(state, passage.sender):
        return passage.sender
    if passage.sender == plan.node:
        because = hopeless_because(plan, state, passage.source)
        if because is not None:
            return because
    return next((refusal.because for refusal in state.refused if refusal.step == passage.step), None)


def is_received(plan: NodePlan, state: NodeState, passage: Passage) -> bool:
    """Tell whether a transfer to this node is over."""
    return passage.step in state.arrived or given_up_because(plan, state, passage) is not None


def is_pointless(plan: NodePlan, state: NodeState, passage: Passage) -> bool:
    """Tell whether a transfer from this node can do no good any more."""
    return is_lost(state, passage.receiver) or hopeless_because(plan, state, passage.source) is not None


def is_sent(plan: NodePlan, state: NodeState, passage: Passage) -> bool:
    """Tell whether a transfer from this node is over."""
    return passage.step not in state.sending and (passage.step in state.sent or is_pointless(plan, state, passage))


def is_settled(plan: NodePlan, state: NodeState) -> bool:
    """Tell whether every transfer from and to this node is over."""
    return all(is_received(plan, state, each) for port in plan.receives for each in port) and all(
        is_sent(plan, state, each) for port in plan.sends for each in port
    )


def lacks(plan: NodePlan, state: NodeState) -> tuple[Lack, ...]:
    """Name every copy that this node was promised and will never get, and the node to blame."""
    blamed = ((copy, hopeless_because(plan, state, copy)) for copy in plan.arrivals if _is_missing(plan, state, copy))
    return tuple(Lack(copy=copy, because=because) for copy, because in blamed if because is not None)


def _is_missing(plan: NodePlan, state: NodeState, copy: Copy) -> bool:
    """Tell whether a copy has not arrived; one that has may have been released since."""
    return not any(passage.step in state.arrived for passage in plan.arrivals[copy])


def open_pipelines(state: NodeState) -> frozenset[PipelineId]:
    """Name the pipelines that take or finish requests, as far as this node has heard."""
    return state.opened - state.closed


def is_unable(plan: NodePlan, state: NodeState, part: Part) -> bool:
    """Tell whether this node can never build its stage of a pipeline."""
    if part.pipeline in state.building:
        return False
    return part.pipeline in state.unbuildable or any(
        hopeless_because(plan, state, copy) is not None for copy in part.needs
    )


def open_successor(plan: NodePlan, state: NodeState, pipeline: PipelineId) -> tuple[PipelineId, Continuity] | None:
    """Find an open pipeline that a chain of the plan's switches puts in this one's place.

    A successor that has closed, or never opened because its own successor came first, is passed over for that one.
    """
    continuity: Continuity | None = None
    old = pipeline
    for _ in plan.switches:  # a pipeline is switched away from once at most: the chain ends
        switch = next((each for each in plan.switches if each.old == old), None)
        if switch is None:
            return None
        continuity = continuity or switch.continuity
        if switch.new in state.opened - state.closed:
            return switch.new, continuity
        if switch.new not in state.closed:
            return None
        old = switch.new
    return None
