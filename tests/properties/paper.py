"""What can be seen of a plan without acting it out."""

from collections.abc import Iterable, Iterator, Mapping

from specs import codec
from specs.cluster import PlaceKind
from specs.llm import Llm
from specs.plan import Activate, Continuity, Pipeline, Plan, Resize, Route, Switch
from specs.problem import Problem

_END_MAX = 10_000  # beyond any LLM of these tests


def paper_faults(problem: Problem, plan: Plan) -> Iterator[str]:
    """Say what is wrong with names, partitions, routes, stages, and slots."""
    pipelines = [*(each.pipeline for each in problem.running), *plan.pipelines]
    llms = {llm.id: llm for llm in problem.llms}
    yield from _names(problem, plan, pipelines)
    ends = [blob.end_tensor for blob in plan.blobs]
    ends += [stage.end_unit for pipeline in pipelines for stage in pipeline.stages]
    if max(ends, default=0) > _END_MAX:
        yield "runs longer than any LLM of these tests"
        return
    yield from _blobs(problem, plan, pipelines, llms)
    for route in plan.routes:
        yield from _route(problem, route)
    for pipeline in pipelines:
        yield from _pipeline(problem, plan, pipeline, llms[pipeline.llm])
    yield from _steps(plan, {pipeline.id: pipeline.slots for pipeline in pipelines})
    yield from _idle_resizes(problem, plan)
    if {row.pipeline for row in plan.routing} - {pipeline.id for pipeline in pipelines}:
        yield "weights of nothing"


def _names(problem: Problem, plan: Plan, pipelines: Iterable[Pipeline]) -> Iterator[str]:
    if plan.format != 1 or plan.problem != codec.digest(problem):
        yield "another format or problem"
    if plan.parent is not None and (len(plan.parent) != 64 or set(plan.parent) - set("0123456789abcdef")):
        yield "a parent that is no digest"
    for ids in ([blob.id for blob in plan.blobs], [pipeline.id for pipeline in pipelines]):
        if len(ids) != len(set(ids)):
            yield "a name used twice"
    if any(plan.steps[index].id >= plan.steps[index + 1].id for index in range(len(plan.steps) - 1)):
        yield "ids out of order"


def _blobs(problem: Problem, plan: Plan, pipelines: Iterable[Pipeline], llms: Mapping[str, Llm]) -> Iterator[str]:
    for blob in plan.blobs:
        end = 0
        for tensor in llms[blob.llm].tensors[blob.first_tensor : blob.end_tensor]:
            while end % 64:
                end += 1
            end += tensor.bytes
        if blob.bytes != end:
            yield f"{blob.id} has another size"
    touched = {wish.llm for wish in (*problem.holdings, *problem.targets, *plan.blobs, *pipelines)}
    for name in touched:
        covered = [
            index for blob in plan.blobs if blob.llm == name for index in range(blob.first_tensor, blob.end_tensor)
        ]
        empty = any(blob.llm == name and blob.first_tensor >= blob.end_tensor for blob in plan.blobs)
        if empty or sorted(covered) != list(range(len(llms[name].tensors))):
            yield f"the blobs of {name} are not a partition of its tensors"


def _route(problem: Problem, route: Route) -> Iterator[str]:
    places = {place.id: place for place in problem.cluster.places}
    links = {link.id: link for link in problem.cluster.links}
    walk = [links[route.links[0]].source]
    for link in route.links:
        if links[link].source != walk[-1]:
            yield "a broken route"
        walk.append(links[link].destination)
    is_switch = [places[place].kind is PlaceKind.SWITCH for place in walk]
    is_path = not is_switch[0] and not is_switch[-1] and all(is_switch[1:-1])
    if not is_path or walk[0] == walk[-1] or len(set(route.links)) < len(route.links):
        yield "a route that is no path from one memory over switches to another"


def _pipeline(problem: Problem, plan: Plan, pipeline: Pipeline, llm: Llm) -> Iterator[str]:
    places = {place.id: place for place in problem.cluster.places}
    if pipeline.request_tokens_max > llm.context_tokens:
        yield "requests longer than the context"
    if pipeline.request_tokens_max < problem.workload(pipeline.llm).request_tokens_max:
        yield "requests that the workload has and the pipeline refuses"
    units = [unit for stage in pipeline.stages for unit in range(stage.first_unit, stage.end_unit)]
    if units != list(range(len(llm.units))) or any(each.first_unit >= each.end_unit for each in pipeline.stages):
        yield "units not computed once and in order"
    yield from _reserve_faults(llm, pipeline)
    if any(places[stage.place].kind is not PlaceKind.DEVICE for stage in pipeline.stages):
        yield "a stage on something that is no device"
    if [row.pipeline for row in plan.routing].count(pipeline.id) != 1:
        yield f"{pipeline.id} has not one routing weight"
    times = [step.pipeline for step in plan.steps if isinstance(step, Activate)].count(pipeline.id)
    if times != (1 if pipeline in plan.pipelines else 0):
        yield f"{pipeline.id} is activated {times} times"


def _steps(plan: Plan, most: Mapping[str, int]) -> Iterator[str]:
    for step in plan.steps:
        if isinstance(step, Activate | Resize) and (step.slots or 1) > most[step.pipeline]:
            yield f"step {step.id} gives {step.pipeline} more slots than it has room for"
        if isinstance(step, Switch) and (step.continuity is Continuity.COPY) == (step.hand_over is None):
            yield f"switch {step.id} copies without a hand-over, or hands over without copying"


def _idle_resizes(problem: Problem, plan: Plan) -> Iterator[str]:
    slots = {row.pipeline.id: row.slots or row.pipeline.slots for row in problem.running}
    slots |= {each.id: each.slots for each in plan.pipelines}
    for step in plan.steps:
        if isinstance(step, Resize) and slots[step.pipeline] == step.slots:
            yield f"resize {step.id} changes nothing"
        if isinstance(step, Activate | Resize):
            slots[step.pipeline] = step.slots or slots[step.pipeline]


def _reserve_faults(llm: Llm, pipeline: Pipeline) -> Iterator[str]:
    for stage in pipeline.stages:
        tokens = pipeline.slots * pipeline.request_tokens_max
        kv = sum(unit.kv_bytes_per_token * tokens for unit in llm.units[stage.first_unit : stage.end_unit])
        workspace = 16 * llm.hidden_bytes_per_token * pipeline.iteration_tokens_max
        if stage.end_unit == len(llm.units):
            workspace += 4 * llm.vocabulary_size * pipeline.slots
        if stage.kv_bytes < kv or stage.workspace_bytes < workspace:
            yield f"a stage of {pipeline.id} reserves too little"
