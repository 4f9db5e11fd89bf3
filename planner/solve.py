"""The flow of the planner on one page: refuse what cannot fit, cut, schedule, form pipelines, certify, verify."""

from collections.abc import Sequence
from importlib.metadata import version

import attrs

from planner.blocks import choose_blocks, cut
from planner.certify import certificates
from planner.formation import Opening, form
from planner.outcome import Conflict, Infeasible, Outcome, Planned, Undecided
from planner.room import Room, impossible, rooms
from planner.routes import NoRoute, Routes
from planner.stages import Sizes
from planner.transfers import Schedule, multicast_moves, schedule
from specs import codec
from specs.blobs import Blob, BlobId
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

# What a transfer costs beyond its bytes: a receipt, a grant, a connection and wake-ups on the way.  About what
# benchmarks/multicast.py showed per round on two shared cores (benchmarks/README.md); it only guides the choice of the
# number of blocks.
TRANSFER_OVERHEAD_NS = Nanos(10_000_000)


@attrs.frozen(kw_only=True)
class Request:
    """What is asked of the planner beyond the problem."""

    blocks: int | None = None  # per LLM; absent: chosen
    parent: Plan | None = None  # the plan that this one follows


def solve(problem: Problem, request: Request | None = None) -> Outcome:
    """Plan.  Never returns a plan that the checker rejects: a rejection is a bug here and crashes.

    Raises CannotCut.
    """
    request = request or Request()
    routes = Routes(problem.cluster)
    blobs = {llm.id: _cut(problem, llm, routes, request.blocks) for llm in problem.llms}
    if conflicts := tuple(impossible(problem, blobs)):
        return Infeasible(conflicts=conflicts)
    room = rooms(problem, blobs)
    for each in room.values():
        if each.left_bytes < 0:
            sentence = f"{-each.left_bytes:,} bytes are missing at {each.place} unless it gives up an LLM that it holds"
            return Undecided(sentence=f"{sentence}; this planner gives nothing up")
    wanted = {llm.id: _receivers(problem, llm.id, routes) for llm in problem.llms}
    moves = [
        move
        for llm in problem.llms
        for move in multicast_moves(blobs[llm.id], _sources(problem, llm.id), wanted[llm.id])
    ]
    try:
        timed = schedule(routes, moves)
    except NoRoute as missing:
        return _no_route(problem, routes, missing)
    openings = _openings(problem, blobs, room, timed.arrivals(routes))
    plan = _assemble(problem, request, blobs, timed, openings)
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
        return cut(llm, blocks)
    rates = [link.bytes_per_second for link in routes.links.values()]
    if not receivers or not rates:
        return cut(llm, 1)
    nodes = len(sources) + len(receivers)
    return cut(llm, choose_blocks(llm, nodes, len(sources), min(rates), TRANSFER_OVERHEAD_NS))


def _no_route(problem: Problem, routes: Routes, missing: NoRoute) -> Infeasible | Undecided:
    """Tell targets that nothing can reach from those that only a way through other memories would reach."""
    conflicts = tuple(
        Conflict(rule="FULL", where=place, sentence=f"no path of links leads to it from any place that holds {llm.id}")
        for llm in problem.llms
        for place in _receivers(problem, llm.id, routes)
        if not any(routes.reaches(source, place) for source in _sources(problem, llm.id))
    )
    if conflicts:
        return Infeasible(conflicts=conflicts)
    return Undecided(sentence=f"{missing}; this planner tries no ways through other memories")


def _openings(
    problem: Problem,
    blobs: dict[LlmId, tuple[Blob, ...]],
    room: dict[PlaceId, Room],
    arrivals: dict[PlaceId, list[tuple[Nanos, BlobId]]],
) -> list[Opening]:
    """Form the pipelines of every LLM, each in its share of the memories."""
    spare_bytes = {place: each.share_bytes for place, each in room.items()}
    openings: list[Opening] = []
    for llm in problem.llms:
        names = {blob.id for blob in blobs[llm.id]}
        mine = {
            place: kept
            for place, arrived in arrivals.items()
            if (kept := [arrival for arrival in arrived if arrival[1] in names])
        }
        sources = [place for place in _sources(problem, llm.id) if llm.id in room[place].serving]
        openings += form(Sizes.of(problem, llm), blobs[llm.id], sources, mine, spare_bytes)
    return openings


def _assemble(
    problem: Problem,
    request: Request,
    blobs: dict[LlmId, tuple[Blob, ...]],
    timed: Schedule,
    openings: Sequence[Opening],
) -> Plan:
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
