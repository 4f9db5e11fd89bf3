"""What is to be at the end, decided as if the cluster were at rest: which pipelines serve, and what stands by.

Memories are sized for that end.  Copies in devices that nothing wants there are left out, for they go; whether there is
room on the way is a question of its own (`waves`).
"""

from collections.abc import Iterable, Iterator

import attrs

from planner.decided import Decided, Request, decide
from planner.search import Search
from planner.stages import Sizes
from specs.cluster import PlaceId, PlaceKind
from specs.llm import LlmId
from specs.plan import Pipeline
from specs.problem import Holding, Problem
from specs.timing import unit_bytes
from specs.units import Bytes

CopyAt = tuple[LlmId, PlaceId]


@attrs.frozen(kw_only=True)
class Layout:
    """Pipelines that are to be open at the end, with their shares of the requests; and what places keep."""

    decided: Decided
    pipelines: tuple[Pipeline, ...]
    weights: tuple[int, ...]
    whole: tuple[CopyAt, ...]  # LLMs that places are to hold from first to last: targets and standbys
    stays: tuple[CopyAt, ...]  # copies that are not given up, whether they are whole or not


def layout(problem: Problem, request: Request, search: Search) -> Layout:
    """Decide on what is to be at the end.  Raises NoPlan and CannotCut."""
    decided = decide(at_rest(problem, request.stays), request, search)
    pipelines = [pipeline for each in decided.services for pipeline in each.pipelines]
    weights = [weight for each in decided.services for weight in each.weights]
    for pipeline in _alone(decided, request.stays):
        pipelines.append(pipeline)
        weights.append(decided.kept.weight(pipeline))
    targets = [(target.llm, target.place) for target in problem.targets]
    whole = tuple(dict.fromkeys((*targets, *decided.standing.ways)))
    return Layout(
        decided=decided,
        pipelines=tuple(pipelines),
        weights=tuple(weights),
        whole=whole,
        stays=tuple(dict.fromkeys((*whole, *request.stays))),
    )


def beside(problem: Problem, closing: Iterable[Pipeline], *, weights: bool) -> Problem:
    """The problem without the memory that pipelines take, with their weights or without.

    What opens on the same devices has room beside them, if it computes with other weights or with the same.
    """
    llms = {llm.id: llm for llm in problem.llms}
    taken: dict[PlaceId, int] = {}
    for pipeline in closing:
        for stage in pipeline.stages:
            size = unit_bytes(llms[pipeline.llm], stage.first_unit, stage.end_unit) if weights else 0
            taken[stage.place] = taken.get(stage.place, 0) + stage.kv_bytes + stage.workspace_bytes + size
    places = tuple(
        attrs.evolve(place, memory_bytes=Bytes(max(1, place.memory_bytes - taken.get(place.id, 0))))
        if place.id in taken
        else place
        for place in problem.cluster.places
    )
    return attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, places=places))


def at_rest(problem: Problem, stays: Iterable[CopyAt]) -> Problem:
    """Leave out copies in devices that nothing wants there, but the last ones of what is wanted."""
    devices = {place.id for place in problem.cluster.places if place.kind is PlaceKind.DEVICE}
    wanted = set(stays) | {(target.llm, target.place) for target in problem.targets}
    wanted |= {(each.llm, place) for each in problem.services for place in each.places}
    wanted |= {(each.llm, place) for each in problem.standbys for place in each.places}
    remains = [each for each in problem.holdings if each.place not in devices or (each.llm, each.place) in wanted]
    for llm in problem.llms:
        count = len(llm.tensors)
        covered = {tensor for each in remains if each.llm == llm.id for tensor in _tensors(each, count)}
        for each in problem.holdings:
            if each.llm == llm.id and not covered.issuperset(_tensors(each, count)):
                covered.update(_tensors(each, count))
                remains.append(each)
    return attrs.evolve(problem, holdings=tuple(each for each in problem.holdings if each in remains))


def _tensors(holding: Holding, count: int) -> range:
    return range(count)[holding.first_tensor : holding.end_tensor]


def _alone(decided: Decided, stays: Iterable[CopyAt]) -> Iterator[Pipeline]:
    """Pipelines of one device: at targets, and where a copy stays that serves beside what else is there."""
    problem = decided.kept.problem
    served = {each.service.llm for each in decided.services}
    targets = [(target.llm, target.place) for target in problem.targets]
    for llm, place in dict.fromkeys((*targets, *stays)):
        room = decided.room.get(place)
        if llm not in served and room is not None and llm in room.serving:
            yield Sizes.of(problem, problem.llm(llm)).local(place)
