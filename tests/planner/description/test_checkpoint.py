"""Real checkpoints of every family against what `transformers` makes of them."""

import json
import shutil
import struct

import blake3
import pytest
import safetensors.torch
import torch
import transformers

from planner.description.checkpoint import read_llm
from planner.errors import BadCheckpoint
from specs.problem import Holding, Problem
from specs.profile import Profile
from specs.workload import Workload
from tests.builders import a_cluster
from tests.checkpoints import FAMILIES, make_checkpoint

CASES = [(family, tied) for family in FAMILIES for tied in (False, True)]
DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture
def broken(llama, tmp_path):
    """A copy to break."""
    return shutil.copytree(llama, tmp_path / "broken")


@pytest.mark.parametrize(("family", "tied"), CASES)
def test_a_family_is_read_as_transformers_loads_it(tmp_path, family, tied):
    directory = make_checkpoint(tmp_path, family, tied=tied, sharded=tied, dtype=torch.bfloat16)
    llm = read_llm(directory, "x")
    loaded = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16)

    stored = {}
    for path in directory.glob("*.safetensors"):
        stored |= safetensors.torch.load_file(path)
    assert {tensor.name for tensor in llm.tensors} == set(stored)
    assert sum(tensor.bytes for tensor in llm.tensors) == sum(each.nbytes for each in stored.values())
    assert sum(tensor.bytes for tensor in llm.tensors) == sum(each.nbytes for each in loaded.parameters())

    # Fewer tokens than the sliding window of some families, which keep no more than it.
    with torch.no_grad():
        cache = loaded(torch.arange(6)[None], use_cache=True).past_key_values
    kept = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert 6 * sum(unit.kv_bytes_per_token for unit in llm.units) == kept

    assert llm.layers == loaded.config.num_hidden_layers
    assert llm.dtype == "BF16"
    assert llm.hidden_bytes_per_token == 2 * loaded.config.hidden_size
    assert (llm.vocabulary_size, llm.context_tokens) == (384, 512)
    assert llm.architecture == type(loaded).__name__


@pytest.mark.parametrize(("family", "tied"), CASES)
def test_units_need_the_right_tensors(tmp_path, family, tied):
    llm = read_llm(make_checkpoint(tmp_path, family, tied=tied), "x")
    names = [[llm.tensors[index].name for index in unit.tensors] for unit in llm.units]
    embedding = names[0][0]
    assert len(names[0]) == 1
    assert "embed" in embedding
    for number, needed in enumerate(names[1:-1]):
        assert needed
        assert all(f".layers.{number}." in name for name in needed)
    assert any("norm" in name for name in names[-1])
    assert (embedding in names[-1]) == tied
    assert any(name in ("lm_head.weight", "embed_out.weight") for name in names[-1]) == (not tied)
    for unit in llm.units:
        run = unit.tensors
        assert run == tuple(range(run[0], run[0] + len(run))), "every unit is one contiguous run in pack order"
    a_problem_of(llm)  # every tensor is needed by some unit


def a_problem_of(llm):
    workload = Workload(
        llm=llm.id,
        requests_per_hour=1,
        prompt_tokens_mean=1,
        output_tokens_mean=1,
        request_tokens_max=2,
        live_requests_max=1,
    )
    return Problem(
        name="p",
        cluster=a_cluster(1),
        llms=(llm,),
        workloads=(workload,),
        slos=(),
        profile=Profile(rates=()),
        holdings=(Holding(llm=llm.id, place="n0/gpu0"),),
        targets=(),
    )


OLDER = {
    "gpt2": transformers.GPT2Config(n_embd=32, n_layer=3, n_head=4, n_positions=64, vocab_size=100),
    "opt": transformers.OPTConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        ffn_dim=48,
        vocab_size=100,
        max_position_embeddings=64,
        word_embed_proj_dim=32,
    ),
    "gptj": transformers.GPTJConfig(n_embd=32, n_layer=3, n_head=4, n_positions=64, vocab_size=100, rotary_dim=8),
}


@pytest.mark.parametrize("family", OLDER)
def test_older_names_are_understood(tmp_path, family):
    transformers.AutoModelForCausalLM.from_config(OLDER[family], dtype=torch.float32).save_pretrained(tmp_path)
    llm = read_llm(tmp_path, "x")
    names = [{llm.tensors[index].name for index in unit.tensors} for unit in llm.units]
    assert llm.layers == 3
    assert any("wte" in name or "embed_tokens" in name for name in names[0])
    assert all(
        "norm" in name or "ln_f" in name or name.startswith(("lm_head", "transformer.wte", "wte")) or name in names[0]
        for name in names[-1]
    )
    assert {unit.kv_bytes_per_token for unit in llm.units[1:-1]} == {2 * 32 * 4}
    a_problem_of(llm)


