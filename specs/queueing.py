"""TTFT and TPOT of a plan at a percentile: the question that each open pipeline asks, and the answer for an LLM.

Hops are the quickest links between the memories of two devices; an iteration of a pipeline may have to wait for those
of all other pipelines with stages on the same device, as many of each as it has stages.  Requests are shared by
routing weight.  Fronts send a request to the pipeline with least to do for its weight, which is no worse.
"""

from collections.abc import Iterable, Sequence

from specs.cluster import PlaceId
from specs.decisions.latency.prediction import Overload, Prediction, predict_shared, steady_loads
from specs.decisions.latency.question import FS_PER_NS, Latency, StageCost, exponential
from specs.invariants.facts import Facts
from specs.llm import LlmId
from specs.plan import Pipeline, PipelineId, Plan, Stage
from specs.problem import Problem
from specs.timing import device_rate, stage_ns, unit_bytes
from specs.units import NANOS_PER_SECOND, Nanos, Tokens, ceil_div, duration_ns
from specs.ways import Hop, Ways
from specs.workload import Workload

_FS_PER_SECOND = NANOS_PER_SECOND * FS_PER_NS
_PERIOD_NS = 10**6 * 3600 * NANOS_PER_SECOND  # a million hours: shares of an hourly rate are whole numbers in it


def predict(problem: Problem, plan: Plan, llm: LlmId) -> Prediction | Overload | None:
    """Predict at the percentile of the LLM's SLO, over the pipelines that are open at the end; None: it has no SLO.

    Raises NoWay when stages are not connected.  The plan keeps rules REF and SERVE.
    """
    slo = next((slo for slo in problem.slos if slo.llm == llm), None)
    if slo is None:
        return None
    questions = questions_of(problem, plan, llm)
    if not questions:
        return Overload(requests_max=0, utilisation_ppm=0)
    return predict_shared(tuple(questions.values()), slo.percentile)


def questions_of(problem: Problem, plan: Plan, llm: LlmId) -> dict[PipelineId, Latency]:
    """The question of each pipeline of an LLM that is open at the end, with its slots and share of requests then."""
    facts = Facts(problem, plan)
    lasting = tuple(
        facts.with_slots(pipeline, facts.slots_at_end(pipeline.id))
        for pipeline in facts.pipelines.values()
        if pipeline.id not in facts.closed_by
    )
    serving = tuple(pipeline for pipeline in lasting if pipeline.llm == llm)
    weights = {row.pipeline: row.weight for row in plan.routing}
    return shared_questions(problem, [(pipeline, weights[pipeline.id], 1) for pipeline in serving], lasting)


def shared_questions(
    problem: Problem, serving: Sequence[tuple[Pipeline, int, int]], neighbours: tuple[Pipeline, ...]
) -> dict[PipelineId, Latency]:
    """The questions of pipelines that get the requests of one LLM by weight, beside all others that are open.

    `serving` lists pipelines with their weights, and how many there are that are equal to each, itself counted.
    """
    if not serving:
        return {}
    total = sum(weight * count for _, weight, count in serving)
    hourly = problem.workload(serving[0][0].llm).requests_per_hour * 10**6
    desk = _Desk(problem, neighbours)
    return {pipeline.id: desk.question(pipeline, ceil_div(hourly * weight, total)) for pipeline, weight, _ in serving}


def question(
    problem: Problem, pipeline: Pipeline, requests_per_million_hours: int, neighbours: tuple[Pipeline, ...] = ()
) -> Latency:
    """The question of one pipeline; `neighbours` are the pipelines open beside it, itself included or not."""
    return _Desk(problem, neighbours).question(pipeline, requests_per_million_hours)


