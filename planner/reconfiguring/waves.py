"""Waves: what opens and closes together, laid out in time.

A wave begins with pipelines that come down to fewer slots.  Then blobs move to the pipelines that open in it; each
opens once its blobs are there; requests are handed over to it once the transfers on the links that their KV crosses are
over, one hand-over after another where they share a link; and when all that is done, devices give up what nothing there
needs any more.  The next wave begins in the room that this has made.  After the last one all slots are back.
"""

from collections.abc import Iterator, Mapping, Sequence

import attrs

from planner.decided import Decided
from planner.demands import Demand
from planner.ordering import timed
from planner.reconfiguring.continuity import Way, begun_at, fewer_ns, ways
from planner.reconfiguring.settled import Layout
from planner.reconfiguring.succession import Succession
from planner.remaining import runs_of
from planner.search import Search
from planner.standing_by import StandingBy
from planner.transfers import Schedule
from specs import codec
from specs.blobs import Blob, BlobId, blobs_of_units
from specs.cluster import LinkId, PlaceId, PlaceKind
from specs.llm import LlmId
from specs.plan import Activate, Aim, Continuity, Pipeline, PipelineId, Release, Resize, Route, Step, StepId, Switch
from specs.problem import Holding, Problem, Running
from specs.units import Nanos

# Orders are acted out for one wave, when nobody sets a limit, until so many moves are over, times the moves of one: the
# more there are, the longer each takes.
_MOVES_SQUARED = 40_000


@attrs.frozen(kw_only=True)
class Wave:
    """Pipelines that open together, and those that close into them or into others that are open."""

    opens: tuple[Pipeline, ...] = ()
    closes: tuple[tuple[Running, Pipeline], ...] = ()  # each with its successor
    slots: Mapping[PipelineId, int] = attrs.field(factory=dict)  # from its beginning; others keep what they have
    last: bool = False  # what stands by comes with it, and after it all slots come back


@attrs.define(kw_only=True)
class Laid:
    """Steps of waves, in no order and without numbers, and the state that they lead to."""

    held: dict[PlaceId, dict[BlobId, None]]
    steps: list[Step] = attrs.field(factory=list)
    routes: dict[Route, int] = attrs.field(factory=dict)
    open_now: dict[PipelineId, Pipeline] = attrs.field(factory=dict)
    to_open: dict[PipelineId, Pipeline] = attrs.field(factory=dict)
    slots: dict[PipelineId, int] = attrs.field(factory=dict)  # of those that are open
    live: dict[PipelineId, int] = attrs.field(factory=dict)  # requests of those, as far as they ran at the start
    copied_slots: dict[PipelineId, int] = attrs.field(factory=dict)  # of pipelines copied into each
    end_ns: Nanos = Nanos(0)
    waves: int = 0

    def copy(self) -> "Laid":
        """The same, to be gone on with."""
        return Laid(
            held={place: dict(blobs) for place, blobs in self.held.items()},
            steps=list(self.steps),
            routes=dict(self.routes),
            open_now=dict(self.open_now),
            to_open=dict(self.to_open),
            slots=dict(self.slots),
            live=dict(self.live),
            copied_slots=dict(self.copied_slots),
            end_ns=self.end_ns,
            waves=self.waves,
        )

    def number(self, route: Route) -> int:
        """Number a route of the plan."""
        return self.routes.setdefault(route, len(self.routes))

    def open(self, pipeline: Pipeline, slots: int | None, at_ns: Nanos) -> None:
        """Open a pipeline with so many slots, or with all."""
        fewer = None if slots == pipeline.slots else slots
        self.steps.append(Activate(id=StepId(0), pipeline=pipeline.id, slots=fewer, at_ns=at_ns))
        self.open_now[pipeline.id] = self.to_open.pop(pipeline.id)
        self.slots[pipeline.id] = pipeline.slots if fewer is None else fewer
        self.live[pipeline.id] = 0


