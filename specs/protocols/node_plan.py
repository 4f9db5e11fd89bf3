"""Cut a plan into what concerns each node: the bridge from plans to block multicast."""

from collections.abc import Iterator

import attrs

from specs.blobs import blobs_of_units
from specs.cluster import NodeId, PlaceId
from specs.errors import InvalidProblem
from specs.plan import Activate, Pipeline, PipelineId, Plan, Release, Resize, StepId, Switch
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
    slots = _slots_at_first(problem, plan)
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
        parts=tuple(
            attrs.evolve(_part(problem, plan, pipeline, step, node), slots=slots[pipeline.id])
            for pipeline, step in (*running, *started)
        ),
        switches=tuple(each for each in plan.steps if isinstance(each, Switch)),
        sizings=tuple(_sizings(problem, plan)),
        releases=tuple(each for each in plan.steps if isinstance(each, Release) and node_of[each.place] == node),
    )


def _slots_at_first(problem: Problem, plan: Plan) -> dict[PipelineId, int]:
    """With how many slots each pipeline opens, or is said to run."""
    most = {pipeline.id: pipeline.slots for pipeline in plan.pipelines}
    opened = (each for each in plan.steps if isinstance(each, Activate))
    slots = {each.pipeline.id: each.slots_now for each in problem.running}
    return slots | {each.pipeline: most[each.pipeline] if each.slots is None else each.slots for each in opened}


def _sizings(problem: Problem, plan: Plan) -> Iterator[Sizing]:
    """What runs may have got other slots since the plan was made; where it has all, according to the plan, no more."""
    slots = _slots_at_first(problem, plan)
    for index, each in enumerate(problem.running):
        before, may_have_more = StepId(RUNNING - 1 - index), each.slots_now < each.pipeline.slots
        yield Sizing(step=before, pipeline=each.pipeline.id, slots=each.slots_now, is_shrink=may_have_more)
    for step in plan.steps:
        if isinstance(step, Resize):
            is_shrink = step.slots < slots[step.pipeline]
            yield Sizing(step=step.id, pipeline=step.pipeline, slots=step.slots, is_shrink=is_shrink)
            slots[step.pipeline] = step.slots


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
