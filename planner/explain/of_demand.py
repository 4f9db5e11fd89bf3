"""Why a service cannot be laid out: what its devices lack in room, in time or in output, and what could give.

Two conditions (`planner.explain.conflicts`) hold of every plan for a service.  DEMAND: pipelines on its devices have
room, keep the TPOT and together give the output.  SLO: even a request that meets nobody gets its first token in time.
Small questions are searched through by `specs.decisions.layout.exhausted`; of large ones prices of devices bound the
output, and an amount is said to do only where pipelines were found.
"""

from collections.abc import Iterator

import attrs

from planner.description.wording import say_duration
from planner.explain.conflicts import Condition, conflicts
from planner.explain.limits import (
    Limit,
    depth_of,
    live_requests_of,
    longest_request_of,
    machines_serving,
    memory_of_kind,
    more_live_requests_of,
    requests_of,
    tpot_of,
    ttft_of,
)
from planner.outcome import Conflict
from planner.search import Search
from specs.decisions.layout import exhausted
from specs.decisions.layout.question import Question
from specs.decisions.layout.values import Objective
from specs.errors import InvalidProblem
from specs.llm import LlmId
from specs.problem import Problem
from specs.services import FOREVER_NS, offer
from specs.timing import device_rate
from specs.units import NANOS_PER_SECOND, Nanos
from specs.wishes import Service

_STEPS_MAX = 200_000  # of one search for pipelines where there are too many to try all


@attrs.define
class _Most:
    """The most output that questions allow.  Those that differ in the output asked for are one question."""

    search: Search
    _found: dict[tuple[Question, bool], int] = attrs.field(factory=dict, init=False)

    def of(self, question: Question, *, surely: bool) -> int:
        """In millitokens/s: what no layout beats if it must be sure, else what one gives."""
        key = (question, surely)
        if key not in self._found:
            self._found[key] = self._worked_out(question, surely=surely)
        return self._found[key]

    def _worked_out(self, question: Question, *, surely: bool) -> int:
        try:
            return exhausted.exhausted(question, Objective.GOODPUT) or 0
        except exhausted.TooLarge:
            pass
        from planner.layouts.search import lay_out  # brings CP-SAT

        found = lay_out(question, Objective.GOODPUT, self.search.part(_STEPS_MAX))
        if found.infeasible:
            return 0
        if not surely:
            return found.value or 0
        return FOREVER_NS if found.bound is None else found.bound


def not_served(problem: Problem, service: Service, search: Search) -> Iterator[Conflict]:
    """Name what room, TPOT and output lack whatever devices are chosen; nothing where a layout may exist."""
    yield from conflicts(problem, (_output(problem, service, search),))


def too_late(problem: Problem, service: Service) -> Iterator[Conflict]:
    """Name a TTFT that no devices keep, even without other requests."""
    yield from conflicts(problem, (_first_token(problem, service),))


def _output(problem: Problem, service: Service, search: Search) -> Condition:
    llm, most = service.llm, _Most(search)

    def fault(changed: Problem) -> str | None:
        return _short_of(changed, llm, most, surely=changed is problem)

    return Condition(rule="DEMAND", where=f"service {llm}", fault=fault, limits=tuple(_limits(problem, service)))


def _limits(problem: Problem, service: Service) -> Iterator[Limit]:
    """Numbers that loosen a service.  Where pipelines must be searched for, only those that are quick to look at."""
    llm = service.llm
    places = {place.id: place for place in problem.cluster.places}
    tpot = tpot_of(problem, llm)
    small = _small(problem, service)
    if tpot is not None:
        yield tpot
    yield requests_of(problem, llm)
    nodes = {str(places[at].device): places[at].node for at in reversed(service.places)}
    for kind in dict.fromkeys(str(places[at].device) for at in service.places):
        node = nodes[kind]
        if node is not None:
            yield machines_serving(problem, service, node, kind)
    if small:
        yield from (memory_of_kind(problem, service, kind) for kind in nodes)
        yield depth_of(service)
        yield live_requests_of(problem, llm)
        yield more_live_requests_of(problem, llm, most=16)
        yield longest_request_of(problem, llm)


