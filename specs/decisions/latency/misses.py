"""Bounds on the share of requests that wait longer than some time for their first token, or for each one after it.

What is assumed: requests arrive by Poisson and independently of one another; answers have geometric lengths; prompts
are at most as variable as exponential ones; iterations take what the roofline says; time at fronts is not counted.
What is approximated, and tested against simulations of the executor's own batcher: waiting for a slot and waiting for
prompts before one's own are taken as independent, prompts come to the laps of a request at an even rate, and the number
of live requests, where it matters, is that at arrival.

Each figure is a bound on the share of requests that miss a time, and the prediction is the least time whose bound is
within the percentile.  A bound has free parameters, each choice of which is valid (`Choice`): the best is taken.

WAITING FOR A SLOT.  A request waits when all slots are taken (`Load.at_least`).  While any wait, requests leave one per
V = `Load.request_fs(slots)` in the mean, and the work of one is a sum of memoryless parts, new better than used in
expectation.  So its stationary excess is stochastically below an exponential of mean V, and the wait, a geometric sum
of such, below that of M/M/c:  P(W > t) <= C e^(-t (1 - rho) / V).

WAITING FOR PROMPTS.  An iteration with x >= c tokens of prompts takes at most x g, with g = lap(c) / (K c), for the lap
per token falls with x.  Going back from a request's first lap over such iterations to one with fewer than c, which left
no prompt behind, the work between arrived later.  Hence the wait is at most that in M/G/1 with work P g per request,
bounded as above, plus one lap with c tokens, which is where it began.  Prompts that arrive meanwhile and join the same
lap stretch the wait by at most their share of the time.  With several stages iterations follow one another through
the pipe, so that a short prompt is held up by a longer one before it: the longest of those that arrived in the same
busy period counts, of which there are rho / (1 - rho)^2 in the mean.

MONOTONY.  A higher rate never lowers a bound: utilisations and the chances of finding n requests rise with it, hence
the number of live requests that a choice counts on, hence laps, while free tokens fall; and every formula rises in each
of these.  In time every bound falls.  So the least time that a percentile allows rises with rate and percentile.
"""

from collections.abc import Iterator

import attrs

from specs.decisions.latency.load import Load
from specs.decisions.latency.question import FS_PER_NS, Latency
from specs.decisions.latency.rounding import EXPONENT_MAX, ONE, decay_down, decay_up, exp_up, mul_up
from specs.units import ceil_div

# Parts of what the percentile lets miss that may go to an unlikely number of live requests.
_CROWD_PARTS = (2, 8, 64)
# Exponents of Chernoff's bound, in hundredths of the one at which the moments of a prompt's time become infinite.
_TILTS = (0, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95)


