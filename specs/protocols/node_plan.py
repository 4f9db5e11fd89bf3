"""Cut a plan into what concerns each node: the bridge from plans to block multicast."""

from collections.abc import Iterator

from specs.blobs import blobs_of_units
from specs.cluster import NodeId, PlaceId
from specs.errors import InvalidProblem
from specs.plan import Activate, Pipeline, Plan, Release, Resize, StepId, Switch
from specs.ports import Hop, hops
from specs.problem import Problem
from specs.protocols.nouns import RUNNING, Copy, NodePlan, Part, Passage, Sizing


def node_plan(problem: Problem, plan: Plan, node: NodeId) -> NodePlan:
    """Cut out of a verified plan what concerns one node.

    Raises InvalidProblem when a transfer begins or ends in a memory that belongs to no node: no daemon could make it.
    """
    node_of = {place.id: place.node for place in problem.cluster.places}
    pipelines = {pipeline.id: pipeline for pipeline in plan.pipelines}
    started = [(pipelines[each.pipeline], each.id) for each in plan.steps if isinstance(each, Activate)]
    running = [(each.pipeline, RUNNING) for each in problem.running]
    return NodePlan(
        node=node,
        peers=tuple(each.id for each in problem.cluster.nodes if each.id != node),
        held=tuple(
            Copy(blob=blob.id, place=holding.place)
            for holding in problem.holdings
            for blob in plan.blobs
            if node_of[holding.place] == node and holding.has(blob)
        ),
        passages=tuple(
            passage
            for passage in map(_passage, hops(problem.cluster, plan))
            if node in (passage.sender, passage.receiver)
        ),
        parts=tuple(_part(problem, plan, pipeline, step, node) for pipeline, step in (*running, *started)),
        switches=tuple(each for each in plan.steps if isinstance(each, Switch)),
        sizings=tuple(_sizings(problem, plan)),
        releases=tuple(each for each in plan.steps if isinstance(each, Release) and node_of[each.place] == node),
    )


def _sizings(problem: Problem, plan: Plan) -> Iterator[Sizing]:
    most = {pipeline.id: pipeline.slots for pipeline in plan.pipelines}
    slots = {each.pipeline.id: each.slots_now for each in problem.running}
    for step in plan.steps:
        match step:
            case Activate(pipeline=pipeline):
                slots[pipeline] = most[pipeline] if step.slots is None else step.slots
            case Resize(pipeline=pipeline):
                is_shrink = step.slots < slots[pipeline]
                yield Sizing(step=step.id, pipeline=pipeline, slots=step.slots, is_shrink=is_shrink)
                slots[pipeline] = step.slots


def _passage(hop: Hop) -> Passage:
    if hop.source_node is None or hop.destination_node is None:
        place = hop.source if hop.source_node is None else hop.destination
        raise InvalidProblem(
            f"transfer {hop.transfer.id} uses memory {place}, which is on no node: no daemon serves it"
        )
    return Passage(
        step=hop.transfer.id,
        source=Copy(blob=hop.transfer.blob, place=hop.source),
        destination=Copy(blob=hop.transfer.blob, place=hop.destination),
        sender=hop.source_node,
        receiver=hop.destination_node,
        send_port=hop.send_port,
        receive_port=hop.receive_port,
    )


def _part(problem: Problem, plan: Plan, pipeline: Pipeline, step: StepId, node: NodeId) -> Part:
    node_of: dict[PlaceId, NodeId | None] = {place.id: place.node for place in problem.cluster.places}
    homes = [node_of[stage.place] for stage in pipeline.stages]
    members = tuple(dict.fromkeys(home for home in homes if home is not None))
    llm = problem.llm(pipeline.llm)
    needs = [
        Copy(blob=blob, place=stage.place)
        for stage in pipeline.stages
        if node_of[stage.place] == node
        for blob in blobs_of_units(llm, plan.blobs, stage.first_unit, stage.end_unit)
    ]
    return Part(
        pipeline=pipeline.id,
        step=step,
        leader=members[0],
        members=members,
        needs=tuple(dict.fromkeys(needs)),
    )
