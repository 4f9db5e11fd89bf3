"""The door that every plan passes: decoded strictly, verified again, compared with what this node is and knows."""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import cast

import attrs

from executor.transport.framing import FRAME_BYTES_MAX
from specs import codec
from specs.blobs import BlobId
from specs.checker import Rejected, VerifiedPlan, verify
from specs.cluster import NodeId, PlaceId, PlaceKind
from specs.errors import MalformedDocument
from specs.invariants.facts import Facts
from specs.plan import FORMAT, Pipeline, PipelineId, Plan
from specs.ports import hops
from specs.problem import Problem
from specs.protocols.facts import open_pipelines
from specs.protocols.nouns import NodeState

_FILE_BYTES_MAX = FRAME_BYTES_MAX - 2**16  # what stands before a file in its message is far shorter


@attrs.frozen
class Malformed:
    """The bytes are no problem with a plan."""

    sentence: str


@attrs.frozen
class Broken:
    """The plan breaks invariants."""

    rejected: Rejected


@attrs.frozen
class Stale:
    """The plan is not newer than the one that this node carries out, or does not follow it."""

    sentence: str


@attrs.frozen
class NotForUs:
    """The plan is for another cluster than the one that this node belongs to."""

    sentence: str


@attrs.frozen
class Unable:
    """The plan is right, but asks for what daemons do not do yet."""

    sentences: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Current:
    """The plan that a node carries out, and how far it is."""

    verified: VerifiedPlan
    state: NodeState
    named: AbstractSet[PipelineId]  # pipelines of all plans that it ever carried out
    slots: Mapping[PipelineId, int]  # that pipelines have which the node leads


Refusal = Malformed | Broken | Stale | NotForUs | Unable
Verdict = VerifiedPlan | Broken | Stale | NotForUs | Unable


def read(document: bytes) -> tuple[Problem, Plan]:
    """Read a document {"problem": ..., "plan": ...}.  Raises MalformedDocument or InvalidProblem."""
    parsed = codec.parse(document)
    if not isinstance(parsed, dict) or parsed.keys() != {"problem", "plan"}:
        raise MalformedDocument('the document must be an object with the keys "problem" and "plan", and no other')
    parts = cast("dict[str, object]", parsed)
    plan_part = parts["plan"]
    if isinstance(plan_part, dict) and plan_part.get("format") != FORMAT:
        raise MalformedDocument(f"plan.format is {plan_part.get('format')!r:.40}; this node reads format {FORMAT}")
    return codec.read(Problem, parts["problem"], "problem"), codec.read(Plan, plan_part, "plan")


def judge(problem: Problem, plan: Plan, node: NodeId, current: Current | None) -> Verdict:
    """Judge a plan for a node, as far as can be said without touching memory or disk."""
    verdict = _misfit(problem, plan, node, None if current is None else current.verified) or verify(problem, plan)
    if isinstance(verdict, Rejected):
        return Broken(verdict)
    if isinstance(verdict, VerifiedPlan):
        if beyond := (*_kept_elsewhere(problem, plan), *_too_large(problem)):
            return Unable(beyond)
        if other := tuple(_otherwise(verdict, node, current)):
            return Stale("; ".join(other))
    return verdict


def judge_again(verified: VerifiedPlan, current: Current | None) -> VerifiedPlan | Stale:
    """Judge once more what a node knows of pipelines that it leads: they may have closed while memory was made ready.

    This takes no time, so that nothing changes between it and the node's word.
    """
    if current is None:
        return verified
    for running in verified.problem.running:
        name = running.pipeline.id
        if name in current.slots and (other := _unlike(current, name, running.slots_now)):
            return Stale(other)
    return verified


def sentence_of(refusal: Refusal) -> str:
    """Say why a plan is refused."""
    match refusal:
        case Broken(rejected=rejected):
            return "\n".join(str(violation) for violation in rejected.violations)
        case Unable(sentences=sentences):
            return "\n".join(sentences)
        case _:
            return refusal.sentence


