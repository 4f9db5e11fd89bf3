"""The flow of the planner on one page: refuse what cannot fit, cut, schedule, form pipelines, certify, verify."""

import attrs

from planner.assembly import assemble, follow, provenance, weigh
from planner.certify import certificates
from planner.decided import Decided, NoPlan, Request, decide
from planner.demands import Needs, held_by_place, whole_holders
from planner.formation import Opening, form
from planner.moving import Packed
from planner.ordering import timed
from planner.outcome import Outcome, Planned, Undecided
from planner.ramp import Draft, best
from planner.room import Room
from planner.search import Search
from planner.stages import Sizes
from specs.blobs import Blob, BlobId
from specs.checker import Rejected, verify
from specs.cluster import PlaceId
from specs.llm import LlmId
from specs.problem import Problem
from specs.units import Nanos


def solve(problem: Problem, request: Request | None = None, search: Search | None = None) -> Outcome:
    """Plan, within the limits of the search; without one, until there is nothing more to try.

    Never returns a plan that the checker rejects: a rejection is a bug here and crashes.  Raises CannotCut.
    """
    request, search = request or Request(), search or Search()
    if problem.running:
        from planner.reconfiguring.flow import reconfigure  # only where something runs

        return reconfigure(problem, request, search)
    try:
        decided = decide(problem, request, search)
        ways = list(timed(decided, search, request.aim))
    except NoPlan as no:
        return no.outcome
    if search.left_s() == 0:
        done = f"{len(ways[0].schedule.transfers):,} transfers were put in order, no pipelines formed"
        return Undecided(sentence=f"the time was over before the first plan was whole: {done}")
    drafts = [_draft(decided, way) for way in ways]
    chosen, tried = best(problem, drafts, request.aim)
    made = provenance(search, request.aim)
    draft = drafts[chosen]
    plan = assemble(problem, decided.flat, ways[chosen].schedule, draft.openings, draft.routing, decided.standing, made)
    if request.parent is not None or request.generation is not None:
        plan = follow(plan, request.parent, request.generation)
    certified = *certificates(problem, plan, search), *decided.standing.certificate(problem, plan)
    certified = *certified, *(each.certificate(problem, plan) for each in decided.services)
    plan = attrs.evolve(plan, certificates=certified)
    verdict = verify(problem, plan)
    assert not isinstance(verdict, Rejected), f"the planner made a plan that the checker rejects:\n{verdict}"
    return Planned(verified=verdict, tried=(*tried, *(one for each in decided.services for one in each.tried)))


def _draft(decided: Decided, way: Packed) -> Draft:
    """Form the pipelines that a schedule allows, and weigh them."""
    arrivals = way.schedule.arrivals(decided.routes)
    serving = {each.service.llm for each in decided.services}
    others = {llm: need for llm, need in decided.standing.needs(decided.needs).items() if llm not in serving}
    openings = _openings(decided.kept.problem, decided.blobs, decided.room, others, arrivals)
    for served in decided.services:
        openings += served.openings(decided.problem, decided.needs[served.service.llm], arrivals)
    return Draft(
        made_by=way.made_by,
        blobs=len(decided.flat),
        completion_ns=way.schedule.pause_ns,
        cover_ns=_cover_ns(decided.problem, decided.needs, arrivals),
        openings=openings,
        routing=weigh(decided.kept, openings, decided.services),
    )


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
