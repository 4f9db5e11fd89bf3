"""An LLM of integers, whose every token depends on every position of every layer's KV.

Layer l gives token p the hash of what it has stored for the positions 0 to p.  What it stores is its input, so that one
wrong, missing or foreign position in the cache of any layer changes that token and all after it.  It is computed
through the engine's own cache; the oracle computes the same from the tokens alone.
"""

import numpy as np
import numpy.typing as npt

_PRIME = 8191  # hidden values stay below it: exact in every float
_POWERS = np.array([pow(31, exponent, _PRIME) for exponent in reversed(range(1025))])  # of contexts that are as long
VOCABULARY_SIZE = 384
LAYERS = 4


def mixed(layer: int, values: npt.NDArray[np.int64], start: int) -> list[int]:
    """Hash what a layer has stored for each token from `start` on and all tokens before it."""
    powers = _POWERS[len(_POWERS) - start - 1 :]
    result = int(((layer + 1) * powers[0] + (values[:start] + 7) @ powers[1:]) % _PRIME) if start else layer + 1
    found = []
    for value in values[start:].tolist():
        result = (result * 31 + value + 7) % _PRIME
        found.append(result)
    return found


def answer(prompt: tuple[int, ...], tokens: int) -> tuple[int, ...]:
    """Give the tokens that follow a prompt: the oracle, which hashes as `mixed` does, one value after the other."""
    hashes = [layer + 1 for layer in range(LAYERS)]
    given = list(prompt)
    for position in range(len(prompt) + tokens - 1):
        value = given[position]
        for layer in range(LAYERS):
            value = hashes[layer] = (hashes[layer] * 31 + value + 7) % _PRIME
        if position >= len(prompt) - 1:
            given.append(3 + value % (VOCABULARY_SIZE - 3))
    return tuple(given[len(prompt) :])
