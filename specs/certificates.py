"""Certificates: what a claim's value is in a plan, and which closed forms bound it from below.

A bound speaks of every plan for the same problem with the same blobs (for a pipeline: with as many stages and slots)
that keeps the invariants.  Its arguments come from the problem and the plan, never from the certificate.

In all proofs a *memory* is a place that is not a switch; any memory, wanted or not, may pass blobs on.  Routes cross
switches only between their two ends (rule REF), a copy is a transfer of a whole blob from one holder (CAUSE), first
and last links of routes carry one transfer at a time (PORT), no link carries more than its capacity, and latency and
rounding only make transfers longer (LINK).
"""

from collections.abc import Callable

import attrs

from specs import bounds
from specs.capacity import Capacity, capacities, widest_bytes_per_second
from specs.cluster import PlaceId, PlaceKind
from specs.invariants.facts import Facts
from specs.llm import LlmId
from specs.plan import Certificate, Claim, Measure, Method, Pipeline, Plan
from specs.problem import Problem
from specs.profile import DeviceRate
from specs.timing import decode_ns, device_rate, stage_ns
from specs.units import NANOS_PER_SECOND, Tokens, ceil_div

NO_FORMULA = "none"  # stands in a certificate that claims no bound


@attrs.frozen
class Inapplicable:
    """Why a closed form says nothing about this problem and plan, or a claim has no value."""

    sentence: str


@attrs.frozen(kw_only=True)
class Formula:
    """A closed form: a lower bound for one claim in one measure."""

    name: str
    claim: Claim
    measure: Measure
    bound: Callable[[Problem, Plan, str], int | Inapplicable]  # of problem, plan and the claim's subject


def value_of(facts: Facts, claim: Claim, subject: str, measure: Measure) -> int | Inapplicable:
    """Work out what a plan achieves.  The plan must keep rule REF and the subject must exist."""
    if claim is Claim.BOTTLENECK:
        if measure is not Measure.NANOS:
            return Inapplicable(f"a bottleneck is measured in {Measure.NANOS}, not in {measure}")
        return max(decode_ns(facts.problem, _pipeline(facts.plan, subject)), default=0)
    llm = LlmId(subject)
    blobs = {blob.id for blob in facts.blobs_of_llm[llm]}
    moved = [hop for hop in facts.hops if hop.transfer.blob in blobs]
    ends = {
        hop.transfer.id: hop.transfer.end_ns if measure is Measure.NANOS else facts.ticks[hop.transfer.id]
        for hop in moved
    }
    if claim is Claim.COMPLETION:
        return max(ends.values(), default=0)
    targets = {target.place for target in facts.problem.targets if target.llm == llm}
    first: dict[str, int] = {blob: 0 for blob, place in facts.held_at_start if blob in blobs and place in targets}
    for hop in moved:
        if hop.destination in targets:
            end = ends[hop.transfer.id]
            first[hop.transfer.blob] = min(first.get(hop.transfer.blob, end), end)
    missing = sorted(blobs - first.keys())
    if missing:
        return Inapplicable(f"{missing[0]} never reaches a target, so the targets never cover {llm}")
    return max(first.values(), default=0)


def certify(facts: Facts, claim: Claim, subject: str, measure: Measure, formula: str) -> Certificate:
    """Make the certificate of a claim by a closed form, or without a bound where the closed form says nothing.

    Raises ValueError when the claim has no value in this plan.
    """
    value = value_of(facts, claim, subject, measure)
    if isinstance(value, Inapplicable):
        raise ValueError(value.sentence)  # noqa: TRY004 - it is the claim that has no value, not a wrong type
    bound = FORMULAS[formula].bound(facts.problem, facts.plan, subject)
    known = not isinstance(bound, Inapplicable)
    return Certificate(
        claim=claim,
        subject=subject,
        measure=measure,
        value=value,
        bound=0 if isinstance(bound, Inapplicable) else bound,
        method=Method.CLOSED_FORM if known else Method.NONE,
        formula=formula if known else NO_FORMULA,
    )


# --- arguments -------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Multicast:
    """Who holds an LLM, who wants it, and how large its blobs are."""

    sources: tuple[PlaceId, ...]
    receivers: tuple[PlaceId, ...]  # targets that do not hold it
    covered: bool  # a target holds it: the targets cover it from the start
    blob_bytes: tuple[int, ...]


def _pipeline(plan: Plan, subject: str) -> Pipeline:
    return next(pipeline for pipeline in plan.pipelines if pipeline.id == subject)


