"""The flow of the planner on one page: refuse what cannot fit, cut, schedule, form pipelines, certify, verify."""

from collections.abc import Sequence
from importlib.metadata import version

import attrs

from planner.blocks import choose_blocks, cut_at, fits
from planner.certify import certificates
from planner.demands import Needs, demands, held_borders, held_by_place, whole_holders
from planner.explain.impossible import impossible
from planner.formation import Opening, form
from planner.gather import OutOfTime, gather
from planner.held_units import stage_borders
from planner.moving import improved, through_relays
from planner.outcome import Conflict, Infeasible, Outcome, Planned, Undecided, no_plan
from planner.policies import speculations
from planner.promises import Kept, keep
from planner.room import Room, rooms
from planner.routes import NoRoute, Routes
from planner.search import Search
from planner.services import Served, beside, serve_all
from planner.stages import Sizes
from planner.standing_by import StandingBy, stand_by
from planner.transfers import Move, Schedule, followed_by, multicast_moves, schedule
from specs import codec
from specs.blobs import Blob, BlobId
from specs.certificates.lacking import lacking_time_ns
from specs.checker import Rejected, verify
from specs.cluster import PlaceId
from specs.decisions.flow.values import Objective
from specs.llm import Llm, LlmId
from specs.plan import (
    FORMAT,
    Activate,
    Continuity,
    PipelineId,
    Plan,
    Provenance,
    Release,
    RoutingWeight,
    Step,
    StepId,
    Switch,
    Transfer,
)
from specs.problem import Problem
from specs.units import NANOS_PER_SECOND, Nanos

# What a transfer costs beyond its bytes: a receipt, a grant, a connection and wake-ups on the way.  About what
# benchmarks/multicast.py showed per round on two shared cores (benchmarks/README.md); it only guides the choice of the
# number of blocks.
TRANSFER_OVERHEAD_NS = Nanos(10_000_000)

# Blobs of an LLM whose devices each get a part: enough to keep ports busy where several want the same part.
SERVICE_BLOCKS = 16


@attrs.frozen(kw_only=True)
class Request:
    """What is asked of the planner beyond the problem."""

    blocks: int | None = None  # per LLM; absent: those of the parent, or chosen
    parent: Plan | None = None  # the plan that this one follows
    objective: Objective = Objective.ALL  # of the transfers of all LLMs together


def solve(  # noqa: PLR0911 - a return for each way to have no plan
    problem: Problem, request: Request | None = None, search: Search | None = None
) -> Outcome:
    """Plan, within the limits of the search; without one, until there is nothing more to try.

    Never returns a plan that the checker rejects: a rejection is a bug here and crashes.  Raises CannotCut.
    """
    request, search = request or Request(), search or Search()
    routes = Routes(problem.cluster)
    services = serve_all(problem, search, request.parent)
    if not isinstance(services, tuple):
        return services
    rest = beside(problem, services)
    blobs = {llm.id: _cut(problem, llm, routes, request, services) for llm in problem.llms}
    kept = keep(rest, blobs)
    if conflicts := tuple(impossible(rest, blobs, kept)):
        return no_plan(conflicts)
    room = rooms(kept.problem, blobs)
    for each in room.values():
        if each.left_bytes < 0:
            sentence = f"{-each.left_bytes:,} bytes are missing at {each.place} unless it gives up an LLM that it holds"
            return Undecided(sentence=f"{sentence}; this planner gives nothing up")
    needs = {llm.id: demands(problem, blobs[llm.id], _receivers(problem, llm.id, routes)) for llm in problem.llms}
    needs |= {each.service.llm: each.demands(problem, blobs[each.service.llm]) for each in services}
    standing = stand_by(rest, blobs, needs, routes, search)
    if not isinstance(standing, StandingBy):
        return standing
    try:
        timed = _timed(problem, blobs, needs, standing, routes, search, request.objective)
    except NoRoute as missing:
        return _no_route(problem, needs, routes, missing)
    except OutOfTime as early:
        return Undecided(sentence=str(early))
    if search.left_s() == 0:
        tried = f"{len(timed.transfers):,} transfers were put in order, no pipelines formed"
        return Undecided(sentence=f"the time was over before the first plan was whole: {tried}")
    room = standing.rooms(kept.problem, blobs)
    kept = keep(kept.problem, blobs, room)  # more LLMs may serve, or fewer, beside all that rests there
    if kept.broken:
        return Undecided(sentence=f"the promise for {kept.broken[0]} was kept only where there is no room for it")
    others = {llm: need for llm, need in standing.needs(needs).items() if llm not in {s.llm for s in problem.services}}
    openings = _openings(kept.problem, blobs, room, others, timed.arrivals(routes))
    for served in services:
        openings += served.openings(problem, needs[served.service.llm], timed.arrivals(routes))
    plan = _assemble(problem, request, search, blobs, timed, openings, standing)
    plan = attrs.evolve(plan, routing=_weights(kept, openings, services))
    certified = *certificates(problem, plan, search), *standing.certificate(problem, plan)
    certified = *certified, *(each.certificate(problem, plan) for each in services)
    plan = attrs.evolve(plan, certificates=certified)
    verdict = verify(problem, plan)
    assert not isinstance(verdict, Rejected), f"the planner made a plan that the checker rejects:\n{verdict}"
    return Planned(verified=verdict)


