"""Requests that stream, with the instant of every token, and what a disturbance adds to the gaps between tokens.

A client that does nothing but note when tokens came: sixty-four of them must not take the processor from what is
measured.  Instants are `time.time_ns()`, as in the daemons' journals.
"""

import asyncio
import contextlib
import json
import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from urllib.parse import urlsplit

import attrs

from specs.units import ceil_div

Interval = tuple[int, int]  # first and last instant
CONTROLS = 3  # of each request


# --- arithmetic ------------------------------------------------------------------------------------------------------


def percentile(values: Sequence[float], percent: int) -> float:
    """Give the least of the values that so many percent of them do not exceed."""
    return sorted(values)[max(1, ceil_div(len(values) * percent, 100)) - 1]


def gaps_within(instants: Sequence[int], within: Interval) -> list[int]:
    """List the gaps that lie wholly in this time, in ns."""
    return [b - a for a, b in pairwise(instants) if within[0] <= a and b <= within[1]]


def largest_gap_touching(instants: Sequence[int], touched: Interval) -> int:
    """Find the longest gap that shares an instant with this time, in ns; 0 where none does."""
    return max((b - a for a, b in pairwise(instants) if a <= touched[1] and b >= touched[0]), default=0)


def controls(calm: Interval, stop: Interval) -> list[Interval]:
    """Give times of the calm, spread over it, each as long as the stop: in them the machine is looked at alone.

    A stop that is longer than an eighth of the calm is compared with times of that length.
    """
    length = min(stop[1] - stop[0], (calm[1] - calm[0]) // 8)
    step = (calm[1] - calm[0]) // (CONTROLS + 1)
    return [(calm[0] + step * n - length // 2, calm[0] + step * n + length // 2) for n in range(1, CONTROLS + 1)]


@attrs.frozen(kw_only=True)
class Added:
    """What one request saw, in ns beyond its median gap in the calm before."""

    median_ns: int  # that gap
    calm_ns: int  # the largest gap of the calm: what the machine adds by itself
    control_ns: tuple[int, ...]  # the gap over each of some instants of the calm, at which nothing stopped
    stop_ns: int  # the gap over the instant at which the pipeline stopped
    worst_ns: int  # the largest gap from the order to the end

    @classmethod
    def of(cls, instants: Sequence[int], calm: Interval, stop: Interval, change: Interval) -> "Added":
        """Compare the gaps of one request.  Raises ValueError when it has none in the calm, or none over the stop."""
        before = gaps_within(instants, calm)
        over = largest_gap_touching(instants, stop)
        if not before or not over:
            raise ValueError(f"a request has {len(before)} gaps in the calm, and over the stop one of {over} ns")
        median = round(statistics.median(before))
        return cls(
            median_ns=median,
            calm_ns=max(before) - median,
            control_ns=tuple(largest_gap_touching(instants, each) - median for each in controls(calm, stop)),
            stop_ns=over - median,
            worst_ns=max(over, largest_gap_touching(instants, change)) - median,
        )


# --- clients ---------------------------------------------------------------------------------------------------------


class Answer(asyncio.Protocol):
    """One connection with one streamed completion."""

    def __init__(self, head_and_body: bytes, instants: list[int], ended: asyncio.Future[str | None]) -> None:
        self._request, self._instants, self._ended = head_and_body, instants, ended
        self._rest = b""
        self._status = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.time_ns()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._status = self._status or line
            if line.startswith(b"data: {"):
                piece = json.loads(line[6:])
                if "error" in piece:
                    self._end(line.decode())
                    return
                named = piece["choices"][0]["logprobs"]
                self._instants += [now] * (len(named["tokens"]) if named else 0)
            elif line.startswith(b"data: [DONE]"):
                self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._end(f"the connection broke after {self._status!r} {self._rest!r}")

    def _end(self, why: str | None) -> None:
        if not self._ended.done():
            self._ended.set_result(why)


@attrs.define(eq=False)
class Stream:
    """One request and the instants of its tokens; it can be sent again, elsewhere, with as many tokens as it has."""

    llm: str
    prompt: list[int]
    max_tokens: int
    instants: list[int] = attrs.field(factory=list)

    @property
    def context(self) -> int:
        """Tokens of the prompt and of the answer so far."""
        return len(self.prompt) + len(self.instants)

    async def send(self, url: str, seed: int) -> str | None:
        """Stream until the answer ends; give what went wrong.  Tokens so far go as others, as many."""
        filler = [random.Random(seed).randrange(6, 300) for _ in self.instants]
        body = json.dumps(
            {
                "model": self.llm,
                "prompt": self.prompt + filler,
                "max_tokens": self.max_tokens - len(self.instants),
                "temperature": 0,
                "logprobs": 0,
                "stream": True,
                "ignore_eos": True,
            }
        ).encode()
        at = urlsplit(url)
        head = (
            f"POST /v1/completions HTTP/1.1\r\nhost: {at.netloc}\r\nconnection: close\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[str | None] = loop.create_future()
        transport, _ = await loop.create_connection(
            lambda: Answer(head.encode() + body, self.instants, ended), at.hostname, at.port
        )
        try:
            return await ended
        finally:
            transport.abort()


def prompts(count: int, tokens: int, seed: int) -> Iterator[list[int]]:
    """Make prompts of so many tokens, none like another."""
    draw = random.Random(seed)
    for _ in range(count):
        yield [draw.randrange(6, 300) for _ in range(tokens)]


@attrs.define(eq=False)
class Clients:
    """Live requests at the fronts in turn, beside short ones, one at a time, that ask for a first token only."""

    llm: str
    urls: Mapping[str, str]
    streams: list[Stream] = attrs.field(factory=list)
    first_tokens: list[Interval] = attrs.field(factory=list)  # when each short one was sent, and answered
    _tasks: list[asyncio.Task[str | None]] = attrs.field(factory=list)

    def begin(self, requests: int, context: int, max_tokens: int, seed: int) -> None:
        """Send requests whose prompts have so many tokens."""
        for prompt in prompts(requests, context, seed):
            self.streams.append(Stream(llm=self.llm, prompt=prompt, max_tokens=max_tokens))
        self._send(self.urls)

    def _send(self, urls: Mapping[str, str]) -> None:
        fronts = list(urls.values())
        self._tasks = [
            asyncio.create_task(stream.send(fronts[number % len(fronts)], number))
            for number, stream in enumerate(self.streams)
        ]

    async def again(self, urls: Mapping[str, str]) -> None:
        """Send all of them again, with the tokens that they have, once their connections have broken."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._send(urls)

    async def until_each_has(self, more: int) -> None:
        """Wait until every request has so many more tokens than now.  Raises RuntimeError when one ends before."""
        goals = [len(stream.instants) + more for stream in self.streams]
        while any(len(stream.instants) < goal for stream, goal in zip(self.streams, goals, strict=True)):
            for task in self._tasks:
                if task.done():
                    raise RuntimeError(f"a request ended too early: {task.result()}")
            await asyncio.sleep(0.005)

    async def probe(self, every_s: float) -> None:
        """Ask for one token after eight, again and again, until cancelled."""
        fronts = list(self.urls.values())
        while True:
            await asyncio.sleep(every_s)
            number = len(self.first_tokens)
            (prompt,) = prompts(1, 8, number)
            stream = Stream(llm=self.llm, prompt=prompt, max_tokens=1)
            sent = time.time_ns()
            if await stream.send(fronts[number % len(fronts)], 0) is None and stream.instants:
                self.first_tokens.append((sent, stream.instants[0]))

    async def end(self) -> None:
        """Hang up."""
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)
