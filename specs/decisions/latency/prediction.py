"""Predicted TTFT and TPOT of one pipeline, or of several that share the requests, at a percentile of the requests.

Each figure is the least time that `specs.decisions.latency.misses` proves, under the assumptions stated there, to be
missed by no more requests than the percentile lets miss.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial

import attrs

from specs.decisions.latency.load import Load
from specs.decisions.latency.misses import Choice, choices, levels, loads
from specs.decisions.latency.question import FS_PER_NS, Latency
from specs.decisions.latency.rounding import ONE
from specs.units import Nanos, ceil_div


@attrs.frozen(kw_only=True)
class Prediction:
    """What users of a pipeline can expect."""

    ttft_ns: Nanos
    tpot_ns: Nanos
    utilisation_ppm: int  # of the time of the full pipeline
    waiting_ppm: int  # share of requests that find all slots taken


@attrs.frozen(kw_only=True)
class Overload:
    """More requests than the pipeline surely serves: no steady state is known, waits grow without end."""

    requests_max: int  # per period of the question
    utilisation_ppm: int


def predict(question: Latency, percentile: int) -> Prediction | Overload:
    """Predict TTFT and TPOT at a percentile (1 to 99) of the requests."""
    return predict_shared((question,), percentile)


def predict_shared(questions: Sequence[Latency], percentile: int) -> Prediction | Overload:
    """Predict over all requests of several pipelines, each with its share of them, in periods of equal length.

    The share of all requests that miss a time is the mean of the pipelines' shares, each bounded by its best choice at
    this time, weighted by their requests.  The first pipeline without a steady state decides.  Raises ValueError when
    the periods differ, or there is no pipeline.
    """
    return _predicted(tuple(weighed(questions).items()), percentile)


@lru_cache(maxsize=1024)  # a search for a layout, and the check of its plan, ask the same again and again
def _predicted(weights: tuple[tuple[Latency, int], ...], percentile: int) -> Prediction | Overload:
    """Predict as `predict_shared` says, for different questions with their weights."""
    miss = allowed_miss(percentile)
    first, following, utilisation, waiting = [], [], 0, 0
    for question, weight in weights:
        steady = steady_loads(question)
        if isinstance(steady, Overload):
            return steady
        first.append(_part(weight, ttft_choices(steady, miss), miss, Choice.ttft_miss))
        following.append(_part(weight, tpot_choices(steady, miss), miss, Choice.tpot_miss))
        utilisation = max(utilisation, min(load.utilisation for load in steady))
        waiting = max(waiting, min(load.at_least[-1] for load in steady))
    return Prediction(
        ttft_ns=_shared_time(first, miss),
        tpot_ns=_shared_time(following, miss),
        utilisation_ppm=ppm(utilisation),
        waiting_ppm=ppm(waiting),
    )


def weighed(questions: Sequence[Latency]) -> dict[Latency, int]:
    """Weigh each different question by the requests of all pipelines that ask it.

    Raises ValueError when the periods differ, or there is no pipeline.
    """
    if len({question.period_ns for question in questions}) != 1:
        raise ValueError("pipelines that share requests need questions with equal periods")
    weights: dict[Latency, int] = {}
    for question in questions:
        weights[question] = weights.get(question, 0) + max(1, question.requests)
    return weights


def allowed_miss(percentile: int) -> int:
    """Share of requests that a percentile lets miss, scaled.  Raises ValueError for one that is not from 1 to 99."""
    if not 1 <= percentile <= 99:
        raise ValueError(f"percentile {percentile}: it must be from 1 to 99")
    return ONE * (100 - percentile) // 100


def steady_loads(question: Latency) -> tuple[Load, ...] | Overload:
    """The loads that have a steady state, or the overload with the largest rate that has one."""
    found = loads(question)
    steady = tuple(load for load in found if load.utilisation < ONE)
    if steady:
        return steady
    work = min(load.full_request_fs for load in found)
    return Overload(
        requests_max=(question.period_ns * FS_PER_NS * (ONE - 1)) // (work * ONE),
        utilisation_ppm=ppm(min(load.utilisation for load in found)),
    )


def ppm(scaled: int) -> int:
    """Millionths of a scaled number, rounded up."""
    return ceil_div(scaled * 10**6, ONE)


def ttft_choices(steady: Sequence[Load], miss: int) -> Iterator[Choice]:
    """Every choice of the bound on TTFT."""
    for load in steady:
        for choice in choices(load, miss):
            yield from levels(choice)


def tpot_choices(steady: Sequence[Load], miss: int) -> Iterator[Choice]:
    """Every choice of the bound on TPOT."""
    for load in steady:
        yield from choices(load, miss)


@attrs.frozen(kw_only=True)
class _Part:
    """The requests of one pipeline, or of several equal ones."""

    weight: int  # requests
    missed: Callable[[int], int]  # a bound on the share of them that miss a time, with the choice best at `ns`
    ns: int  # the least time that the percentile allows for this pipeline alone
    bounds: tuple[Callable[[int], int], ...]  # all choices

    def best_at(self, ns: int) -> Callable[[int], int]:
        """The choice that is best at a time, and this one if no other is better."""
        return min((self.missed, *self.bounds), key=lambda missed: missed(ns))


def _part(weight: int, options: Iterator[Choice], miss: int, missed: Callable[[Choice, int], int]) -> _Part:
    """Find the best choice: the next is tried only where it betters the best so far by a nanosecond."""
    bounds = tuple(partial(missed, option) for option in options)
    best: Callable[[int], int] = bounds[0]
    ns = 0
    while best(ns) > miss:
        ns = 2 * ns + 1
    ns = _least(ns, best, miss)
    for other in bounds[1:]:
        if ns > 0 and other(ns - 1) <= miss:
            best = other
            ns = _least(ns - 1, best, miss)
    return _Part(weight=weight, missed=best, ns=ns, bounds=bounds)


def _shared_time(parts: Sequence[_Part], miss: int) -> Nanos:
    """Least time that is missed by no more of all requests than the percentile lets miss.

    With the choices that are best for each part alone first; then with those that are best a nanosecond earlier, until
    not even these are enough.
    """
    ns = max(part.ns for part in parts)
    if len(parts) == 1:
        return Nanos(ns)
    total = sum(part.weight for part in parts)
    chosen = [part.missed for part in parts]

    def missed(time: int) -> int:
        return sum(part.weight * bound(time) for part, bound in zip(parts, chosen, strict=True))

    ns = _least(ns, missed, miss * total)
    while ns > 0:
        chosen = [part.best_at(ns - 1) for part in parts]
        if missed(ns - 1) > miss * total:
            break
        ns = _least(ns - 1, missed, miss * total)
    return Nanos(ns)


def _least(high: int, missed: Callable[[int], int], miss: int) -> int:
    """Least time from 0 to `high` that is missed by no more than `miss`, as `high` is; longer times are missed less."""
    low = -1
    while high - low > 1:
        middle = (low + high) // 2
        if missed(middle) <= miss:
            high = middle
        else:
            low = middle
    return high
