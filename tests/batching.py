"""A discrete-event simulation of one pipeline that batches with the executor's own `Batcher`, for predictions of it.

Iterations take what `StageCost` says, stages compute in order of arrival, hops delay; arrivals are Poisson, prompts
exponential (cut off) and answers geometric.  Times are floats: statistics need no more.
"""

import heapq
import math
import random

import attrs

from executor.engine.batcher import Batcher
from executor.engine.iteration import Iteration, Limits
from executor.engine.request import Request
from specs.decisions.latency.question import FS_PER_NS, Latency, Share, StageCost, exponential

PERIOD_NS = 10**15


@attrs.frozen(kw_only=True)
class Times:
    """What each request had to wait, in nanoseconds, in ascending order; the first tenth of the requests left out."""

    ttft: tuple[float, ...]
    tpot: tuple[float, ...]  # of requests of two tokens or more


def percentile(values: tuple[float, ...], at: float) -> float:
    return values[min(len(values) - 1, int(at / 100 * len(values)))]


def simulate(question: Latency, count: int, seed: int) -> Times:
    """Serve `count` requests."""
    return _Simulation(question, count, seed).run()


def throughput(question: Latency, count: int) -> float:
    """Requests per period that the pipeline finishes while all of its slots are taken."""
    simulation = _Simulation(question, count, seed=0)
    simulation.run()
    ended = sorted(now for now, _ in simulation.last.values())
    middle = ended[count // 10 : -max(question.slots, count // 10)]
    return (len(middle) - 1) * question.period_ns / (middle[-1] - middle[0])


class _Simulation:
    def __init__(self, question: Latency, count: int, seed: int) -> None:
        self.question = question
        self.batcher = Batcher(
            Limits(
                slots=question.slots,
                context_tokens=2**40,
                tokens_per_iteration=question.iteration_tokens_max,
                in_flight_max=len(question.stages),
            )
        )
        self.requests = self.arrivals(count, random.Random(seed))
        self.free = {stage.thread: 0.0 for stage in question.stages}
        assert len(self.free) == len(question.stages), "each stage has its own thread: the order of arrival is known"
        self.done: list[tuple[float, int, Iteration]] = []
        self.first: dict[str, float] = {}
        self.last: dict[str, tuple[float, int]] = {}

    def arrivals(self, count: int, dice: random.Random) -> list[tuple[float, Request]]:
        question = self.question
        now, found = 0.0, []
        longest = question.prompts[-1].tokens
        zeros = (0,) * longest
        for number in range(count):
            now += dice.expovariate(question.requests / question.period_ns)
            mean = question.prompt_tokens_mean
            prompt = mean if len(question.prompts) == 1 else min(longest, 1 + int(dice.expovariate(1 / (mean - 0.5))))
            answer = question.output_tokens_mean
            if answer > 1:
                answer = 1 + int(math.log(1 - dice.random()) / math.log(1 - 1 / answer))
            request = Request(
                id=str(number),
                tokens=zeros[:prompt],
                prompt_tokens=prompt,
                max_tokens=answer,
                end_tokens=frozenset(),
            )
            found.append((now, request))
        return found

    def run(self) -> Times:
        waiting = iter(self.requests)
        following = next(waiting, None)
        while following is not None or self.done:
            if following is not None and (not self.done or following[0] <= self.done[0][0]):
                now, request = following
                self.batcher.add(request)
                following = next(waiting, None)
            else:
                now, _, iteration = heapq.heappop(self.done)
                for progress in self.batcher.complete(iteration.id, [0] * len(iteration.sampled)):
                    self.first.setdefault(progress.request, now)
                    if progress.finish is not None:
                        self.last[progress.request] = (now, progress.index)
            self.start(now)
        return self.times()

    def start(self, now: float) -> None:
        while (iteration := self.batcher.next_iteration()) is not None:
            rows = sum(entry.row.tokens == 1 for entry in iteration.entries)
            tokens = sum(entry.row.tokens for entry in iteration.entries) - rows
            at = now
            for stage in self.question.stages:
                begins = max(at, self.free[stage.thread])
                self.free[stage.thread] = begins + stage.compute_fs(rows, tokens) / FS_PER_NS
                at = self.free[stage.thread] + stage.hop_fs(rows, tokens) / FS_PER_NS
            heapq.heappush(self.done, (at, iteration.id, iteration))

    def times(self) -> Times:
        ttft, tpot = [], []
        for arrived, request in self.requests[len(self.requests) // 10 :]:
            ttft.append(self.first[request.id] - arrived)
            ended, index = self.last[request.id]
            if index:
                tpot.append((ended - self.first[request.id]) / index)
        return Times(ttft=tuple(sorted(ttft)), tpot=tuple(sorted(tpot)))


@attrs.frozen(kw_only=True)
class Shape:
    """A pipeline of equal stages, and its requests; times in nanoseconds."""

    stages: int
    slots: int
    iteration_tokens_max: int
    prompt: int
    output: int
    read: int  # weights
    token: int  # arithmetic of one token
    row: int  # KV of one decoding row
    hop: int = 100

    def question(self, requests: int, prompts: tuple[Share, ...] = ()) -> Latency:
        """The question at so many requests in PERIOD_NS; prompts are exponential unless given."""
        stage = StageCost(
            token_fs=self.token * FS_PER_NS,
            row_compute_fs=self.token * FS_PER_NS,
            read_ns=self.read,
            row_read_fs=self.row * FS_PER_NS,
            overhead_ns=0,
            hop_ns=self.hop if self.stages > 1 else 0,
            hop_token_fs=0,
            thread=0,
            rival_ns=0,
        )
        return Latency(
            stages=tuple(attrs.evolve(stage, thread=number) for number in range(self.stages)),
            slots=self.slots,
            iteration_tokens_max=self.iteration_tokens_max,
            requests=requests,
            period_ns=PERIOD_NS,
            prompt_tokens_mean=self.prompt,
            output_tokens_mean=self.output,
            prompts=prompts or exponential(self.prompt, 16 * self.prompt),
        )


def _shape(stages: int, slots: int, budget: int, prompt: int, output: int, times: tuple[int, int, int]) -> Shape:
    read, token, row = times
    return Shape(
        stages=stages,
        slots=slots,
        iteration_tokens_max=budget,
        prompt=prompt,
        output=output,
        read=read,
        token=token,
        row=row,
    )


# Memory bound and compute bound, long and short prompts and answers, small and large budgets.
SHAPES = {
    "one slot": _shape(1, 1, 64, 16, 16, (1000, 50, 10)),
    "eight slots": _shape(1, 8, 64, 16, 16, (1000, 50, 10)),
    "small budget": _shape(1, 8, 24, 16, 16, (1000, 50, 10)),
    "light prompts": _shape(1, 32, 256, 64, 32, (1000, 10, 10)),
    "heavy prompts": _shape(1, 32, 2048, 64, 32, (1000, 30, 5)),
    "compute bound": _shape(1, 32, 64, 16, 64, (100, 100, 1)),
    "two stages": _shape(2, 8, 64, 16, 16, (1000, 50, 10)),
    "two stages, short answers": _shape(2, 2, 64, 64, 4, (1000, 50, 10)),
    "two stages, compute bound": _shape(2, 8, 256, 64, 16, (100, 100, 5)),
    "three stages, long": _shape(3, 3, 512, 128, 128, (1000, 50, 10)),
    "three stages, small budget": _shape(3, 32, 64, 64, 64, (1000, 50, 10)),
    "four stages, eight slots": _shape(4, 8, 64, 16, 16, (1000, 50, 10)),
    "four stages": _shape(4, 32, 256, 64, 32, (1000, 10, 10)),
    "four stages, long prompts": _shape(4, 16, 2048, 256, 64, (1000, 10, 5)),
    "four stages, compute bound": _shape(4, 32, 256, 64, 32, (100, 100, 5)),
    "four slots, four stages": _shape(4, 4, 1024, 64, 8, (100, 100, 5)),
}
