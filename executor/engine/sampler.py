"""Choosing tokens from logits.

A choice is a pure function of the logits, the request's seed and the token's index, and of nothing that a node
remembers: a request that moves goes on with the tokens that it would have had.
"""

from collections.abc import Sequence
from hashlib import blake2b

import attrs
import torch

from executor.engine.request import SamplingParams


@attrs.frozen(kw_only=True)
class Sampled:
    """A chosen token; log-probabilities are natural, of the raw logits, before temperature and top_p."""

    token: int
    logprob: float | None  # None unless asked for
    top: tuple[tuple[int, float], ...]  # the most likely tokens, most likely first


@torch.inference_mode()
def sample(logits: torch.Tensor, params: Sequence[SamplingParams], indexes: Sequence[int]) -> tuple[Sampled, ...]:
    """Choose one token for each row of logits [R, vocabulary], the `indexes[r]`-th of its request."""
    assert len(params) == len(indexes) == logits.shape[0], (len(params), len(indexes), logits.shape)
    if not params:
        return ()
    tokens: list[int] = logits.argmax(dim=-1).tolist()
    for row, param in enumerate(params):
        if param.temperature > 0.0:
            tokens[row] = _draw(logits[row], param, indexes[row])
    return tuple(
        Sampled(token=token, logprob=None, top=())
        if param.top_logprobs is None
        else _described(logits[row], token, param)
        for row, (token, param) in enumerate(zip(tokens, params, strict=True))
    )


def noise(seed: int, index: int, tokens: int) -> torch.Tensor:
    """Give one number in (0, 1) per token, float64, that decides the choice of the token of this index.

    They come from the Mersenne twister on the CPU, whose numbers are the same on every machine.
    """
    digest = blake2b(f"{seed}/{index}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little", signed=True))
    numbers = torch.rand(tokens, dtype=torch.float64, generator=generator)
    return numbers.clamp_(min=2.0**-54)  # zero has no logarithm


def _draw(logits: torch.Tensor, params: SamplingParams, index: int) -> int:
    """Choose by the Gumbel trick: the largest of logit / temperature - log(-log(u)) follows the softmax exactly.

    Logits differ in their last bits between batch sizes, cuts and devices.  A choice changes by that only when two
    perturbed logits are as close to each other as that; inverting a cumulative distribution, any of its hundreds of
    steps may be that close to the number drawn, and sorting by probability makes it worse.
    """
    scores = logits.to("cpu", torch.float64) / params.temperature
    if params.top_p < 1.0:
        probabilities, order = torch.sort(torch.softmax(scores, dim=-1), descending=True, stable=True)
        before = probabilities.cumsum(dim=0) - probabilities
        scores[order[before >= params.top_p]] = -torch.inf
    return int((scores - (-noise(params.seed, index, len(scores)).log()).log()).argmax())


def _described(logits: torch.Tensor, token: int, params: SamplingParams) -> Sampled:
    logprobs = torch.log_softmax(logits.to(torch.float32), dim=-1)
    values, tokens = logprobs.topk(min(params.top_logprobs or 0, len(logprobs)))
    return Sampled(
        token=token,
        logprob=float(logprobs[token]),
        top=tuple(zip(tokens.tolist(), values.tolist(), strict=True)),
    )