def _small(problem: Problem, service: Service) -> bool:
    try:
        exhausted.space(offer(problem, service).question)
    except exhausted.TooLarge:
        return False
    except InvalidProblem:
        return True
    return True


def _short_of(problem: Problem, llm: LlmId, output: _Most, *, surely: bool) -> str | None:
    """Say what no layout gives; None when one does, or, if it must be sure, when one might."""
    service = next(each for each in problem.services if each.llm == llm)
    try:
        question = offer(problem, service).question
    except InvalidProblem as error:
        return str(error)
    demand = max(1, question.limits.demand_millitokens_per_second)
    most = output.of(_idle(question), surely=surely)
    if most >= demand:
        return None
    if most > 0:
        told = f"{len(service.places)} devices together give at most {most:,} millitokens/s"
        return f"its {told} within its limits, {demand:,} are asked for"
    idle = _idle(question, tpot_ns=FOREVER_NS)
    if question.limits.tpot_ns < FOREVER_NS and output.of(idle, surely=surely) > 0:
        quickest = _quickest(idle)
        least = "" if quickest is None else f"the quickest takes {say_duration(quickest)} per token, "
        return f"no pipeline on its devices is quick enough: {least}{say_duration(question.limits.tpot_ns)} are allowed"
    stages = "1 stage" if question.limits.depth == 1 else f"up to {question.limits.depth} stages"
    return (
        f"no pipeline of {stages} on its devices has room for {question.weight_sums[-1]:,} bytes of weights, "
        f"a workspace and the KV of one request of {question.context_tokens:,} tokens"
    )


def _idle(question: Question, *, tpot_ns: Nanos | None = None) -> Question:
    limits = attrs.evolve(question.limits, demand_millitokens_per_second=0, tpot_ns=tpot_ns or question.limits.tpot_ns)
    return attrs.evolve(question, limits=limits)


def _quickest(question: Question) -> Nanos | None:
    try:
        least = exhausted.exhausted(question, Objective.TPOT)
    except exhausted.TooLarge:
        return None
    return None if least is None else Nanos(least)


def _first_token(problem: Problem, service: Service) -> Condition:
    """SLO: a request alone gets its first token in time.  Machines of another kind are not tried."""
    llm = service.llm

    def fault(changed: Problem) -> str | None:
        slo = next((each for each in changed.slos if each.llm == llm), None)
        least = first_token_ns_at_least(changed, service)
        if slo is None or least <= slo.ttft_ns_max:
            return None
        told = f"takes at least {say_duration(least)} on its devices"
        return f"the first token of a request that meets nobody {told}, {say_duration(slo.ttft_ns_max)} are promised"

    ttft = ttft_of(problem, llm)
    limits = () if ttft is None else (ttft,)
    return Condition(rule="SLO", where=f"LLM {llm}", fault=fault, limits=limits)


def first_token_ns_at_least(problem: Problem, service: Service) -> Nanos:
    """Bound from below every TTFT that is predicted for a pipeline of the service, at any percentile.

    `Choice.ttft_miss` (specs.decisions.latency.misses) lets every request miss a time that is shorter than two laps.
    A lap is no shorter than the sum of its stages' iterations with one row, and in these every tensor is read at least
    once, at no more than the highest rate among the devices, and every unit costs at least the least overhead.
    """
    llm = problem.llm(service.llm)
    places = {place.id: place for place in problem.cluster.places}
    kinds = {places[at].device: places[at] for at in service.places}
    rates = [device_rate(problem, place, llm.dtype) for place in kinds.values()]
    size = sum(tensor.bytes for tensor in llm.tensors)
    reading = size * NANOS_PER_SECOND // max(rate.memory_bytes_per_second for rate in rates)
    return Nanos(2 * (reading + len(llm.units) * min(rate.overhead_ns_per_unit for rate in rates)))