def _misfit(problem: Problem, plan: Plan, node: NodeId, current: VerifiedPlan | None) -> Stale | NotForUs | None:
    """Say why a plan, right or wrong, is not for this node at this time."""
    if current is not None:
        if problem.cluster.name != current.problem.cluster.name:
            ours = current.problem.cluster.name
            return NotForUs(f"the plan is for cluster {problem.cluster.name}; {node} serves cluster {ours}")
        if plan.generation <= current.plan.generation:
            newest = current.plan.generation
            return Stale(f"the plan has generation {plan.generation}; {node} carries out generation {newest}")
        if plan.parent != codec.digest(current.plan):
            return Stale(f"the plan does not follow the one that {node} carries out: its parent is {plan.parent}")
    known = {each.id: each for each in problem.cluster.nodes}
    if node not in known:
        return NotForUs(f"the plan is for cluster {problem.cluster.name}, which has no node {node}")
    if missing := sorted(name for name, each in known.items() if each.address is None):
        return NotForUs(f"nodes {', '.join(missing[:5])} have no address: the plan can be studied, not carried out")
    return None


def _otherwise(verified: VerifiedPlan, node: NodeId, current: Current | None) -> Iterator[str]:
    """Say where pipelines are not as the plan thinks that it finds them, as far as this node knows."""
    old = None if current is None else Facts(current.verified.problem, current.verified.plan)
    new = Facts(verified.problem, verified.plan)
    for pipeline in new.running.values():
        homes = _homes(new, pipeline)
        if old is None or current is None:
            if node in homes:
                yield f"pipeline {pipeline.id} does not run on {node}, which has no plan yet"
        elif pipeline.id not in old.pipelines:
            yield f"the plan before has no pipeline {pipeline.id}"
        elif old.pipelines[pipeline.id] != pipeline or _homes(old, pipeline) != homes:
            yield f"pipeline {pipeline.id} runs with other stages or limits"
        elif old.llms[pipeline.llm] != new.llms[pipeline.llm]:
            yield f"{pipeline.llm}, which pipeline {pipeline.id} serves, is another LLM in the plan before"
        elif homes[0] == node and (unlike := _unlike(current, pipeline.id, new.slots_at_first[pipeline.id])):
            yield unlike
        elif node in homes and pipeline.id not in current.state.built:
            yield f"the stage of pipeline {pipeline.id} on {node} does not compute"
    if current is not None:
        for pipeline in verified.plan.pipelines:
            if pipeline.id in current.named:
                yield f"there was a pipeline {pipeline.id} before; ids of pipelines never come again"


def _unlike(current: Current, pipeline: PipelineId, slots: int) -> str | None:
    """Say how a pipeline that is led here is not as the plan finds it."""
    if pipeline not in current.state.opened:
        return f"pipeline {pipeline} has not opened"
    if pipeline not in open_pipelines(current.state) - current.state.draining:
        return f"pipeline {pipeline} takes no requests any more"
    if current.slots[pipeline] != slots:
        return f"pipeline {pipeline} has {current.slots[pipeline]} slots now, not the {slots} that the plan finds"
    return None


def _homes(facts: Facts, pipeline: Pipeline) -> list[NodeId | None]:
    return [facts.places[stage.place].node for stage in pipeline.stages]


def _kept_elsewhere(problem: Problem, plan: Plan) -> Iterator[str]:
    """Say which memories the plan uses that no daemon keeps blobs in: all but those of devices and hosts."""
    llm_of: dict[BlobId, str] = {blob.id: blob.llm for blob in plan.blobs}
    used = [(holding.place, f"holds {holding.llm} at the start") for holding in problem.holdings]
    for hop in hops(problem.cluster, plan):
        what, step = llm_of[hop.transfer.blob], hop.transfer.id
        used += [(hop.source, f"sends {what} (step {step})"), (hop.destination, f"receives {what} (step {step})")]
    used += [(resident.place, f"keeps {resident.llm}") for resident in plan.residents]
    kinds = {place.id: place.kind for place in problem.cluster.places}
    first: dict[PlaceId, str] = {}
    for place, use in used:
        first.setdefault(place, use)
    for place, use in first.items():
        if kinds[place] not in (PlaceKind.DEVICE, PlaceKind.HOST):
            kept = "daemons keep blobs in the memory of devices and hosts only"
            yield f"{place}, of kind {kinds[place]}, {use}: {kept}"


def _too_large(problem: Problem) -> Iterator[str]:
    """Say which small files do not fit into one message."""
    for llm in problem.llms:
        for file in llm.files:
            if file.bytes > _FILE_BYTES_MAX:
                yield (
                    f"{file.name} of {llm.id} has {file.bytes:,} bytes: daemons pass on small files of at most "
                    f"{_FILE_BYTES_MAX:,}"
                )
