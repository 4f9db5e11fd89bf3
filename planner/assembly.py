"""From decisions to a plan: steps in the order of time, routing weights, provenance."""

from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version

import attrs

from planner.formation import Opening
from planner.policies import speculations
from planner.promises import Kept
from planner.search import Search
from planner.services import Served
from planner.standing_by import StandingBy
from planner.transfers import Schedule
from specs import codec
from specs.blobs import Blob
from specs.plan import (
    FORMAT,
    Activate,
    Aim,
    Continuity,
    PipelineId,
    Plan,
    Provenance,
    Release,
    Resize,
    RoutingWeight,
    Step,
    StepId,
    Switch,
    Transfer,
)
from specs.problem import Problem
from specs.units import NANOS_PER_SECOND, Nanos


def assemble(
    problem: Problem,
    blobs: Sequence[Blob],
    timed: Schedule,
    openings: Sequence[Opening],
    routing: Sequence[RoutingWeight],
    standing: StandingBy,
    made: Provenance,
) -> Plan:
    """Make the first plan of a problem, without certificates."""
    releases = [
        Release(id=StepId(0), blob=blob.id, place=place, at_ns=timed.pause_ns)
        for llm, place in standing.given_up
        for blob in blobs
        if blob.llm == llm
    ]
    routes = tuple(dict.fromkeys((*timed.routes, *(way for way in standing.ways.values() if way is not None))))
    return Plan(
        format=FORMAT,
        problem=codec.digest(problem),
        parent=None,
        generation=1,
        provenance=made,
        blobs=tuple(blobs),
        routes=routes,
        pipelines=tuple(opening.pipeline for opening in openings),
        steps=in_order(_steps(timed.transfers, openings, releases)),
        routing=tuple(routing),
        residents=standing.residents(routes),
        speculations=speculations(problem),
        certificates=(),
    )


def follow(plan: Plan, parent: Plan | None, generation: int | None = None) -> Plan:
    """Number a plan after the one that it follows, if any; `generation` absent: it is the next.

    Its pipelines get names that no plan before has given: what is said of one that has gone is never said of another.
    """
    if generation is None:
        generation = 1 if parent is None else parent.generation + 1

    def name(pipeline: PipelineId) -> PipelineId:
        return PipelineId(f"{pipeline}:g{generation}")

    def renamed(step: Step) -> Step:
        if isinstance(step, Activate):
            return attrs.evolve(step, pipeline=name(step.pipeline))
        if isinstance(step, Switch):
            return attrs.evolve(step, old=name(step.old), new=name(step.new))
        return step

    return attrs.evolve(
        plan,
        parent=None if parent is None else codec.digest(parent),
        generation=generation,
        pipelines=tuple(attrs.evolve(each, id=name(each.id)) for each in plan.pipelines),
        steps=tuple(map(renamed, plan.steps)),
        routing=tuple(attrs.evolve(each, pipeline=name(each.pipeline)) for each in plan.routing),
    )


def provenance(search: Search, aim: Aim) -> Provenance:
    """Say who made a plan by this search, what for, and within which limits."""
    return Provenance(
        planner=f"holdfast/{version('holdfast')}",
        solvers=search.solvers,
        seed=search.seed,
        steps_max=search.steps_max,
        within_ns=None if search.within_s is None else Nanos(round(search.within_s * NANOS_PER_SECOND)),
        aim=aim,
    )


def weigh(kept: Kept, openings: Sequence[Opening], services: Sequence[Served]) -> tuple[RoutingWeight, ...]:
    """Weigh each pipeline by its speed; those that are too slow for their promise get next to no requests."""
    output = {
        pipeline.id: weight for each in services for pipeline, weight in zip(each.pipelines, each.weights, strict=True)
    }
    return tuple(
        RoutingWeight(
            pipeline=opening.pipeline.id, weight=output.get(opening.pipeline.id) or kept.weight(opening.pipeline)
        )
        for opening in openings
    )


def _steps(transfers: Sequence[Transfer], openings: Sequence[Opening], releases: Sequence[Release]) -> Iterator[Step]:
    yield from transfers
    yield from releases
    for opening in openings:
        yield Activate(id=StepId(0), pipeline=opening.pipeline.id, at_ns=opening.open_ns)
        if opening.close_ns is not None and opening.successor is not None:
            yield Switch(
                id=StepId(0),
                old=opening.pipeline.id,
                new=PipelineId(opening.successor),
                continuity=Continuity.RECOMPUTE,
                at_ns=opening.close_ns,
            )


def in_order(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Number all steps by time; at one instant transfers start first, then pipelines open, switch, and blobs go."""
    return tuple(attrs.evolve(step, id=StepId(number)) for number, step in enumerate(sorted(steps, key=_when)))


def _when(step: Step) -> tuple[Nanos, int]:
    match step:
        case Transfer():
            return step.start_ns, 0
        case Activate():
            return step.at_ns, 1
        case Switch():
            return step.at_ns, 2
        case Release():
            return step.at_ns, 3
        case Resize():
            return step.at_ns, 4
