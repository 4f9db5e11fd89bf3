"""Closed forms for pipelines."""

import attrs

from specs.certificates.formula import ClosedForm, Inapplicable
from specs.cluster import PlaceKind
from specs.plan import Claim, Measure, Pipeline, Plan
from specs.problem import Problem
from specs.profile import DeviceRate
from specs.timing import device_rate, stage_ns
from specs.units import Tokens, ceil_div


def _pipeline_bottleneck(problem: Problem, plan: Plan, subject: str) -> int | Inapplicable:
    """Bound the slowest stage of any pipeline with as many stages and slots, on any devices of the cluster.

    Let an ideal device have the highest arithmetic rate, the highest memory rate and the least overhead of all.  No
    device computes a run of units faster (`specs.timing.stage_ns`).  The largest of

    - one unit on the ideal device: some stage computes it, and a stage takes no less than any of its units;
    - all units on the ideal device over the number of stages: arithmetic, traffic (a tensor that two units share is
      read at least once) and overhead of the stages sum to at least those of the whole, and the slowest stage takes at
      least the mean, rounded up because stages take whole nanoseconds.
    """
    pipeline = _pipeline_of(problem, plan, subject)
    llm = problem.llm(pipeline.llm)
    if not pipeline.stages:
        return Inapplicable("the pipeline has no stages")
    ideal = _ideal_device(problem, llm.dtype)
    workload = problem.workload(llm.id)
    context = workload.prompt_tokens_mean + ceil_div(workload.output_tokens_mean, 2)
    tokens, read = Tokens(pipeline.slots), Tokens(pipeline.slots * context)

    def time_ns(first_unit: int, end_unit: int) -> int:
        stage = attrs.evolve(pipeline.stages[0], first_unit=first_unit, end_unit=end_unit)
        return stage_ns(ideal, llm, stage, tokens, read)

    largest = max(time_ns(unit, unit + 1) for unit in range(len(llm.units)))
    return max(largest, ceil_div(time_ns(0, len(llm.units)), len(pipeline.stages)))


def _ideal_device(problem: Problem, dtype: str) -> DeviceRate:
    one_of_each = {place.device: place for place in problem.cluster.places if place.kind is PlaceKind.DEVICE}
    rates = [device_rate(problem, place, dtype) for place in one_of_each.values()]
    return attrs.evolve(
        rates[0],
        flops_per_second=max(rate.flops_per_second for rate in rates),
        memory_bytes_per_second=max(rate.memory_bytes_per_second for rate in rates),
        overhead_ns_per_unit=min(rate.overhead_ns_per_unit for rate in rates),
    )


def _pipeline_of(problem: Problem, plan: Plan, subject: str) -> Pipeline:
    """Find the pipeline that a claim is about."""
    pipelines = (*(each.pipeline for each in problem.running), *plan.pipelines)
    return next(pipeline for pipeline in pipelines if pipeline.id == subject)


PIPELINES = (
    ClosedForm(name="pipeline-bottleneck", claim=Claim.BOTTLENECK, measure=Measure.NANOS, bound=_pipeline_bottleneck),
)
