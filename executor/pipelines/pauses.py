"""How long requests wait for their next token when they are handed over: counts, as a Prometheus histogram has them."""

from bisect import bisect_left

_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)


class Pauses:
    """Counts of pauses, by the least bucket that holds each."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BUCKETS_SECONDS) + 1)
        self.sum_seconds = 0.0

    def observe(self, seconds: float) -> None:
        """Count a pause."""
        self._counts[bisect_left(_BUCKETS_SECONDS, seconds)] += 1
        self.sum_seconds += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Give for each bound, the last of them infinite, how many pauses were at most as long."""
        bounds = [*(str(bound) for bound in _BUCKETS_SECONDS), "+Inf"]
        return [(bound, float(sum(self._counts[: index + 1]))) for index, bound in enumerate(bounds)]
