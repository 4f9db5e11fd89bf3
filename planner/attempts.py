"""Layouts of a service that were tried and not taken: why not, and which numbers would let one be taken."""

from collections.abc import Callable, Iterator, Sequence

import attrs

from planner.description.wording import say_duration
from planner.explain.limits import Limit, requests_of, tpot_of, ttft_of
from planner.outcome import Conflict, Give, Tried
from specs.decisions.latency.prediction import Prediction, predict_shared
from specs.plan import Measure, Pipeline
from specs.problem import Problem
from specs.queueing import shared_questions
from specs.ways import NoWay
from specs.wishes import Service
from specs.workload import Slo

# Shares of the requests of which it is looked at whether a service could be laid out for them, in percent.
_FEWER = (90, 75, 50, 25)


@attrs.frozen(kw_only=True)
class Attempt:
    """One layout, and what was found when it was checked."""

    margins: tuple[int, int]  # output asked for and TPOT allowed, in thousandths of what the service asks and allows
    value: int | None = None  # of the service's objective; None: none was found
    fault: str | None = None  # why it was not taken; None: it was
    predicted: Prediction | None = None

    @property
    def way(self) -> str:
        """Say with which margins."""
        more, less = self.margins
        if self.margins == (1000, 1000):
            return "a layout without margins"
        return f"a layout for {more / 1000:g} times the output and {less / 1000:g} times the TPOT"


def promise_fault(slo: Slo, predicted: Prediction | None) -> str | None:
    """Say how a prediction breaks a promise; None where it keeps it."""
    if predicted is None:
        return "no steady state is known"
    broken = [
        f"{name} {say_duration(value)} predicted, {say_duration(allowed)} promised"
        for name, value, allowed in (
            ("TTFT", predicted.ttft_ns, slo.ttft_ns_max),
            ("TPOT", predicted.tpot_ns, slo.tpot_ns_max),
        )
        if value > allowed
    ]
    return "; ".join(broken) or None


def predicted_for(
    problem: Problem, slo: Slo, pipelines: tuple[Pipeline, ...], weights: tuple[int, ...]
) -> Prediction | None:
    """Predict as rule SLO does; None where no steady state is known."""
    try:
        shares = [(pipeline, weight, 1) for pipeline, weight in zip(pipelines, weights, strict=True)]
        questions = shared_questions(problem, shares, pipelines)
    except NoWay:
        return None
    found = predict_shared(tuple(questions.values()), slo.percentile)
    return found if isinstance(found, Prediction) else None


def listed(service: Service, measure: Measure, attempts: Sequence[Attempt]) -> tuple[Tried, ...]:
    """List layouts with a value, the one that was taken first."""
    found = [each for each in attempts if each.value is not None]
    return tuple(
        Tried(
            decision="service",
            subject=service.llm,
            way=each.way,
            value=each.value or 0,
            unit=measure.value,
            besides=each.fault or "keeps its promise",
        )
        for each in sorted(found, key=lambda each: each.fault is not None)
    )


def in_words(attempts: Sequence[Attempt]) -> str:
    """Say what was tried: for each fault the margins with which it was met."""
    margins: dict[str, list[str]] = {}
    for each in attempts:
        if each.fault is not None:
            more, less = each.margins
            margins.setdefault(each.fault, []).append(f"{more / 1000:g}/{less / 1000:g}")
    said = [f"{fault} (margins {', '.join(dict.fromkeys(met))})" for fault, met in margins.items()]
    return "; ".join(said) or "no layout was looked at before the limit"


def stuck(
    problem: Problem, service: Service, attempts: Sequence[Attempt], enough: Callable[[Problem], bool]
) -> Conflict:
    """Name what no layout kept, and of each number the first amount tried with which one was found."""
    gives = []
    for limit, amounts in _changes(problem, service, attempts):
        needed = next((amount for amount in amounts if enough(limit.set_to(problem, amount))), None)
        if needed is not None:
            sentence = f"{limit.name}: {limit.say(limit.allowed)} given, {limit.say(needed)} would do"
            gives.append(Give(limit=limit.name, allowed=limit.allowed, needed=needed, sentence=sentence))
    return Conflict(
        rule="SLO",
        where=f"service {service.llm}",
        sentence="no layout that was tried can be used",
        gives=tuple(gives),
        proven=False,
    )


def _changes(problem: Problem, service: Service, attempts: Sequence[Attempt]) -> Iterator[tuple[Limit, Sequence[int]]]:
    """Amounts worth a try: a promise as it was predicted where the other one is kept, and fewer requests."""
    ttft, tpot = ttft_of(problem, service.llm), tpot_of(problem, service.llm)
    if ttft is not None and tpot is not None:
        predicted = [each.predicted for each in attempts if each.predicted is not None]
        yield ttft, sorted({each.ttft_ns for each in predicted if each.tpot_ns <= tpot.allowed})[:1]
        yield tpot, sorted({each.tpot_ns for each in predicted if each.ttft_ns <= ttft.allowed})[:1]
    requests = requests_of(problem, service.llm)
    yield requests, [fewer for share in _FEWER if 0 < (fewer := requests.allowed * share // 100) < requests.allowed]
