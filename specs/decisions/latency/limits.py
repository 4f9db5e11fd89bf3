"""The question turned round: which rate, which slots and which promises a pipeline could meet.

More requests never shorten a wait (every bound rises with the rate), so the largest rate is found by bisection.  Slots
pull both ways - more of them lengthen laps and shorten queues - so every number of them is tried.
"""

from collections.abc import Callable, Iterable, Sequence

import attrs

from specs import fields
from specs.decisions.latency.load import Load
from specs.decisions.latency.misses import Choice
from specs.decisions.latency.prediction import (
    Overload,
    Prediction,
    allowed_miss,
    predict,
    steady_loads,
    tpot_choices,
    ttft_choices,
    weighed,
)
from specs.decisions.latency.question import Latency
from specs.units import INTEGER_MAX, Nanos


@attrs.frozen(kw_only=True)
class Promise:
    """TTFT and TPOT that are to be kept at a percentile of the requests."""

    percentile: int = fields.positive()
    ttft_ns_max: Nanos = fields.positive()
    tpot_ns_max: Nanos = fields.positive()


def keeps(question: Latency, promise: Promise) -> bool:
    """Tell whether the prediction is within the promise, without finding the prediction itself."""
    steady = steady_loads(question)
    if isinstance(steady, Overload):
        return False
    miss = allowed_miss(promise.percentile)
    return any(choice.tpot_miss(promise.tpot_ns_max) <= miss for choice in tpot_choices(steady, miss)) and any(
        choice.ttft_miss(promise.ttft_ns_max) <= miss for choice in ttft_choices(steady, miss)
    )


def keeps_shared(questions: Sequence[Latency], promise: Promise) -> bool:
    """Tell whether what is predicted of pipelines that share requests is within the promise, without finding it.

    The share of all requests that miss a promised time is the mean of the pipelines' shares, each bounded by its best
    choice, weighted by their requests: `specs.decisions.latency.prediction.predict_shared` at this time alone.  Raises
    ValueError when the periods differ, or there is no pipeline.
    """
    miss = allowed_miss(promise.percentile)
    parts = []
    for question, weight in weighed(questions).items():
        steady = steady_loads(question)
        if isinstance(steady, Overload):
            return False
        parts.append((steady, weight))
    return _few_miss(parts, tpot_choices, Choice.tpot_miss, promise.tpot_ns_max, miss) and _few_miss(
        parts, ttft_choices, Choice.ttft_miss, promise.ttft_ns_max, miss
    )


def _few_miss(
    parts: Sequence[tuple[tuple[Load, ...], int]],
    choices_of: Callable[[Sequence[Load], int], Iterable[Choice]],
    missed: Callable[[Choice, int], int],
    ns: Nanos,
    miss: int,
) -> bool:
    """Tell whether no more than `miss` of all requests miss a time; where each part keeps it no best is looked for."""
    if all(any(missed(choice, ns) <= miss for choice in choices_of(steady, miss)) for steady, _ in parts):
        return True
    if len(parts) == 1:
        return False
    left = miss * sum(weight for _, weight in parts)
    for steady, weight in parts:
        left -= weight * min(missed(choice, ns) for choice in choices_of(steady, miss))
        if left < 0:
            return False
    return True


def requests_within(question: Latency, promise: Promise) -> int | None:
    """Largest number of requests per period that keeps the promise; None if not even 0 do."""
    if not keeps(attrs.evolve(question, requests=0), promise):
        return None
    low, high = 0, 1
    while high <= INTEGER_MAX and keeps(attrs.evolve(question, requests=high), promise):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if keeps(attrs.evolve(question, requests=middle), promise):
            low = middle
        else:
            high = middle
    return low


def slots_within(question: Latency, promise: Promise) -> tuple[int, ...]:
    """All numbers of slots, up to the question's, that keep the promise at the question's rate."""
    return tuple(slots for slots in range(1, question.slots + 1) if keeps(attrs.evolve(question, slots=slots), promise))


@attrs.frozen(kw_only=True)
class Shortfall:
    """What alone would have to give so that the promise is kept; None where nothing of that kind would do."""

    ttft_ns: Nanos | None  # TTFT that could be promised beside the TPOT
    tpot_ns: Nanos | None  # TPOT that could be promised beside the TTFT
    requests: int | None  # requests per period within both
    slots: tuple[int, ...]  # numbers of slots within both

    @property
    def sentences(self) -> tuple[str, ...]:
        """One sentence for each way out."""
        ways = []
        if self.ttft_ns is not None:
            ways.append(f"promise a TTFT of {self.ttft_ns} ns")
        if self.tpot_ns is not None:
            ways.append(f"promise a TPOT of {self.tpot_ns} ns")
        if self.requests is not None:
            ways.append(f"send at most {self.requests} requests per period")
        if self.slots:
            ways.append(f"have {self.slots[0]} to {self.slots[-1]} slots")
        return tuple(ways)


def shortfall(question: Latency, promise: Promise) -> Shortfall | None:
    """Say what would have to give; None when the promise is kept."""
    if keeps(question, promise):
        return None
    predicted = predict(question, promise.percentile)
    ttft_ns = tpot_ns = None
    if isinstance(predicted, Prediction):
        ttft_ns = predicted.ttft_ns if predicted.tpot_ns <= promise.tpot_ns_max else None
        tpot_ns = predicted.tpot_ns if predicted.ttft_ns <= promise.ttft_ns_max else None
    return Shortfall(
        ttft_ns=ttft_ns,
        tpot_ns=tpot_ns,
        requests=requests_within(question, promise),
        slots=slots_within(question, promise),
    )
