"""What stands by: which memories keep which LLMs, what must move and what must be given up for it.

The placement question is asked twice.  First as `specs.standby_question` derives it, where everything that no wish
needs may go: no answer there means no plan, and its bound is the plan's certificate.  Then with what this planner does:
copies that are held stay, or, where that leaves no answer, make room once all other transfers are over.
"""

from collections.abc import Mapping, Sequence

import attrs

from planner.demands import Needs
from planner.outcome import Conflict, Give, Infeasible, Undecided
from planner.placement import outcome as placement
from planner.room import Blobs, Room, rooms
from planner.routes import NoRoute, Routes
from planner.search import Search
from planner.stages import blob_bytes
from planner.transfers import Move
from specs.blobs import Blob
from specs.certificates import certify
from specs.cluster import PlaceId, PlaceKind
from specs.decisions.placement.holding import Layout
from specs.invariants.facts import Facts
from specs.llm import LlmId
from specs.plan import Certificate, Claim, Measure, Plan, Resident, Route
from specs.problem import Problem
from specs.standby_question import StandbyQuestion, asked, at_the_best
from specs.timing import transfer_ns
from specs.witness import Witness

CopyAt = tuple[LlmId, PlaceId]


@attrs.frozen(kw_only=True)
class StandingBy:
    """Where copies stand by, and how that comes about."""

    ways: Mapping[CopyAt, Route | None] = attrs.field(factory=dict)  # into a device; None: the copy is in one
    moves: tuple[Move, ...] = ()  # into room that is free from the start
    given_up: tuple[CopyAt, ...] = ()  # once these and all other transfers are over
    late_moves: tuple[Move, ...] = ()  # into the room that this makes
    formula: str = ""  # of the bound, with its witness
    witness: Witness = ()

    @property
    def llms_at(self) -> dict[PlaceId, set[LlmId]]:
        """The LLMs that stand by in each memory."""
        found: dict[PlaceId, set[LlmId]] = {}
        for llm, at in self.ways:
            found.setdefault(at, set()).add(llm)
        return found

    def needs(self, needs: Needs) -> Needs:
        """Leave out the holders that give their copies up: no pipeline may count on them."""
        gone = set(self.given_up)
        return {
            llm: tuple(
                attrs.evolve(each, holders=tuple(at for at in each.holders if (llm, at) not in gone)) for each in of_llm
            )
            for llm, of_llm in needs.items()
        }

    def rooms(self, problem: Problem, blobs: Blobs) -> dict[PlaceId, Room]:
        """Work out the room beside what stands by; where something is given up, for pipelines of targets alone."""
        found = rooms(problem, blobs, self.llms_at)
        changing = {at for _, at in self.given_up}
        for at, each in rooms(problem, blobs, serve_held=False).items():
            if at in changing:
                found[at] = attrs.evolve(each, left_bytes=0)
        return found

    def residents(self, routes: Sequence[Route]) -> tuple[Resident, ...]:
        """Write the copies down; `routes` are the plan's."""
        index = {route: number for number, route in enumerate(routes)}
        return tuple(
            Resident(llm=llm, place=at, route=None if way is None else index[way])
            for (llm, at), way in self.ways.items()
        )

    def certificate(self, problem: Problem, plan: Plan) -> tuple[Certificate, ...]:
        """Certify the mean start of all standbys, if there are any."""
        if not self.ways:
            return ()
        facts = Facts(problem, plan)
        return (certify(facts, Claim.START, problem.name, Measure.NANOS, self.formula, self.witness),)


def stand_by(
    problem: Problem, blobs: Blobs, needs: Needs, routes: Routes, search: Search
) -> StandingBy | Infeasible | Undecided:
    """Choose the memories of all standbys for the least mean start; one copy of each."""
    if not problem.standbys:
        return StandingBy()
    flat = [blob for of_llm in blobs.values() for blob in of_llm]
    from planner.placement.plan import place  # brings CP-SAT: only where something stands by

    best = at_the_best(problem, flat)
    outcome = place(best.question, search)
    if isinstance(outcome, placement.Infeasible):
        return Infeasible(conflicts=(_conflict(problem, best, outcome),))
    formula, witness = _proof(best, outcome, search)
    for give_up in (False, True):
        found = _Choice(problem, blobs, needs, routes, give_up=give_up).made(flat, search)
        if found is not None:
            return attrs.evolve(found, formula=formula, witness=witness)
    return Undecided(
        sentence="no memories were found for all standbys; this planner moves aside only what is elsewhere"
    )


def _proof(
    best: StandbyQuestion, outcome: placement.Placed | placement.Undecided, search: Search
) -> tuple[str, Witness]:
    if isinstance(outcome, placement.Placed):
        if outcome.method is placement.Method.EXHAUSTED:
            return "placement-search", ()
        if outcome.method is placement.Method.PRICES:
            return "placement-prices", outcome.witness
    from planner.placement.prices import relax

    return "placement-prices", relax(Layout(best.question), search).witness


