"""What becomes of the requests of a pipeline that closes: copied, computed again, or finished first.

The way that is done soonest, of those that hold requests up no longer than was promised; where none does, the way that
holds them up least.  Copies are bounded as rule KV has it (`specs.handing_over`), the others are predicted from the
load that the state says.
"""

from collections.abc import Sequence

import attrs

from planner.routes import NoRoute, Routes
from specs.cluster import LinkId
from specs.handing_over import ROUNDS_MAX, PreCopy, far_pairs, pre_copy, shared_kv
from specs.plan import Continuity, HandOver, KvPath, Pipeline, Route
from specs.problem import Problem, Running
from specs.timing import decode_ns, device_rate, stage_ns
from specs.units import BytesPerSecond, Nanos, Tokens, ceil_div, duration_ns

PAUSE_NS_MAX = Nanos(10_000_000)  # beyond an iteration, where no SLO says another


@attrs.frozen(kw_only=True)
class Way:
    """One way to treat the requests of a pipeline that closes."""

    continuity: Continuity
    pause_ns: Nanos  # that a request is held up at most, beyond an iteration
    lasts_ns: Nanos  # until the old pipeline closes
    hand_over: HandOver | None = None  # as if it began at 0; its paths index `routes`
    routes: tuple[Route, ...] = ()

    @property
    def links(self) -> frozenset[LinkId]:
        """The links that KV crosses."""
        return frozenset(link for route in self.routes for link in route.links)


def ways(problem: Problem, routes: Routes, old: Running, new: Pipeline) -> tuple[Way, ...]:
    """Every way there is for these requests, the best first."""
    allowed = pause_allowed_ns(problem, old.pipeline)
    promised = any(slo.llm == new.llm and slo.pause_ns_max is not None for slo in problem.slos)
    copied = _copied(problem, routes, old.pipeline, new, promised=promised)
    found = [*(() if copied is None else (copied,)), computed_again(problem, old, new), drained(problem, old)]
    return tuple(sorted(found, key=lambda way: (max(0, way.pause_ns - allowed), way.lasts_ns)))


def pause_allowed_ns(problem: Problem, pipeline: Pipeline) -> Nanos:
    """How long a request may be held up beyond an iteration."""
    slo = next((slo for slo in problem.slos if slo.llm == pipeline.llm), None)
    return PAUSE_NS_MAX if slo is None or slo.pause_ns_max is None else slo.pause_ns_max


# --- copied ----------------------------------------------------------------------------------------------------------


def _copied(problem: Problem, routes: Routes, old: Pipeline, new: Pipeline, *, promised: bool) -> Way | None:
    """Copy in rounds; None where no links lead there, contexts do not fit, or a promised pause is too short."""
    allowed_ns = pause_allowed_ns(problem, old)
    if new.request_tokens_max < old.request_tokens_max or new.slots < old.slots:
        return None
    try:
        paths, used = _paths(problem, routes, old, new)
    except NoRoute:
        return None
    asked = pre_copy(problem, routes.links, used, old, new, paths)
    found = _rest(asked, allowed_ns) or (None if promised else _rest(asked, None))
    if found is None:
        return None
    rest, rounds = found
    pause_ns = asked.pause_ns(rest)
    return Way(
        continuity=Continuity.COPY,
        pause_ns=Nanos(pause_ns - asked.iteration_ns),
        lasts_ns=Nanos(asked.rounds_ns(rounds) + pause_ns),
        hand_over=HandOver(
            start_ns=Nanos(0),
            rounds_max=max(1, rounds),
            rest_tokens_max=Tokens(rest),
            copy_tokens_min=_copy_tokens_min(problem, asked, new, allowed_ns),
            pause_ns=pause_ns,
            paths=paths,
        ),
        routes=used,
    )


