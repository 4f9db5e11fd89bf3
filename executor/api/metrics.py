"""Prometheus metrics of the HTTP face, added to the daemon's own registry."""

import time

from litestar.types import Message, Scope
from prometheus_client import Counter, Gauge, Histogram

from executor.api.serving import Serving

_TTFT_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60)
_BETWEEN_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5)


class TokenTiming:
    """The times of one generation's tokens."""

    def __init__(self, first: Histogram, between: Histogram, tokens: Counter) -> None:
        self._first = first
        self._between = between
        self._tokens = tokens
        self._begun_s = time.perf_counter()
        self._last_s: float | None = None

    def token(self) -> None:
        """Take the time of a token that has just come."""
        now_s = time.perf_counter()
        self._tokens.inc()
        if self._last_s is None:
            self._first.observe(now_s - self._begun_s)
        else:
            self._between.observe(now_s - self._last_s)
        self._last_s = now_s


class Meter:
    """What the face counts: requests, tokens and the times between them."""

    def __init__(self, serving: Serving) -> None:
        registry = serving.registry
        self._requests = Counter(
            "holdfast_http_requests", "Answers sent, by route and status.", ["route", "status"], registry=registry
        )
        self._first = Histogram(
            "holdfast_time_to_first_token_seconds",
            "From the request to its first token.",
            ["llm"],
            buckets=_TTFT_BUCKETS_S,
            registry=registry,
        )
        self._between = Histogram(
            "holdfast_inter_token_seconds",
            "Between two tokens of one generation.",
            ["llm"],
            buckets=_BETWEEN_BUCKETS_S,
            registry=registry,
        )
        self._prompt = Counter("holdfast_prompt_tokens", "Tokens of prompts.", ["llm"], registry=registry)
        self._generated = Counter("holdfast_generated_tokens", "Tokens generated.", ["llm"], registry=registry)
        running = Gauge("holdfast_requests_running", "Generations under way.", registry=registry)
        running.set_function(lambda: serving.load().running)
        waiting = Gauge("holdfast_requests_waiting", "Generations that wait for room.", registry=registry)
        waiting.set_function(lambda: serving.load().waiting)

    def begin(self, llm: str, prompt_tokens: int) -> TokenTiming:
        """Count a generation that begins."""
        self._prompt.labels(llm).inc(prompt_tokens)
        return TokenTiming(self._first.labels(llm), self._between.labels(llm), self._generated.labels(llm))

    async def before_send(self, message: Message, scope: Scope) -> None:
        """Count an answer when its status is sent; a path that is no route counts as `unmatched`."""
        if message["type"] == "http.response.start":
            route = scope.get("path_template") or "unmatched"
            self._requests.labels(str(route), str(message["status"])).inc()
