"""The question that a service asks of its devices, and how the pipelines of a plan answer it.

A pipeline of K stages has K iterations under way, so its slots are K batches.  In a steady state each iteration of b
requests computes, beside b tokens of answers, the prompts of the requests that take the place of those that end: b x
mean prompt / mean answer tokens.  The question counts them, so that its TPOT is that of the mean iteration, and its
output per second can be kept up.  How requests wait for one another is the business of rule SLO.

Groups hold devices of one kind with as much free memory, on nodes with as many of them.  What devices hold of other
LLMs at the start stays there, and takes room, but where pipelines run at the start: plans from there give up what
nothing needs.  What devices hold of this LLM need not be loaded.  Hidden states go from
group to group as from the first device of the one to the last of the other.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import attrs

from specs.cluster import DeviceKindName, Place, PlaceId
from specs.decisions.layout.answer import Answer, Replica
from specs.decisions.layout.answer import Stage as LayoutStage
from specs.decisions.layout.question import Group, Hop, Limits, Pace, Question, Shape
from specs.llm import Llm, LlmId, Unit
from specs.plan import Pipeline, Plan
from specs.problem import Problem
from specs.profile import DeviceRate
from specs.timing import device_rate, workspace_bytes
from specs.units import Bytes, Nanos, Tokens, align_up, ceil_div, duration_ns
from specs.ways import NoWay, Ways
from specs.wishes import Service

ITERATION_TOKENS_MAX = Tokens(512)  # the workspace that is counted is for so many, or as many as there are requests
FOREVER_NS = Nanos(10**15)  # where nothing is promised
_MILLI_PER_HOUR = 3600
_ALIGNMENT_BYTES = 64  # of tensors in blobs


@attrs.frozen(kw_only=True)
class Offer:
    """The question, and which device of the cluster is which of its groups."""

    question: Question
    seats: dict[str, tuple[PlaceId, ...]]

    def seat_of(self) -> dict[PlaceId, tuple[str, int]]:
        """Find the group and number of each device."""
        return {place: (group, index) for group, places in self.seats.items() for index, place in enumerate(places)}


def offer(problem: Problem, service: Service, *, keeping: bool = False) -> Offer:
    """Ask for the pipelines of a service.  Raises InvalidProblem when no device has room for anything.

    What a device holds of the LLM is counted as if it went, or was computed with; with `keeping`, as if it stayed
    beside the weights of a stage, which every plan has room for that gives nothing up.
    """
    llm = problem.llm(service.llm)
    seats, groups = _groups(problem, service, keeping=keeping)
    hops = _hops(problem, llm, seats)
    limits = _limits(problem, service)
    batches = _batches(problem.workload(llm.id).live_requests_max, limits.depth)
    places = {place.id: place for place in problem.cluster.places}
    paces = (
        _pace(problem, llm, name, places[members[0]], batch) for name, members in seats.items() for batch in batches
    )
    question = Question(
        weight_bytes=tuple(Bytes(_unit_bytes(llm, unit)) for unit in llm.units),
        kv_bytes_per_token=tuple(unit.kv_bytes_per_token for unit in llm.units),
        context_tokens=problem.workload(llm.id).request_tokens_max,
        groups=groups,
        shapes=tuple(Shape(name=group.name, group=group.name, devices=1) for group in groups),
        paces=tuple(paces),
        hops=hops,
        limits=limits,
        round_ns=max((Nanos(hop.ns(1)) for hop in hops), default=Nanos(0)),
        running=tuple(_running(problem, llm, seats)),
    )
    return Offer(question=question, seats=seats)


def answer_of(plan: Plan, lasting: tuple[Pipeline, ...], found: Offer) -> Answer:
    """Read the pipelines that stay open as an answer: devices outside the question become -1.

    A batch is under way for each stage, or, with fewer slots than stages, for each slot.
    """
    weights = {row.pipeline: row.weight for row in plan.routing}
    return weighed(lasting, [weights[pipeline.id] for pipeline in lasting], found)


def weighed(pipelines: Sequence[Pipeline], weights: Sequence[int], found: Offer) -> Answer:
    """Read pipelines with these weights as an answer."""
    seats = found.seat_of()
    return Answer(replicas=tuple(_replica(each, own, seats) for each, own in zip(pipelines, weights, strict=True)))


def _replica(pipeline: Pipeline, weight: int, seats: dict[PlaceId, tuple[str, int]]) -> Replica:
    stages = []
    for stage in pipeline.stages:
        group, device = seats.get(stage.place, ("none", -1))
        stages.append(LayoutStage(shape=group, devices=(device,), first_unit=stage.first_unit, end_unit=stage.end_unit))
    in_flight = max(1, min(len(stages), pipeline.slots))
    batch = ceil_div(pipeline.slots, in_flight)
    return Replica(stages=tuple(stages), batch=batch, in_flight=in_flight, weight=weight)


def _running(problem: Problem, llm: Llm, seats: dict[str, tuple[PlaceId, ...]]) -> Iterator[Replica]:
    """What each device need not load: the longest run of units all of whose tensors it holds, as a row of its own."""
    for group, places in seats.items():
        for device, place in enumerate(places):
            held = held_tensors(problem, llm, place)
            runs: list[tuple[int, int]] = []
            for index, unit in enumerate(llm.units):
                if held.issuperset(unit.tensors):
                    joined = runs and runs[-1][1] == index
                    runs.append((runs.pop()[0] if joined else index, index + 1))
            if runs:
                first, end = max(runs, key=lambda run: (run[1] - run[0], -run[0]))
                stage = LayoutStage(shape=group, devices=(device,), first_unit=first, end_unit=end)
                yield Replica(stages=(stage,), batch=1, in_flight=1, weight=1)


def held_tensors(problem: Problem, llm: Llm, place: PlaceId) -> frozenset[int]:
    """The tensors of an LLM that rest in a place at the start."""
    return frozenset(
        tensor
        for holding in problem.holdings
        if holding.llm == llm.id and holding.place == place
        for tensor in range(len(llm.tensors))[holding.first_tensor : holding.end_tensor]
    )


def _groups(
    problem: Problem, service: Service, *, keeping: bool
) -> tuple[dict[str, tuple[PlaceId, ...]], tuple[Group, ...]]:
    places = {place.id: place for place in problem.cluster.places}
    mine = [places[place] for place in service.places]
    gives_up = bool(problem.running) and not keeping
    held = {} if gives_up else _held_bytes(problem, None if keeping else service.llm)
    kinds = {kind.name: kind for kind in problem.cluster.device_kinds}
    of_node = Counter((place.node, place.device, _room(place, held)) for place in mine)
    found: dict[tuple[DeviceKindName, int, int], list[PlaceId]] = {}
    for place in sorted(mine, key=lambda place: str(place.node)):
        room = _room(place, held)
        alike = DeviceKindName(str(place.device)), room, of_node[place.node, place.device, room]
        found.setdefault(alike, []).append(place.id)
    seats: dict[str, tuple[PlaceId, ...]] = {}
    groups = []
    for number, ((kind, room, per_node), members) in enumerate(found.items()):
        name = f"{kind}-{number}"
        if room < 1:
            continue
        seats[name] = tuple(members)
        groups.append(
            Group(
                name=name,
                devices=len(members),
                per_node=per_node,
                memory_bytes=Bytes(room),
                cost_per_hour=kinds[kind].microdollars_per_hour,
            )
        )
    return seats, tuple(groups)


def _held_bytes(problem: Problem, but: LlmId | None) -> dict[PlaceId, int]:
    """Bytes of tensors that rest in each place at the start, but for those of one LLM."""
    found: dict[PlaceId, int] = {}
    for holding in problem.holdings:
        if holding.llm == but:
            continue
        tensors = problem.llm(holding.llm).tensors[holding.first_tensor : holding.end_tensor]
        size = sum(align_up(tensor.bytes, _ALIGNMENT_BYTES) for tensor in tensors)
        found[holding.place] = found.get(holding.place, 0) + size
    return found


def _room(place: Place, held: dict[PlaceId, int]) -> int:
    return place.memory_bytes - held.get(place.id, 0)


def _hops(problem: Problem, llm: Llm, seats: dict[str, tuple[PlaceId, ...]]) -> tuple[Hop, ...]:
    ways = Ways(problem.cluster)
    workload = problem.workload(llm.id)
    tokens = 1 + ceil_div(workload.prompt_tokens_mean, workload.output_tokens_mean)  # with each token of an answer
    found = []
    for source, first in seats.items():
        for destination, last in seats.items():
            if first[0] == last[-1]:
                continue  # a group of one device
            try:
                way = ways.hop(first[0], last[-1])
            except NoWay:
                continue
            wire = duration_ns(tokens * llm.hidden_bytes_per_token, way.bytes_per_second)
            found.append(
                Hop(source=source, destination=destination, latency_ns=Nanos(way.latency_ns), ns_per_token=wire)
            )
    return tuple(found)


def _batches(live: int, depth: int) -> tuple[int, ...]:
    """Powers of two, and equal parts of all that may be live."""
    powers = {2**power for power in range(live.bit_length())}
    return tuple(sorted(powers | {live // parts for parts in range(1, min(depth, live) + 1)}))


def _pace(problem: Problem, llm: Llm, shape: str, place: Place, batch: int) -> Pace:
    """Time of one iteration per unit, by arithmetic and by memory traffic: the terms of `specs.timing.stage_ns`."""
    workload = problem.workload(llm.id)
    rate = device_rate(problem, place, llm.dtype)
    prompts = ceil_div(batch * workload.prompt_tokens_mean, workload.output_tokens_mean)
    context = batch * (workload.prompt_tokens_mean + ceil_div(workload.output_tokens_mean, 2))
    attended = context + prompts * ceil_div(workload.prompt_tokens_mean, 2)
    times = (_unit_ns(llm, unit, rate, (batch + prompts, attended, context)) for unit in llm.units)
    slots = workload.live_requests_max
    return Pace(
        shape=shape,
        batch=batch,
        tracks=tuple(zip(*times, strict=True)),
        workspace_bytes=workspace_bytes(llm, len(llm.units), slots, max(slots, ITERATION_TOKENS_MAX)),
    )


def _unit_ns(llm: Llm, unit: Unit, rate: DeviceRate, work: tuple[int, int, int]) -> tuple[Nanos, Nanos]:
    """Arithmetic and memory traffic of one unit for tokens computed, tokens attended to and tokens read from KV."""
    tokens, attended, context = work
    flops = unit.flops_per_token * tokens + unit.flops_per_token_of_context * attended
    traffic = _unit_bytes(llm, unit) + unit.kv_bytes_per_token * context
    return (
        Nanos(duration_ns(flops, rate.flops_per_second) + rate.overhead_ns_per_unit),
        Nanos(duration_ns(traffic, rate.memory_bytes_per_second) + rate.overhead_ns_per_unit),
    )


def _unit_bytes(llm: Llm, unit: Unit) -> int:
    return sum(align_up(llm.tensors[index].bytes, _ALIGNMENT_BYTES) for index in unit.tensors)


def _limits(problem: Problem, service: Service) -> Limits:
    workload = problem.workload(service.llm)
    slo = next((slo for slo in problem.slos if slo.llm == service.llm), None)
    depth = min(service.depth_max, len(service.places), len(problem.llm(service.llm).units))
    hourly = workload.requests_per_hour * workload.output_tokens_mean * 1000
    return Limits(
        tpot_ns=FOREVER_NS if slo is None else slo.tpot_ns_max,
        depth=depth,
        in_flight=depth,
        slots=workload.live_requests_max,
        demand_millitokens_per_second=ceil_div(hourly, _MILLI_PER_HOUR),
        moved_units=service.moves_max,
    )
