"""What devices hold of a service's LLM already: what runs, what a stage adds, whether that fits."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from specs.blobs import TENSOR_ALIGNMENT_BYTES
from specs.cluster import PlaceId
from specs.llm import Llm
from specs.plan import Pipeline, Plan, Stage, Switch
from specs.problem import Problem
from specs.services import held_tensors
from specs.units import align_up
from specs.wishes import Service


def running(problem: Problem, parent: Plan | None, service: Service) -> tuple[Pipeline, ...]:
    """Name the pipelines of a service that run at the start, or else that stayed open under the plan before."""
    if problem.running or parent is None:
        return tuple(each.pipeline for each in problem.running if each.pipeline.llm == service.llm)
    closed = {step.old for step in parent.steps if isinstance(step, Switch)}
    return tuple(each for each in parent.pipelines if each.llm == service.llm and each.id not in closed)


def has_room(problem: Problem, pipelines: Sequence[Pipeline]) -> bool:
    """Whether each device has room for its stage beside all that it holds at the start: nothing is given up."""
    sizes = {place.id: place.memory_bytes for place in problem.cluster.places}
    held: dict[PlaceId, int] = {}
    for llm in problem.llms:
        for place in dict.fromkeys(each.place for each in problem.holdings if each.llm == llm.id):
            held[place] = held.get(place, 0) + _packed_bytes(llm, held_tensors(problem, llm, place))
    return all(
        held.get(stage.place, 0) + new_bytes(problem, problem.llm(each.llm), stage) <= sizes[stage.place]
        for each in pipelines
        for stage in each.stages
    )


def new_bytes(problem: Problem, llm: Llm, stage: Stage) -> int:
    """What a stage takes beyond what its device holds of the LLM."""
    tensors = {tensor for unit in llm.units[stage.first_unit : stage.end_unit] for tensor in unit.tensors}
    return (
        _packed_bytes(llm, tensors - held_tensors(problem, llm, stage.place)) + stage.kv_bytes + stage.workspace_bytes
    )


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