def _cut(problem: Problem, llm: Llm, routes: Routes, request: Request, services: Sequence[Served]) -> tuple[Blob, ...]:
    """Cut as asked, or as the parent did: what has arrived under it is known by its blobs."""
    served = [each for each in services if each.service.llm == llm.id]
    borders = sorted({*held_borders(problem, llm), *(b for each in served for b in stage_borders(llm, each.pipelines))})
    if request.blocks is not None:
        return cut_at(llm, request.blocks, borders)
    if request.parent is not None:
        blobs = tuple(blob for blob in request.parent.blobs if blob.llm == llm.id)
        if fits(llm, blobs, borders):
            return blobs
    if served:
        return cut_at(llm, min(SERVICE_BLOCKS, llm.layers), borders)
    whole = cut_at(llm, 1, borders)
    needs = demands(problem, whole, _receivers(problem, llm.id, routes))
    receivers = {place for each in needs for place in each.wanting}
    rates = [link.bytes_per_second for link in routes.links.values()]
    if not receivers or not rates:
        return whole
    sources = max(1, len(whole_holders(needs)))
    blocks = choose_blocks(llm, sources + len(receivers), sources, min(rates), TRANSFER_OVERHEAD_NS)
    return cut_at(llm, blocks, borders)


def _receivers(problem: Problem, llm: LlmId, routes: Routes) -> list[PlaceId]:
    """Order the places that are to hold the LLM: fast ports first, neighbours in a rack together."""
    wanted = [target.place for target in problem.targets if target.llm == llm]
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


def _timed(
    problem: Problem,
    blobs: dict[LlmId, tuple[Blob, ...]],
    needs: Needs,
    standing: StandingBy,
    routes: Routes,
    search: Search,
    objective: Objective,
) -> Schedule:
    """Schedule all transfers, through memories with room if need be.  Raises NoRoute and OutOfTime."""
    flat = [blob for llm in problem.llms for blob in blobs[llm.id]]
    try:
        plain = schedule(routes, [*_moves(problem, blobs, needs, routes, search), *standing.moves])
    except NoRoute:
        wanted = {(need.blob.id, place) for llm in problem.llms for need in needs[llm.id] for place in need.wanting}
        wanted |= {(each.blob.id, each.destination) for each in standing.moves}
        taken = {place for _, place in wanted} | {holding.place for holding in problem.holdings}
        taken |= {place for standby in problem.standbys for place in standby.places}
        taken |= {place for service in problem.services for place in service.places}
        relayed = through_relays(problem, flat, wanted, taken, search, objective)
        if relayed is None:
            raise
        return followed_by(relayed, routes, standing.late_moves)
    return followed_by(improved(problem, flat, plain, search, objective), routes, standing.late_moves)


def _moves(
    problem: Problem,
    blobs: dict[LlmId, tuple[Blob, ...]],
    needs: Needs,
    routes: Routes,
    search: Search,
) -> list[Move]:
    """Multicast what is held whole by whoever holds it; gather, all together, what is held in parts."""
    parts = {holding.llm for holding in problem.holdings if not holding.whole}
    parts |= {service.llm for service in problem.services}
    moves = [
        move
        for llm in problem.llms
        if llm.id not in parts and needs[llm.id]
        for move in multicast_moves(blobs[llm.id], needs[llm.id][0].holders, needs[llm.id][0].wanting)
    ]
    scattered = [need for llm in problem.llms if llm.id in parts for need in needs[llm.id]]
    names = [llm for llm in needs if llm in parts]
    bounds = [lacking_time_ns(problem, blobs[llm], llm) for llm in names]
    bound = max((each for each in bounds if isinstance(each, int)), default=0)
    decision = f"transfers of {', '.join(names)}"
    return [*moves, *gather(problem.cluster, routes, scattered, search, decision=decision, bound_ns=bound)]


