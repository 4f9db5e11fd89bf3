"""The flow of the planner on one page: refuse what cannot fit, cut, schedule, form pipelines, certify, verify."""

from collections.abc import Iterator, Sequence
from importlib.metadata import version

import attrs

from planner.blocks import choose_blocks, cut
from planner.certify import certificates
from planner.formation import Opening, form
from planner.outcome import Conflict, Infeasible, Outcome, Planned
from planner.routes import NoRoute, Routes
from planner.stages import Sizes, blob_bytes, devices
from planner.transfers import Move, Schedule, multicast_moves, schedule
from specs import codec
from specs.blobs import Blob
from specs.checker import Rejected, verify
from specs.cluster import PlaceId
from specs.llm import Llm, LlmId
from specs.plan import (
    FORMAT,
    Activate,
    Continuity,
    PipelineId,
    Plan,
    Provenance,
    RoutingWeight,
    Step,
    StepId,
    Switch,
    Transfer,
)
from specs.problem import Problem
from specs.timing import decode_ns
from specs.units import NANOS_PER_SECOND, Nanos

# What a transfer costs beyond its bytes: a grant, an acknowledgement and a thread's wake-up.  Measured with
# benchmarks/multicast.py; it only guides the choice of the number of blocks.
TRANSFER_OVERHEAD_NS = Nanos(3_000_000)


@attrs.frozen(kw_only=True)
class Request:
    """What is asked of the planner beyond the problem."""

    blocks: int | None = None  # per LLM; absent: chosen
    parent: Plan | None = None  # the plan that this one follows


class CannotCut(ValueError):
    """More blocks were asked for than the LLM has layers."""


def solve(problem: Problem, request: Request | None = None) -> Outcome:
    """Plan.  Never returns a plan that the checker rejects: a rejection is a bug here and crashes.

    Raises CannotCut.
    """
    request = request or Request()
    routes = Routes(problem.cluster)
    blobs = {llm.id: _cut(problem, llm, routes, request.blocks) for llm in problem.llms}
    if conflicts := tuple(_does_not_fit(problem, blobs)):
        return Infeasible(conflicts=conflicts)
    try:
        timed = schedule(routes, [move for llm in problem.llms for move in _moves(problem, llm, blobs[llm.id])])
    except NoRoute as missing:
        return Infeasible(conflicts=(Conflict(rule="REF", where=problem.cluster.name, sentence=str(missing)),))
    plan = _assemble(problem, request, blobs, timed, routes)
    plan = attrs.evolve(plan, certificates=certificates(problem, plan))
    verdict = verify(problem, plan)
    assert not isinstance(verdict, Rejected), f"the planner made a plan that the checker rejects:\n{verdict}"
    return Planned(verified=verdict)


def _sources(problem: Problem, llm: LlmId) -> list[PlaceId]:
    return [holding.place for holding in problem.holdings if holding.llm == llm]


def _receivers(problem: Problem, llm: LlmId, routes: Routes) -> list[PlaceId]:
    """Order the places that need the LLM: fast ports first, neighbours in a rack together."""
    held = set(_sources(problem, llm))
    wanted = [target.place for target in problem.targets if target.llm == llm and target.place not in held]
    rack_of = {node.id: node.rack or "" for node in problem.cluster.nodes}
    node_of = {place.id: place.node for place in problem.cluster.places}
    fastest = dict.fromkeys(wanted, 0)
    for link in routes.links.values():
        if link.destination in fastest:
            fastest[link.destination] = max(fastest[link.destination], link.bytes_per_second)
    position = {place: index for index, place in enumerate(wanted)}

    def key(place: PlaceId) -> tuple[int, str, int]:
        node = node_of[place]
        return -fastest[place], rack_of[node] if node is not None else "", position[place]

    return sorted(wanted, key=key)


def _cut(problem: Problem, llm: Llm, routes: Routes, blocks: int | None) -> tuple[Blob, ...]:
    sources = _sources(problem, llm.id)
    receivers = _receivers(problem, llm.id, routes)
    if blocks is not None:
        if blocks > llm.layers:
            raise CannotCut(
                f"{llm.id} has {llm.layers} layers: it can be cut into at most as many blocks, not {blocks}"
            )
        return cut(llm, blocks)
    rates = [link.bytes_per_second for link in routes.links.values()]
    if not receivers or not rates:
        return cut(llm, 1)
    nodes = len(sources) + len(receivers)
    return cut(llm, choose_blocks(llm, nodes, len(sources), min(rates), TRANSFER_OVERHEAD_NS))


