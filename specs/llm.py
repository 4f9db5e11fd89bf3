"""What we serve: a language model's shape, read from its checkpoint and never typed by hand.

An LLM is a row of *units* that are computed in order: unit 0 is the embedding, units 1 to L are the layers, unit
L + 1 is the head (final norm and output projection).  Each unit needs some tensors; a tensor may be needed by two
units (tied embeddings).  Tensors stand in *pack order*: a blob is a contiguous run of them (`specs.blobs`).
"""

from typing import NewType

import attrs

from specs import fields
from specs.units import Bytes, Flops, Tokens

LlmId = NewType("LlmId", str)


@attrs.frozen(kw_only=True)
class Tensor:
    """One tensor of the checkpoint."""

    name: str = fields.name()
    dtype: str = fields.name()  # as safetensors writes it: F32, BF16, F16, ...
    shape: tuple[int, ...]
    bytes: Bytes = fields.natural()
    digest: str = fields.digest()  # BLAKE3 of its bytes in little-endian row-major order


@attrs.frozen(kw_only=True)
class File:
    """A small file of the checkpoint that every node needs: configuration, tokenizer, chat template."""

    name: str = fields.name()
    bytes: Bytes = fields.natural()
    digest: str = fields.digest()  # BLAKE3 of its content


@attrs.frozen(kw_only=True)
class Unit:
    """One step of the computation: the embedding, a layer, or the head."""

    tensors: tuple[int, ...]  # ascending indexes into `Llm.tensors`
    flops_per_token: Flops = fields.natural()  # without attention over the context
    flops_per_token_of_context: Flops = fields.natural()  # attention: per token and per token of its context
    kv_bytes_per_token: Bytes = fields.natural()


@attrs.frozen(kw_only=True)
class Llm:
    """A language model as the planner and the checker see it."""

    id: LlmId = fields.name()
    architecture: str = fields.name()  # the checkpoint's own word, for example LlamaForCausalLM
    dtype: str = fields.name()  # of the weights and of the KV cache: F32 or BF16 or F16
    hidden_bytes_per_token: Bytes = fields.positive()  # of the activation that passes between stages
    vocabulary_size: int = fields.positive()
    context_tokens: Tokens = fields.positive()
    tensors: tuple[Tensor, ...]  # in pack order
    units: tuple[Unit, ...]  # embedding, layers, head
    files: tuple[File, ...]

    @property
    def layers(self) -> int:
        """How many layers stand between the embedding and the head."""
        return len(self.units) - 2