def _multicast(problem: Problem, plan: Plan, subject: str) -> _Multicast:
    sources = tuple(holding.place for holding in problem.holdings if holding.llm == subject)
    targets = tuple(target.place for target in problem.targets if target.llm == subject)
    return _Multicast(
        sources=sources,
        receivers=tuple(place for place in targets if place not in sources),
        covered=any(place in sources for place in targets),
        blob_bytes=tuple(blob.bytes for blob in plan.blobs if blob.llm == subject),
    )


def _not_one_port(problem: Problem) -> Inapplicable | None:
    """Find a memory with two ways out or in: it can send or receive two blobs at once."""
    memories = {place.id for place in problem.cluster.places if place.kind is not PlaceKind.SWITCH}
    ways: dict[tuple[str, PlaceId], int] = {}
    for link in problem.cluster.links:
        for direction, place in (("out of", link.source), ("into", link.destination)):
            if place in memories:
                ways[direction, place] = ways.get((direction, place), 0) + 1
                if ways[direction, place] > 1:
                    return Inapplicable(f"more than one link leads {direction} {place}")
    return None


# --- multicast between memories with one port ------------------------------------------------------------------------


def _one_port_multicast_ticks(problem: Problem, plan: Plan, subject: str) -> int | Inapplicable:
    """Bound the depth of the order of transfers by `specs.bounds.multicast_ticks_bound`, whatever the links' rates.

    A transfer's depth is above that of the one before it on each of its ports and of the one that brought its blob.
    So at each depth a memory with one way out and one way in sends one blob and receives one blob at most, of those
    that it holds from smaller depths: depths are ticks.  Memories that pass blobs on beside sources and receivers
    change nothing: after t ticks at most s 2^t memories of any sort are holders, and at most R receivers receive.
    """
    cast = _multicast(problem, plan, subject)
    if not cast.receivers or not cast.blob_bytes:
        return 0
    nodes = len(cast.sources) + len(cast.receivers)
    several = _not_one_port(problem)
    return several or bounds.multicast_ticks_bound(nodes, len(cast.sources), len(cast.blob_bytes))


def _one_port_cover_ticks(problem: Problem, plan: Plan, subject: str) -> int | Inapplicable:
    """Bound the first cover, in depth, by `specs.bounds.first_cover_ticks_bound`.

    The first copy of each blob leaves a source, at most s at each depth; and at most one blob per receiver and depth
    arrives.  Both hold with memories that pass blobs on.  0 when a target is a source.
    """
    cast = _multicast(problem, plan, subject)
    if cast.covered or not cast.receivers or not cast.blob_bytes:
        return 0
    nodes = len(cast.sources) + len(cast.receivers)
    several = _not_one_port(problem)
    return several or bounds.first_cover_ticks_bound(nodes, len(cast.sources), len(cast.blob_bytes))


def _one_port_multicast_ns(problem: Problem, plan: Plan, subject: str) -> int | Inapplicable:
    """Bound the completion in time by `specs.bounds.multicast_time_bound_ns` at the widest route's rate.

    No transfer in the cluster is faster than the widest route between two memories, so this rate stands for all ports.
    Memories that pass blobs on change nothing: capacity and ticks as in `_one_port_multicast_ticks`; and let F be when
    the last block leaves the sources for the first time, to whatever memory.  The first copies of all blocks pass
    through s ports out of the sources, so F is at least the first cover when s <= R, it then has at most 2 s holders,
    and the rest follows.  When s > R no doubling is counted, and the first cover alone is a bound.
    """
    cast = _multicast(problem, plan, subject)
    if not cast.receivers or not cast.blob_bytes:
        return 0
    rate = widest_bytes_per_second(problem.cluster)
    if rate == 0:
        return Inapplicable("no route joins two memories")
    several = _not_one_port(problem)
    return several or bounds.multicast_time_bound_ns(len(cast.receivers), len(cast.sources), cast.blob_bytes, rate)


def _one_port_cover_ns(problem: Problem, plan: Plan, subject: str) -> int | Inapplicable:
    """Bound the first cover in time by `specs.bounds.first_cover_time_bound_ns` at the widest route's rate.

    The first copy of each blob out of a source passes a source's port, the first one into a receiver a receiver's.
    0 when a target is a source.
    """
    cast = _multicast(problem, plan, subject)
    if cast.covered or not cast.receivers or not cast.blob_bytes:
        return 0
    rate = widest_bytes_per_second(problem.cluster)
    if rate == 0:
        return Inapplicable("no route joins two memories")
    several = _not_one_port(problem)
    return several or bounds.first_cover_time_bound_ns(len(cast.receivers), len(cast.sources), cast.blob_bytes, rate)


