"""The flow of the planner on one page: refuse what cannot fit, cut, schedule, form pipelines, certify, verify."""

from collections.abc import Iterator

import attrs

from planner.assembly import assemble, follow, provenance, weigh
from planner.certify import certificates
from planner.cutting import cut_for, receivers_of
from planner.demands import Needs, demands, held_by_place, whole_holders
from planner.explain.impossible import impossible
from planner.formation import Opening, form
from planner.gather import OutOfTime, gather
from planner.moving import Packed, packed, through_relays
from planner.outcome import Conflict, Infeasible, Outcome, Planned, Undecided, no_plan
from planner.promises import Kept, keep
from planner.ramp import Draft, best
from planner.room import Room, rooms
from planner.routes import NoRoute, Routes
from planner.search import Search
from planner.services import Served, beside, serve_all
from planner.stages import Sizes
from planner.standing_by import StandingBy, stand_by
from planner.transfers import Move, followed_by, multicast_moves, schedule
from specs.blobs import Blob, BlobId
from specs.certificates.lacking import lacking_time_ns
from specs.checker import Rejected, verify
from specs.cluster import PlaceId
from specs.decisions.flow.values import Objective
from specs.llm import LlmId
from specs.plan import Aim, Plan
from specs.problem import Problem
from specs.units import Nanos

_OBJECTIVES = {Aim.COMPLETION: Objective.ALL, Aim.COVER: Objective.COVER, Aim.RAMP: Objective.RAMP}


@attrs.frozen(kw_only=True)
class Request:
    """What is asked of the planner beyond the problem."""

    blocks: int | None = None  # per LLM; absent: those of the parent, or chosen
    parent: Plan | None = None  # the plan that this one follows
    aim: Aim = Aim.COMPLETION  # of the transfers of all LLMs together


class _NoPlan(Exception):
    """One of the ways to have no plan."""

    def __init__(self, outcome: Infeasible | Undecided) -> None:
        super().__init__()
        self.outcome = outcome


def solve(problem: Problem, request: Request | None = None, search: Search | None = None) -> Outcome:
    """Plan, within the limits of the search; without one, until there is nothing more to try.

    Never returns a plan that the checker rejects: a rejection is a bug here and crashes.  Raises CannotCut.
    """
    request, search = request or Request(), search or Search()
    try:
        ground = _ground(problem, request, search)
        ways = list(_timed(ground, search, request.aim))
    except _NoPlan as no:
        return no.outcome
    if search.left_s() == 0:
        done = f"{len(ways[0].schedule.transfers):,} transfers were put in order, no pipelines formed"
        return Undecided(sentence=f"the time was over before the first plan was whole: {done}")
    drafts = [ground.draft(way) for way in ways]
    chosen, tried = best(problem, drafts, request.aim)
    made = provenance(search, request.aim)
    timed, draft = ways[chosen].schedule, drafts[chosen]
    plan = assemble(problem, ground.flat, timed, draft.openings, draft.routing, ground.standing, made)
    if request.parent is not None:
        plan = follow(plan, request.parent)
    certified = *certificates(problem, plan, search), *ground.standing.certificate(problem, plan)
    certified = *certified, *(each.certificate(problem, plan) for each in ground.services)
    plan = attrs.evolve(plan, certificates=certified)
    verdict = verify(problem, plan)
    assert not isinstance(verdict, Rejected), f"the planner made a plan that the checker rejects:\n{verdict}"
    return Planned(verified=verdict, tried=(*tried, *(one for each in ground.services for one in each.tried)))


@attrs.frozen(kw_only=True)
class _Ground:
    """All that is decided before transfers are put in order."""

    problem: Problem
    routes: Routes
    services: tuple[Served, ...]
    blobs: dict[LlmId, tuple[Blob, ...]]
    needs: Needs
    standing: StandingBy
    room: dict[PlaceId, Room]
    kept: Kept

    @property
    def flat(self) -> list[Blob]:
        """The blobs of all LLMs."""
        return [blob for llm in self.problem.llms for blob in self.blobs[llm.id]]

    def draft(self, way: Packed) -> Draft:
        """Form the pipelines that a schedule allows, and weigh them."""
        arrivals = way.schedule.arrivals(self.routes)
        serving = {each.service.llm for each in self.services}
        others = {llm: need for llm, need in self.standing.needs(self.needs).items() if llm not in serving}
        openings = _openings(self.kept.problem, self.blobs, self.room, others, arrivals)
        for served in self.services:
            openings += served.openings(self.problem, self.needs[served.service.llm], arrivals)
        return Draft(
            made_by=way.made_by,
            blobs=len(self.flat),
            completion_ns=way.schedule.pause_ns,
            cover_ns=_cover_ns(self.problem, self.needs, arrivals),
            openings=openings,
            routing=weigh(self.kept, openings, self.services),
        )