@attrs.frozen(kw_only=True)
class Layer:
    """Lays waves of one problem in time."""

    problem: Problem
    wanted: Layout
    search: Search
    aim: Aim = Aim.COMPLETION
    fixed_slots: bool = False  # no pipeline has fewer than all meanwhile
    digest: str = attrs.field(init=False)  # of the problem
    _needs: dict[PipelineId, tuple[tuple[BlobId, PlaceId], ...]] = attrs.field(factory=dict, init=False, eq=False)
    _ways: dict[tuple[Running, Pipeline], tuple[Way, ...]] = attrs.field(factory=dict, init=False, eq=False)

    @digest.default
    def _digest(self) -> str:
        return codec.digest(self.problem)

    @property
    def decided(self) -> Decided:
        """What was decided before."""
        return self.wanted.decided

    def laid(self, following: Succession, waves: Sequence[Wave]) -> Laid:
        """Lay waves one after another, as well as the search can.  Raises NoPlan."""
        return self.further(self.begun(following), waves, quick=False)

    def begun(self, following: Succession) -> Laid:
        """What there is before the first wave."""
        running = self.problem.running
        return Laid(
            held=self._held_at_start(),
            open_now={each.pipeline.id: each.pipeline for each in running},
            to_open={each.id: each for each in following.opened},
            slots={each.pipeline.id: each.slots_now for each in running},
            live={each.pipeline.id: each.live_requests for each in running},
        )

    def further(self, before: Laid, waves: Sequence[Wave], *, quick: bool = True) -> Laid:
        """Lay more waves; `quick` takes the first order of transfers that is found.  Raises NoPlan."""
        laid = before.copy()
        for wave in waves:
            self._lay(laid, wave, Nanos(laid.end_ns + 1 if laid.waves else 0), quick=quick)
            laid.waves += 1
        return laid

    def _held_at_start(self) -> dict[PlaceId, dict[BlobId, None]]:
        held: dict[PlaceId, dict[BlobId, None]] = {}
        for holding in self.problem.holdings:
            for blob in self.decided.blobs[holding.llm]:
                if holding.has(blob):
                    held.setdefault(holding.place, {})[blob.id] = None
        return held

    def _lay(self, laid: Laid, wave: Wave, begin: Nanos, *, quick: bool) -> None:
        begin = self._resize(laid, wave.slots, begin)
        schedule = self._schedule(laid, wave, quick=quick)
        numbers = [laid.number(route) for route in schedule.routes]
        free: dict[LinkId, Nanos] = {}  # when the transfers and hand-overs on each link are over
        links = self.decided.routes.links
        came: dict[tuple[BlobId, PlaceId], Nanos] = {}
        for step in schedule.transfers:
            route = schedule.routes[step.route]
            start, end = Nanos(begin + step.start_ns), Nanos(begin + step.end_ns)
            laid.steps.append(attrs.evolve(step, route=numbers[step.route], start_ns=start, end_ns=end))
            free |= {link: max(free.get(link, end), end) for link in route.links}
            place = links[route.links[-1]].destination
            came[step.blob, place] = end
            laid.held.setdefault(place, {})[step.blob] = None
        done = [begin, *came.values()]
        opened_ns = {}
        for pipeline in wave.opens:
            needs = [came.get(each, begin) for each in self.needs(pipeline)]
            opened_ns[pipeline.id] = max(needs, default=begin)
            laid.open(pipeline, wave.slots.get(pipeline.id), opened_ns[pipeline.id])
        for old, new in sorted(wave.closes, key=lambda pair: opened_ns.get(pair[1].id, begin)):
            done.append(self._close(laid, old, new, opened_ns.get(new.id, begin), free))
        laid.end_ns = max(done)
        laid.steps += self._releases(laid)
        if wave.last:
            self._resize(laid, {name: each.slots for name, each in laid.open_now.items()}, Nanos(laid.end_ns + 1))

    # --- transfers ---------------------------------------------------------------------------------------------------

    def _schedule(self, laid: Laid, wave: Wave, *, quick: bool) -> Schedule:
        needs = self._demands(laid, wave)
        if not any(each.wanting for of_llm in needs.values() for each in of_llm):
            return Schedule(transfers=(), routes=())
        at_hand = attrs.evolve(
            self.decided,
            problem=attrs.evolve(self.problem, holdings=tuple(self._holdings(laid)), running=()),
            needs=needs,
            standing=StandingBy(),
        )
        wanted = sum(len(each.wanting) for of_llm in needs.values() for each in of_llm)
        # The first order comes whatever it takes: a single step is enough for it.
        first_only = Search(steps_max=1, within_s=self.search.left_s(), seed=self.search.seed)
        several = self.search.part(wanted + _MOVES_SQUARED // wanted)
        found = timed(at_hand, self.search, self.aim, first_only if quick else several)
        first = next(found)
        best = first if quick else min((first, *found), key=lambda way: way.schedule.pause_ns)
        return best.schedule

    def _demands(self, laid: Laid, wave: Wave) -> dict[LlmId, tuple[Demand, ...]]:
        wanting: dict[BlobId, dict[PlaceId, None]] = {}
        pairs = [pair for pipeline in wave.opens for pair in self.needs(pipeline)]
        if wave.last:
            pairs += [(blob.id, place) for llm, place in self.wanted.whole for blob in self.decided.blobs[llm]]
        for blob, place in pairs:
            if blob not in laid.held.get(place, {}):
                wanting.setdefault(blob, {})[place] = None
        holders: dict[BlobId, list[PlaceId]] = {}
        for place, blobs in laid.held.items():
            for blob in blobs:
                holders.setdefault(blob, []).append(place)
        return {
            llm: tuple(
                Demand(blob=blob, holders=tuple(holders.get(blob.id, ())), wanting=tuple(wanting.get(blob.id, ())))
                for blob in blobs
            )
            for llm, blobs in self.decided.blobs.items()
        }

    def _holdings(self, laid: Laid) -> Iterator[Holding]:
        for place, held in laid.held.items():
            for llm in self.problem.llms:
                here = [blob for blob in self.decided.blobs[llm.id] if blob.id in held]
                yield from runs_of(llm, place, here)

    def needs(self, pipeline: Pipeline) -> tuple[tuple[BlobId, PlaceId], ...]:
        """Give what a pipeline computes with, and where."""
        if pipeline.id not in self._needs:
            llm = self.problem.llm(pipeline.llm)
            self._needs[pipeline.id] = tuple(
                (blob, stage.place)
                for stage in pipeline.stages
                for blob in blobs_of_units(llm, self.decided.blobs[llm.id], stage.first_unit, stage.end_unit)
            )
        return self._needs[pipeline.id]

    # --- slots -------------------------------------------------------------------------------------------------------

    def _resize(self, laid: Laid, slots: Mapping[PipelineId, int], begin: Nanos) -> Nanos:
        """Give open pipelines other numbers of slots, first those that get fewer; say from when on there is room."""
        fewer = [name for name in laid.open_now if slots.get(name, laid.slots[name]) < laid.slots[name]]
        more = [name for name in laid.open_now if slots.get(name, laid.slots[name]) > laid.slots[name]]
        lasts = {name: fewer_ns(self.problem, laid.open_now[name], laid.live[name], slots[name]) for name in fewer}
        done = Nanos(begin + max(lasts.values()) + 1) if fewer else begin
        for name in (*fewer, *more):
            at_ns = Nanos(begin + lasts[name]) if name in lasts else done
            laid.steps.append(Resize(id=StepId(0), pipeline=name, slots=slots[name], at_ns=at_ns))
            laid.slots[name] = slots[name]
            laid.live[name] = min(laid.live[name], slots[name])
        return done

    # --- switches and releases ---------------------------------------------------------------------------------------

    def _close(self, laid: Laid, old: Running, new: Pipeline, ready_ns: Nanos, free: dict[LinkId, Nanos]) -> Nanos:
        way = self._way(laid, old, new)
        start = max([ready_ns, *(free[link] for link in sorted(way.links) if link in free)])
        at_ns = Nanos(start + way.lasts_ns)
        free |= dict.fromkeys(sorted(way.links), at_ns)
        hand_over = begun_at(way, Nanos(start), [laid.number(route) for route in way.routes])
        laid.steps.append(
            Switch(
                id=StepId(0),
                old=old.pipeline.id,
                new=new.id,
                continuity=way.continuity,
                hand_over=hand_over,
                at_ns=at_ns,
            )
        )
        if way.continuity is Continuity.COPY:
            laid.copied_slots[new.id] = laid.copied_slots.get(new.id, 0) + laid.slots[old.pipeline.id]
        laid.live[new.id] += laid.live.pop(old.pipeline.id)
        del laid.open_now[old.pipeline.id], laid.slots[old.pipeline.id]
        return at_ns

    def _way(self, laid: Laid, old: Running, new: Pipeline) -> Way:
        """Take the best way of those for which there are slots.

        Copies need as many as all pipelines have that are copied there; requests that are copied or computed again
        need theirs at once, beside those that are there: else they are finished first.
        """
        has = laid.slots[new.id]
        seats = laid.copied_slots.get(new.id, 0) + laid.slots[old.pipeline.id] <= has
        room = laid.live[new.id] + laid.live[old.pipeline.id] <= has
        now = attrs.evolve(old, pipeline=attrs.evolve(old.pipeline, slots=laid.slots[old.pipeline.id]), slots=None)
        for way in self._all_ways(now, attrs.evolve(new, slots=has)):
            match way.continuity:
                case Continuity.COPY if seats and room:
                    return way
                case Continuity.RECOMPUTE if room:
                    return way
                case Continuity.DRAIN:
                    return way
        raise AssertionError("requests can always be finished first")

    def _all_ways(self, old: Running, new: Pipeline) -> tuple[Way, ...]:
        if (old, new) not in self._ways:
            self._ways[old, new] = ways(self.problem, self.decided.routes, old, new)
        return self._ways[old, new]

    def _releases(self, laid: Laid) -> Iterator[Release]:
        """Give up in devices what no pipeline there needs now or later and nobody wants there; never a last copy."""
        needed = {pair for each in (*laid.open_now.values(), *laid.to_open.values()) for pair in self.needs(each)}
        devices = {place.id for place in self.problem.cluster.places if place.kind is PlaceKind.DEVICE}
        stays = set(self.wanted.stays)
        copies: dict[BlobId, int] = {}
        for blobs in laid.held.values():
            for name in blobs:
                copies[name] = copies.get(name, 0) + 1
        for place in (place for place in laid.held if place in devices):
            for llm in self.problem.llms:
                for blob in self.decided.blobs[llm.id] if (llm.id, place) not in stays else ():
                    if self._may_go(laid, blob, place, needed) and copies[blob.id] > 1:
                        copies[blob.id] -= 1
                        del laid.held[place][blob.id]
                        yield Release(id=StepId(0), blob=blob.id, place=place, at_ns=laid.end_ns)

    def _may_go(self, laid: Laid, blob: Blob, place: PlaceId, needed: set[tuple[BlobId, PlaceId]]) -> bool:
        return blob.id in laid.held[place] and (blob.id, place) not in needed
