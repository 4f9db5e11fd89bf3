"""One problem and one plan, in the forms that acting and judging need."""

import attrs

from specs.cluster import Link
from specs.plan import Activate, Pipeline, Plan, Release, Resize, Switch, Transfer
from specs.problem import Problem

SECOND = 10**9  # in nanoseconds


class Show:
    """What there is, by its name."""

    def __init__(self, problem: Problem, plan: Plan) -> None:
        self.problem, self.plan = problem, plan
        self.llms = {llm.id: llm for llm in problem.llms}
        self.links: dict[str, Link] = {link.id: link for link in problem.cluster.links}
        self.blobs = {blob.id: blob for blob in plan.blobs}
        self.running = [each.pipeline.id for each in problem.running]
        self.pipelines = {each.id: each for each in (*(row.pipeline for row in problem.running), *plan.pipelines)}
        self.transfers = [step for step in plan.steps if isinstance(step, Transfer)]
        self.activates = [step for step in plan.steps if isinstance(step, Activate)]
        self.switches = [step for step in plan.steps if isinstance(step, Switch)]
        self.releases = [step for step in plan.steps if isinstance(step, Release)]
        self.resizes = [step for step in plan.steps if isinstance(step, Resize)]
        self.first_slots = {row.pipeline.id: row.slots or row.pipeline.slots for row in problem.running}
        self.first_slots |= {
            step.pipeline: step.slots or self.pipelines[step.pipeline].slots for step in self.activates
        }
        self.initial = {
            (blob.id, held.place)
            for held in problem.holdings
            for blob in plan.blobs
            if blob.llm == held.llm
            and blob.first_tensor >= held.first_tensor
            and (held.end_tensor is None or blob.end_tensor <= held.end_tensor)
        }
        self.stages = [
            (pipeline, stage, self.needs(attrs.evolve(pipeline, stages=(stage,))))
            for pipeline in self.pipelines.values()
            for stage in pipeline.stages
        ]

    def path(self, step: Transfer) -> list[Link]:
        return [self.links[link] for link in self.plan.routes[step.route].links]

    def ends(self, step: Transfer) -> tuple[str, str]:
        return self.path(step)[0].source, self.path(step)[-1].destination

    def needs(self, pipeline: Pipeline) -> set[tuple[str, str]]:
        llm = self.llms[pipeline.llm]
        return {
            (blob.id, stage.place)
            for stage in pipeline.stages
            for unit in llm.units[stage.first_unit : stage.end_unit]
            for tensor in unit.tensors
            for blob in self.plan.blobs
            if blob.llm == llm.id and blob.first_tensor <= tensor < blob.end_tensor
        }
