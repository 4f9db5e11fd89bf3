"""What a plan changes: what moves and over which links, how long it takes, how full memories get, what requests see."""

from collections.abc import Iterator, Mapping, Sequence

import attrs

from planner.reconfiguring.continuity import computed_again, drained
from specs.checker import VerifiedPlan
from specs.cluster import LinkId, PlaceId
from specs.handing_over import shared_kv
from specs.invariants.facts import Facts
from specs.invariants.memory import use_over_time
from specs.llm import Llm, LlmId
from specs.plan import Continuity, Pipeline, PipelineId, Release, Resize, Switch
from specs.problem import Running
from specs.timing import decode_ns, stage_kv_bytes
from specs.units import Bytes, Nanos


@attrs.frozen(kw_only=True)
class Moved:
    """Weights of one LLM that move, and copies of it that go."""

    llm: LlmId
    transfers: int
    bytes: Bytes
    released: int
    released_bytes: Bytes


@attrs.frozen(kw_only=True)
class Crossed:
    """What crosses a link."""

    link: LinkId
    weights_bytes: Bytes
    kv_bytes: Bytes  # of the contexts that were live when the state was taken
    busy_ns: Nanos  # some transfer or hand-over uses it


@attrs.frozen(kw_only=True)
class Fullest:
    """A memory at its tightest moment."""

    place: PlaceId
    used_bytes: int
    memory_bytes: Bytes
    at_ns: Nanos


@attrs.frozen(kw_only=True)
class Seen:
    """What the requests of one running pipeline see."""

    pipeline: PipelineId
    llm: LlmId
    requests: int
    tokens: int
    fate: str  # "kept", "copy", "recompute", "drain" or "closed"
    successor: PipelineId | None
    at_ns: Nanos | None  # when it closes
    pause_ns: Nanos  # predicted at most, beyond an iteration; 0: none


@attrs.frozen(kw_only=True)
class Fewer:
    """A pipeline has fewer slots than all for a while, and its KV takes less room."""

    pipeline: PipelineId
    slots: int
    slots_max: int
    kv_bytes: Bytes  # of all its stages, meanwhile
    kv_bytes_max: Bytes  # with all slots
    ending: int  # live requests that are more than these slots: new ones wait until so many have ended
    from_ns: Nanos
    until_ns: Nanos | None  # absent: to the end of the plan and beyond


@attrs.frozen(kw_only=True)
class Difference:
    """All of it."""

    moved: tuple[Moved, ...]
    crossed: tuple[Crossed, ...]  # those that carry most first
    fullest: tuple[Fullest, ...]  # those with least room left first
    seen: tuple[Seen, ...]
    opened: tuple[Pipeline, ...]
    fewer: tuple[Fewer, ...]
    lasts_ns: Nanos


def difference(verified: VerifiedPlan, before: Sequence[Running] | None = None) -> Difference:
    """Work out what a plan changes; `before` are the pipelines that are open now, absent: those that its problem says.

    A pipeline that is open and that the plan's problem does not name closes when the plan is adopted.
    """
    facts = Facts(verified.problem, verified.plan)
    running = verified.problem.running if before is None else before
    loads = {each.pipeline.id: each for each in running}
    ends = [hop.transfer.end_ns for hop in facts.hops] + list(facts.opened_ns.values())
    ends += [step.at_ns for step in verified.plan.steps if isinstance(step, Switch | Release | Resize)]
    return Difference(
        moved=tuple(_moved(facts)),
        crossed=tuple(_crossed(facts, loads)),
        fullest=tuple(_fullest(facts)),
        seen=tuple(_seen(facts, each) for each in running),
        opened=verified.plan.pipelines,
        fewer=tuple(
            fewer
            for each in facts.pipelines.values()
            for fewer in _fewer(facts, each, loads[each.id].live_requests if each.id in loads else 0)
        ),
        lasts_ns=max(ends, default=Nanos(0)),
    )


def _moved(facts: Facts) -> Iterator[Moved]:
    released = [step for step in facts.plan.steps if isinstance(step, Release)]
    for llm in facts.llms:
        hops = [hop for hop in facts.hops if facts.blobs[hop.transfer.blob].llm == llm]
        gone = [step for step in released if facts.blobs[step.blob].llm == llm]
        if hops or gone:
            yield Moved(
                llm=llm,
                transfers=len(hops),
                bytes=Bytes(sum(facts.blob_bytes[hop.transfer.blob] for hop in hops)),
                released=len(gone),
                released_bytes=Bytes(sum(facts.blob_bytes[step.blob] for step in gone)),
            )