def _paths(
    problem: Problem, routes: Routes, old: Pipeline, new: Pipeline
) -> tuple[tuple[KvPath, ...], tuple[Route, ...]]:
    """One path for each pair of stages; paths that share a link share it in proportion to what they carry."""
    llm = problem.llm(old.llm)
    sizes = shared_kv(llm, old, new)
    ways = {
        pair: routes.route(old.stages[pair[0]].place, new.stages[pair[1]].place) for pair in far_pairs(llm, old, new)
    }
    carried: dict[LinkId, int] = {}
    for pair, way in ways.items():
        for link in way.links:
            carried[link] = carried.get(link, 0) + sizes[pair]
    used = tuple(dict.fromkeys(ways.values()))
    paths = tuple(
        KvPath(
            old_stage=pair[0],
            new_stage=pair[1],
            route=used.index(way),
            bytes_per_second=BytesPerSecond(
                max(1, min(routes.links[link].bytes_per_second * sizes[pair] // carried[link] for link in way.links))
            ),
        )
        for pair, way in ways.items()
    )
    return paths, used


def _rest(asked: PreCopy, allowed_ns: Nanos | None) -> tuple[int, int] | None:
    """Find how much may be left for the end, and the rounds after which no more is; None where pauses are too long.

    Rounds come down to what is written in the time of one; twice that is near enough, and comes much sooner.
    """
    least = int(asked.left_tokens(ROUNDS_MAX)[-1])
    for rest in (2 * least, least):
        rounds = asked.rounds(rest)
        fits = allowed_ns is None or asked.pause_ns(rest) - asked.iteration_ns <= allowed_ns
        if rounds is not None and fits:
            return rest, rounds
    return None


def _copy_tokens_min(problem: Problem, asked: PreCopy, new: Pipeline, allowed_ns: Nanos) -> Tokens:
    """Find the longest context (by powers of two) that is computed again within the pause and before it is copied."""
    best = 0
    tokens = 1
    while tokens < asked.request_tokens_max:
        again = prefill_ns(problem, new, tokens)
        if again <= allowed_ns and again <= asked.copy_ns(tokens):
            best = tokens
        tokens *= 2
    return Tokens(best)


# --- not copied ------------------------------------------------------------------------------------------------------


def prefill_ns(problem: Problem, pipeline: Pipeline, tokens: int) -> Nanos:
    """Predict how long a context of so many tokens is computed again: its iterations, one after another.

    Each token of a chunk attends to those before it; the KV of these is read once.
    """
    llm = problem.llm(pipeline.llm)
    places = {place.id: place for place in problem.cluster.places}
    most = int(pipeline.iteration_tokens_max)
    total = 0
    for stage in pipeline.stages:
        rate = device_rate(problem, places[stage.place], llm.dtype)
        attending = sum(unit.flops_per_token_of_context for unit in llm.units[stage.first_unit : stage.end_unit])
        for first in range(0, tokens, most):
            many = min(most, tokens - first)
            total += stage_ns(rate, llm, stage, Tokens(many), Tokens(first + many))
            total += duration_ns(attending * many * (first + ceil_div(many, 2)), rate.flops_per_second)
    return Nanos(total)


def computed_again(problem: Problem, old: Running, new: Pipeline) -> Way:
    """All contexts are computed again, one after another: the last request waits for all."""
    requests = max(1, old.live_requests)
    context = min(_context(problem, old), int(new.request_tokens_max))
    pause_ns = Nanos(requests * prefill_ns(problem, new, context))
    return Way(continuity=Continuity.RECOMPUTE, pause_ns=pause_ns, lasts_ns=Nanos(0))


def drained(problem: Problem, old: Running) -> Way:
    """Requests are finished first.

    Answers are geometric, so that what is left of each is as long as a whole one in the mean; the longest of n is H(n)
    times as long.
    """
    lap_ns = sum(decode_ns(problem, old.pipeline))
    output_ns = problem.workload(old.pipeline.llm).output_tokens_mean * lap_ns
    lasts = sum(ceil_div(output_ns, number) for number in range(1, max(1, old.live_requests) + 1))
    return Way(continuity=Continuity.DRAIN, pause_ns=Nanos(0), lasts_ns=Nanos(lasts))


def fewer_ns(problem: Problem, pipeline: Pipeline, live_requests: int, slots: int) -> Nanos:
    """Time until a pipeline with so many live requests has no more than `slots`.

    None where it has no more now.  Else those that are too many must end, and the longest may just have begun: it takes
    as many iterations as its context has tokens at most.
    """
    if live_requests <= slots:
        return Nanos(0)
    return Nanos(pipeline.request_tokens_max * sum(decode_ns(problem, pipeline)))


def _context(problem: Problem, old: Running) -> int:
    """Mean context of the live requests; of none, that of the workload."""
    if old.live_requests:
        return ceil_div(old.live_tokens, old.live_requests)
    workload = problem.workload(old.pipeline.llm)
    return int(workload.prompt_tokens_mean + ceil_div(workload.output_tokens_mean, 2))


def begun_at(way: Way, start_ns: Nanos, numbers: Sequence[int]) -> HandOver | None:
    """The hand-over of a way as it stands in a plan: when it begins, and which of the plan's routes are its own."""
    if way.hand_over is None:
        return None
    paths = tuple(attrs.evolve(path, route=numbers[path.route]) for path in way.hand_over.paths)
    return attrs.evolve(way.hand_over, start_ns=start_ns, paths=paths)
