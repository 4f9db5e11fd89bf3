"""Rules REF and FOR: the plan speaks about this problem, and about nothing else.

These two read plans that nothing is known of yet, so they look everything up before they use it.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import assert_never

from specs import codec
from specs.blobs import Blob, packed_bytes
from specs.cluster import PlaceKind
from specs.invariants.facts import Facts
from specs.invariants.rule import Violation
from specs.llm import Llm
from specs.plan import (
    FORMAT,
    Activate,
    Claim,
    Continuity,
    Pipeline,
    PipelineId,
    Release,
    Resize,
    Route,
    Step,
    Switch,
    Transfer,
)
from specs.problem import Problem

_DIGEST = re.compile(r"[0-9a-f]{64}")


def _broken(where: str, sentence: str) -> Violation:
    return Violation("REF", where, sentence)


def names_exist(facts: Facts) -> Iterator[Violation]:
    """REF: names, indexes and sizes of the plan agree with the problem."""
    plan = facts.plan
    if plan.format != FORMAT:
        yield _broken("plan", f"its format is {plan.format}; this checker reads format {FORMAT}")
    if plan.parent is not None and _DIGEST.fullmatch(plan.parent) is None:
        yield _broken("plan", f"its parent is {plan.parent!r:.80}, which is not a digest")
    yield from _blobs(facts)
    for index, route in enumerate(plan.routes):
        yield from _route(facts, index, route)
    pipelines = (*facts.running.values(), *plan.pipelines)
    yield from _repeated("pipeline", [pipeline.id for pipeline in pipelines])
    for pipeline in pipelines:
        yield from _pipeline(facts, pipeline)
    yield from _steps(facts)
    yield from _names_in_tables(facts)


def problem_is_the_same(facts: Facts) -> Iterator[Violation]:
    """FOR: the plan names the digest of the problem."""
    found = codec.digest(facts.problem)
    if facts.plan.problem != found:
        yield Violation(
            "FOR",
            "plan",
            f"it is for problem {facts.plan.problem[:12]}.., this is problem {found[:12]}..: what it moves and "
            "assumes was computed for another cluster or demand",
        )


def _repeated(what: str, names: list[str]) -> Iterator[Violation]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield _broken(f"{what} {name}", "it is described twice, so its name says nothing")
        seen.add(name)


def _blobs(facts: Facts) -> Iterator[Violation]:
    plan, problem = facts.plan, facts.problem
    yield from _repeated("blob", [blob.id for blob in plan.blobs])
    by_llm: dict[str, list[Blob]] = {}
    for blob in plan.blobs:
        by_llm.setdefault(blob.llm, []).append(blob)
        if blob.llm not in facts.llms:
            yield _broken(f"blob {blob.id}", f"its LLM {blob.llm} is not in the problem")
    touched = {holding.llm for holding in problem.holdings} | problem.wished
    touched |= {pipeline.llm for pipeline in (*facts.running.values(), *plan.pipelines)}
    for llm in problem.llms:
        if llm.id in by_llm or llm.id in touched:
            yield from _blobs_of_llm(llm, by_llm.get(llm.id, []))
            yield from _borders(problem, llm, by_llm.get(llm.id, []))


def _borders(problem: Problem, llm: Llm, blobs: list[Blob]) -> Iterator[Violation]:
    borders = {0, *(blob.end_tensor for blob in blobs)}
    for holding in problem.holdings:
        if holding.llm == llm.id and not holding.whole:
            end = len(llm.tensors) if holding.end_tensor is None else holding.end_tensor
            for tensor in (each for each in (holding.first_tensor, end) if each not in borders):
                yield _broken(
                    f"LLM {llm.id}",
                    f"{holding.place} holds its tensors {holding.first_tensor} to {end} (exclusive), and a blob goes "
                    f"on across tensor {tensor}: what is held of that blob could neither be used nor counted",
                )


def _blobs_of_llm(llm: Llm, blobs: list[Blob]) -> Iterator[Violation]:
    end = 0
    for blob in sorted(blobs, key=lambda blob: (blob.first_tensor, blob.end_tensor)):
        where = f"blob {blob.id}"
        if not blob.first_tensor < blob.end_tensor <= len(llm.tensors):
            yield _broken(
                where,
                f"its tensors are {blob.first_tensor} to {blob.end_tensor} (exclusive) of {llm.id}, "
                f"which has {len(llm.tensors)}",
            )
            continue
        size = packed_bytes(llm, blob.first_tensor, blob.end_tensor)
        if blob.bytes != size:
            yield _broken(where, f"it says {blob.bytes} bytes, its tensors pack into {size}: it could not be laid out")
        if blob.first_tensor < end:
            yield _broken(
                where, f"its tensors begin at {blob.first_tensor}, but those before {end} are in another blob"
            )
        if blob.first_tensor > end:
            yield _broken(
                where, f"tensors {end} to {blob.first_tensor} (exclusive) of {llm.id} are in no blob before it"
            )
        end = max(end, blob.end_tensor)
    if end < len(llm.tensors):
        yield _broken(
            f"LLM {llm.id}", f"its tensors from {end} to {len(llm.tensors)} (exclusive) are in no blob and never travel"
        )


def _route(facts: Facts, index: int, route: Route) -> Iterator[Violation]:
    where = f"route {index}"
    links = [facts.links[link] for link in route.links if link in facts.links]
    if len(links) < len(route.links) or not links:
        unknown = sorted(set(route.links) - facts.links.keys())
        yield _broken(where, f"link {unknown[0]!r:.80} is not in the cluster" if unknown else "it has no links")
        return
    for near, far in pairwise(links):
        if near.destination != far.source:
            yield _broken(where, f"link {near.id} ends at {near.destination}, the next one begins at {far.source}")
        elif far.source in facts.memories:
            yield _broken(where, f"it passes through {far.source}, a memory in which no room is set aside for it")
    source, destination = links[0].source, links[-1].destination
    for end in (source, destination):
        if end not in facts.memories:
            yield _broken(where, f"it ends at {end}, a switch, where no bytes can rest")
    if source == destination:
        yield _broken(where, f"it leads from {source} to itself")
    if len(set(route.links)) < len(route.links):
        yield _broken(where, "it crosses one link twice")


def _pipeline(facts: Facts, pipeline: Pipeline) -> Iterator[Violation]:
    where = f"pipeline {pipeline.id}"
    for index, stage in enumerate(pipeline.stages):
        place = facts.places.get(stage.place)
        if place is None or place.kind is not PlaceKind.DEVICE:
            yield _broken(
                f"{where} stage {index}", f"{stage.place} is not a device of the cluster: nothing computes it"
            )
    llm = facts.llms.get(pipeline.llm)
    if llm is None:
        yield _broken(where, f"its LLM {pipeline.llm} is not in the problem")
        return
    if pipeline.request_tokens_max > llm.context_tokens:
        found = pipeline.request_tokens_max
        yield _broken(where, f"it takes requests of {found} tokens, the context of {llm.id} holds {llm.context_tokens}")
    wanted = facts.problem.workload(llm.id).request_tokens_max
    if pipeline.request_tokens_max < wanted:
        found = pipeline.request_tokens_max
        yield _broken(where, f"it takes requests of {found} tokens, those of {llm.id} have up to {wanted}")
    for index, stage in enumerate(pipeline.stages):
        if not stage.first_unit < stage.end_unit <= len(llm.units):
            yield _broken(
                f"{where} stage {index}",
                f"its units are {stage.first_unit} to {stage.end_unit} (exclusive) of {llm.id}, "
                f"which has {len(llm.units)}",
            )


def _steps(facts: Facts) -> Iterator[Violation]:
    for before, step in pairwise(facts.plan.steps):
        if step.id <= before.id:
            yield _broken(
                f"step {step.id}", f"it stands after step {before.id}; ids must ascend, as they are the order"
            )
    activated: set[str] = set()
    for step in facts.plan.steps:
        for sentence in _unknown_in(facts, step):
            yield _broken(_name(step), sentence)
        if isinstance(step, Activate):
            if step.pipeline in facts.running:
                yield _broken(_name(step), f"pipeline {step.pipeline} is open from the start")
            if step.pipeline in activated:
                yield _broken(_name(step), f"pipeline {step.pipeline} is activated a second time")
            activated.add(step.pipeline)
    yield from _slots(facts)


def _slots(facts: Facts) -> Iterator[Violation]:
    """A pipeline has no more slots than it sets room aside for, and a resize changes how many."""
    slots: dict[PipelineId, int] = {each.pipeline.id: each.slots_now for each in facts.problem.running}
    for step in facts.plan.steps:
        if not isinstance(step, Activate | Resize) or step.pipeline not in facts.pipelines:
            continue
        most = facts.pipelines[step.pipeline].slots
        has = most if step.slots is None else step.slots
        if has > most:
            sentence = f"pipeline {step.pipeline} is to have {has} slots; its stages set room aside for {most}"
            yield _broken(_name(step), sentence)
        if isinstance(step, Resize) and slots.get(step.pipeline) == has:
            yield _broken(_name(step), f"pipeline {step.pipeline} has {has} slots already")
        slots[step.pipeline] = has


def _name(step: Step) -> str:
    return f"{type(step).__name__.lower()} {step.id}"


def _unknown_in(facts: Facts, step: Step) -> Iterator[str]:
    match step:
        case Transfer():
            if step.blob not in facts.blobs:
                yield f"the plan describes no blob {step.blob}"
            if step.route >= len(facts.plan.routes):
                yield f"route {step.route} is not one of {len(facts.plan.routes)}"
        case Activate() | Resize():
            if step.pipeline not in facts.pipelines:
                yield f"the plan describes no pipeline {step.pipeline}"
        case Switch():
            for pipeline in sorted({step.old, step.new} - facts.pipelines.keys()):
                yield f"the plan describes no pipeline {pipeline}"
            yield from _unknown_in_hand_over(facts, step)
        case Release():
            if step.blob not in facts.blobs:
                yield f"the plan describes no blob {step.blob}"
            if step.place not in facts.places:
                yield f"{step.place} is not a place of the cluster"
        case _:
            assert_never(step)


def _unknown_in_hand_over(facts: Facts, switch: Switch) -> Iterator[str]:
    if (switch.continuity is Continuity.COPY) != (switch.hand_over is not None):
        said = "no hand-over" if switch.hand_over is None else "a hand-over"
        yield f"its KV is to be treated by {switch.continuity} and it has {said}: exactly what is copied is handed over"
    for path in () if switch.hand_over is None else switch.hand_over.paths:
        if path.route >= len(facts.plan.routes):
            yield f"route {path.route} is not one of {len(facts.plan.routes)}"
        for name, index in ((switch.old, path.old_stage), (switch.new, path.new_stage)):
            pipeline = facts.pipelines.get(name)
            if pipeline is not None and index >= len(pipeline.stages):
                yield f"stage {index} is not one of {len(pipeline.stages)} of pipeline {name}"


def _names_in_tables(facts: Facts) -> Iterator[Violation]:
    for row in facts.plan.routing:
        if row.pipeline not in facts.pipelines:
            yield _broken("routing", f"the plan describes no pipeline {row.pipeline}")
    yield from _residents(facts)
    wanted = facts.problem.wished
    for index, certificate in enumerate(facts.plan.certificates):
        where = f"certificate {index}"
        if certificate.claim is Claim.BOTTLENECK:
            if certificate.subject not in facts.pipelines:
                yield _broken(where, f"the plan describes no pipeline {certificate.subject}")
        elif certificate.claim in {Claim.MAKESPAN, Claim.START}:
            if certificate.subject != facts.problem.name:
                sentence = f"its {certificate.claim} is one of the problem {facts.problem.name}, not of "
                yield _broken(where, sentence + certificate.subject)
        elif certificate.subject not in wanted:
            yield _broken(where, f"it claims the {certificate.claim} of {certificate.subject}, which nobody wants")


def _residents(facts: Facts) -> Iterator[Violation]:
    for index, resident in enumerate(facts.plan.residents):
        where = f"resident {index}"
        if resident.llm not in facts.llms:
            yield _broken(where, f"its LLM {resident.llm} is not in the problem")
        if resident.place not in facts.memories:
            yield _broken(where, f"{resident.place} is not a memory of the cluster")
        if resident.route is not None and resident.route >= len(facts.plan.routes):
            yield _broken(where, f"route {resident.route} is not one of {len(facts.plan.routes)}")
