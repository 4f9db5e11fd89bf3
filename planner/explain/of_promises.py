"""Promises of TTFT and TPOT: which of them binds, and how many more requests, slots and pipelines move it."""

from collections.abc import Iterator, Sequence

import attrs

from planner.explain.explained import Explained, Figure, LeftOut, Worth
from specs.decisions.latency.limits import Promise, keeps
from specs.decisions.latency.prediction import Overload, Prediction, predict_shared
from specs.decisions.latency.question import Latency
from specs.invariants.facts import Facts
from specs.plan import Measure, PipelineId
from specs.queueing import questions_of
from specs.units import INTEGER_MAX, ceil_div
from specs.workload import Slo

# Open pipelines of a plan beyond which promises are not explained: neighbours are looked at in pairs.
PIPELINES_MAX = 160


def promises(facts: Facts) -> Iterator[Explained | LeftOut]:
    """Explain the predicted TTFT and TPOT of each LLM with an SLO, over the pipelines that are open at the end."""
    lasting = facts.open_at_end
    for slo in facts.problem.slos:
        if not any(pipeline.llm == slo.llm for pipeline in lasting):
            continue
        if len(lasting) > PIPELINES_MAX:
            why = f"{len(lasting):,} pipelines are open at the end; up to {PIPELINES_MAX} are looked at"
            yield LeftOut(decision="TTFT and TPOT", subject=slo.llm, sentence=why)
            continue
        questions = questions_of(facts.problem, facts.plan, slo.llm)
        predicted = predict_shared(tuple(questions.values()), slo.percentile)
        if isinstance(predicted, Prediction):
            yield from _explained(slo, questions, predicted)
        else:
            busy = f"{predicted.utilisation_ppm / 10_000:.1f} % of the time of its pipelines would be needed"
            yield LeftOut(decision="TTFT and TPOT", subject=slo.llm, sentence=f"no steady state is known: {busy}")


def _explained(slo: Slo, questions: dict[PipelineId, Latency], predicted: Prediction) -> Iterator[Explained]:
    asked = tuple(questions.values())
    most = most_requests_per_hour(asked, slo)
    figures = (
        ("TTFT", predicted.ttft_ns, slo.ttft_ns_max),
        ("TPOT", predicted.tpot_ns, slo.tpot_ns_max),
    )
    tightest = max(figures, key=lambda figure: figure[1] * INTEGER_MAX // figure[2])[0]
    for name, value, allowed in figures:
        share = value * 1000 // allowed
        margin = f"{share // 10}.{share % 10} % of what is promised"
        others = "it is nearest to its promise" if name == tightest else f"{tightest} is nearer to its promise"
        load = f"pipelines are busy {predicted.utilisation_ppm / 10_000:.1f} % of the time when full"
        yield Explained(
            decision=f"{name} at percentile {slo.percentile}",
            subject=slo.llm,
            unit=Measure.NANOS,
            value=value,
            allowed=allowed,
            method="prediction: specs.queueing",
            binding=f"{margin}; {others}. {load}, and {predicted.waiting_ppm:,} requests in a million find no slot.",
            worth=(*_headroom(asked, most), *_worth(asked, slo, name, value)),
        )


def _headroom(asked: Sequence[Latency], most: int | None) -> Iterator[Worth]:
    now = requests_per_hour(asked)
    if most is not None:
        yield Worth(
            resource="requests",
            more="as many as keep the promise",
            figure=Figure.PREDICTION,
            before=now,
            after=most,
            unit="requests/h",
        )


def _worth(asked: Sequence[Latency], slo: Slo, name: str, value: int) -> Iterator[Worth]:
    more = {
        "requests": ("1 % more", scaled(asked, 101, 100)),
        "slots of each pipeline": ("1 more", tuple(attrs.evolve(each, slots=each.slots + 1) for each in asked)),
        "pipelines": ("1 more like the first", one_more(asked)),
    }
    for resource, (unit, changed) in more.items():
        found = predict_shared(changed, slo.percentile)
        if isinstance(found, Prediction):
            after = found.ttft_ns if name == "TTFT" else found.tpot_ns
            yield Worth(
                resource=resource, more=unit, figure=Figure.PREDICTION, before=value, after=after, unit=Measure.NANOS
            )


def requests_per_hour(asked: Sequence[Latency]) -> int:
    """Requests that these pipelines get together, rounded up."""
    return ceil_div(sum(each.requests for each in asked) * 3600 * 10**9, asked[0].period_ns)


def scaled(asked: Sequence[Latency], times: int, over: int) -> tuple[Latency, ...]:
    """Give each pipeline times / over of its requests, rounded up."""
    return tuple(attrs.evolve(each, requests=ceil_div(each.requests * times, over)) for each in asked)


def one_more(asked: Sequence[Latency]) -> tuple[Latency, ...]:
    """Add a pipeline like the first, on devices of its own; its share of all requests is like the first's."""
    total = max(1, sum(each.requests for each in asked))
    fewer = scaled(asked, total, total + asked[0].requests)
    return (*fewer, fewer[0])


def kept(asked: Sequence[Latency], slo: Slo) -> bool:
    """Whether these pipelines together keep an SLO; for equal ones the prediction itself need not be found."""
    if len(set(asked)) == 1:
        promise = Promise(percentile=slo.percentile, ttft_ns_max=slo.ttft_ns_max, tpot_ns_max=slo.tpot_ns_max)
        return keeps(asked[0], promise)
    found = predict_shared(tuple(asked), slo.percentile)
    if isinstance(found, Overload):
        return False
    return found.ttft_ns <= slo.ttft_ns_max and found.tpot_ns <= slo.tpot_ns_max


def most_requests_per_hour(asked: Sequence[Latency], slo: Slo) -> int | None:
    """Most requests per hour, shared as now, with which the SLO is kept, found to one percent; None: not even 0.

    What is predicted rises with the rate, so the most is found by doubling and halving.
    """
    if not any(each.requests for each in asked) or not kept(scaled(asked, 0, 1), slo):
        return None
    low, high = 0, 1000
    while kept(scaled(asked, high, 1000), slo):
        low, high = high, 2 * high
    while high - low > max(1, low // 100):
        middle = (low + high) // 2
        low, high = (middle, high) if kept(scaled(asked, middle, 1000), slo) else (low, middle)
    return requests_per_hour(scaled(asked, low, 1000))
