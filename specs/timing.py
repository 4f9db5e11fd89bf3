"""The one predictor: how long a transfer and a stage take, and how patient a daemon is.  All results round up.

A stage is predicted by the roofline (Williams et al., 2009): an iteration takes the longer of its arithmetic over the
device's rate and its memory traffic over the memory's rate, plus a measured overhead per unit.
"""

from specs.cluster import Cluster, DeviceKind, Link, LinkId, Place, PlaceId
from specs.llm import Llm
from specs.plan import Pipeline, Plan, Route, Stage, Transfer
from specs.problem import Problem
from specs.profile import DeviceRate
from specs.units import Bytes, BytesPerSecond, FlopsPerSecond, Nanos, Tokens, ceil_div, duration_ns

# A transfer may take this many times its predicted time before its peer is suspected, and never less than the floor:
# a loaded machine may leave a healthy process unscheduled for hundreds of milliseconds.
PATIENCE_FACTOR = 2
PATIENCE_FLOOR_NS = Nanos(3_000_000_000)


def detection_ns(deadline_ns: Nanos) -> Nanos:
    """How long after the last word that was heard of it a node that says no more counts as lost, by this deadline.

    Whoever listens looks again before half a deadline has passed.  The first look at which the silence is longer than
    the deadline names the node, and the look before it was at most a deadline after the last word.  A listener that
    finds that it looked later was starved itself: it accuses nobody, and the bound counts from there.
    """
    return Nanos(deadline_ns + deadline_ns // 2)


def links_by_id(cluster: Cluster) -> dict[LinkId, Link]:
    """Index the links of a cluster."""
    return {link.id: link for link in cluster.links}


def route_ends(links: dict[LinkId, Link], route: Route) -> tuple[PlaceId, PlaceId]:
    """Name the memories at which a route begins and ends."""
    return links[route.links[0]].source, links[route.links[-1]].destination


def route_latency_ns(links: dict[LinkId, Link], route: Route) -> Nanos:
    """Sum the latencies along a route."""
    return Nanos(sum(links[link].latency_ns for link in route.links))


def transfer_ns(blob_bytes: Bytes, rate: BytesPerSecond, latency_ns: Nanos) -> Nanos:
    """Time from the first byte sent to the blob being held at the destination."""
    return Nanos(duration_ns(blob_bytes, rate) + latency_ns)


def progress_deadline_ns(transfer: Transfer) -> Nanos:
    """How long a running transfer may go without finishing a piece before its peer counts as hung."""
    return Nanos(max(PATIENCE_FLOOR_NS, PATIENCE_FACTOR * (transfer.end_ns - transfer.start_ns)))


def node_deadline_ns(plan: Plan) -> Nanos:
    """How long a node of this plan may be silent before its peers count it as lost: the longest transfer's patience."""
    deadlines = [progress_deadline_ns(step) for step in plan.steps if isinstance(step, Transfer)]
    return max(deadlines, default=PATIENCE_FLOOR_NS)


def device_rate(problem: Problem, place: Place, dtype: str) -> DeviceRate:
    """Find the measured rate of a device for weights of this dtype, or else the data sheet's."""
    for rate in problem.profile.rates:
        if rate.device == place.device and rate.dtype == dtype:
            return rate
    kind: DeviceKind = next(kind for kind in problem.cluster.device_kinds if kind.name == place.device)
    return DeviceRate(
        device=kind.name,
        dtype=dtype,
        flops_per_second=kind.flops_per_second_fp32 if dtype == "F32" else kind.flops_per_second_bf16,
        memory_bytes_per_second=kind.memory_bytes_per_second,
        overhead_ns_per_unit=Nanos(0),
        source=kind.source,
    )


def unit_bytes(llm: Llm, first_unit: int, end_unit: int) -> Bytes:
    """Bytes of the tensors that these units read, each counted once."""
    needed = {index for unit in llm.units[first_unit:end_unit] for index in unit.tensors}
    return Bytes(sum(llm.tensors[index].bytes for index in needed))


def stage_ns(rate: DeviceRate, llm: Llm, stage: Stage, tokens: Tokens, context_tokens: Tokens) -> Nanos:
    """Time of one iteration of a stage.

    `tokens` are computed in it, all requests together; `context_tokens` are read from the KV cache, all together.
    """
    units = llm.units[stage.first_unit : stage.end_unit]
    flops = sum(unit.flops_per_token * tokens + unit.flops_per_token_of_context * context_tokens for unit in units)
    traffic = unit_bytes(llm, stage.first_unit, stage.end_unit)
    traffic = Bytes(traffic + sum(unit.kv_bytes_per_token for unit in units) * context_tokens)
    compute = duration_ns(flops, FlopsPerSecond(rate.flops_per_second))
    memory = duration_ns(traffic, rate.memory_bytes_per_second)
    return Nanos(max(compute, memory) + len(units) * rate.overhead_ns_per_unit)


def decode_ns(problem: Problem, pipeline: Pipeline) -> tuple[Nanos, ...]:
    """Time of each stage for one decode iteration of a full pipeline, each request at the workload's mean context."""
    llm = problem.llm(pipeline.llm)
    workload = problem.workload(pipeline.llm)
    context = workload.prompt_tokens_mean + ceil_div(workload.output_tokens_mean, 2)
    places = {place.id: place for place in problem.cluster.places}
    return tuple(
        stage_ns(
            device_rate(problem, places[stage.place], llm.dtype),
            llm,
            stage,
            Tokens(pipeline.slots),
            Tokens(pipeline.slots * context),
        )
        for stage in pipeline.stages
    )


def kv_bytes(llm: Llm, first_unit: int, end_unit: int, tokens: int) -> Bytes:
    """KV cache that these units need for this many tokens, all requests together."""
    return Bytes(sum(unit.kv_bytes_per_token for unit in llm.units[first_unit:end_unit]) * tokens)


def stage_kv_bytes(llm: Llm, pipeline: Pipeline, stage: Stage, slots: int) -> Bytes:
    """KV cache that a stage takes while its pipeline has this many slots: with all of them, what it says."""
    if slots == pipeline.slots:
        return stage.kv_bytes
    return kv_bytes(llm, stage.first_unit, stage.end_unit, slots * pipeline.request_tokens_max)


def workspace_bytes(llm: Llm, end_unit: int, slots: int, iteration_tokens_max: int) -> Bytes:
    """Activations of one iteration, and logits in fp32 where the head is computed.

    Sixteen hidden states per token cover queries, keys, values, the MLP's inner activations (at most 8 x hidden in the
    families that we run) and their temporaries.
    """
    logits = slots * llm.vocabulary_size * 4 if end_unit == len(llm.units) else 0
    return Bytes(16 * llm.hidden_bytes_per_token * iteration_tokens_max + logits)