class _Choice:
    """What this planner can do: from what is held and free, by direct routes."""

    def __init__(self, problem: Problem, blobs: Blobs, needs: Needs, routes: Routes, *, give_up: bool) -> None:
        self._problem, self._blobs, self._needs, self._routes = problem, blobs, needs, routes
        self._sizes = {llm: blob_bytes(blobs[llm]) for llm in blobs}
        targets = {(target.llm, target.place) for target in problem.targets}
        self._whole = {(llm.id, at) for llm in problem.llms for at in _whole_holders(needs, llm.id)}
        self._stays = targets | self._whole
        self._may_go = _may_go(problem, self._whole - targets) if give_up else ()
        self._stays -= set(self._may_go)

    def made(self, flat: Sequence[Blob], search: Search) -> StandingBy | None:
        """Choose; None when nothing was found."""
        from planner.placement.plan import place

        standbys = self._problem.standbys
        free = self._free()
        room = dict(free)
        for llm, at in self._may_go:
            room[at] = room.get(at, 0) + self._sizes[llm]
        allowed = {each.llm: set(each.places) for each in standbys}
        there = {(llm, at) for llm, at in self._stays if at in allowed.get(llm, ())}
        places = {each.llm: [at for at in each.places if self._can_come(each.llm, at)] for each in standbys}
        question = asked(self._problem, flat, room, places, there)
        outcome = place(question.question, search)
        if not isinstance(outcome, placement.Placed):
            return None
        chosen = self._quickest(question, outcome, there)
        given_up = self._given_up(free, list(chosen))
        return None if given_up is None else self._moved(chosen, given_up)

    def _free(self) -> dict[PlaceId, int]:
        """Room beside all that is held or wanted, and the pipelines of targets."""
        serving = rooms(self._problem, self._blobs, serve_held=False)
        free: dict[PlaceId, int] = {each.id: each.memory_bytes for each in self._problem.cluster.places}
        free.update((at, each.left_bytes) for at, each in serving.items())
        for service in self._problem.services:
            free.update((at, 0) for at in service.places)
        return free

    def _can_come(self, llm: LlmId, at: PlaceId) -> bool:
        """Whether the copy is there, or each blob has a holder from which a route leads to the place."""
        if (llm, at) in self._whole:
            return True
        return all(at in each.holders or self._sources(each.holders, at) for each in self._needs[llm])

    def _sources(self, holders: Sequence[PlaceId], at: PlaceId) -> list[PlaceId]:
        return [holder for holder in holders if self._joined(holder, at)]

    def _joined(self, source: PlaceId, destination: PlaceId) -> bool:
        try:
            self._routes.route(source, destination)
        except NoRoute:
            return False
        return True

    def _quickest(
        self, question: StandbyQuestion, outcome: placement.Placed, there: set[CopyAt]
    ) -> dict[CopyAt, Route | None]:
        """Of each standby the copy that starts soonest; of equals one that is there already."""
        kinds = {each.id: each.kind for each in self._problem.cluster.places}
        chosen: dict[CopyAt, Route | None] = {}
        for standby in self._problem.standbys:
            llm = standby.llm
            mine = [question.place_of[copy.memories[0]] for copy in outcome.answer.copies if copy.item == llm]
            mine = [*(at for at in standby.places if (llm, at) in there), *mine]
            mine.sort(key=lambda at: (llm, at) not in self._whole)
            starts: list[tuple[int, Route | None, PlaceId]] = []
            for at in mine:
                if kinds[at] is PlaceKind.DEVICE:
                    starts.append((0, None, at))
                for way in question.ways.get(at, ()):
                    needed = transfer_ns(self._sizes[llm], way.bytes_per_second, way.latency_ns)
                    starts.append((needed, way.route, at))
            _, route, at = min(starts, key=lambda start: start[0])
            chosen[llm, at] = route
        return chosen

    def _given_up(self, free: Mapping[PlaceId, int], chosen: Sequence[CopyAt]) -> tuple[CopyAt, ...] | None:
        """What must go so that all fits: the least of the copies that may, large ones first; None: not enough."""
        gone: list[CopyAt] = []
        for at in dict.fromkeys(at for _, at in chosen):
            coming = [llm for llm, to in chosen if to == at and (llm, at) not in self._stays | self._whole]
            missing = sum(self._sizes[llm] for llm in coming) - free[at]
            may_go = [copy for copy in self._may_go if copy[1] == at and copy not in chosen]
            for copy in sorted(may_go, key=lambda copy: -self._sizes[copy[0]]):
                if missing > 0:
                    gone.append(copy)
                    missing -= self._sizes[copy[0]]
            if missing > 0:
                return None
        return tuple(gone)

    def _moved(self, chosen: dict[CopyAt, Route | None], given_up: tuple[CopyAt, ...]) -> StandingBy | None:
        """Bring each blob from the holder that is done with it first; None where no holder is left for one."""
        targets = {(target.llm, target.place) for target in self._problem.targets}
        made_room = {at for _, at in given_up}
        busy_ns: dict[PlaceId, int] = {}
        early: list[Move] = []
        late: list[Move] = []
        for llm, at in chosen:
            for need in self._needs[llm] if (llm, at) not in targets else ():
                if at in need.holders:
                    continue
                gone = set(given_up) if at in made_room else set[CopyAt]()
                sources = [each for each in self._sources(need.holders, at) if (llm, each) not in gone]
                if not sources:
                    return None
                ends = {source: busy_ns.get(source, 0) + self._transfer_ns(need.blob, source, at) for source in sources}
                source = min(sources, key=ends.__getitem__)
                busy_ns[source] = ends[source]
                (late if at in made_room else early).append(Move(blob=need.blob, source=source, destination=at))
        for llm in dict.fromkeys(llm for llm, _ in given_up):
            kept = [to for to in _whole_holders(self._needs, llm) if (llm, to) not in given_up]
            kept += [to for other, to in (*chosen, *targets) if other == llm and to not in made_room]
            if not kept:
                return None
        return StandingBy(ways=chosen, moves=tuple(early), given_up=given_up, late_moves=tuple(late))

    def _transfer_ns(self, blob: Blob, source: PlaceId, destination: PlaceId) -> int:
        route = self._routes.route(source, destination)
        return transfer_ns(blob.bytes, self._routes.rate(route), self._routes.latency_ns(route))


