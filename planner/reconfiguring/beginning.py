"""From the state of a running cluster and a description to the problem of getting from the one to the other.

The description says what is wanted; the state says what is.  What nodes hold becomes holdings, what is open becomes the
running pipelines with their load.  A copy that the description calls held stays where it is, if it is there; every
other copy in a device goes once nothing needs it.
"""

from collections.abc import Callable
from collections.abc import Set as AbstractSet

import attrs

from planner.decided import Request
from planner.outcome import Infeasible
from planner.remaining import Interrupted, left
from specs.blobs import BlobId
from specs.cluster import NodeId, PlaceId, PlaceKind
from specs.llm import LlmId
from specs.plan import Pipeline, PipelineId
from specs.problem import Problem, Running
from specs.state import RunningCluster


@attrs.frozen(kw_only=True)
class Begun:
    """What is asked of the planner, and which pipelines end with the adoption of its plan."""

    problem: Problem
    request: Request
    ended: tuple[Running, ...]  # nobody wants their LLM, they are to be stopped, or a node of theirs is gone


def begin(
    before: RunningCluster,
    wanted: Problem,
    request: Request | None = None,
    *,
    lost: AbstractSet[NodeId] = frozenset(),
    back: AbstractSet[NodeId] = frozenset(),
    stopped: AbstractSet[PipelineId] = frozenset(),
) -> Begun | Infeasible:
    """Join what is wanted with what is.

    Nodes that said nothing or have no plan, and those in `lost`, leave the cluster; those in `back` have come back,
    holding what the description says.  Pipelines in `stopped` close when the plan is adopted.  Infeasible where no copy
    is left of something that is wanted.  Raises BadPlan when an LLM is not what it was.
    """
    gone = frozenset(lost | {*before.silent, *before.empty}) - back
    found = left(_interrupted(before), wanted, gone=gone, fresh=back)
    if isinstance(found, Infeasible):
        return found
    devices = {place.id for place in found.cluster.places if place.kind is PlaceKind.DEVICE}
    stays = tuple((each.llm, each.place) for each in wanted.holdings if each.place in devices)
    served = found.wished | {llm for llm, _ in stays}
    goes_on, ended = _running(before, found, gone | back, lambda each: each.llm in served and each.id not in stopped)
    return Begun(
        problem=attrs.evolve(found, running=goes_on),
        request=attrs.evolve(
            request or Request(),
            parent=before.plan,
            generation=1 + before.generation_max,
            stays=stays,
        ),
        ended=ended,
    )


def _interrupted(before: RunningCluster) -> Interrupted:
    llm_of = {blob.id: blob.llm for blob in before.plan.blobs}
    held: dict[tuple[LlmId, PlaceId], set[BlobId]] = {}
    for node in before.nodes:
        for copy in node.held:
            held.setdefault((llm_of[copy.blob], copy.place), set()).add(copy.blob)
    return Interrupted(problem=before.problem, plan=before.plan, held=held)


def _running(
    before: RunningCluster, wanted: Problem, gone: AbstractSet[NodeId], may_go_on: Callable[[Pipeline], bool]
) -> tuple[tuple[Running, ...], tuple[Running, ...]]:
    """Tell pipelines that go on from those that end, in the order of the plan's pipelines."""
    node_of = {place.id: place.node for place in before.problem.cluster.places}
    places = {place.id for place in wanted.cluster.places}
    known = {llm.id for llm in wanted.llms}
    goes_on: list[Running] = []
    ended: list[Running] = []
    for each in before.open:
        pipeline = each.pipeline
        whole = all(stage.place in places and node_of[stage.place] not in gone for stage in pipeline.stages)
        (goes_on if whole and pipeline.llm in known and may_go_on(pipeline) else ended).append(each)
    return tuple(goes_on), tuple(ended)
