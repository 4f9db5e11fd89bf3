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
    """Find a canary for an LLM whose tensors are all here, on one device.

    `directory` holds its configuration; prompt and answer together have at most `tokens_max` tokens, two or more.
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
    candidates = [_answer(skeleton, prompt, answer_tokens) for prompt in prompts]
    return max(candidates, key=lambda candidate: candidate[0])[1]


def _prompt(llm: Llm, number: int, tokens: int) -> tuple[int, ...]:
    """Make a prompt of tokens spread over the vocabulary."""
    return tuple((7919 * (number + 1) * (place + 1) + 17) % llm.vocabulary_size for place in range(tokens))


def _answer(skeleton: Skeleton, prompt: tuple[int, ...], answer_tokens: int) -> tuple[float, Canary]:
    """Continue a prompt greedily; give the smallest lead of a chosen token over the next likely, and the canary."""
    tokens = list(prompt)
    lead = float("inf")
    for _ in range(answer_tokens):
        ids = torch.tensor([tokens], device=skeleton.device)
        logits = skeleton.llm(input_ids=ids, use_cache=False).logits[0, -1].to(torch.float32)
        best, second = logits.topk(2).values.tolist()
        lead = min(lead, best - second)
        tokens.append(int(logits.argmax()))
    return lead, Canary(prompt=prompt, tokens=tuple(tokens[len(prompt) :]))
