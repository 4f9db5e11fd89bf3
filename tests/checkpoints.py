"""Small real checkpoints on disk: a seeded `transformers` causal LM of any family, with its tokenizer.

The weights are random but wide, so that the logits of a greedy step are well apart and a wrong weight, layer order or
position shows at once as another token.  A checkpoint is a directory as `save_pretrained` writes it.
"""

from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from specs.blobs import TENSOR_ALIGNMENT_BYTES
from specs.units import align_up

VOCABULARY_SIZE = 384
END = "<|end|>"
BEGIN = "<|begin|>"
PAD = "<|pad|>"
SPECIAL_TOKENS = (BEGIN, END, PAD, "<|system|>", "<|user|>", "<|assistant|>")

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

_TEXT = (
    "A plan is a complete description of a desired state, not a script.",
    "Which bytes move over which link by when, and what can be computed where with what is already there?",
    "The node sends a block as soon as it holds it; order and dependency are law, times are predictions.",
    "Every request keeps its tokens while the pipeline under it changes from many nodes to one.",
    "def fits(memory: int, blocks: list[int]) -> bool:\n    return sum(blocks) <= memory\n",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. 1234567890 + 42 = ?",
)

# What every family shares; a window of 8 tokens is smaller than most prompts of the tests.
_SHAPE = {
    "vocab_size": VOCABULARY_SIZE,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}

_GEMMA: dict[str, object] = {"head_dim": 16, "initializer_range": 0.12}

# The configuration class and what differs from _SHAPE; None removes an entry.
_FAMILIES: dict[str, tuple[type[transformers.PreTrainedConfig], dict[str, object]]] = {
    "llama": (transformers.LlamaConfig, {}),
    "qwen2": (transformers.Qwen2Config, {}),
    "qwen3": (transformers.Qwen3Config, {"head_dim": 16}),
    "mistral": (transformers.MistralConfig, {"sliding_window": 8}),
    "gemma": (transformers.GemmaConfig, _GEMMA),
    "gemma2": (
        transformers.Gemma2Config,
        _GEMMA | {"sliding_window": 8, "query_pre_attn_scalar": 16, "attn_logit_softcapping": 5.0},
    ),
    "gemma3_text": (
        transformers.Gemma3TextConfig,
        _GEMMA
        | {
            "sliding_window": 8,
            "query_pre_attn_scalar": 16,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
    "phi3": (transformers.Phi3Config, {}),
    "olmo2": (transformers.Olmo2Config, {}),
    "gpt_neox": (transformers.GPTNeoXConfig, {"num_key_value_heads": None}),
    "starcoder2": (transformers.Starcoder2Config, {"sliding_window": 8}),
    "granite": (
        transformers.GraniteConfig,
        {"embedding_multiplier": 3.0, "residual_multiplier": 0.7, "logits_scaling": 2.0, "attention_multiplier": 0.3},
    ),
    "phi": (transformers.PhiConfig, {}),
}

FAMILIES = tuple(_FAMILIES)


def make_tokenizer(directory: Path) -> transformers.PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer of VOCABULARY_SIZE tokens and save it; any string round-trips."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXT * 2, trainer)
    assert tokenizer.get_vocab_size() == VOCABULARY_SIZE
    fast = transformers.PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # untyped there
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
    fast.save_pretrained(directory)
    return fast


def make_config(family: str, *, tied: bool = False, **shape: object) -> transformers.PreTrainedConfig:
    """Give the small configuration of a family; `shape` overrides its entries."""
    config_class, differences = _FAMILIES[family]
    entries = {"initializer_range": 0.1} | _SHAPE | differences | {"tie_word_embeddings": tied} | shape
    present: dict[str, Any] = {key: value for key, value in entries.items() if value is not None}
    return config_class(**present)


def make_checkpoint(
    directory: Path,
    family: str = "llama",
    *,
    tied: bool = False,
    sharded: bool = False,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    **shape: object,
) -> Path:
    """Write a checkpoint with its tokenizer into the directory, the same bytes for the same arguments; return it."""
    directory.mkdir(parents=True, exist_ok=True)
    config = make_config(family, tied=tied, **shape)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        llm = transformers.AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]  # untyped there
            config, dtype=torch.float32
        )
        with torch.no_grad():
            for parameter in llm.parameters():
                if parameter.dim() == 1:  # norms and biases begin equal: a swapped one would not be seen
                    parameter.add_(torch.randn_like(parameter) * 0.1)
    # Before saving, so that config.json says the dtype of the weights.
    llm = llm.to(dtype)
    weights_bytes = sum(parameter.numel() * parameter.element_size() for parameter in llm.parameters())
    shard_bytes = max(weights_bytes // 3, 1) if sharded else weights_bytes + 1
    llm.save_pretrained(directory, max_shard_size=shard_bytes)
    make_tokenizer(directory)
    return directory


def packed_tensors(directory: Path) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Read a checkpoint into one buffer of bytes, tensors aligned to 64; give it, and each tensor as a view into it."""
    loaded: dict[str, torch.Tensor] = {}
    for file in sorted(directory.glob("*.safetensors")):
        loaded |= load_file(file)
    offsets = []
    end = 0
    for tensor in loaded.values():
        offsets.append(end)
        end = align_up(end + tensor.nbytes, TENSOR_ALIGNMENT_BYTES)
    buffer = torch.zeros(end, dtype=torch.uint8)
    views = {}
    for (name, tensor), offset in zip(loaded.items(), offsets, strict=True):
        views[name] = buffer[offset : offset + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        views[name].copy_(tensor)
    return buffer, views