# --- bytes against capacity: any links and any number of ports -------------------------------------------------------


def _port_bytes_ns(problem: Problem, plan: Plan, subject: str) -> int | Inapplicable:
    """Bound the completion by bytes over capacities, for unequal links and several ports.

    `specs.capacity` bounds what a memory can send to others, and receive from others, per second.  With S the bytes of
    all blobs, the largest of

    - S over what the slowest receiver can receive: it receives all blobs;
    - S over what the sources can send together: each blob leaves a source at least once;
    - R S over what all memories can send together: that many bytes arrive at the R receivers.
    """
    cast = _multicast(problem, plan, subject)
    if not cast.receivers or not cast.blob_bytes:
        return 0
    capacity = capacities(problem.cluster)
    total = sum(cast.blob_bytes)
    least = _cover_bytes_ns(cast, capacity)
    slowest = min(capacity[place].receive for place in cast.receivers)
    if isinstance(least, Inapplicable) or slowest == 0:
        return Inapplicable("no route joins the holders and the targets")
    everything = sum(each.send for each in capacity.values())
    return max(
        least,
        total * NANOS_PER_SECOND // slowest,
        len(cast.receivers) * total * NANOS_PER_SECOND // everything,
    )


def _port_bytes_cover_ns(problem: Problem, plan: Plan, subject: str) -> int | Inapplicable:
    """Bound the first cover by bytes over capacities, for unequal links and several ports.

    With S the bytes of all blobs, the larger of S over what the sources can send together (each blob leaves a source
    at least once) and S over what the receivers can receive together (each enters at least one).  0 when a target is a
    source.
    """
    cast = _multicast(problem, plan, subject)
    if cast.covered or not cast.receivers or not cast.blob_bytes:
        return 0
    return _cover_bytes_ns(cast, capacities(problem.cluster))


def _cover_bytes_ns(cast: _Multicast, capacity: dict[PlaceId, Capacity]) -> int | Inapplicable:
    sent = sum(capacity[place].send for place in cast.sources)
    received = sum(capacity[place].receive for place in cast.receivers)
    if min(sent, received) == 0:
        return Inapplicable("no route joins the holders and the targets")
    return sum(cast.blob_bytes) * NANOS_PER_SECOND // min(sent, received)


# --- pipelines -------------------------------------------------------------------------------------------------------


def _pipeline_bottleneck(problem: Problem, plan: Plan, subject: str) -> int | Inapplicable:
    """Bound the slowest stage of any pipeline with as many stages and slots, on any devices of the cluster.

    Let an ideal device have the highest arithmetic rate, the highest memory rate and the least overhead of all.  No
    device computes a run of units faster (`specs.timing.stage_ns`).  The largest of

    - one unit on the ideal device: some stage computes it, and a stage takes no less than any of its units;
    - all units on the ideal device over the number of stages: arithmetic, traffic (a tensor that two units share is
      read at least once) and overhead of the stages sum to at least those of the whole, and the slowest stage takes at
      least the mean, rounded up because stages take whole nanoseconds.
    """
    pipeline = _pipeline(plan, subject)
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


_ALL = (
    Formula(
        name="one-port-multicast-ticks",
        claim=Claim.COMPLETION,
        measure=Measure.TICKS,
        bound=_one_port_multicast_ticks,
    ),
    Formula(name="one-port-cover-ticks", claim=Claim.FIRST_COVER, measure=Measure.TICKS, bound=_one_port_cover_ticks),
    Formula(name="one-port-multicast-ns", claim=Claim.COMPLETION, measure=Measure.NANOS, bound=_one_port_multicast_ns),
    Formula(name="one-port-cover-ns", claim=Claim.FIRST_COVER, measure=Measure.NANOS, bound=_one_port_cover_ns),
    Formula(name="port-bytes-ns", claim=Claim.COMPLETION, measure=Measure.NANOS, bound=_port_bytes_ns),
    Formula(name="port-bytes-cover-ns", claim=Claim.FIRST_COVER, measure=Measure.NANOS, bound=_port_bytes_cover_ns),
    Formula(name="pipeline-bottleneck", claim=Claim.BOTTLENECK, measure=Measure.NANOS, bound=_pipeline_bottleneck),
)

FORMULAS = {formula.name: formula for formula in _ALL}
