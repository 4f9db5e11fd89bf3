"""With how many slots pipelines go on while more rests in memories than fits beside all their KV.

No fewer than a pipeline has live requests, where that fits: then nobody waits.  Else as few requests wait as can be.
Among such, pipelines that neither open nor close keep as many slots as can be; then KV is copied into as many pipelines
as can be, which takes as many slots as are copied there, and as many as there are requests; then the pipeline that has
least of its slots has most of them; then there are most slots in all.  An integer program over the memories, solved
whole for one aim after another.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

import attrs

from planner.reconfiguring.waves import Laid, Layer, Wave
from planner.search import Search
from specs.blobs import BlobId
from specs.cluster import PlaceId
from specs.llm import Llm
from specs.plan import Pipeline, PipelineId
from specs.timing import kv_bytes

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

_LEVELS = 100  # in so many parts of its slots a pipeline's share is told from another's


@attrs.frozen(kw_only=True)
class Together:
    """Pipelines that are open at one time, and what memories have for their KV."""

    pipelines: tuple[Pipeline, ...]
    live: Mapping[PipelineId, int]  # requests of those that are open; absent: none
    successors: Mapping[PipelineId, PipelineId]  # of those that close
    others: AbstractSet[PipelineId]  # that neither open nor close
    room: Mapping[PlaceId, int]  # bytes for the KV of all stages; absent: enough


def together(layer: Layer, laid: Laid, wave: Wave) -> Together:
    """Ask for a wave that comes next: of memories that are too small beside all slots, and of pipelines there."""
    llms = {llm.id: llm for llm in layer.problem.llms}
    pipelines = (*laid.open_now.values(), *wave.opens)
    room = _room(layer, laid.held, pipelines, wave.opens)
    full = {place: sum(each.slots * slot_bytes(llms[each.llm], each, place) for each in pipelines) for place in room}
    short = {place: max(0, left) for place, left in room.items() if full[place] > left}
    return Together(
        pipelines=tuple(each for each in pipelines if any(stage.place in short for stage in each.stages)),
        live=laid.live,
        successors={old.pipeline.id: new.id for old, new in wave.closes},
        others=laid.open_now.keys() - {old.pipeline.id for old, _ in wave.closes},
        room=short,
    )


def _room(
    layer: Layer,
    held: Mapping[PlaceId, Mapping[BlobId, None]],
    pipelines: Sequence[Pipeline],
    opens: Sequence[Pipeline],
) -> dict[PlaceId, int]:
    """Bytes left for KV where pipelines have stages, beside what is held, what is to come, and workspaces."""
    sizes = {blob.id: blob.bytes for blob in layer.decided.flat}
    there = {place: dict(blobs) for place, blobs in held.items()}
    for blob, place in (pair for pipeline in opens for pair in layer.needs(pipeline)):
        there.setdefault(place, {})[blob] = None
    memory = {place.id: place.memory_bytes for place in layer.problem.cluster.places}
    places = dict.fromkeys(stage.place for pipeline in pipelines for stage in pipeline.stages)
    left = {place: memory[place] - sum(sizes[blob] for blob in there.get(place, {})) for place in places}
    for stage in (stage for pipeline in pipelines for stage in pipeline.stages):
        left[stage.place] -= stage.workspace_bytes
    return left


def slot_bytes(llm: Llm, pipeline: Pipeline, place: PlaceId) -> int:
    """KV of one request in the stages of a pipeline that are at this place."""
    return sum(
        kv_bytes(llm, stage.first_unit, stage.end_unit, pipeline.request_tokens_max)
        for stage in pipeline.stages
        if stage.place == place
    )


def slots(together: Together, llms: Sequence[Llm], search: Search) -> dict[PipelineId, int] | None:
    """Choose how many slots each has; None where not even one of each fits, or the search is over."""
    if not together.pipelines:
        return {}
    from ortools.sat.python import cp_model  # half a second: only where something does not fit

    model = cp_model.CpModel()
    chosen = {each.id: model.new_int_var(1, each.slots, each.id) for each in together.pipelines}
    of_llm = {llm.id: llm for llm in llms}
    for place, room in together.room.items():
        sizes = {each.id: slot_bytes(of_llm[each.llm], each, place) for each in together.pipelines}
        model.add(sum(size * chosen[name] for name, size in sizes.items()) <= room)
    found: dict[PipelineId, int] | None = None
    for aim in _aims(model, together, chosen):
        model.minimize(aim)
        solver, status = search.cp_sat(model)
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            break
        found = {name: solver.value(each) for name, each in chosen.items()}
        model.add(aim <= solver.value(aim))
    return found


def _aims(
    model: "cp_model.CpModel", together: Together, chosen: Mapping[PipelineId, "cp_model.IntVar"]
) -> "list[cp_model.LinearExprT]":
    """What is to be least, first things first."""
    waiting, others, apart = [], [], []
    least = model.new_int_var(0, _LEVELS, "least")
    for each in together.pipelines:
        model.add(chosen[each.id] * _LEVELS >= least * each.slots)
        live = min(together.live.get(each.id, 0), each.slots)
        wait = model.new_int_var(0, live, "")
        model.add(wait >= live - chosen[each.id])
        waiting.append(wait)
        if each.id in together.others:
            others.append(each.slots - chosen[each.id])
        olds = [old for old, new in together.successors.items() if new == each.id and old in chosen]
        if olds:
            fits = model.new_bool_var("")
            live = sum(together.live.get(name, 0) for name in (each.id, *olds))
            model.add(sum(chosen[old] for old in olds) <= chosen[each.id]).only_enforce_if(fits)
            model.add(chosen[each.id] >= live).only_enforce_if(fits)
            apart.append(1 - fits)
    aims = [sum(waiting), sum(others), sum(apart), -least, -sum(chosen.values())]
    return [aim for aim in aims if not isinstance(aim, int)]  # of what there is any
