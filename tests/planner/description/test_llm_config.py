import json

import pytest

from planner.description.llm_config import read_config
from planner.errors import BadCheckpoint

PLAIN = {
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "vocab_size": 100,
    "max_position_embeddings": 128,
}


def read(tmp_path, **entries):
    config = {key: value for key, value in (PLAIN | entries).items() if value is not ...}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return read_config(tmp_path)


def test_defaults_are_those_of_transformers(tmp_path):
    config = read(tmp_path)
    assert (config.kv_heads, config.head_dim, config.tied) == (4, 16, False)


def test_other_names_are_known(tmp_path):
    config = read(
        tmp_path, num_hidden_layers=..., n_layer=3, hidden_size=..., n_embd=32, num_attention_heads=..., n_head=2
    )
    assert (config.layers, config.hidden_size, config.heads, config.head_dim) == (3, 32, 2, 16)


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"kv_lora_rank": 512}, "latent attention"),
        ({"num_local_experts": 8}, "mixture of experts"),
        ({"num_experts": 64}, "mixture of experts"),
        ({"n_routed_experts": 64}, "mixture of experts"),
        ({"text_config": {"hidden_size": 64}}, "composite"),
        ({"multi_query": True}, "multi-query"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"is_encoder_decoder": True}, "encoder"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "linear_attention"),
        ({"vocab_size": ...}, "lacks vocab_size"),
        ({"hidden_size": -64}, "positive whole number"),
        ({"hidden_size": 64.0}, "positive whole number"),
        ({"hidden_size": True}, "positive whole number"),
        ({"architectures": []}, "a list with one name"),
        ({"architectures": "Llama"}, "a list with one name"),
    ],
)
def test_what_would_be_read_wrongly_is_refused(tmp_path, entries, says):
    with pytest.raises(BadCheckpoint) as caught:
        read(tmp_path, **entries)
    assert says in str(caught.value)


def test_false_and_zero_refuse_nothing(tmp_path):
    plain = read(tmp_path)
    nothing = {"num_experts": 0, "multi_query": False, "quantization_config": None, "is_encoder_decoder": False}
    assert read(tmp_path, **nothing) == plain


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1, "a": 2}', "\x00", "[" * 100_000])
def test_bad_json_is_one_sentence(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BadCheckpoint) as caught:
        read_config(tmp_path)
    assert "\n" not in str(caught.value)
