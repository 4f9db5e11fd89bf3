"""Who waits for room: what needs room at a place waits for what makes room there and stands before it in the plan.

Rule MEM reads the plan the same way.  Room is needed by a transfer, a stage that is built (it stands where its pipeline
is activated) and a resize to more slots; it is made by a release and a resize to fewer.  A resize to more slots waits
for closings too, since its pipeline serves meanwhile: a transfer or a stage does not, because what closes may do so
only for a pipeline that is opened with their help.  Where something waits for the room of a pipeline whose successor
never opens, that one goes on serving, and what counts on its room waits for another plan.

All of this is over for good once it is over: a copy is released once, a stage is gone for ever.
"""

from specs.cluster import PlaceId
from specs.plan import PipelineId, StepId
from specs.protocols.nouns import NodePlan, NodeState, Part, Passage, Roomy, Sizing


def is_gone(state: NodeState, pipeline: PipelineId) -> bool:
    """Tell whether this node's stage of a pipeline takes no memory, and never will."""
    return pipeline in state.closed and pipeline not in state.building - state.freed


def passage_awaits_room(plan: NodePlan, state: NodeState, passage: Passage) -> bool:
    """Tell whether a transfer to this node counts on room that has still to be made."""
    return _awaits(plan, state, passage.destination.place, passage.step)


def stage_awaits_room(plan: NodePlan, state: NodeState, part: Part) -> bool:
    """Tell whether a stage of this node counts on room that has still to be made."""
    return any(_awaits(plan, state, place, part.step) for place in plan.places[part.pipeline])


def has_room(plan: NodePlan, state: NodeState, sizing: Sizing) -> bool:
    """Tell whether a resize has the room here that it needs."""
    places = plan.places[sizing.pipeline]
    return sizing.is_shrink or not any(
        _awaits(plan, state, place, sizing.step) or _awaits_closing(plan, state, place, sizing.step) for place in places
    )


def _awaits(plan: NodePlan, state: NodeState, place: PlaceId, until: StepId) -> bool:
    return any(
        each.place == place and each.id < until and each.id not in state.released for each in plan.releases
    ) or any(
        each.is_shrink
        and each.step < until
        and place in plan.places[each.pipeline]
        and each.step not in state.resized
        and not is_gone(state, each.pipeline)
        for each in plan.sizings
    )


def _awaits_closing(plan: NodePlan, state: NodeState, place: PlaceId, until: StepId) -> bool:
    return any(
        each.id < until and place in plan.places[each.old] and not is_gone(state, each.old) for each in plan.switches
    )


def may_begin(plan: NodePlan, state: NodeState, sizing: Sizing) -> bool:
    """Tell whether a resize of a pipeline that this node leads may begin.

    Its pipeline is open, no resize before it is under way or to come, nor a switch to it, and each member has room.
    """
    pipeline = sizing.pipeline
    if pipeline not in state.opened - state.closed - state.draining:
        return False
    if any(each.pipeline == pipeline and each.step < sizing.step for each in _pending(plan, state)):
        return False
    if any(each.new == pipeline and each.id < sizing.step and each.old not in state.closed for each in plan.switches):
        return False
    return has_room(plan, state, sizing) and (
        not gives_more(state, sizing)
        or all(
            member == plan.node or Roomy(step=sizing.step, member=member) in state.roomy
            for member in plan.part[pipeline].members
        )
    )


def gives_more(state: NodeState, sizing: Sizing) -> bool:
    """Tell whether a pipeline that this node leads has fewer slots than a resize says."""
    return any(each.pipeline == sizing.pipeline and each.slots < sizing.slots for each in state.slots)


def switch_awaits_resize(plan: NodePlan, state: NodeState, old: PipelineId) -> bool:
    """Tell whether a switch from a pipeline has to wait for a resize, of it or of what takes over, before it."""
    switch = next((each for each in plan.switches if each.old == old), None)
    return switch is not None and any(
        each.step < switch.id and each.pipeline in (switch.old, switch.new) for each in _pending(plan, state)
    )


def _pending(plan: NodePlan, state: NodeState) -> tuple[Sizing, ...]:
    """The resizes that are to come or under way: those of closed pipelines will never be."""
    return tuple(each for each in plan.sizings if each.step not in state.resized and each.pipeline not in state.closed)
