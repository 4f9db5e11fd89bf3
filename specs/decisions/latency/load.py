"""How busy a pipeline is: the time that one request costs it, and how many requests are in it.

The executor's batcher gives every running request one iteration per *lap*: with K stages, K iterations are under way,
each with one K-th of the requests.  A lap is as long as an iteration takes through all stages, or K times the busiest
thread, whichever is longer: the cycle time of K customers in a ring of K servers with constant service.

Prompts lengthen laps.  X tokens of prompts in one iteration delay every request by at most  a max(0, X - z), where a is
the time of a token summed over the stages and z the tokens that cost nothing because each device waits for its memory
(`StageCost.free_tokens`).  In a lap, a request's way through iterations and stages meets K cells; cells of different
iterations carry different prompts, so that the delay is at most that of the iteration with most tokens in all K cells.
"""

import math
from functools import cached_property

import attrs

from specs.decisions.latency.question import FS_PER_NS, Latency
from specs.decisions.latency.rounding import ONE, excess_up, mul_up
from specs.units import ceil_div


@attrs.define
class Load:
    """Figures of one question, derived when first asked for.  `free` tells whether free prompt tokens are counted on.

    A hop has no free tokens: those that the devices have cost their time on the hops, which is added to every lap.
    """

    question: Latency = attrs.field(on_setattr=attrs.setters.frozen)
    free: bool = attrs.field(on_setattr=attrs.setters.frozen)

    @cached_property
    def depth(self) -> int:
        """Stages, and iterations under way at once."""
        return len(self.question.stages)

    @cached_property
    def chunk(self) -> int:
        """Prompt tokens that an iteration takes at least, if there are so many: what full decoding leaves of it."""
        return self.question.iteration_tokens_max - ceil_div(self.question.slots, self.depth) + 1

    @cached_property
    def token_fs(self) -> int:
        """Time of one prompt token in all stages and hops together."""
        return sum(stage.token_fs + stage.hop_token_fs for stage in self.question.stages)

    @cached_property
    def prompt_fs(self) -> int:
        """Time of a mean prompt in all stages and hops together."""
        return self.token_fs * self.question.prompt_tokens_mean

    def free_tokens(self, live: int) -> int:
        """Prompt tokens that no stage notices in an iteration when so many requests, or fewer, are live."""
        if not self.free:
            return 0
        rows = ceil_div(live, self.depth)
        return min(min(stage.free_tokens(1), stage.free_tokens(rows)) for stage in self.question.stages)

    def lap_fs(self, live: int, tokens: int = 0) -> int:
        """One lap of so many live requests, with so many prompt tokens in each of its iterations."""
        rows = ceil_div(live, self.depth)
        stages = self.question.stages
        threads: dict[int, int] = {}
        for stage in stages:
            threads[stage.thread] = threads.get(stage.thread, 0) + stage.compute_fs(rows, tokens)
        once = sum(threads.values()) + sum(stage.hop_fs(rows, tokens) for stage in stages)
        return max(once, self.depth * max(threads.values()))

    def decode_lap_fs(self, live: int) -> int:
        """One lap without prompts, with what the free tokens of a single request's lap would cost on the hops."""
        hops = sum(stage.hop_token_fs for stage in self.question.stages)
        return self.lap_fs(live) + hops * self.free_tokens(1)

    @cached_property
    def extra_fs(self) -> int:
        """What the prompts add to the mean lap of a full pipeline, where each finished request is followed by another.

        With nu = slots / output tokens prompts per lap, nu / K per iteration, of exponential lengths (or any that are
        not more variable: the excess over a level grows with variability in the convex order), two bounds hold of the
        largest of K iterations: the sum of all K excesses (`excess_up`), and without free tokens Hartley and David's
        (1954), mean + deviation (K - 1) / sqrt(2 K - 1) of K equal sums.
        """
        question, depth = self.question, self.depth
        prompts = ceil_div(question.slots * ONE, question.output_tokens_mean)
        each = ceil_div(prompts, depth)
        level = self.free_tokens(question.slots) * ONE // question.prompt_tokens_mean
        square = ceil_div(2 * prompts * ONE * (depth - 1) ** 2, depth * (2 * depth - 1))
        largest = min(depth * excess_up(each, level), each + math.isqrt(square) + 1)
        return mul_up(self.prompt_fs, largest)

    def request_fs(self, live: int) -> int:
        """Mean time that one request takes of the pipeline's whole time when so many are live.

        A request needs a lap for each chunk of its prompt, the last of which gives the first token, and one for each
        token after it; `live` requests share a lap.  What prompts add is counted as in a full pipeline: it is less, per
        request, with fewer (fewer prompts meet and more tokens are free).  Nor do requests go faster than full
        iterations take in their prompts.
        """
        question = self.question
        decoding = ceil_div(self._laps_millionths * self.decode_lap_fs(live), live * 10**6)
        shared = decoding + ceil_div(question.output_tokens_mean * self.extra_fs, question.slots)
        return max(shared, self.prompt_work_fs(live, self.chunk))

    def prompt_work_fs(self, live: int, level: int) -> int:
        """Time that a mean prompt takes of iterations with this many prompt tokens each."""
        return ceil_div(self.question.prompt_tokens_mean * self.lap_fs(live, level), self.depth * level)

    @cached_property
    def _laps_millionths(self) -> int:
        """Mean laps of a request."""
        question = self.question
        chunks = sum(share.millionths * (ceil_div(share.tokens, self.chunk) - 1) for share in question.prompts)
        return question.output_tokens_mean * 10**6 + chunks

    @cached_property
    def full_request_fs(self) -> int:
        """Time that one request takes of a full pipeline."""
        return self.request_fs(self.question.slots)

    def offered(self, work_fs: int) -> int:
        """Work of this size per request, times the rate of requests: a utilisation, scaled by ONE, rounded up."""
        return ceil_div(self.question.requests * work_fs * ONE, self.question.period_ns * FS_PER_NS)

    @cached_property
    def utilisation(self) -> int:
        """Share of the full pipeline's time that is asked for, scaled by ONE.  Below ONE there is a steady state."""
        return self.offered(self.full_request_fs)

    @cached_property
    def _masses(self) -> tuple[list[int], list[int]]:
        """Unscaled probabilities of each number of requests from 0, rounded down and up; the last: slots or more."""
        slots = self.question.slots
        assert self.utilisation < ONE, "no steady state"
        down, up = [ONE], [ONE]
        for live in range(1, slots + 1):
            factor = self.offered(self.request_fs(live))
            down.append(down[-1] * factor // ONE)
            up.append(mul_up(up[-1], factor))
        up[-1] = ceil_div(up[-1] * ONE, ONE - self.utilisation)
        return down, up

    @cached_property
    def at_least(self) -> tuple[int, ...]:
        """For n = 0 to slots: the probability that an arriving request finds n or more before it, scaled, rounded up.

        The number of requests is a birth-death process: they arrive by Poisson, and with n live the pipeline finishes
        one per `request_fs(n)` in the mean.  For equal shares of a lap this is exact whatever the answers' lengths, as
        long as nobody waits (processor sharing is insensitive), and with waiting for memoryless lengths (Erlang's
        delay formula, with a rate that depends on the number).
        """
        down, up = self._masses
        found = []
        before, after = 0, sum(up)
        for low, high in zip(down, up, strict=True):
            found.append(ceil_div(after * ONE, after + before))
            before, after = before + low, after - high
        return tuple(found)