@attrs.frozen(kw_only=True)
class Choice:
    """One choice of the bounds' parameters."""

    load: Load
    live: int  # no more than these are live, but for
    crowd: int  # this probability, scaled
    level: int = 0  # prompt tokens from which an iteration counts as full

    def ttft_miss(self, ns: int) -> int:
        """Share of requests, scaled, whose first token comes later than this."""
        load, question = self.load, self.load.question
        lap, free = load.decode_lap_fs(self.live), load.free_tokens(self.live)
        work = load.prompt_work_fs(self.live, self.level)
        busy = load.offered(work)
        if busy >= ONE:
            return ONE
        token = max(stage.token_fs for stage in question.stages)
        stretch = ONE + min(ONE, load.offered(token * question.prompt_tokens_mean))
        rest = ns * FS_PER_NS - 2 * lap - load.token_fs * max(0, self.level - free)
        total = self.crowd
        for weight, tokens in self._prompts(busy):
            own = load.token_fs * max(0, tokens - free) + (ceil_div(tokens, load.chunk) - 1) * lap
            total += mul_up(weight, self._wait_miss((rest - own) * ONE // stretch, work, busy))
        return min(ONE, total)

    def _prompts(self, busy: int) -> Iterator[tuple[int, int]]:
        """Weights, scaled, and tokens of the prompt that a request's first token waits for."""
        several = self.load.depth > 1
        ahead = ceil_div(busy * ONE * ONE, (ONE - busy) ** 2) if several else 0
        left, before = 10**6, ONE
        for share in self.load.question.prompts:
            left -= share.millionths
            after = min(ONE, ceil_div(left * (ONE + ahead), 10**6))
            if before > after:
                yield before - after, share.tokens
            before = after

    def _wait_miss(self, fs: int, work: int, busy: int) -> int:
        """P(wait for a slot + wait for prompts > fs), scaled; each is 0 or exponential, their sum within Erlang's."""
        if fs < 0:
            return ONE
        load = self.load
        full = load.at_least[-1]
        slot = fs * (ONE - load.utilisation) // load.full_request_fs
        prompt = fs * (ONE - busy) // work
        both = min(slot, prompt)
        return min(
            ONE,
            mul_up(mul_up(full, ONE - busy), decay_up(slot))
            + mul_up(mul_up(busy, ONE - full), decay_up(prompt))
            + mul_up(mul_up(full, busy), mul_up(ONE + min(both, EXPONENT_MAX * ONE), decay_up(both))),
        )

    def tpot_miss(self, ns: int) -> int:
        """Share of requests, scaled, whose tokens after the first take longer than this in the mean.

        A request of m + 1 tokens that takes longer than m x has met, in m laps, more than m (x - lap) of prompts.  With
        nu prompts per lap and nu' under way at the first token, each of exponential time b, Chernoff's bound with
        exponent f / b, on the requests that meet any prompt, gives
            e^(-f m y) (M^m M' - e^(-nu m - nu')),   y = (x - lap) / b,
            M = 1 + K e^(-f z) (e^(nu f / (K (1 - f))) - 1),   M' = e^(nu' f / (1 - f)),
        z the free tokens per mean prompt; M sums the moments of the K iterations, and (e^(f (X - z)) - 1)+ is at most
        e^(-f z) (e^(f X) - 1).  Over geometric m,  E[s^m] = s / (N - (N - 1) s).  nu is the rate of requests in a lap
        of x, and no more than the other slots turn over per lap; nu' is the rate in a lap and a prompt.
        A prompt's time b is that in all stages, and its part of the laps that it fills: prompts that share a full
        iteration leave too few tokens to some of the requests that decode, which miss this lap.
        """
        load, question = self.load, self.load.question
        time = ns * FS_PER_NS
        lap = load.decode_lap_fs(self.live)
        if time < lap:
            return ONE
        if question.slots == 1:
            return self.crowd
        prompt = load.prompt_fs + ceil_div(question.prompt_tokens_mean * lap, load.chunk)
        pace = _Pace(
            tokens=question.output_tokens_mean,
            iterations=load.depth,
            prompts=min(load.offered(time), ceil_div((question.slots - 1) * ONE, question.output_tokens_mean)),
            before=min(load.offered(lap + load.prompt_fs), (question.slots - 1) * ONE),
            free=load.free_tokens(self.live) * ONE // question.prompt_tokens_mean,
            over=(time - lap) * ONE // prompt,
        )
        return min(ONE, self.crowd + min(pace.miss(tilt) for tilt in _TILTS))


@attrs.frozen(kw_only=True)
class _Pace:
    """Chernoff's bound of `Choice.tpot_miss`.  All but counts are scaled."""

    tokens: int  # N
    iterations: int  # K
    prompts: int  # nu
    before: int  # nu'
    free: int  # z
    over: int  # y

    def miss(self, tilt: int) -> int:
        """Bound at f = tilt / 100."""
        each = ceil_div(self.prompts * tilt, self.iterations * (100 - tilt))
        first = ceil_div(self.before * tilt, 100 - tilt)
        if max(each, first) > EXPONENT_MAX * ONE:
            return ONE
        moment = ONE + self.iterations * mul_up(decay_up(self.free * tilt // 100), exp_up(each) - ONE)
        some = min(ONE, mul_up(moment, decay_up(self.over * tilt // 100)))
        none = decay_down(self.prompts + ceil_div(self.over * tilt, 100))
        return mul_up(exp_up(first), self._answers_up(some)) - decay_down(self.before) * self._answers_down(none) // ONE

    def _answers_up(self, base: int) -> int:
        return ceil_div(base * ONE, self.tokens * ONE - (self.tokens - 1) * base)

    def _answers_down(self, base: int) -> int:
        return base * ONE // (self.tokens * ONE - (self.tokens - 1) * base)


def loads(question: Latency) -> tuple[Load, ...]:
    """The ways to count on free tokens: yes; and no, if hops would make them costly."""
    counted = Load(question, free=True)
    if not any(stage.hop_token_fs for stage in question.stages) or not counted.free_tokens(question.slots):
        return (counted,)
    return (counted, Load(question, free=False))


def choices(load: Load, miss: int) -> Iterator[Choice]:
    """Choices of the number of live requests, when this share of requests, scaled, may miss.

    A choice gives a fixed part of the miss to an unlikely number, however unlikely it is: so a higher rate or stricter
    percentile, which never makes the number smaller, never makes the choice's bound better.
    """
    slots = load.question.slots
    yield Choice(load=load, live=slots, crowd=0)
    for part in _CROWD_PARTS:
        crowd = miss // part
        live = next((count for count in range(1, slots) if load.at_least[count] <= crowd), slots)
        if live < slots:
            yield Choice(load=load, live=live, crowd=crowd)


def levels(choice: Choice) -> Iterator[Choice]:
    """The choice with each level from which an iteration may count as full.

    With several stages an iteration has few requests, and short prompts never fill it: no level below a mean prompt.
    """
    load = choice.load
    level = load.chunk
    least = 1 if load.depth == 1 else min(level, load.question.prompt_tokens_mean)
    while level >= least:
        yield attrs.evolve(choice, level=level)
        level //= 2