def _crossed(facts: Facts, loads: Mapping[PipelineId, Running]) -> list[Crossed]:
    weights: dict[LinkId, int] = {}
    kv: dict[LinkId, int] = {}
    times: dict[LinkId, list[tuple[Nanos, Nanos]]] = {}
    for hop in facts.hops:
        for link in facts.plan.routes[hop.transfer.route].links:
            weights[link] = weights.get(link, 0) + facts.blob_bytes[hop.transfer.blob]
            times.setdefault(link, []).append((hop.transfer.start_ns, hop.transfer.end_ns))
    for switch in facts.switches:
        if switch.hand_over is None:
            continue
        sizes = shared_kv(*_ends(facts, switch))
        tokens = loads[switch.old].live_tokens if switch.old in loads else 0
        for path in switch.hand_over.paths:
            for link in facts.plan.routes[path.route].links:
                kv[link] = kv.get(link, 0) + tokens * sizes[path.old_stage, path.new_stage]
                times.setdefault(link, []).append((switch.hand_over.start_ns, switch.at_ns))
    found = [
        Crossed(
            link=link,
            weights_bytes=Bytes(weights.get(link, 0)),
            kv_bytes=Bytes(kv.get(link, 0)),
            busy_ns=_union_ns(times[link]),
        )
        for link in times
    ]
    return sorted(found, key=lambda each: (-each.weights_bytes - each.kv_bytes, each.link))


def _ends(facts: Facts, switch: Switch) -> tuple[Llm, Pipeline, Pipeline]:
    old, new = facts.pipelines[switch.old], facts.pipelines[switch.new]
    return facts.llms[old.llm], old, new


def _union_ns(spans: Sequence[tuple[Nanos, Nanos]]) -> Nanos:
    """Time in which at least one of these spans lasts."""
    total, until = 0, 0
    for start, end in sorted(spans):
        total += max(0, end - max(start, until))
        until = max(until, end)
    return Nanos(total)


def _fullest(facts: Facts) -> list[Fullest]:
    """Memories that the plan changes, each at its tightest moment."""
    found = []
    for place in _touched(facts):
        most, at_ns = max(((used, -at) for at, used in use_over_time(facts, place)), default=(0, 0))
        memory = facts.places[place].memory_bytes
        found.append(Fullest(place=place, used_bytes=most, memory_bytes=memory, at_ns=Nanos(-at_ns)))
    return sorted(found, key=lambda each: (each.memory_bytes - each.used_bytes, each.place))


def _touched(facts: Facts) -> tuple[PlaceId, ...]:
    """Places to which something comes or from which something goes, in the cluster's order."""
    touched = {hop.destination for hop in facts.hops} | set(facts.releases)
    changed = (*facts.plan.pipelines, *(facts.pipelines[switch.old] for switch in facts.switches))
    touched |= {stage.place for pipeline in changed for stage in pipeline.stages}
    return tuple(place for place in facts.places if place in touched)


def _seen(facts: Facts, each: Running) -> Seen:
    pipeline = each.pipeline
    switch = facts.closed_by.get(pipeline.id)
    fate, pause_ns = ("kept", Nanos(0)) if pipeline.id in facts.running else ("closed", Nanos(0))
    if switch is not None:
        fate, pause_ns = switch.continuity.value, _pause_ns(facts, each, switch)
    return Seen(
        pipeline=pipeline.id,
        llm=pipeline.llm,
        requests=each.live_requests,
        tokens=each.live_tokens,
        fate=fate,
        successor=None if switch is None else switch.new,
        at_ns=None if switch is None else switch.at_ns,
        pause_ns=pause_ns,
    )


def _fewer(facts: Facts, pipeline: Pipeline, live_requests: int) -> Iterator[Fewer]:
    spans = facts.slots_over_time(pipeline.id)
    closed_by = facts.closed_by.get(pipeline.id)
    closes_ns = None if closed_by is None else closed_by.at_ns
    llm = facts.llms[pipeline.llm]
    for (from_ns, slots), until_ns in zip(spans, (*(at_ns for at_ns, _ in spans[1:]), closes_ns), strict=True):
        if slots < pipeline.slots:
            yield Fewer(
                pipeline=pipeline.id,
                slots=slots,
                slots_max=pipeline.slots,
                kv_bytes=Bytes(sum(stage_kv_bytes(llm, pipeline, each, slots) for each in pipeline.stages)),
                kv_bytes_max=Bytes(sum(each.kv_bytes for each in pipeline.stages)),
                ending=max(0, live_requests - slots),
                from_ns=from_ns,
                until_ns=until_ns,
            )


def _pause_ns(facts: Facts, old: Running, switch: Switch) -> Nanos:
    new = facts.pipelines[switch.new]
    match switch.continuity:
        case Continuity.COPY:
            pause_ns = 0 if switch.hand_over is None else switch.hand_over.pause_ns
            return Nanos(max(0, pause_ns - sum(decode_ns(facts.problem, new))))
        case Continuity.RECOMPUTE:
            return computed_again(facts.problem, old, new).pause_ns
        case Continuity.DRAIN:
            return drained(facts.problem, old).pause_ns
