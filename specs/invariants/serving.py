"""Rules LAYER, EARLY and SERVE: what computes, from when, and for whom."""

from collections import Counter
from collections.abc import Iterable, Iterator

from specs.blobs import BlobId
from specs.cluster import PlaceId
from specs.invariants.facts import Facts
from specs.invariants.rule import Violation
from specs.plan import Activate, Pipeline, Switch
from specs.wishes import Service


def units_are_computed_once(facts: Facts) -> Iterator[Violation]:
    """LAYER: the stages of a pipeline compute every unit once and in order."""
    for pipeline in facts.pipelines.values():
        units = len(facts.llms[pipeline.llm].units)
        computed = 0
        for index, stage in enumerate(pipeline.stages):
            where = f"pipeline {pipeline.id} stage {index}"
            if stage.first_unit > computed:
                sentence = f"it starts at unit {stage.first_unit}; units from {computed} of {pipeline.llm} never run"
                yield Violation("LAYER", where, sentence)
            if stage.first_unit < computed:
                sentence = f"it starts at unit {stage.first_unit}; units before {computed} have run already"
                yield Violation("LAYER", where, sentence)
            computed = stage.end_unit
        if computed < units:
            sentence = f"its stages end at unit {computed} of {units}; it would produce no token"
            yield Violation("LAYER", f"pipeline {pipeline.id}", sentence)


def blobs_come_first(facts: Facts) -> Iterator[Violation]:
    """EARLY: a pipeline opens only when each stage's place holds the stage's blobs, by the plan's order and its times.

    Those of a pipeline that runs at the start are held from the start.  Whether they stay as long as it is open is the
    business of rule LAST.
    """
    for pipeline in facts.running.values():
        for index, stage in enumerate(pipeline.stages):
            held = facts.held.get(stage.place, ())
            for blob in (blob for blob in facts.needs(pipeline.llm, stage) if blob not in held):
                sentence = f"it runs at the start, when {stage.place} does not hold {blob}"
                yield Violation("EARLY", f"pipeline {pipeline.id} stage {index}", sentence)
    for pipeline in facts.plan.pipelines:
        activation = facts.activations.get(pipeline.id)
        if activation is None:
            continue
        for index, stage in enumerate(pipeline.stages):
            for sentence in _not_there(facts, activation, stage.place, facts.needs(pipeline.llm, stage)):
                yield Violation("EARLY", f"pipeline {pipeline.id} stage {index}", sentence)


def _not_there(facts: Facts, activation: Activate, place: PlaceId, blobs: Iterable[BlobId]) -> Iterator[str]:
    opens = f"step {activation.id} opens it at {activation.at_ns} ns"
    held, arrivals, releases = facts.held.get(place, ()), facts.arrivals.get(place, {}), facts.releases.get(place, {})
    for blob in blobs:
        arrival, release = arrivals.get(blob), releases.get(blob)
        if blob not in held:
            if arrival is None:
                yield f"{place} never holds {blob}, which its units need"
            elif arrival.end_ns > activation.at_ns:
                yield f"{opens}, but {place} holds {blob} only from {arrival.end_ns} ns"
            elif arrival.id > activation.id:
                yield f"{opens}, before transfer {arrival.id} in the plan, which brings {blob} to {place}"
        if release is not None and release.at_ns < activation.at_ns:
            yield f"{opens}, but {place} gives up {blob} at {release.at_ns} ns"
        elif release is not None and release.id < activation.id:
            yield f"{opens}, after release {release.id} in the plan, by which {place} gives up {blob}"


def requests_find_a_pipeline(facts: Facts) -> Iterator[Violation]:
    """SERVE: pipelines open once and have one weight, switches join open ones, targets end with one of their own.

    So an LLM that is served once is served at every later instant.  A pipeline closes only by a switch, to another one
    of its LLM that is open then; in the order of instants, and of steps within one, each switch leaves that one open.
    """
    weights = Counter(row.pipeline for row in facts.plan.routing)
    for pipeline in facts.pipelines.values():
        where = f"pipeline {pipeline.id}"
        if pipeline.id not in facts.opened_ns:
            yield Violation("SERVE", where, "no step activates it: what it reserves would never serve")
        if weights[pipeline.id] != 1:
            yield Violation("SERVE", where, f"it has {weights[pipeline.id]} routing weights; exactly one is wanted")
    for switch in facts.switches:
        yield from _switch(facts, switch)
    local = {(pipeline.llm, _only_place(pipeline)) for pipeline in facts.open_at_end}
    for target in facts.problem.targets:
        if (target.llm, target.place) not in local:
            sentence = f"no pipeline with all units of {target.llm} on it is open at the end"
            yield Violation("SERVE", f"place {target.place}", sentence)
    for service in facts.problem.services:
        yield from service_keeps_to_its_devices(facts, service)


def service_keeps_to_its_devices(facts: Facts, service: Service) -> Iterator[Violation]:
    """Part of SERVE: pipelines of a service are open at the end, on devices of their own, not too deep."""
    where = f"service {service.llm}"
    mine = [pipeline for pipeline in facts.open_at_end if pipeline.llm == service.llm]
    if not mine:
        yield Violation("SERVE", where, "no pipeline of it is open at the end")
    used: dict[PlaceId, str] = {}
    for pipeline in mine:
        if len(pipeline.stages) > service.depth_max:
            depth = len(pipeline.stages)
            yield Violation("SERVE", where, f"pipeline {pipeline.id} has {depth} stages; it allows {service.depth_max}")
        for place in sorted({stage.place for stage in pipeline.stages}):
            if place not in service.places:
                yield Violation("SERVE", where, f"pipeline {pipeline.id} uses {place}, which it may not")
            elif place in used:
                yield Violation("SERVE", where, f"pipelines {used[place]} and {pipeline.id} both use {place}")
            used.setdefault(place, pipeline.id)


def _switch(facts: Facts, switch: Switch) -> Iterator[Violation]:
    where = f"switch {switch.id}"
    if switch.old == switch.new:
        yield Violation("SERVE", where, f"it leads from {switch.old} to itself, so that its requests would be lost")
    for pipeline in (switch.old, switch.new):
        opened_ns = facts.opened_ns.get(pipeline)
        if opened_ns is None or opened_ns > switch.at_ns:
            yield Violation("SERVE", where, f"pipeline {pipeline} is not open yet at {switch.at_ns} ns")
        closed_by = facts.closed_by.get(pipeline)
        if closed_by is not None and (closed_by.at_ns, closed_by.id) < (switch.at_ns, switch.id):
            yield Violation("SERVE", where, f"pipeline {pipeline} was closed by switch {closed_by.id} already")
    old, new = facts.pipelines[switch.old].llm, facts.pipelines[switch.new].llm
    if old != new:
        yield Violation("SERVE", where, f"it hands requests for {old} to a pipeline of {new}")


def _only_place(pipeline: Pipeline) -> PlaceId | None:
    places = {stage.place for stage in pipeline.stages}
    return places.pop() if len(places) == 1 else None
