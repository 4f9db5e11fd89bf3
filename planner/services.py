"""Pipelines for services: which devices form which, laid out for the steady state and checked under load.

The layout answers `specs.services.offer`: room, TPOT and output in a steady state.  Requests come in bunches, so the
promise is kept only with something to spare: layouts are asked for more output and a shorter TPOT, step by step, until
the prediction of rule SLO is within it.  The certificate speaks of the question as it is, without these margins.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from planner.attempts import Attempt, in_words, listed, predicted_for, promise_fault, stuck
from planner.demands import Demand, demands
from planner.explain.of_demand import not_served, too_late
from planner.formation import Opening
from planner.held_units import CopyAt, has_room, new_bytes, running
from planner.outcome import Conflict, Infeasible, Tried, Undecided
from planner.search import Search
from specs.blobs import Blob, BlobId, blobs_of_units
from specs.certificates import certify
from specs.certificates.layouts import CLAIM_OF
from specs.cluster import PlaceId
from specs.decisions.layout import values
from specs.decisions.layout.answer import Answer, Replica
from specs.decisions.layout.faults import faults
from specs.decisions.layout.question import Question
from specs.errors import InvalidProblem
from specs.invariants.facts import Facts
from specs.plan import Certificate, Pipeline, PipelineId, Plan, Stage
from specs.problem import Problem
from specs.services import ITERATION_TOKENS_MAX, Offer, offer, weighed
from specs.timing import kv_bytes, workspace_bytes
from specs.units import Bytes, Nanos, Tokens, ceil_div
from specs.wishes import Service
from specs.witness import Witness

if TYPE_CHECKING:
    from planner.layouts.layout import Layout

Arrivals = Mapping[PlaceId, Sequence[tuple[Nanos, BlobId]]]

# Steps of a search for a layout with another number, to say whether that would do, where nobody sets a limit.
_AGAIN_STEPS = 30_000
# Output asked for and TPOT allowed, in thousandths of what the service asks and allows.
_MARGINS = ((1000, 1000), (1150, 900), (1300, 800), (1600, 700), (2000, 600), (3000, 450))


@attrs.frozen(kw_only=True)
class Served:
    """Pipelines for one service, their shares of the requests, and what bounds every layout."""

    service: Service
    value: int  # of its objective
    pipelines: tuple[Pipeline, ...]
    weights: tuple[int, ...]
    witness: Witness
    exhausted: bool  # every layout was tried, by the planner and by the checker
    tried: tuple[Tried, ...] = ()

    def better(self, other: "Served") -> bool:
        """Whether it is better than another at what the service is to be good at."""
        larger = CLAIM_OF[self.service.objective][2] is values.Objective.GOODPUT
        return self.value > other.value if larger else self.value < other.value

    def certificate(self, problem: Problem, plan: Plan) -> Certificate:
        """Certify the objective of the service."""
        claim, measure, _ = CLAIM_OF[self.service.objective]
        name = f"{'all-layouts' if self.exhausted else 'device-prices'}-{claim}"
        witness = () if self.exhausted else self.witness
        return certify(Facts(problem, plan), claim, self.service.llm, measure, name, witness)

    def demands(self, problem: Problem, blobs: tuple[Blob, ...]) -> tuple[Demand, ...]:
        """List who gets which blob: each device those of its stages."""
        llm = problem.llm(self.service.llm)
        wanting: dict[BlobId, dict[PlaceId, None]] = {blob.id: {} for blob in blobs}
        for pipeline in self.pipelines:
            for stage in pipeline.stages:
                for blob in blobs_of_units(llm, blobs, stage.first_unit, stage.end_unit):
                    wanting[blob][stage.place] = None
        return tuple(
            each
            for blob, needed in zip(blobs, demands(problem, blobs, ()), strict=True)
            for each in [
                attrs.evolve(needed, wanting=tuple(place for place in wanting[blob.id] if place not in needed.holders))
            ]
        )

    def openings(self, problem: Problem, needs: Sequence[Demand], arrivals: Arrivals) -> Iterator[Opening]:
        """Open each pipeline once all its devices have what they compute with; none closes."""
        llm = problem.llm(self.service.llm)
        blobs = tuple(need.blob for need in needs)
        came = {(blob, place): at for place, arrived in arrivals.items() for at, blob in arrived}
        for pipeline in self.pipelines:
            wanted = [
                (blob, stage.place)
                for stage in pipeline.stages
                for blob in blobs_of_units(llm, blobs, stage.first_unit, stage.end_unit)
            ]
            open_ns = max(came.get(each, Nanos(0)) for each in wanted)
            yield Opening(pipeline=pipeline, open_ns=open_ns, close_ns=None, successor=None)


def serve_all(
    problem: Problem,
    search: Search,
    parent: Plan | None = None,
    *,
    stays: Sequence[CopyAt] = (),
    as_it_runs: bool = False,
) -> tuple[Served, ...] | Infeasible | Undecided:
    """Lay every service out; they share no device.  Of several that cannot be, all are explained.

    Where pipelines run, what devices hold and nothing there computes with gives room, but the copies in `stays`.
    """
    outcomes = [
        serve(problem, service, search, parent, stays=stays, as_it_runs=as_it_runs) for service in problem.services
    ]
    if conflicts := tuple(each for one in outcomes if isinstance(one, Infeasible) for each in one.conflicts):
        return Infeasible(conflicts=conflicts)
    undecided = next((one for one in outcomes if isinstance(one, Undecided)), None)
    return undecided or tuple(one for one in outcomes if isinstance(one, Served))


def beside(problem: Problem, services: Sequence[Served]) -> Problem:
    """What is left to plan: the problem without services, and without the memory that they take."""
    taken: dict[PlaceId, int] = {}
    for each in services:
        llm = problem.llm(each.service.llm)
        for pipeline in each.pipelines:
            for stage in pipeline.stages:
                taken[stage.place] = taken.get(stage.place, 0) + new_bytes(problem, llm, stage)
    places = tuple(
        attrs.evolve(place, memory_bytes=Bytes(max(1, place.memory_bytes - taken[place.id])))
        if place.id in taken
        else place
        for place in problem.cluster.places
    )
    return attrs.evolve(problem, services=(), cluster=attrs.evolve(problem.cluster, places=places))


def serve(
    problem: Problem,
    service: Service,
    search: Search,
    parent: Plan | None = None,
    *,
    stays: Sequence[CopyAt] = (),
    as_it_runs: bool = False,
) -> Served | Infeasible | Undecided:
    """Lay a service out; `stays` are copies that are not given up.

    What runs stays where nothing better is found, or, with `as_it_runs`, where it may; what ran under `parent` alone,
    where nothing else is found within the units that may be loaded.
    """
    if conflicts := tuple(too_late(problem, service)):
        return Infeasible(conflicts=conflicts)
    try:
        found = offer(problem, service)
    except InvalidProblem as error:
        return _impossible(problem, service, search, str(error))
    desk = _Desk(problem=problem, service=service, found=found, search=search, stays=stays)
    runs = running(problem, parent, service)
    served = desk.with_margins()
    if runs and not desk.infeasible and (served is None or problem.running):
        kept = desk.kept(runs)
        if kept is not None and (served is None or as_it_runs or not served.better(kept)):
            return kept
    if served is not None:
        return served
    if desk.infeasible:
        sentence = "its devices cannot hold it, keep the TPOT and give the output at once"
        return _impossible(problem, service, search, sentence)
    stood = stuck(problem, service, desk.attempts, lambda changed: _would_do(changed, service, search))
    moving = "" if service.moves_max is None else f" by loading at most {service.moves_max} units"
    sentence = f"no layout was found for {service.llm} that keeps its promise{moving}"
    tried = f"tried with output asked for/TPOT allowed as margins: {in_words(desk.attempts)}"
    return Undecided(sentence=f"{sentence}; {tried}; larger margins may exist", conflicts=(stood,))


def _would_do(problem: Problem, service: Service, search: Search) -> bool:
    """Whether a layout is found for a problem with other numbers."""
    if search.over():
        return False
    try:
        found = offer(problem, service)
    except InvalidProblem:
        return False
    desk = _Desk(problem=problem, service=service, found=found, search=search.part(_AGAIN_STEPS))
    return desk.with_margins() is not None


@attrs.define(kw_only=True)
class _Desk:
    """Layouts for one service, each checked before it counts: room, output, moves and promise."""

    problem: Problem
    service: Service
    found: Offer
    search: Search
    stays: Sequence[CopyAt] = ()
    infeasible: bool = attrs.field(default=False, init=False)
    tightest: "Layout | None" = attrs.field(default=None, init=False)  # its witness bounds every layout
    attempts: list[Attempt] = attrs.field(factory=list, init=False)

    @property
    def objective(self) -> values.Objective:
        """What layouts are to be good at."""
        return CLAIM_OF[self.service.objective][2]

    def with_margins(self) -> Served | None:
        """Lay out with more and more to spare, until the promise is predicted to be kept."""
        for more, less in _MARGINS:
            served = self._laid_out(more, less)
            if served is not None or self.infeasible or self.search.over():
                return served
        return None

    def _laid_out(self, more: int, less: int) -> Served | None:
        """Lay out with margins: at the best, then within the moves, then beside all that devices hold."""
        from planner.layouts.search import lay_out  # brings CP-SAT: only where there is a service

        for found in self._offers():
            asked = _with_margin(found.question, more, less)
            free = attrs.evolve(asked, limits=attrs.evolve(asked.limits, moved_units=None))
            for question in dict.fromkeys((free, asked)):
                layout = lay_out(question, self.objective, self.search)
                if self.tightest is None:
                    self.tightest, self.infeasible = layout, layout.infeasible
                    if self.infeasible:
                        return None
                if layout.answer is None:
                    self.attempts.append(Attempt(margins=(more, less), fault="none was found"))
                elif (served := self._checked(found, layout.answer, (more, less))) is not None:
                    return served
        return None

    def kept(self, runs: tuple[Pipeline, ...]) -> Served | None:
        """Leave what runs just as it is, if it still answers the question."""
        seats = self.found.seat_of()
        if any(stage.place not in seats for each in runs for stage in each.stages):
            return None
        answer = weighed(runs, [1] * len(runs), self.found)
        if any(faults(_without_demand(self.found.question), answer)):
            return None
        return self._judged(self.found, _rated(self.found.question, answer), runs, _MARGINS[0])

    def _offers(self) -> Iterator[Offer]:
        yield self.found
        if self.found.question.running:
            try:
                yield offer(self.problem, self.service, keeping=True)
            except InvalidProblem:
                return

    def _checked(self, found: Offer, layout: Answer, margins: tuple[int, int]) -> Served | None:
        """Take a layout, or write down why not."""
        answer = _settled(found.question, layout, margins[0], self.objective)
        if answer is None or self.tightest is None:
            self.attempts.append(Attempt(margins=margins, fault="no batches give the output"))
            return None
        return self._judged(found, answer, tuple(_pipelines(self.problem, self.service, found, answer)), margins)

    def _judged(
        self, found: Offer, answer: Answer, pipelines: tuple[Pipeline, ...], margins: tuple[int, int]
    ) -> Served | None:
        """Take these pipelines, or write down why not."""
        weights = tuple(replica.weight for replica in answer.replicas)
        attempt = Attempt(margins=margins, value=values.value(found.question, answer, self.objective))
        slo = next((slo for slo in self.problem.slos if slo.llm == self.service.llm), None)
        if any(faults(found.question, answer)):
            attempt = attrs.evolve(attempt, value=None, fault="it needs more than the service allows")
        elif not has_room(self.problem, pipelines, self.stays if self.problem.running else None):
            attempt = attrs.evolve(attempt, fault="there is no room for it beside all that its devices hold")
        elif slo is not None:
            predicted = predicted_for(self.problem, slo, pipelines, weights)
            attempt = attrs.evolve(attempt, predicted=predicted, fault=promise_fault(slo, predicted))
        self.attempts.append(attempt)
        if attempt.fault is not None or attempt.value is None or self.tightest is None:
            return None
        return Served(
            value=attempt.value,
            service=self.service,
            pipelines=pipelines,
            weights=weights,
            witness=self.tightest.witness,
            exhausted=self.tightest.method == "exhausted",
            tried=listed(self.service, CLAIM_OF[self.service.objective][1], self.attempts),
        )


def _impossible(problem: Problem, service: Service, search: Search, sentence: str) -> Infeasible:
    """Explain, or say just this where the time is over."""
    conflicts = () if search.over() else tuple(not_served(problem, service, search))
    return Infeasible(
        conflicts=conflicts or (Conflict(rule="DEMAND", where=f"service {service.llm}", sentence=sentence),)
    )


def _with_margin(question: Question, more: int, less: int) -> Question:
    limits = question.limits
    return attrs.evolve(
        question,
        limits=attrs.evolve(
            limits,
            demand_millitokens_per_second=ceil_div(limits.demand_millitokens_per_second * more, 1000),
            tpot_ns=Nanos(limits.tpot_ns * less // 1000),
        ),
    )


def _settled(question: Question, answer: Answer, more: int, objective: values.Objective) -> Answer | None:
    """Give each pipeline as many iterations as it has stages, and a batch: the best that gives the output together.

    Where TPOT is the objective the smallest batches that do, else those with most output.
    """
    demand = question.limits.demand_millitokens_per_second * more // 1000
    batches = question.batches
    for most in batches if objective is values.Objective.TPOT else batches[-1:]:
        replicas = [_with_batch(question, replica, most) for replica in answer.replicas]
        kept = [replica for replica in replicas if replica is not None]
        if len(kept) == len(replicas) and sum(replica.weight for replica in kept) >= demand:
            return Answer(replicas=tuple(kept))
    return None


def _without_demand(question: Question) -> Question:
    return attrs.evolve(question, limits=attrs.evolve(question.limits, demand_millitokens_per_second=0))


def _rated(question: Question, answer: Answer) -> Answer:
    """Weigh pipelines by their output."""
    rates = [values.rate_millitokens_per_second(question, each) for each in answer.replicas]
    return Answer(
        replicas=tuple(
            attrs.evolve(each, weight=max(1, rate)) for each, rate in zip(answer.replicas, rates, strict=True)
        )
    )


def _with_batch(question: Question, replica: Replica, most: int) -> Replica | None:
    """Find the batch, up to `most`, with which a pipeline gives most; that output is its weight.

    As many batches are under way as there are stages, or fewer of one request: see `specs.services.answer_of`.
    """
    depth = len(replica.stages)
    tried = [(batch, depth) for batch in question.batches if batch <= most]
    alone = _without_demand(question)
    found = []
    for batch, in_flight in (*tried, *((1, fewer) for fewer in range(1, depth))):
        each = attrs.evolve(replica, batch=batch, in_flight=in_flight, weight=1)
        if not any(faults(alone, Answer(replicas=(each,)))):
            rate = values.rate_millitokens_per_second(question, each)
            found.append((rate, attrs.evolve(each, weight=max(1, rate))))
    return max(found, key=lambda each: each[0])[1] if found else None


def _pipelines(problem: Problem, service: Service, found: Offer, answer: Answer) -> Iterator[Pipeline]:
    llm, workload = problem.llm(service.llm), problem.workload(service.llm)
    for number, replica in enumerate(answer.replicas):
        iteration = max(Tokens(replica.slots), ITERATION_TOKENS_MAX)
        yield Pipeline(
            id=PipelineId(f"{llm.id}/serve-{number}"),
            llm=llm.id,
            stages=tuple(
                Stage(
                    place=found.seats[stage.shape][stage.devices[0]],
                    first_unit=stage.first_unit,
                    end_unit=stage.end_unit,
                    kv_bytes=kv_bytes(
                        llm, stage.first_unit, stage.end_unit, replica.slots * workload.request_tokens_max
                    ),
                    workspace_bytes=workspace_bytes(llm, stage.end_unit, replica.slots, iteration),
                )
                for stage in replica.stages
            ),
            slots=replica.slots,
            request_tokens_max=workload.request_tokens_max,
            iteration_tokens_max=iteration,
        )
