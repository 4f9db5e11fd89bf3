"""The state of a running cluster: what each node holds and serves now, under the plan that it has adopted.

A node tells its own part (`GET /state`, a RunningNode), and the plan with its problem (`GET /plan`, the document that
`PUT /plan` took).  Put together they are where the next plan begins: what is held becomes its holdings, what is open
its running pipelines.
"""

from collections import Counter
from collections.abc import Iterator

import attrs

from specs import codec, fields
from specs.cluster import NodeId
from specs.errors import MalformedDocument
from specs.plan import Pipeline, PipelineId, Plan
from specs.problem import Problem, Running
from specs.protocols.nouns import Copy
from specs.protocols.plan_switch_nouns import PlanName
from specs.units import Tokens


@attrs.frozen(kw_only=True)
class Load:
    """An open pipeline, as its leader sees it."""

    pipeline: PipelineId = fields.name()
    live_requests: int = fields.natural()
    live_tokens: Tokens = fields.natural()  # of their contexts, all together
    slots: int | None = fields.optional_positive()  # that it has now; absent: all of the pipeline's


@attrs.frozen(kw_only=True)
class RunningNode:
    """What one node holds and leads."""

    node: NodeId = fields.name()
    plan: PlanName | None  # that it has adopted; without one it holds and leads nothing
    generation_max: int = fields.natural()  # of all plans that it ever accepted: the next one's must be higher
    held: tuple[Copy, ...]  # of blobs that its plan names, in memories of this node
    leads: tuple[Load, ...]  # pipelines that are open and whose first stage is on this node


@attrs.frozen(kw_only=True)
class RunningCluster:
    """The plan that nodes have adopted, its problem, and what each node that answered says.

    Raises MalformedDocument, with every fault in its message, where they contradict each other.
    """

    problem: Problem
    plan: Plan
    nodes: tuple[RunningNode, ...]  # those that answered, each once; those without a plan may be new to the cluster

    def __attrs_post_init__(self) -> None:
        if faults := tuple(_faults(self)):
            raise MalformedDocument("; ".join(faults))

    @property
    def pipelines(self) -> dict[PipelineId, Pipeline]:
        """Each pipeline that may be open: those that ran when the plan was made, and the plan's own."""
        running = {each.pipeline.id: each.pipeline for each in self.problem.running}
        return running | {pipeline.id: pipeline for pipeline in self.plan.pipelines}

    @property
    def open(self) -> tuple[Running, ...]:
        """The pipelines that are open, with their load, in the order of `pipelines`."""
        loads = {load.pipeline: load for node in self.nodes for load in node.leads}
        return tuple(
            Running(
                pipeline=pipeline,
                live_requests=loads[name].live_requests,
                live_tokens=loads[name].live_tokens,
                slots=loads[name].slots,
            )
            for name, pipeline in self.pipelines.items()
            if name in loads
        )

    @property
    def generation_max(self) -> int:
        """The highest generation of all plans that any of them ever accepted."""
        return max((each.generation_max for each in self.nodes), default=self.plan.generation)

    @property
    def empty(self) -> tuple[NodeId, ...]:
        """The nodes of the cluster that answered and have no plan, in the cluster's order."""
        without = {each.node for each in self.nodes if each.plan is None}
        return tuple(node.id for node in self.problem.cluster.nodes if node.id in without)

    @property
    def silent(self) -> tuple[NodeId, ...]:
        """The nodes of the cluster that said nothing, in the cluster's order."""
        answered = {each.node for each in self.nodes}
        return tuple(node.id for node in self.problem.cluster.nodes if node.id not in answered)


def _faults(cluster: RunningCluster) -> Iterator[str]:
    problem, plan = cluster.problem, cluster.plan
    digest = codec.digest(plan)
    if plan.problem != codec.digest(problem):
        yield f"the plan is for problem {plan.problem[:12]}, given is {codec.digest(problem)[:12]}"
    known = {node.id for node in problem.cluster.nodes}
    for node, count in Counter(each.node for each in cluster.nodes).items():
        if count > 1:
            yield f"node {node} is given {count} times"
    for each in cluster.nodes:
        if each.plan is None:
            if each.held or each.leads:
                yield f"node {each.node} has no plan, and says that it holds or leads something under one"
            continue
        if each.node not in known:
            yield f"node {each.node} is not in cluster {problem.cluster.name}"
        if each.plan != PlanName(generation=plan.generation, digest=digest):
            theirs = f"{each.plan.digest[:12]}, generation {each.plan.generation}"
            yield f"node {each.node} has adopted plan {theirs}; given is {digest[:12]}, generation {plan.generation}"
    yield from _unknown_names(cluster)


def _unknown_names(cluster: RunningCluster) -> Iterator[str]:
    node_of = {place.id: place.node for place in cluster.problem.cluster.places}
    blobs = {blob.id for blob in cluster.plan.blobs}
    pipelines = cluster.pipelines
    leader_of = {pipeline.id: node_of.get(pipeline.stages[0].place) for pipeline in pipelines.values()}
    for each in cluster.nodes:
        if each.plan is None:
            continue
        for copy in each.held:
            if node_of.get(copy.place) != each.node:
                yield f"node {each.node} says what {copy.place} holds, which is not a place of it"
            if copy.blob not in blobs:
                yield f"node {each.node} holds {copy.blob}, which its plan does not name"
        if len(set(each.held)) < len(each.held):
            yield f"node {each.node} names a copy twice"
        for load in each.leads:
            if load.pipeline not in leader_of:
                yield f"node {each.node} leads pipeline {load.pipeline}, which its plan does not name"
            elif leader_of[load.pipeline] != each.node:
                yield f"node {each.node} leads pipeline {load.pipeline}, which begins at {leader_of[load.pipeline]}"
            elif load.slots is not None and load.slots > pipelines[load.pipeline].slots:
                most = pipelines[load.pipeline].slots
                yield f"node {each.node} says that pipeline {load.pipeline} has {load.slots} slots, of {most}"
        if len({load.pipeline for load in each.leads}) < len(each.leads):
            yield f"node {each.node} names a pipeline twice"
