"""The canary: a prompt and the tokens that must follow it, by which every pipeline is proved before it opens.

The reference is `transformers` itself: its own attention, no cache, the whole prompt anew for every token.  Weights are
the node's own, checked against the plan's digests, so a wrong canary can only mean wrong code.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from executor.engine.skeleton import Skeleton
from executor.pipelines.leader import Canary
from executor.store import DTYPES
from specs.llm import Llm
from specs.units import Tokens

_PROMPT_TOKENS_MAX = 8
_ANSWER_TOKENS_MAX = 3
# Of so many prompts the one is taken whose answers are least in doubt: rounding differs between batch sizes and
# devices, and must never turn a right pipeline down.
_PROMPTS = 4


@torch.inference_mode()
def reference(directory: Path, llm: Llm, tensors: Sequence[Mapping[str, torch.Tensor]], tokens_max: Tokens) -> Canary:
    """Find a canary for an LLM whose tensors are all here, on one device; they are viewed, never copied.

    `directory` holds its configuration; prompt and answer together have at most `tokens_max` tokens, two or more.
    Every token is one pass over the weights, for all prompts at once: tensors that are mapped from disk
    (`executor.checkpoint.mapped`) are read once per pass, layer by layer, and may leave memory in between.
    Raises UnsupportedLlm.
    """
    device = next(iter(tensors[0].values())).device
    skeleton = Skeleton(directory, dtype=DTYPES[llm.dtype], device=device)
    for each in tensors:
        skeleton.attach(each)
    skeleton.llm.set_attn_implementation("eager")
    answer_tokens = min(_ANSWER_TOKENS_MAX, tokens_max - 1)
    prompt_tokens = min(_PROMPT_TOKENS_MAX, tokens_max - answer_tokens)
    prompts = [_prompt(llm, number, prompt_tokens) for number in range(_PROMPTS)]
    return _least_doubtful(skeleton, prompts, answer_tokens)


def _prompt(llm: Llm, number: int, tokens: int) -> tuple[int, ...]:
    """Make a prompt of tokens spread over the vocabulary."""
    return tuple((7919 * (number + 1) * (place + 1) + 17) % llm.vocabulary_size for place in range(tokens))


def _least_doubtful(skeleton: Skeleton, prompts: Sequence[tuple[int, ...]], answer_tokens: int) -> Canary:
    """Continue prompts of equal length greedily; give the one whose chosen tokens lead the next likely by most."""
    ids = torch.tensor(prompts, device=skeleton.device)
    leads = torch.full((len(prompts),), torch.inf, device=skeleton.device)
    for _ in range(answer_tokens):
        logits = skeleton.llm(input_ids=ids, use_cache=False).logits[:, -1].to(torch.float32)
        best = logits.topk(2).values
        leads = torch.minimum(leads, best[:, 0] - best[:, 1])
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
    chosen = int(leads.argmax())
    return Canary(prompt=prompts[chosen], tokens=tuple(ids[chosen, len(prompts[chosen]) :].tolist()))
