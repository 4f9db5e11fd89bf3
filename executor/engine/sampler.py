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


def uniform(seed: int, index: int) -> float:
    """Give the number in [0, 1), of 53 bits, that decides the choice of the token of this index."""
    digest = blake2b(f"{seed}/{index}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53


def _draw(logits: torch.Tensor, params: SamplingParams, index: int) -> int:
    """Invert the cumulative distribution, in float64 on the CPU, so that every device chooses alike."""
    probabilities = torch.softmax(logits.to("cpu", torch.float64) / params.temperature, dim=-1)
    order: torch.Tensor | None = None
    if params.top_p < 1.0:
        probabilities, order = torch.sort(probabilities, descending=True, stable=True)
        before = probabilities.cumsum(dim=0) - probabilities
        probabilities = torch.where(before < params.top_p, probabilities, 0.0)
    cumulative = probabilities.cumsum(dim=0)
    target = cumulative[-1] * uniform(params.seed, index)
    chosen = int(torch.searchsorted(cumulative, target, right=True).clamp_(max=len(cumulative) - 1))
    return chosen if order is None else int(order[chosen])


def _described(logits: torch.Tensor, token: int, params: SamplingParams) -> Sampled:
    logprobs = torch.log_softmax(logits.to(torch.float32), dim=-1)
    values, tokens = logprobs.topk(min(params.top_logprobs or 0, len(logprobs)))
    return Sampled(
        token=token,
        logprob=float(logprobs[token]),
        top=tuple(zip(tokens.tolist(), values.tolist(), strict=True)),
    )