def _ground(problem: Problem, request: Request, search: Search) -> _Ground:
    """Decide on services, blobs, slots and standbys, or refuse.  Raises _NoPlan and CannotCut."""
    routes = Routes(problem.cluster)
    services = serve_all(problem, search, request.parent)
    if not isinstance(services, tuple):
        raise _NoPlan(services)
    rest = beside(problem, services)
    blobs = {}
    for llm in problem.llms:
        serving = [each for served in services if served.service.llm == llm.id for each in served.pipelines]
        blobs[llm.id] = cut_for(problem, llm, routes, request.blocks, request.parent, serving)
    kept = keep(rest, blobs)
    if conflicts := tuple(impossible(rest, blobs, kept)):
        raise _NoPlan(no_plan(conflicts))
    for each in rooms(kept.problem, blobs).values():
        if each.left_bytes < 0:
            sentence = f"{-each.left_bytes:,} bytes are missing at {each.place} unless it gives up an LLM that it holds"
            raise _NoPlan(Undecided(sentence=f"{sentence}; this planner gives nothing up"))
    needs = {llm.id: demands(problem, blobs[llm.id], receivers_of(problem, llm.id, routes)) for llm in problem.llms}
    needs |= {each.service.llm: each.demands(problem, blobs[each.service.llm]) for each in services}
    standing = stand_by(rest, blobs, needs, routes, search)
    if not isinstance(standing, StandingBy):
        raise _NoPlan(standing)
    room = standing.rooms(kept.problem, blobs)
    kept = keep(kept.problem, blobs, room)  # more LLMs may serve, or fewer, beside all that rests there
    if kept.broken:
        sentence = f"the promise for {kept.broken[0]} was kept only where there is no room for it"
        raise _NoPlan(Undecided(sentence=sentence))
    return _Ground(
        problem=problem,
        routes=routes,
        services=services,
        blobs=blobs,
        needs=needs,
        standing=standing,
        room=room,
        kept=kept,
    )


def _timed(ground: _Ground, search: Search, aim: Aim) -> Iterator[Packed]:
    """Schedule all transfers in the ways that are known, through memories with room if need be.  Raises _NoPlan."""
    problem, routes, standing, objective = ground.problem, ground.routes, ground.standing, _OBJECTIVES[aim]
    made_by = "order of the swarm" if _scattered(problem) else "order of the multicast"
    try:
        moves = _moves(problem, ground.blobs, ground.needs, routes, search)
        plain = Packed(made_by=made_by, schedule=schedule(routes, [*moves, *standing.moves]))
        ways = [plain, packed(problem, ground.flat, plain.schedule, search, objective)]
    except NoRoute as missing:
        ways = [_relayed(ground, search, objective)]
        if ways == [None]:
            raise _NoPlan(_no_route(problem, ground.needs, routes, missing)) from missing
    except OutOfTime as early:
        raise _NoPlan(Undecided(sentence=str(early))) from early
    for way in ways:
        if way is not None:
            yield attrs.evolve(way, schedule=followed_by(way.schedule, routes, standing.late_moves))


def _relayed(ground: _Ground, search: Search, objective: Objective) -> Packed | None:
    problem, needs, standing = ground.problem, ground.needs, ground.standing
    wanted = {(need.blob.id, place) for llm in problem.llms for need in needs[llm.id] for place in need.wanting}
    wanted |= {(each.blob.id, each.destination) for each in standing.moves}
    taken = {place for _, place in wanted} | {holding.place for holding in problem.holdings}
    taken |= {place for standby in problem.standbys for place in standby.places}
    taken |= {place for service in problem.services for place in service.places}
    return through_relays(problem, ground.flat, wanted, taken, search, objective)


def _scattered(problem: Problem) -> set[LlmId]:
    """Name the LLMs of which places hold, or are to hold, parts."""
    parts = {holding.llm for holding in problem.holdings if not holding.whole}
    return parts | {service.llm for service in problem.services}


def _cover_ns(problem: Problem, needs: Needs, arrivals: dict[PlaceId, list[tuple[Nanos, BlobId]]]) -> Nanos:
    """Find when the targets of each LLM together hold it, the last of them."""
    came = {(blob, place): at for place, arrived in arrivals.items() for at, blob in arrived}
    targets = {(target.llm, target.place) for target in problem.targets}
    cover = Nanos(0)
    for llm, of_llm in needs.items():
        for need in of_llm:
            missing = [place for place in need.wanting if (llm, place) in targets]
            if missing and not any((llm, place) in targets for place in need.holders):
                cover = max(cover, min(came[need.blob.id, place] for place in missing))
    return cover


def _moves(
    problem: Problem,
    blobs: dict[LlmId, tuple[Blob, ...]],
    needs: Needs,
    routes: Routes,
    search: Search,
) -> list[Move]:
    """Multicast what is held whole by whoever holds it; gather, all together, what is held in parts."""
    parts = _scattered(problem)
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
