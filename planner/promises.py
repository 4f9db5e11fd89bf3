"""How many requests each pipeline serves at once, so that what users were promised is kept.

More slots lengthen laps, and with them the time per token; fewer make requests wait.  So of the numbers that the
workload allows, the largest that keeps the promise is looked for: by bisection, told by what is broken which way to go,
then among powers of two and their halves, for the way is not always right.  Pipelines share their LLM's requests in
proportion to their speed.  Where that breaks the promise, those that could not keep it even for a single request get
next to none: they serve before the others open, and when those are gone.

Slots only ever fall, and fewer slots of one LLM make the iterations of its pipelines shorter, for which those of other
LLMs on the same device wait: what has been found stays good.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from functools import lru_cache

import attrs

from planner.room import Blobs, Room, rooms
from planner.stages import Sizes
from specs.cluster import PlaceId
from specs.decisions.latency.limits import Promise, keeps, keeps_shared
from specs.decisions.latency.prediction import (
    Overload,
    allowed_miss,
    predict_shared,
    steady_loads,
    tpot_choices,
)
from specs.decisions.latency.question import Latency
from specs.invariants.promises import served, shortcomings
from specs.llm import LlmId
from specs.plan import Pipeline
from specs.problem import Problem
from specs.queueing import shared_questions
from specs.timing import decode_ns
from specs.units import NANOS_PER_SECOND, Nanos
from specs.workload import Slo

_REMEMBERED = 4096  # verdicts: looking for what could give asks the same again and again
_FOREVER_NS = Nanos(10**18)


@attrs.frozen(kw_only=True)
class Kept:
    """Slots that keep the promises, and what keeps none."""

    problem: Problem  # `live_requests_max` of each LLM is the number of slots of its pipelines
    late: frozenset[tuple[LlmId, PlaceId]] = frozenset()  # pipelines that get next to no requests
    broken: tuple[LlmId, ...] = ()  # no number of slots keeps the promise

    def weight(self, pipeline: Pipeline) -> int:
        """The routing weight of a pipeline."""
        if len(pipeline.stages) == 1 and (pipeline.llm, pipeline.stages[0].place) in self.late:
            return 1
        return speed(self.problem, pipeline)


class Way(Enum):
    """How a number of slots fares."""

    KEPT = "kept"
    FEWER = "fewer"
    MORE = "more"
    TOO_MANY = "too many requests"  # no steady state is known, and fewer slots have none either


def speed(problem: Problem, pipeline: Pipeline) -> int:
    """Decode iterations per thousand seconds that its slowest stage allows."""
    return max(1, 1000 * NANOS_PER_SECOND // max(1, *decode_ns(problem, pipeline)))


def keep(problem: Problem, blobs: Blobs, room: Mapping[PlaceId, Room] | None = None) -> Kept:
    """Choose the slots of every LLM; `room` says which LLMs serve where, unless it is still to be worked out."""
    wanted = served(problem)
    slos = [slo for slo in problem.slos if slo.llm in wanted]
    kept = Kept(problem=problem, broken=tuple(slo.llm for slo in slos))
    if not slos:
        return kept
    kinds = _kinds(problem, rooms(problem, blobs) if room is None else room)
    failed = slos
    while failed:
        left = []
        for slo in failed:
            found = _settled(kept, kinds, slo)
            if found is None:
                left.append(slo)
            else:
                kept = found
        if len(left) == len(failed) or len(problem.llms) == 1:
            break
        failed = left
    return kept


def shortage(kept: Kept, blobs: Blobs, llm: LlmId) -> str:
    """Say what breaks the promise of an LLM, with the slots that come nearest to keeping it."""
    problem = kept.problem
    slo = next(slo for slo in problem.slos if slo.llm == llm)
    live = problem.workload(llm).live_requests_max
    kinds = _kinds(problem, rooms(problem, blobs))
    best: tuple[int, int] | None = None
    for slots in dict.fromkeys((live, *_grid(live))):
        found = predict_shared(_repeated(_questions(with_slots(kept, llm, slots), kinds, llm)), slo.percentile)
        if not isinstance(found, Overload):
            over = max(found.ttft_ns * 10**6 // slo.ttft_ns_max, found.tpot_ns * 10**6 // slo.tpot_ns_max)
            best = min(best or (over, -slots), (over, -slots))
    slots = live if best is None else -best[1]
    questions = _repeated(_questions(with_slots(kept, llm, slots), kinds, llm))
    return f"with {slots} of at most {live} live requests, " + "; ".join(shortcomings(problem, slo, questions))


def with_slots(kept: Kept, llm: LlmId, slots: int) -> Kept:
    """The choice with other slots for one LLM."""
    problem = kept.problem
    workloads = tuple(
        attrs.evolve(each, live_requests_max=slots) if each.llm == llm else each for each in problem.workloads
    )
    return attrs.evolve(kept, problem=attrs.evolve(problem, workloads=workloads))


@attrs.frozen(kw_only=True)
class _Kind:
    """Places with equal devices that serve the same LLMs."""

    places: list[PlaceId]
    llms: tuple[LlmId, ...]


def _kinds(problem: Problem, room: Mapping[PlaceId, Room]) -> tuple[_Kind, ...]:
    found: dict[tuple[str | None, tuple[LlmId, ...]], _Kind] = {}
    for place in problem.cluster.places:
        if place.id not in room or not room[place.id].serving:
            continue
        llms = room[place.id].serving
        found.setdefault((place.device, llms), _Kind(places=[], llms=llms)).places.append(place.id)
    return tuple(found.values())


def _settled(kept: Kept, kinds: tuple[_Kind, ...], slo: Slo) -> Kept | None:
    """Keep the promise of one LLM beside what is there; None when no number of slots that was tried does."""
    found = _largest(kept, kinds, slo)
    mine = [kind for kind in kinds if slo.llm in kind.llms]
    if found is None and len(mine) > 1 and _fares(_questions(kept, kinds, slo.llm), slo) is not Way.TOO_MANY:
        slow = [kind for kind in mine if _slow(kept, kind, slo)]
        if 0 < len(slow) < len(mine):
            late = frozenset((slo.llm, place) for kind in slow for place in kind.places)
            found = _largest(attrs.evolve(kept, late=kept.late | late), kinds, slo)
    if found is None:
        return None
    return attrs.evolve(found, broken=tuple(llm for llm in kept.broken if llm != slo.llm))


def _slow(kept: Kept, kind: _Kind, slo: Slo) -> bool:
    """Whether a kind of place breaks the promise even for a single request."""
    alone = with_slots(kept, slo.llm, 1)
    pipelines = _pipelines(alone, (kind,))
    (mine,) = (pipeline for pipeline in pipelines if pipeline.llm == slo.llm)
    (question,) = shared_questions(alone.problem, [(mine, 1, 1)], pipelines).values()
    return not keeps(attrs.evolve(question, requests=0), _promise(slo))


def _largest(kept: Kept, kinds: tuple[_Kind, ...], slo: Slo) -> Kept | None:
    """Find the largest slots that keep a promise, as far as the search sees."""
    live = kept.problem.workload(slo.llm).live_requests_max

    def fares(slots: int) -> Way:
        return _fares(_questions(with_slots(kept, slo.llm, slots), kinds, slo.llm), slo)

    best, low, high, slots = None, 1, live, live
    while low <= high:
        way = fares(slots)
        if way is Way.TOO_MANY and slots == live:
            return None
        if way is Way.FEWER:
            high = slots - 1
        else:
            best, low = (slots if way is Way.KEPT else best), slots + 1
        slots = (low + high) // 2
    if best is None:
        best = next((slots for slots in _grid(live) if fares(slots) is Way.KEPT), None)
    return None if best is None else with_slots(kept, slo.llm, best)


def _grid(live: int) -> Iterator[int]:
    """Powers of two and one and a half times them, below `live` and falling."""
    for power in range(live.bit_length(), -1, -1):
        for slots in (2**power * 3 // 2, 2**power):
            if slots < live:
                yield slots


def _questions(kept: Kept, kinds: tuple[_Kind, ...], llm: LlmId) -> tuple[tuple[Latency, int], ...]:
    """What the pipelines of an LLM are asked, with the number of equal ones."""
    pipelines = _pipelines(kept, kinds)
    count = {kind.places[0]: len(kind.places) for kind in kinds}
    mine = [
        (pipeline, kept.weight(pipeline), count[pipeline.stages[0].place])
        for pipeline in pipelines
        if pipeline.llm == llm
    ]
    questions = shared_questions(kept.problem, mine, pipelines)
    return tuple((questions[pipeline.id], number) for pipeline, _, number in mine)


def _pipelines(kept: Kept, kinds: tuple[_Kind, ...]) -> tuple[Pipeline, ...]:
    """The pipelines of one place of each kind."""
    sizes = {llm.id: Sizes.of(kept.problem, llm) for llm in kept.problem.llms}
    return tuple(sizes[llm].local(kind.places[0]) for kind in kinds for llm in kind.llms)


def _fares(questions: tuple[tuple[Latency, int], ...], slo: Slo) -> Way:
    """What all kinds of pipelines keep or break by themselves they keep or break together; else look closer."""
    promise = _promise(slo)
    ways = {_alone(question, promise) for question in dict.fromkeys(question for question, _ in questions)}
    if Way.TOO_MANY in ways:
        return Way.TOO_MANY
    return ways.pop() if len(ways) == 1 else _together(questions, promise)


@lru_cache(maxsize=_REMEMBERED)
def _together(questions: tuple[tuple[Latency, int], ...], promise: Promise) -> Way:
    """How pipelines fare that have a steady state each."""
    asked = _repeated(questions)
    if keeps_shared(asked, promise):
        return Way.KEPT
    in_time = keeps_shared(asked, attrs.evolve(promise, ttft_ns_max=_FOREVER_NS))
    return Way.MORE if in_time else Way.FEWER


@lru_cache(maxsize=_REMEMBERED)
def _alone(question: Latency, promise: Promise) -> Way:
    if keeps(question, promise):
        return Way.KEPT
    steady = steady_loads(question)
    if isinstance(steady, Overload):
        return Way.TOO_MANY
    miss = allowed_miss(promise.percentile)
    within = any(choice.tpot_miss(promise.tpot_ns_max) <= miss for choice in tpot_choices(steady, miss))
    return Way.MORE if within else Way.FEWER


def _repeated(questions: tuple[tuple[Latency, int], ...]) -> tuple[Latency, ...]:
    return tuple(question for question, count in questions for _ in range(count))


def _promise(slo: Slo) -> Promise:
    return Promise(percentile=slo.percentile, ttft_ns_max=slo.ttft_ns_max, tpot_ns_max=slo.tpot_ns_max)