def surely_served(come: int, questions: Iterable[Latency]) -> int:
    """Of so many requests in some time, shared as in the questions, how many leave each pipeline a steady state."""
    most = come
    for asked in dict.fromkeys(questions):
        steady = steady_loads(asked)
        if isinstance(steady, Overload):
            most = min(most, come * steady.requests_max // asked.requests)
    return most


_Asked = tuple[LlmId, int, int, int, tuple[tuple[object, ...], ...]]


class _Desk:
    """Questions about pipelines that are open beside one another: equal ones are worked out once."""

    def __init__(self, problem: Problem, neighbours: tuple[Pipeline, ...]) -> None:
        self._problem = problem
        self._places = {place.id: place for place in problem.cluster.places}
        self._ways = Ways(problem.cluster)
        self._at: dict[PlaceId, dict[PipelineId, Pipeline]] = {}
        for pipeline in neighbours:
            for stage in pipeline.stages:
                self._at.setdefault(stage.place, {})[pipeline.id] = pipeline
        self._questions: dict[_Asked, Latency] = {}
        self._turns: dict[tuple[PipelineId, PlaceId], Nanos] = {}

    def question(self, pipeline: Pipeline, requests: int) -> Latency:
        """The question of one pipeline with this many requests in a million hours.  Raises NoWay."""
        numbers = {place: number for number, place in enumerate(dict.fromkeys(s.place for s in pipeline.stages))}
        stages = []
        for index, stage in enumerate(pipeline.stages):
            following = pipeline.stages[(index + 1) % len(pipeline.stages)]
            hop = self._ways.hop(stage.place, following.place)
            rivals = (other for other in self._at.get(stage.place, {}).values() if other.id != pipeline.id)
            waits = Nanos(sum(self._turn_ns(other, stage.place) for other in rivals))
            kind = self._places[stage.place].device
            stages.append((stage.first_unit, stage.end_unit, kind, hop, numbers[stage.place], waits))
        key = (pipeline.llm, pipeline.slots, pipeline.iteration_tokens_max, requests, tuple(stages))
        if key not in self._questions:
            costs = tuple(
                self._cost(pipeline, stage, hop, index + 1 == len(stages), thread, waits)
                for index, (stage, (_, _, _, hop, thread, waits)) in enumerate(
                    zip(pipeline.stages, stages, strict=True)
                )
            )
            self._questions[key] = self._latency(pipeline, costs, requests)
        return self._questions[key]

    def _latency(self, pipeline: Pipeline, stages: tuple[StageCost, ...], requests: int) -> Latency:
        workload = self._problem.workload(pipeline.llm)
        return Latency(
            stages=stages,
            slots=pipeline.slots,
            iteration_tokens_max=pipeline.iteration_tokens_max,
            requests=requests,
            period_ns=_PERIOD_NS,
            prompt_tokens_mean=workload.prompt_tokens_mean,
            output_tokens_mean=workload.output_tokens_mean,
            prompts=exponential(workload.prompt_tokens_mean, max(1, workload.request_tokens_max - 1)),
        )

    def _cost(
        self,
        pipeline: Pipeline,
        stage: Stage,
        hop: Hop,
        last: bool,
        thread: int,
        rival_ns: Nanos,
    ) -> StageCost:
        """What a stage costs, each row at the mean context of live requests, each prompt token at that of long prompts.

        Geometric answers are found at any instant with their mean number of tokens generated; the tokens of a prompt
        attend to half of it in the mean.  The KV that prompts read is counted as if each chunk were as long as its
        iteration.
        """
        llm, workload = self._problem.llm(pipeline.llm), self._problem.workload(pipeline.llm)
        rate = device_rate(self._problem, self._places[stage.place], llm.dtype)
        units = llm.units[stage.first_unit : stage.end_unit]
        flops = sum(unit.flops_per_token for unit in units)
        attended = sum(unit.flops_per_token_of_context for unit in units)
        kv = sum(unit.kv_bytes_per_token for unit in units)
        context = _mean_context(workload)
        chunks = ceil_div(workload.request_tokens_max, pipeline.iteration_tokens_max)
        arithmetic = _fs(flops + attended * ceil_div(workload.request_tokens_max, 2), rate.flops_per_second)
        memory = _fs(kv * chunks, rate.memory_bytes_per_second)
        wire = 0 if last or not hop.bytes_per_second else _fs(llm.hidden_bytes_per_token, hop.bytes_per_second)
        return StageCost(
            token_fs=max(1, arithmetic, memory),
            row_compute_fs=_fs(flops + attended * context, rate.flops_per_second),
            read_ns=duration_ns(unit_bytes(llm, stage.first_unit, stage.end_unit), rate.memory_bytes_per_second),
            row_read_fs=_fs(kv * context, rate.memory_bytes_per_second),
            overhead_ns=Nanos(len(units) * rate.overhead_ns_per_unit),
            hop_ns=Nanos(hop.latency_ns),
            hop_token_fs=wire,
            thread=thread,
            rival_ns=rival_ns,
        )

    def _turn_ns(self, other: Pipeline, place: PlaceId) -> Nanos:
        """Full iterations of another pipeline that a device may have to finish before one of ours."""
        if (other.id, place) not in self._turns:
            llm = self._problem.llm(other.llm)
            context = _mean_context(self._problem.workload(other.llm))
            rate = device_rate(self._problem, self._places[place], llm.dtype)
            tokens, read = Tokens(other.iteration_tokens_max), Tokens(other.slots * context)
            once = sum(stage_ns(rate, llm, stage, tokens, read) for stage in other.stages if stage.place == place)
            self._turns[other.id, place] = Nanos(len(other.stages) * once)
        return self._turns[other.id, place]


def _mean_context(workload: Workload) -> Tokens:
    """Tokens in the KV of a live request, in the mean."""
    return Tokens(min(workload.prompt_tokens_mean + workload.output_tokens_mean, workload.request_tokens_max))


def _fs(amount: int, per_second: int) -> int:
    return ceil_div(amount * _FS_PER_SECOND, per_second)
