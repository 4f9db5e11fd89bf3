"""What each peer should know: the report is a function of the state."""

from collections import defaultdict
from collections.abc import Mapping

from specs.cluster import NodeId
from specs.plan import PipelineId, StepId
from specs.protocols.facts import hopeless_because, is_unable
from specs.protocols.nouns import RUNNING, Cannot, NodePlan, NodeState, Report
from specs.protocols.room import has_room


def reports(plan: NodePlan, state: NodeState) -> Mapping[NodeId, Report]:
    """Say what this node has to tell each peer."""
    ready: dict[NodeId, list[StepId]] = defaultdict(list)
    over: dict[NodeId, list[StepId]] = defaultdict(list)
    cannot: dict[NodeId, list[Cannot]] = defaultdict(list)
    built: dict[NodeId, list[PipelineId]] = defaultdict(list)
    unable: dict[NodeId, list[PipelineId]] = defaultdict(list)
    for passage in plan.passages:
        if passage.step in state.arrived:
            over[passage.sender].append(passage.step)
        elif passage.step in state.receiving - state.abandoned:
            ready[passage.sender].append(passage.step)
        elif passage.sender == plan.node and passage.step not in state.sent:
            because = hopeless_because(plan, state, passage.source)
            if because is not None:
                cannot[passage.receiver].append(Cannot(step=passage.step, because=because))
    for part in plan.parts:
        if part.pipeline in state.built:
            built[part.leader].append(part.pipeline)
        elif part.pipeline not in state.closed and is_unable(plan, state, part):
            unable[part.leader].append(part.pipeline)
    roomy: dict[NodeId, list[StepId]] = defaultdict(list)
    for sizing in (each for each in plan.sizings if each.step < RUNNING or not each.is_shrink):
        if plan.places[sizing.pipeline] and has_room(plan, state, sizing):
            roomy[plan.part[sizing.pipeline].leader].append(sizing.step)
    led = {part.pipeline for part in plan.led_by.get(plan.node, ())}
    opened, closed = tuple(sorted(led & state.opened)), tuple(sorted(led & state.closed))
    resized = tuple(sorted(each for each in state.resized if plan.sizing[each].pipeline in led))
    lost = tuple(sorted(loss.node for loss in state.lost))
    return {
        peer: Report(
            ready=tuple(sorted(ready[peer])),
            over=tuple(sorted(over[peer])),
            cannot=tuple(sorted(cannot[peer], key=lambda each: each.step)),
            built=tuple(sorted(built[peer])),
            unable=tuple(sorted(unable[peer])),
            opened=opened,
            closed=closed,
            lost=lost,
            resized=resized,
            roomy=tuple(sorted(roomy[peer])),
        )
        for peer in plan.peers
    }
