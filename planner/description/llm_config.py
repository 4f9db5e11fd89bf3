"""config.json of a Hugging Face checkpoint: the few figures that its tensors do not tell.

Families name the same figure differently; the names and the defaults are those of `transformers` (each class's
`attribute_map`; `num_key_value_heads` defaults to the number of heads, `head_dim` to hidden size over heads).
Whatever would make these figures wrong (experts, latent or linear attention, quantised weights) is refused by name.
"""

from pathlib import Path

import attrs

from planner.description.safetensors_files import read_json
from planner.errors import BadCheckpoint

_ATTENTION_KINDS = frozenset({"full_attention", "sliding_attention"})

# An entry with any value but null, false, 0 or an empty list or object, and what it means.
_REFUSED = {
    "text_config": "a composite of text and other inputs; only checkpoints of one causal LLM are read",
    "num_experts": "a mixture of experts, which is not planned yet",
    "num_local_experts": "a mixture of experts, which is not planned yet",
    "n_routed_experts": "a mixture of experts, which is not planned yet",
    "moe_num_experts": "a mixture of experts, which is not planned yet",
    "kv_lora_rank": "multi-head latent attention, whose KV cache is not described yet",
    "multi_query": "multi-query attention in a form of its own, whose KV cache is not described yet",
    "num_kv_shared_layers": "layers that share a KV cache, which are not described yet",
    "is_encoder_decoder": "an encoder with a decoder; only causal LLMs are read",
    "quantization_config": "quantised weights, which are not described yet",
    "state_size": "a state-space LLM, which has no KV cache",
    "ssm_cfg": "a state-space LLM, which has no KV cache",
    "mamba_d_state": "state-space layers, which have no KV cache",
    "attn_layer_period": "a mixture of attention and other layers, which is not described yet",
}


@attrs.frozen(kw_only=True)
class LlmConfig:
    """What config.json says about the shape."""

    path: Path
    architecture: str
    layers: int
    hidden_size: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary_size: int
    context_tokens: int
    tied: bool  # it says that the head shares the embedding; false where it says nothing


def read_config(directory: Path) -> LlmConfig:
    """Read config.json.  Raises BadCheckpoint."""
    path = directory / "config.json"
    if not path.exists():
        raise BadCheckpoint(f"{directory} has no config.json; a Hugging Face checkpoint directory is wanted")
    found = read_json(path)
    for key, meaning in _REFUSED.items():
        if found.get(key):
            raise BadCheckpoint(f"{path}: {key} is set: this is {meaning}")
    kinds = found.get("layer_types") or []
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if kind not in _ATTENTION_KINDS:
            raise BadCheckpoint(
                f"{path}: a layer is of type {kind!r:.40}; known are {', '.join(sorted(_ATTENTION_KINDS))}"
            )
    heads = _size(path, found, "num_attention_heads", "n_head", "n_heads")
    hidden = _size(path, found, "hidden_size", "n_embd", "d_model")
    return LlmConfig(
        path=path,
        architecture=_architecture(path, found),
        layers=_size(path, found, "num_hidden_layers", "n_layer", "n_layers", "num_layers"),
        hidden_size=hidden,
        heads=heads,
        kv_heads=_size(path, found, "num_key_value_heads", default=heads),
        head_dim=_size(path, found, "head_dim", default=hidden // heads),
        vocabulary_size=_size(path, found, "vocab_size"),
        context_tokens=_size(path, found, "max_position_embeddings", "n_positions", "max_seq_len", "seq_length"),
        tied=found.get("tie_word_embeddings") is True,
    )


def _architecture(path: Path, found: dict[str, object]) -> str:
    named = found.get("architectures")
    if not isinstance(named, list) or len(named) != 1 or not isinstance(named[0], str):
        raise BadCheckpoint(f"{path}: architectures is {named!r:.80}; a list with one name is wanted")
    return named[0]


def _size(path: Path, found: dict[str, object], *names: str, default: int | None = None) -> int:
    """Read the first of these entries that is present: a whole number from 1 to 2^40."""
    for name in names:
        value = found.get(name)
        if value is None:
            continue
        if type(value) is not int or not 1 <= value <= 2**40:
            raise BadCheckpoint(f"{path}: {name} is {value!r:.40}; a positive whole number is wanted")
        return value
    if default is None:
        raise BadCheckpoint(f"{path} lacks {names[0]}")
    return default