def _moves(problem: Problem, llm: Llm, blobs: Sequence[Blob]) -> list[Move]:
    routes = Routes(problem.cluster)
    return multicast_moves(blobs, _sources(problem, llm.id), _receivers(problem, llm.id, routes))


def _does_not_fit(problem: Problem, blobs: dict[LlmId, tuple[Blob, ...]]) -> Iterator[Conflict]:
    """MEM.  On each place: blobs it holds or must hold + KV and workspace of its local pipelines <= its memory."""
    for place in problem.cluster.places:
        wishes = {holding.llm for holding in problem.holdings if holding.place == place.id}
        wishes |= {target.llm for target in problem.targets if target.place == place.id}
        if not wishes:
            continue
        parts = []
        for llm in (llm for llm in problem.llms if llm.id in wishes):
            parts.append((f"weights of {llm.id}", blob_bytes(blobs[llm.id])))
            if place.id in devices(problem):
                sizes = Sizes.of(problem, llm)
                stage = sizes.local(place.id).stages[0]
                live = f"{sizes.workload.live_requests_max} requests of {sizes.workload.request_tokens_max} tokens"
                parts.append((f"KV of {live}", stage.kv_bytes))
                parts.append(("workspace", stage.workspace_bytes))
        needed = sum(size for _, size in parts)
        if needed > place.memory_bytes:
            items = " + ".join(f"{size:,} bytes ({what})" for what, size in parts)
            missing = needed - place.memory_bytes
            sentence = f"needs {items} = {needed:,} bytes, has {place.memory_bytes:,}: {missing:,} bytes are missing"
            yield Conflict(rule="MEM", where=place.id, sentence=sentence)


def _assemble(
    problem: Problem,
    request: Request,
    blobs: dict[LlmId, tuple[Blob, ...]],
    timed: Schedule,
    routes: Routes,
) -> Plan:
    arrivals = timed.arrivals(routes)
    computing = devices(problem)
    openings: list[Opening] = []
    for llm in problem.llms:
        names = {blob.id for blob in blobs[llm.id]}
        wanted = _receivers(problem, llm.id, routes)
        mine = {place: [(at, blob) for at, blob in arrivals[place] if blob in names] for place in wanted}
        sources = [place for place in _sources(problem, llm.id) if place in computing]
        openings += form(Sizes.of(problem, llm), blobs[llm.id], sources, mine)
    parent = request.parent
    return Plan(
        format=FORMAT,
        problem=codec.digest(problem),
        parent=None if parent is None else codec.digest(parent),
        generation=1 if parent is None else parent.generation + 1,
        provenance=Provenance(planner=f"holdfast/{version('holdfast')}", solvers=(), seed=0),
        blobs=tuple(blob for llm in problem.llms for blob in blobs[llm.id]),
        routes=timed.routes,
        pipelines=tuple(opening.pipeline for opening in openings),
        steps=_in_order(timed.transfers, openings),
        routing=_weights(problem, openings),
        certificates=(),
    )


def _in_order(transfers: Sequence[Transfer], openings: Sequence[Opening]) -> tuple[Step, ...]:
    """Number all steps by time; at one instant transfers start first, then pipelines open, then others switch."""
    rows: list[tuple[Nanos, int, Step]] = [(step.start_ns, 0, step) for step in transfers]
    for opening in openings:
        at = opening.open_ns
        rows.append((at, 1, Activate(id=StepId(0), pipeline=opening.pipeline.id, at_ns=at)))
        if opening.close_ns is not None and opening.successor is not None:
            switch = Switch(
                id=StepId(0),
                old=opening.pipeline.id,
                new=PipelineId(opening.successor),
                continuity=Continuity.RECOMPUTE,
                at_ns=opening.close_ns,
            )
            rows.append((opening.close_ns, 2, switch))
    ordered = sorted(enumerate(rows), key=lambda row: (row[1][0], row[1][1], row[0]))
    return tuple(attrs.evolve(step, id=StepId(number)) for number, (_, (_, _, step)) in enumerate(ordered))


def _weights(problem: Problem, openings: Sequence[Opening]) -> tuple[RoutingWeight, ...]:
    """Weigh each pipeline by the decode iterations per second that its slowest stage allows, times a thousand."""
    return tuple(
        RoutingWeight(
            pipeline=opening.pipeline.id,
            weight=max(1, 1000 * NANOS_PER_SECOND // max(1, *decode_ns(problem, opening.pipeline))),
        )
        for opening in openings
    )
