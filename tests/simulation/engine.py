"""The engine with the LLM of integers in it: the real stage, cache, batcher and host around it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from executor.engine.batch import Batch
from executor.engine.stage import Stage
from executor.pipelines.leader import Canary
from specs.llm import Llm
from specs.units import Tokens
from tests.simulation.integer_llm import LAYERS, VOCABULARY_SIZE, answer, mixed


class IntegerSkeleton:
    """Takes weights and uses none."""

    def __init__(self, _checkpoint: Path, *, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype = dtype
        self.device = device
        self.config = SimpleNamespace(
            num_attention_heads=1, num_key_value_heads=1, head_dim=2, hidden_size=2, max_position_embeddings=2**20
        )
        self.layers = LAYERS
        self.vocabulary_size = VOCABULARY_SIZE

    def attach(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take weights."""

    def detach(self, tensor_names: Iterable[str]) -> None:
        """Give them back."""

    def missing(self, _first_unit: int, _end_unit: int) -> tuple[str, ...]:
        """Lack nothing."""
        return ()


class IntegerStage(Stage):
    """Computes `integer_llm` through the cache of its slots.

    A hidden state is the integer in its first place.  Keys hold what a layer has stored, values one more.
    """

    @torch.inference_mode()
    def run(self, batch: Batch, inputs: torch.Tensor) -> torch.Tensor:
        """Compute as `Stage.run` says."""
        self._make_room(batch)
        width = 1 if inputs.dim() == 1 else inputs.shape[1]
        given = [int(value) for value in (inputs if inputs.dim() == 1 else inputs[:, 0]).tolist()]
        outputs: list[int] = []
        logits = []
        first = 0
        for row in batch.rows:
            hidden = given[first : first + row.tokens]
            first += row.tokens
            for layer in sorted(self.cache.keys):
                hidden = self._layer(layer, row.slot, row.start, hidden)
            outputs += hidden
            if row.wants_logits:
                chosen = torch.zeros(VOCABULARY_SIZE)
                chosen[3 + hidden[-1] % (VOCABULARY_SIZE - 3)] = 1.0
                logits.append(chosen)
        if self.has_head:
            return torch.stack(logits) if logits else torch.zeros(0, VOCABULARY_SIZE)
        width = max(width, self._width)
        result = torch.zeros(len(outputs), width, dtype=self.skeleton.dtype)
        result[:, 0] = torch.tensor(outputs, dtype=self.skeleton.dtype)
        return result

    _width = 64  # of the hidden states of `tests.checkpoints`

    def _layer(self, layer: int, slot: int, start: int, hidden: list[int]) -> list[int]:
        """Store what is given, and hash what is stored then for each position and all before it."""
        end = start + len(hidden)
        keys, values = (cache[layer][slot, 0, :end, 0].numpy() for cache in (self.cache.keys, self.cache.values))
        keys[start:] = hidden
        values[start:] = keys[start:] + 1
        stored = 5 * keys.astype(np.int64) - 4 * (values.astype(np.int64) - 1)  # the key, where the value agrees
        return mixed(layer, stored, start)


def integer_canary(_directory: Path, _llm: Llm, _tensors: object, tokens_max: Tokens) -> Canary:
    """In place of `executor.canary.reference`."""
    prompt = (11, 5, 8)[: tokens_max - 1]
    return Canary(prompt=prompt, tokens=answer(prompt, min(2, tokens_max - len(prompt))))
