"""What is asked about one pipeline: how long its iterations take, and what its requests are like."""

import attrs

from specs import fields
from specs.units import Nanos, Tokens, ceil_div

FS_PER_NS = 10**6

# For a miss of so many millionths: ln(1 / miss), in millionths rounded up.  The steps of an exponential distribution.
_STEPS = (
    (900_000, 105_361),
    (800_000, 223_144),
    (700_000, 356_675),
    (600_000, 510_826),
    (500_000, 693_148),
    (400_000, 916_291),
    (300_000, 1_203_973),
    (200_000, 1_609_438),
    (150_000, 1_897_120),
    (100_000, 2_302_586),
    (80_000, 2_525_729),
    (60_000, 2_813_411),
    (40_000, 3_218_876),
    (20_000, 3_912_024),
    (10_000, 4_605_171),
    (5_000, 5_298_318),
    (2_000, 6_214_609),
    (1_000, 6_907_756),
    (300, 8_111_729),
    (100, 9_210_341),
    (30, 10_414_314),
    (10, 11_512_926),
    (1, 13_815_511),
)


@attrs.frozen(kw_only=True)
class StageCost:
    """What one stage costs in an iteration of r decoding rows and x prompt tokens.

    max(row_compute_fs * r + token_fs * x, read_ns + row_read_fs * r) + overhead_ns  on its device (the roofline), then
    hop_ns + hop_token_fs * (r + x)  to the next stage, from the last stage back to the first.
    """

    token_fs: int = fields.positive()  # arithmetic of one prompt token
    row_compute_fs: int = fields.natural()  # arithmetic of one decoding row, attention included
    read_ns: Nanos = fields.natural()  # the weights are read
    row_read_fs: int = fields.natural()  # the KV of one decoding row is read
    overhead_ns: Nanos = fields.natural()
    hop_ns: Nanos = fields.natural()
    hop_token_fs: int = fields.natural()
    thread: int = fields.natural()  # stages with the same number are on one device, which computes one after another
    rival_ns: Nanos = fields.natural()  # iterations of other pipelines that the device may have to finish before

    def compute_fs(self, rows: int, tokens: int) -> int:
        """Time on the device."""
        arithmetic = self.row_compute_fs * rows + self.token_fs * tokens
        memory = self.read_ns * FS_PER_NS + self.row_read_fs * rows
        return max(arithmetic, memory) + (self.overhead_ns + self.rival_ns) * FS_PER_NS

    def hop_fs(self, rows: int, tokens: int) -> int:
        """Time on the way to the next stage."""
        return self.hop_ns * FS_PER_NS + self.hop_token_fs * (rows + tokens)

    def free_tokens(self, rows: int) -> int:
        """Prompt tokens that cost nothing, because the device waits for its memory meanwhile."""
        spare = self.read_ns * FS_PER_NS + (self.row_read_fs - self.row_compute_fs) * rows
        return max(0, spare) // self.token_fs


@attrs.frozen(kw_only=True)
class Share:
    """So many millionths of the prompts have at most this many tokens, and more than those of the share before."""

    millionths: int = fields.positive()
    tokens: Tokens = fields.positive()


@attrs.frozen(kw_only=True, cache_hash=True)
class Latency:
    """One pipeline, its share of the requests, and how long they are."""

    stages: tuple[StageCost, ...]
    slots: int = fields.positive()
    iteration_tokens_max: Tokens = fields.positive()
    requests: int = fields.natural()  # arrive in `period_ns`, in the mean
    period_ns: int = fields.positive()
    prompt_tokens_mean: Tokens = fields.positive()
    output_tokens_mean: Tokens = fields.positive()
    prompts: tuple[Share, ...]  # 1,000,000 millionths, tokens ascending

    def __attrs_post_init__(self) -> None:
        faults = tuple(_faults(self))
        if faults:
            raise ValueError("; ".join(faults))


def _faults(question: Latency) -> list[str]:
    found = []
    rows = ceil_div(question.slots, max(1, len(question.stages)))
    if not question.stages:
        found.append("a pipeline without stages")
    if question.iteration_tokens_max < rows:
        found.append(f"{question.iteration_tokens_max} tokens per iteration cannot carry its {rows} decoding rows")
    if sum(share.millionths for share in question.prompts) != 10**6:
        found.append("the shares of the prompts do not sum to 1,000,000 millionths")
    if list(question.prompts) != sorted(question.prompts, key=lambda share: share.tokens):
        found.append("the shares of the prompts are not in ascending order of tokens")
    return found


def exponential(mean: int, tokens_max: int) -> tuple[Share, ...]:
    """Prompts whose lengths are exponential with this mean, cut off at the longest: each step at its upper end."""
    shares, before = [], 10**6
    for miss, log_millionths in _STEPS:
        tokens = min(tokens_max, 1 + ceil_div(mean * log_millionths, 10**6))
        shares.append(Share(millionths=before - miss, tokens=Tokens(tokens)))
        before = miss
    shares.append(Share(millionths=before, tokens=Tokens(tokens_max)))
    return tuple(shares)


def constant(tokens: int) -> tuple[Share, ...]:
    """Prompts that all have this many tokens, or at most this many."""
    return (Share(millionths=10**6, tokens=Tokens(tokens)),)