def _no_route(problem: Problem, needs: Needs, routes: Routes, missing: NoRoute) -> Infeasible | Undecided:
    """Tell targets that nothing can reach from those that only a way through other memories would reach."""
    lost = {
        (llm.id, place): None
        for llm in problem.llms
        for need in needs[llm.id]
        for place in need.wanting
        if not any(routes.reaches(holder, place) for holder in need.holders)
    }
    if lost:
        sentence = "no path of links leads to it from any place that holds"
        return Infeasible(
            conflicts=tuple(Conflict(rule="FULL", where=place, sentence=f"{sentence} {llm}") for llm, place in lost)
        )
    return Undecided(sentence=f"{missing}; this planner tries no ways through other memories")


def _openings(
    problem: Problem,
    blobs: dict[LlmId, tuple[Blob, ...]],
    room: dict[PlaceId, Room],
    needs: Needs,
    arrivals: dict[PlaceId, list[tuple[Nanos, BlobId]]],
) -> list[Opening]:
    """Form the pipelines of every LLM, each in its share of the memories."""
    spare_bytes = {place: each.share_bytes for place, each in room.items()}
    openings: list[Opening] = []
    for llm in problem.llms:
        if llm.id not in needs:
            continue
        names = {blob.id for blob in blobs[llm.id]}
        at_first = held_by_place(needs[llm.id])
        wanting = {place for need in needs[llm.id] for place in need.wanting}
        mine = {
            place: [*((Nanos(0), blob) for blob in at_first.get(place, ())), *kept]
            for place, arrived in arrivals.items()
            if place in wanting and (kept := [arrival for arrival in arrived if arrival[1] in names])
        }
        sources = [place for place in whole_holders(needs[llm.id]) if llm.id in room[place].serving]
        openings += form(Sizes.of(problem, llm), blobs[llm.id], sources, mine, spare_bytes)
    return openings


def _assemble(
    problem: Problem,
    request: Request,
    search: Search,
    blobs: dict[LlmId, tuple[Blob, ...]],
    timed: Schedule,
    openings: Sequence[Opening],
    standing: StandingBy,
) -> Plan:
    parent = request.parent
    routes = tuple(dict.fromkeys((*timed.routes, *(way for way in standing.ways.values() if way is not None))))
    releases = [
        Release(id=StepId(0), blob=blob.id, place=place, at_ns=timed.pause_ns)
        for llm, place in standing.given_up
        for blob in blobs[llm]
    ]
    return Plan(
        format=FORMAT,
        problem=codec.digest(problem),
        parent=None if parent is None else codec.digest(parent),
        generation=1 if parent is None else parent.generation + 1,
        provenance=Provenance(
            planner=f"holdfast/{version('holdfast')}",
            solvers=search.solvers,
            seed=search.seed,
            steps_max=search.steps_max,
            within_ns=None if search.within_s is None else Nanos(round(search.within_s * NANOS_PER_SECOND)),
        ),
        blobs=tuple(blob for llm in problem.llms for blob in blobs[llm.id]),
        routes=routes,
        pipelines=tuple(opening.pipeline for opening in openings),
        steps=_in_order(timed.transfers, openings, releases),
        routing=(),
        residents=standing.residents(routes),
        speculations=speculations(problem),
        certificates=(),
    )


def _in_order(
    transfers: Sequence[Transfer], openings: Sequence[Opening], releases: Sequence[Release]
) -> tuple[Step, ...]:
    """Number all steps by time; at one instant transfers start first, then pipelines open, switch, and blobs go."""
    rows: list[tuple[Nanos, int, Step]] = [(step.start_ns, 0, step) for step in transfers]
    rows += [(step.at_ns, 3, step) for step in releases]
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


def _weights(kept: Kept, openings: Sequence[Opening], services: Sequence[Served]) -> tuple[RoutingWeight, ...]:
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
