"""Transfers in order, with their times, in each of the ways that are known.

Multicast where what is held is held whole, a swarm where it is held in parts; then packed into the place graph, and
through other memories where nothing else leads there.
"""

from collections.abc import Iterator, Sequence

import attrs

from planner.decided import Decided, NoPlan
from planner.demands import Demand, Needs
from planner.gather import OutOfTime, gather
from planner.moving import Packed, packed, through_relays
from planner.outcome import Conflict, Infeasible, Undecided
from planner.routes import NoRoute, Routes
from planner.search import Search
from planner.transfers import Move, followed_by, multicast_moves, schedule
from specs.blobs import Blob
from specs.certificates.lacking import lacking_time_ns
from specs.decisions.flow.values import Objective
from specs.llm import LlmId
from specs.plan import Aim
from specs.problem import Problem

_OBJECTIVES = {Aim.COMPLETION: Objective.ALL, Aim.COVER: Objective.COVER, Aim.RAMP: Objective.RAMP}


def timed(decided: Decided, search: Search, aim: Aim, swarms: Search | None = None) -> Iterator[Packed]:
    """Schedule all transfers in the ways that are known, through memories with room if need be.  Raises NoPlan.

    `swarms` limits the orders that are acted out; absent: the search does.
    """
    problem, routes, standing, objective = decided.problem, decided.routes, decided.standing, _OBJECTIVES[aim]
    made_by = "order of the swarm" if _scattered(problem) else "order of the multicast"
    relayed = None
    try:
        moves = _moves(problem, decided.blobs, decided.needs, routes, swarms or search)
        plain = Packed(made_by=made_by, schedule=schedule(routes, [*moves, *standing.moves]))
    except NoRoute as missing:
        relayed = _relayed(decided, search, objective)
        if relayed is None:
            raise NoPlan(_no_route(problem, decided.needs, routes, missing)) from missing
    except OutOfTime as early:
        raise NoPlan(Undecided(sentence=str(early))) from early
    if relayed is not None:
        yield attrs.evolve(relayed, schedule=followed_by(relayed.schedule, routes, standing.late_moves))
        return
    yield attrs.evolve(plain, schedule=followed_by(plain.schedule, routes, standing.late_moves))
    better = packed(problem, decided.flat, plain.schedule, search, objective)
    if better is not None:
        yield attrs.evolve(better, schedule=followed_by(better.schedule, routes, standing.late_moves))


def _relayed(decided: Decided, search: Search, objective: Objective) -> Packed | None:
    problem, needs, standing = decided.problem, decided.needs, decided.standing
    wanted = {(need.blob.id, place) for llm in problem.llms for need in needs[llm.id] for place in need.wanting}
    wanted |= {(each.blob.id, each.destination) for each in standing.moves}
    taken = {place for _, place in wanted} | {holding.place for holding in problem.holdings}
    taken |= {place for standby in problem.standbys for place in standby.places}
    taken |= {place for service in problem.services for place in service.places}
    return through_relays(problem, decided.flat, wanted, taken, search, objective)


def _scattered(problem: Problem) -> set[LlmId]:
    """Name the LLMs of which places hold, or are to hold, parts."""
    parts = {holding.llm for holding in problem.holdings if not holding.whole}
    return parts | {service.llm for service in problem.services}


def _alike(needs: Sequence[Demand]) -> bool:
    """Whether all blobs are held by the same and wanted by the same."""
    return len({(each.holders, each.wanting) for each in needs}) <= 1


def _moves(
    problem: Problem,
    blobs: dict[LlmId, tuple[Blob, ...]],
    needs: Needs,
    routes: Routes,
    search: Search,
) -> list[Move]:
    """Multicast what is held whole by whoever holds it; gather, all together, what is held in parts."""
    parts = _scattered(problem) | {llm for llm in needs if not _alike(needs[llm])}
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
