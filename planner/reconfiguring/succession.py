"""Which pipelines run on, which open, and which takes over the requests of each that closes.

A wanted pipeline that runs already, with the same stages and limits, is kept.  Of those that open or are kept, each
that closes goes to the one with which it shares most layers on the same devices, so that least KV crosses links; among
equals to the one that has most room left.
"""

from collections.abc import Sequence

import attrs

from planner.reconfiguring.settled import Layout
from specs.handing_over import shared_kv
from specs.llm import Llm
from specs.plan import Pipeline, PipelineId, Plan
from specs.problem import Problem, Running


@attrs.frozen(kw_only=True)
class Succession:
    """What becomes of each pipeline that runs, and what opens."""

    kept: tuple[Running, ...]
    opened: tuple[Pipeline, ...]
    successors: dict[PipelineId, Pipeline]  # of each that closes, in the order in which they run
    weights: dict[PipelineId, int]  # of all: those that close keep what they have

    @property
    def lasting(self) -> tuple[Pipeline, ...]:
        """The pipelines that are open at the end."""
        return (*(each.pipeline for each in self.kept), *self.opened)


def of_generation(pipeline: Pipeline, generation: int) -> Pipeline:
    """Give a pipeline a name that no other plan gives: ids never repeat in a cluster's life."""
    return attrs.evolve(pipeline, id=PipelineId(f"{pipeline.id}:g{generation}"))


def succession(problem: Problem, wanted: Layout, generation: int, parent: Plan | None = None) -> Succession:
    """Match what runs with what is wanted.  A pipeline whose LLM has none at the end is kept: nothing replaces it."""
    weights = {each.pipeline.id: 1 for each in problem.running}
    weights |= {
        row.pipeline: row.weight for row in (() if parent is None else parent.routing) if row.pipeline in weights
    }
    free = {_shape(each.pipeline): each for each in reversed(problem.running)}
    kept: dict[PipelineId, Running] = {}
    opened: list[Pipeline] = []
    for pipeline, weight in zip(wanted.pipelines, wanted.weights, strict=True):
        same = free.pop(_shape(pipeline), None)
        if same is None:
            opened.append(of_generation(pipeline, generation))
        else:
            kept[same.pipeline.id] = same
        weights[opened[-1].id if same is None else same.pipeline.id] = weight
    served = {pipeline.llm for pipeline in wanted.pipelines}
    for each in problem.running:
        if each.pipeline.llm not in served:
            kept[each.pipeline.id] = each
    closing = [each for each in problem.running if each.pipeline.id not in kept]
    lasting = (*(each.pipeline for each in kept.values()), *opened)
    return Succession(
        kept=tuple(each for each in problem.running if each.pipeline.id in kept),
        opened=tuple(opened),
        successors=_successors(problem, closing, lasting, {each.pipeline.id: each for each in kept.values()}),
        weights=weights,
    )


def _shape(pipeline: Pipeline) -> Pipeline:
    return attrs.evolve(pipeline, id=PipelineId("any"))


def _successors(
    problem: Problem, closing: Sequence[Running], lasting: Sequence[Pipeline], kept: dict[PipelineId, Running]
) -> dict[PipelineId, Pipeline]:
    """Assign in the order of what is shared; slots are used up, so that as many as can be are copied whole."""
    llms = {llm.id: llm for llm in problem.llms}
    free = {each.id: each.slots - (kept[each.id].live_requests if each.id in kept else 0) for each in lasting}
    found: dict[PipelineId, Pipeline] = {}
    waiting = list(closing)
    while waiting:
        pairs = [
            (
                free[new.id] >= old.pipeline.slots,
                stays_bytes(llms[new.llm], old.pipeline, new),
                free[new.id],
                -number,
                -index,
            )
            for number, old in enumerate(waiting)
            for index, new in enumerate(lasting)
            if new.llm == old.pipeline.llm
        ]
        *_, number, index = max(pairs)
        old, new = waiting.pop(-number), lasting[-index]
        free[new.id] -= old.pipeline.slots
        found[old.pipeline.id] = new
    return {each.pipeline.id: found[each.pipeline.id] for each in closing}


def stays_bytes(llm: Llm, old: Pipeline, new: Pipeline) -> int:
    """KV bytes per token of the layers that both compute on the same device."""
    return sum(
        size
        for (source, destination), size in shared_kv(llm, old, new).items()
        if old.stages[source].place == new.stages[destination].place
    )
