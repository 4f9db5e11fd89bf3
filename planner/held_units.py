"""What devices hold of a service's LLM already: what runs, what a stage adds, whether that fits."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import attrs

from planner.remaining import runs_of
from specs.blobs import TENSOR_ALIGNMENT_BYTES, Blob, BlobId, blobs_of_units
from specs.cluster import PlaceId
from specs.llm import Llm, LlmId
from specs.plan import Pipeline, Plan, Stage, Switch
from specs.problem import Holding, Problem
from specs.services import held_tensors
from specs.units import align_up
from specs.wishes import Service

CopyAt = tuple[LlmId, PlaceId]


def running(problem: Problem, parent: Plan | None, service: Service) -> tuple[Pipeline, ...]:
    """Name the pipelines of a service that run at the start, or else that stayed open under the plan before."""
    if problem.running or parent is None:
        return tuple(each.pipeline for each in problem.running if each.pipeline.llm == service.llm)
    closed = {step.old for step in parent.steps if isinstance(step, Switch)}
    return tuple(each for each in parent.pipelines if each.llm == service.llm and each.id not in closed)


def has_room(problem: Problem, pipelines: Sequence[Pipeline], stays: Sequence[CopyAt] | None = None) -> bool:
    """Whether each device has room for its stage beside all that it holds at the start.

    Nothing is given up; with `stays`, what a stage's device holds of its LLM and the stage does not compute with is,
    unless it stays.
    """
    sizes = {place.id: place.memory_bytes for place in problem.cluster.places}
    gone = {(each.llm, stage.place) for each in pipelines for stage in each.stages}
    gone = set() if stays is None else gone.difference(stays)
    held: dict[PlaceId, int] = {}
    for llm in problem.llms:
        for place in dict.fromkeys(each.place for each in problem.holdings if each.llm == llm.id):
            if (llm.id, place) not in gone:
                held[place] = held.get(place, 0) + _packed_bytes(llm, held_tensors(problem, llm, place))
    for each in pipelines:
        llm = problem.llm(each.llm)
        for stage in each.stages:
            comes = _stage_bytes(llm, stage) if (llm.id, stage.place) in gone else new_bytes(problem, llm, stage)
            held[stage.place] = held.get(stage.place, 0) + comes
    return all(size <= sizes[place] for place, size in held.items())


def without_idle(
    problem: Problem, blobs: Mapping[LlmId, tuple[Blob, ...]], pipelines: Sequence[Pipeline], stays: Sequence[CopyAt]
) -> Problem:
    """Leave out what stages' devices hold of their LLM and no stage there computes with, unless it stays.

    A blob that nobody would hold then is not left out anywhere: it has to come from there.
    """
    used: dict[CopyAt, set[BlobId]] = {}
    for each in pipelines:
        for stage in each.stages:
            mine = blobs_of_units(problem.llm(each.llm), blobs[each.llm], stage.first_unit, stage.end_unit)
            used.setdefault((each.llm, stage.place), set()).update(mine)
    kept: list[tuple[Holding, list[Blob]]] = []  # with the blobs that are left out
    for holding in problem.holdings:
        copy = holding.llm, holding.place
        gives_up = copy in used and copy not in stays
        here = [blob for blob in blobs[holding.llm] if gives_up and holding.has(blob) and blob.id not in used[copy]]
        kept.append((holding, here))
    remaining = {
        (holding.llm, blob.id)
        for holding, gone in kept
        for blob in blobs[holding.llm]
        if holding.has(blob) and blob not in gone
    }
    holdings: list[Holding] = []
    for holding, gone in kept:
        idle = [blob for blob in gone if (holding.llm, blob.id) in remaining]
        if idle:
            here = [blob for blob in blobs[holding.llm] if holding.has(blob) and blob not in idle]
            holdings += runs_of(problem.llm(holding.llm), holding.place, here)
        else:
            holdings.append(holding)
    return attrs.evolve(problem, holdings=tuple(holdings))


def new_bytes(problem: Problem, llm: Llm, stage: Stage) -> int:
    """What a stage takes beyond what its device holds of the LLM."""
    held = held_tensors(problem, llm, stage.place) & _tensors(llm, stage)
    return _stage_bytes(llm, stage) - _packed_bytes(llm, held)


def _stage_bytes(llm: Llm, stage: Stage) -> int:
    return _packed_bytes(llm, _tensors(llm, stage)) + stage.kv_bytes + stage.workspace_bytes


def _tensors(llm: Llm, stage: Stage) -> frozenset[int]:
    return frozenset(tensor for unit in llm.units[stage.first_unit : stage.end_unit] for tensor in unit.tensors)


def _packed_bytes(llm: Llm, tensors: AbstractSet[int]) -> int:
    """Bytes of tensors with the padding that they have in blobs."""
    return sum(align_up(llm.tensors[tensor].bytes, TENSOR_ALIGNMENT_BYTES) for tensor in tensors)


def stage_borders(llm: Llm, pipelines: Sequence[Pipeline]) -> list[int]:
    """List the tensors at which blobs must begin or end, so that each device gets only what its stages compute with."""
    users: list[set[tuple[int, int]]] = [set() for _ in llm.tensors]
    for pipeline in pipelines:
        for stage in pipeline.stages:
            run = (stage.first_unit, stage.end_unit)
            for unit in llm.units[stage.first_unit : stage.end_unit]:
                for tensor in unit.tensors:
                    users[tensor].add(run)
    return [index for index in range(1, len(users)) if users[index] != users[index - 1]]