def test_operations_are_counted(llama):
    llm = read_llm(llama, "x")
    # Queries and output 64 x 64, keys and values 64 x 32, three matrices of the MLP 64 x 96.
    assert {unit.flops_per_token for unit in llm.units[1:-1]} == {2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96)}
    assert {unit.flops_per_token_of_context for unit in llm.units[1:-1]} == {4 * 4 * 16}
    assert llm.units[0].flops_per_token == 0
    assert llm.units[-1].flops_per_token == 2 * 384 * 64


@pytest.mark.parametrize(("dtype", "name"), DTYPES.items())
def test_digests_are_of_the_bytes(tmp_path, dtype, name):
    directory = make_checkpoint(tmp_path, "llama", dtype=dtype, sharded=True)
    llm = read_llm(directory, "x")
    stored = {}
    for path in directory.glob("*.safetensors"):
        stored |= safetensors.torch.load_file(path)
    for tensor in llm.tensors:
        content = stored[tensor.name].contiguous().view(torch.uint8).numpy().tobytes()
        assert tensor.digest == blake3.blake3(content).hexdigest()
        assert (tensor.dtype, tensor.shape) == (name, tuple(stored[tensor.name].shape))
    for file in llm.files:
        assert file.digest == blake3.blake3((directory / file.name).read_bytes()).hexdigest()
    assert {file.name for file in llm.files} >= {"config.json", "tokenizer.json", "chat_template.jinja"}


def test_sharding_does_not_change_the_llm(tmp_path):
    whole = read_llm(make_checkpoint(tmp_path / "whole", "qwen3"), "x")
    shards = read_llm(make_checkpoint(tmp_path / "shards", "qwen3", sharded=True), "x")
    assert whole == shards


def test_progress_ends_at_all_bytes(llama):
    seen = []
    llm = read_llm(llama, "x", lambda done, total: seen.append((done, total)))
    total = sum(tensor.bytes for tensor in llm.tensors)
    assert seen[-1] == (total, total)
    assert seen == sorted(seen)


def rewrite(directory, change, file="model.safetensors"):
    tensors = safetensors.torch.load_file(directory / file)
    change(tensors)
    safetensors.torch.save_file(tensors, directory / file, metadata={"format": "pt"})


def set_config(directory, **entries):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_a_redundant_head_of_a_tied_llm_is_left_out(tmp_path):
    directory = make_checkpoint(tmp_path, "llama", tied=True)
    before = read_llm(directory, "x")
    rewrite(directory, lambda tensors: tensors.update({"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}))
    assert read_llm(directory, "x") == before


def test_a_tied_head_that_is_another_tensor_is_refused(broken):
    set_config(broken, tie_word_embeddings=True)
    with pytest.raises(BadCheckpoint, match="set tie_word_embeddings to false"):
        read_llm(broken, "x")


def test_computed_buffers_are_skipped(broken):
    before = read_llm(broken, "x")
    buffer = "model.layers.0.self_attn.rotary_emb.inv_freq"
    rewrite(broken, lambda tensors: tensors.update({buffer: torch.ones(8)}))
    assert read_llm(broken, "x") == before


def test_a_flipped_bit_changes_one_digest(broken):
    before = read_llm(broken, "x")
    path = broken / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    after = read_llm(broken, "x")
    changed = [b.name for a, b in zip(before.tensors, after.tensors, strict=True) if a.digest != b.digest]
    assert len(changed) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda tensors: tensors.pop("model.embed_tokens.weight"), "no tensor of an embedding"),
        (lambda tensors: [tensors.pop(name) for name in list(tensors) if ".layers.2." in name], "model.layers (3)"),
        (lambda tensors: tensors.update({"lm_head.weight": tensors["lm_head.weight"].half()}), "one dtype"),
        (lambda tensors: tensors.update({"lm_head.weight": tensors["lm_head.weight"].to(torch.int8)}), "one dtype"),
        (lambda tensors: tensors.update({"bad name": torch.ones(1)}), "Tensor.name"),
    ],
)
def test_wrong_tensors_are_refused(broken, change, says):
    rewrite(broken, change)
    with pytest.raises(BadCheckpoint) as caught:
        read_llm(broken, "x")
    assert says in str(caught.value)


def test_a_directory_without_a_checkpoint_is_refused(tmp_path):
    for directory, says in ((tmp_path / "absent", "is not a directory"), (tmp_path, "has no config.json")):
        with pytest.raises(BadCheckpoint, match=says):
            read_llm(directory, "x")


def test_a_header_of_random_bytes_is_refused(broken):
    (broken / "model.safetensors").write_bytes(struct.pack("<Q", 16) + bytes(range(16)))
    with pytest.raises(BadCheckpoint, match="JSON cannot be read"):
        read_llm(broken, "x")
