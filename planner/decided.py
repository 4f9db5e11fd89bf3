"""What is decided before transfers are put in order: services, blobs, slots, standbys."""

import attrs

from planner.cutting import cut_for, receivers_of
from planner.demands import Needs, demands
from planner.explain.impossible import impossible
from planner.held_units import without_idle
from planner.outcome import Infeasible, Undecided, no_plan
from planner.promises import Kept, keep
from planner.room import Room, rooms
from planner.routes import Routes
from planner.search import Search
from planner.services import Served, beside, serve_all
from planner.standing_by import StandingBy, stand_by
from specs.blobs import Blob
from specs.cluster import PlaceId
from specs.llm import LlmId
from specs.plan import Aim, Plan
from specs.problem import Problem


@attrs.frozen(kw_only=True)
class Request:
    """What is asked of the planner beyond the problem."""

    blocks: int | None = None  # per LLM; absent: those of the parent, or chosen
    parent: Plan | None = None  # the plan that this one follows
    generation: int | None = None  # of the plan; absent: one more than the parent's, or the first
    aim: Aim = Aim.COMPLETION  # of the transfers of all LLMs together
    stays: tuple[tuple[LlmId, PlaceId], ...] = ()  # where pipelines run: copies that stay without a wish
    as_it_runs: bool = False  # services stay as they are where they may, be others better
    fixed_slots: bool = False  # KV makes no room for anything else while pipelines serve


class NoPlan(Exception):
    """One of the ways to have no plan."""

    def __init__(self, outcome: Infeasible | Undecided) -> None:
        super().__init__()
        self.outcome = outcome


@attrs.frozen(kw_only=True)
class Decided:
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


def decide(problem: Problem, request: Request, search: Search) -> Decided:
    """Decide on services, blobs, slots and standbys, or refuse.  Raises NoPlan and CannotCut."""
    routes = Routes(problem.cluster)
    services = serve_all(problem, search, request.parent, stays=request.stays, as_it_runs=request.as_it_runs)
    if not isinstance(services, tuple):
        raise NoPlan(services)
    blobs = {}
    for llm in problem.llms:
        serving = [each for served in services if served.service.llm == llm.id for each in served.pipelines]
        blobs[llm.id] = cut_for(problem, llm, routes, request.blocks, request.parent, serving)
    if problem.running:
        problem = without_idle(problem, blobs, [own for each in services for own in each.pipelines], request.stays)
    rest = beside(problem, services)
    kept = keep(rest, blobs)
    if conflicts := tuple(impossible(rest, blobs, kept)):
        raise NoPlan(no_plan(conflicts))
    for each in rooms(kept.problem, blobs).values():
        if each.left_bytes < 0:
            sentence = f"{-each.left_bytes:,} bytes are missing at {each.place} unless it gives up an LLM that it holds"
            raise NoPlan(Undecided(sentence=f"{sentence}; this planner gives nothing up"))
    needs = {llm.id: demands(problem, blobs[llm.id], receivers_of(problem, llm.id, routes)) for llm in problem.llms}
    needs |= {each.service.llm: each.demands(problem, blobs[each.service.llm]) for each in services}
    standing = stand_by(rest, blobs, needs, routes, search)
    if not isinstance(standing, StandingBy):
        raise NoPlan(standing)
    room = standing.rooms(kept.problem, blobs)
    kept = keep(kept.problem, blobs, room)  # more LLMs may serve, or fewer, beside all that rests there
    if kept.broken:
        sentence = f"the promise for {kept.broken[0]} was kept only where there is no room for it"
        raise NoPlan(Undecided(sentence=sentence))
    return Decided(
        problem=problem,
        routes=routes,
        services=services,
        blobs=blobs,
        needs=needs,
        standing=standing,
        room=room,
        kept=kept,
    )