def _whole_holders(needs: Needs, llm: LlmId) -> list[PlaceId]:
    of_llm = needs[llm]
    return [at for at in of_llm[0].holders if all(at in need.holders for need in of_llm)] if of_llm else []


def _may_go(problem: Problem, whole: set[CopyAt]) -> tuple[CopyAt, ...]:
    """Copies that may be given up: those of standbys, and those besides one that is kept, best in a slow memory."""
    kinds = {each.id: each.kind for each in problem.cluster.places}
    order = (PlaceKind.REMOTE, PlaceKind.SSD, PlaceKind.HOST, PlaceKind.DEVICE)
    wanted = {target.llm for target in problem.targets}
    standing = {standby.llm for standby in problem.standbys}
    useful = {at for standby in problem.standbys for at in standby.places}
    found: list[CopyAt] = []
    for llm in problem.llms:
        mine = [held.place for held in problem.holdings if held.llm == llm.id and held.whole]
        mine = [at for at in mine if (llm.id, at) in whole]
        mine.sort(key=lambda at: (at in useful, order.index(kinds[at])))
        found += [(llm.id, at) for at in (mine if llm.id in wanted | standing else mine[1:])]
    return tuple(found)


def _conflict(problem: Problem, best: StandbyQuestion, outcome: placement.Infeasible) -> Conflict:
    """Say in the problem's numbers why the standbys cannot all be kept."""
    from planner.placement.exact import small_enough

    memory_bytes = {place.id: place.memory_bytes for place in problem.cluster.places}
    exact = small_enough(Layout(best.question))
    gives: list[Give] = []
    for each in outcome.conflicts:
        name = each.limit.name
        if each.needed is None or not exact:
            continue
        if each.limit.kind is placement.LimitKind.IN_TIME:
            sentence = f"{name} starts in {each.needed:,} ns at the soonest, {each.allowed:,} ns are allowed"
            gives.append(Give(limit=f"start of {name}", allowed=each.allowed, needed=each.needed, sentence=sentence))
        elif each.limit.kind is placement.LimitKind.ROOM and PlaceId(name) in memory_bytes:
            allowed = memory_bytes[PlaceId(name)]
            needed = allowed + each.needed - each.allowed
            sentence = f"{name} has {allowed:,} bytes, with {needed:,} all standbys could be kept"
            gives.append(Give(limit=f"memory of {name}", allowed=allowed, needed=needed, sentence=sentence))
    slow = [each.limit.name for each in outcome.conflicts if each.limit.kind is placement.LimitKind.IN_TIME]
    word = " (the word of a solver)" if outcome.method is placement.Method.SOLVER else ""
    reasons = "; ".join(give.sentence for give in gives) or "; ".join(each.sentence for each in outcome.conflicts)
    return Conflict(
        rule="START",
        where=f"standby {slow[0]}" if len(slow) == 1 else "standbys",
        sentence=f"no memories that may keep them let all standbys start in time{word}: {reasons}",
        gives=tuple(gives),
    )
