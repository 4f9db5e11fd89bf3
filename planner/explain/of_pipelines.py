"""The pipelines that stay: their slowest stages, and layouts that are one border away."""

from collections.abc import Iterator

import attrs

from planner.explain.explained import Explained, Figure, Worth, say
from planner.explain.loosened import bound_of
from specs.invariants.facts import Facts
from specs.plan import Certificate, Claim, Measure, Method, Pipeline, Switch
from specs.timing import decode_ns

PIPELINES_MAX = 8  # are explained, those with the largest gaps


def pipelines(facts: Facts) -> Iterator[Explained]:
    """Explain the slowest stage of each pipeline of several stages that opens and is open at the end."""
    past = {*facts.running, *(step.old for step in facts.plan.steps if isinstance(step, Switch))}
    lasting = [each for each in facts.plan.certificates if each.claim is Claim.BOTTLENECK and each.subject not in past]
    lasting.sort(key=lambda each: (each.bound - each.value, each.subject))
    for index, each in enumerate(lasting[:PIPELINES_MAX]):
        more = len(lasting) - PIPELINES_MAX
        last = index + 1 == PIPELINES_MAX and more > 0
        yield _explained(facts, each, f"{more:,} more pipelines, with smaller gaps" if last else None)


def _explained(facts: Facts, claim: Certificate, left_out: str | None) -> Explained:
    pipeline = next(each for each in facts.plan.pipelines if each.id == claim.subject)
    times = decode_ns(facts.problem, pipeline)
    slowest = max(range(len(times)), key=lambda index: times[index])
    stage = pipeline.stages[slowest]
    others = max((time for index, time in enumerate(times) if index != slowest), default=0)
    unbound = claim.method is Method.NONE
    return Explained(
        decision="slowest stage of pipeline",
        subject=claim.subject,
        unit=claim.measure,
        value=claim.value,
        bound=None if unbound else claim.bound,
        method=claim.method if unbound else f"{claim.method}: {claim.formula}",
        binding=f"stage {slowest} on {stage.place}, units {stage.first_unit} to {stage.end_unit - 1}, takes "
        f"{say(times[slowest], Measure.NANOS)} per decoded token of {pipeline.slots} slots; the next "
        f"{say(others, Measure.NANOS)}.",
        runner_up=_runner_up(facts, pipeline),
        worth=() if unbound else tuple(_worth(facts, claim, pipeline)),
        left_out=left_out,
    )


def _runner_up(facts: Facts, pipeline: Pipeline) -> str | None:
    """Move each border by one unit, either way, and give the best: by time alone, memory is not looked at."""
    found = []
    for index in range(1, len(pipeline.stages)):
        for by in (-1, 1):
            stages = list(pipeline.stages)
            border = stages[index].first_unit + by
            stages[index - 1] = attrs.evolve(stages[index - 1], end_unit=border)
            stages[index] = attrs.evolve(stages[index], first_unit=border)
            if stages[index - 1].first_unit < border < stages[index].end_unit:
                times = decode_ns(facts.problem, attrs.evolve(pipeline, stages=tuple(stages)))
                found.append((max(times), index, border))
    if not found:
        return None
    time, index, border = min(found)
    return f"stage {index} from unit {border} on: {say(time, Measure.NANOS)}, by time alone"


def _worth(facts: Facts, claim: Certificate, pipeline: Pipeline) -> Iterator[Worth]:
    """Derive the bound for one stage more; and, by prediction, the slowest stage with one slot more."""
    longer = attrs.evolve(pipeline, stages=(*pipeline.stages, pipeline.stages[-1]))
    plan = attrs.evolve(
        facts.plan, pipelines=tuple(longer if each.id == longer.id else each for each in facts.plan.pipelines)
    )
    bound = bound_of(facts.problem, plan, claim)
    if bound is not None:
        yield Worth(
            resource="stages", more="1 more", figure=Figure.BOUND, before=claim.bound, after=bound, unit=claim.measure
        )
    wider = max(decode_ns(facts.problem, attrs.evolve(pipeline, slots=pipeline.slots + 1)))
    yield Worth(
        resource="slots",
        more="1 more",
        figure=Figure.PREDICTION,
        before=claim.value,
        after=wider,
        unit=claim.measure,
    )
