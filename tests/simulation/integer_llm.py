"""An LLM of integers, whose every token depends on every position of every layer's KV.

Layer l gives token p the hash of what it has stored for the positions 0 to p.  What it stores is its input, so that one
wrong, missing or foreign position in the cache of any layer changes that token and all after it.  It is computed
through the engine's own cache; the oracle computes the same from the tokens alone.
"""

from collections.abc import Sequence
from functools import lru_cache

_PRIME = 8191  # hidden values stay below it: exact in every float
VOCABULARY_SIZE = 384
LAYERS = 4


def mixed(layer: int, values: Sequence[int]) -> int:
    """Hash what a layer has stored for a token and those before it."""
    result = layer + 1
    for value in values:
        result = (result * 31 + value + 7) % _PRIME
    return result


@lru_cache(maxsize=4096)
def _layer_inputs(tokens: tuple[int, ...], layer: int) -> tuple[int, ...]:
    if layer == 0:
        return tokens
    before = _layer_inputs(tokens, layer - 1)
    return tuple(mixed(layer - 1, before[: end + 1]) for end in range(len(before)))


def next_token(tokens: tuple[int, ...]) -> int:
    """Say which token follows."""
    return 3 + _layer_inputs(tokens, LAYERS)[-1] % (VOCABULARY_SIZE - 3)


def answer(prompt: tuple[int, ...], tokens: int) -> tuple[int, ...]:
    """Give the tokens that follow a prompt: the oracle."""
    all_tokens = prompt
    for _ in range(tokens):
        all_tokens += (next_token(all_tokens),)
    return all_tokens[len(prompt) :]
