import json

import pytest
import torch
import transformers

from executor.engine.errors import UnsupportedLlm, WrongTensor
from executor.engine.local import generate
from executor.engine.skeleton import Skeleton
from executor.engine.stage import Stage
from tests import checkpoints
from tests.executor.engine import oracle


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return checkpoints.make_checkpoint(tmp_path_factory.mktemp("llama"), "llama")


def bare(directory):
    return Skeleton(directory, dtype=torch.float32, device=oracle.CPU)


def configured(directory, config):
    config.save_pretrained(directory)
    return directory


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_weights_are_views_and_every_unit_is_accounted_for(tmp_path, family, tied):
    directory = checkpoints.make_checkpoint(tmp_path, family, tied=tied)
    buffer, views = checkpoints.packed_tensors(directory)
    skeleton = bare(directory)
    inside = range(buffer.data_ptr(), buffer.data_ptr() + buffer.nbytes)
    arrived = set()
    for unit in range(oracle.LAYERS + 2):
        assert skeleton.missing(unit, unit + 1) != () or (tied and unit == oracle.LAYERS + 1)
        skeleton.attach({name: view for name, view in views.items() if unit in skeleton.units_of(name)})
        arrived |= {name for name in views if unit in skeleton.units_of(name)}
        assert skeleton.missing(0, unit + 1) == ()
    assert arrived == set(views)
    for name, parameter in skeleton.llm.named_parameters():
        assert parameter.data_ptr() in inside, name
        assert not parameter.requires_grad
    tied_units = {skeleton.units_of(name) for name in views if len(skeleton.units_of(name)) > 1}
    assert tied_units == ({(0, oracle.LAYERS + 1)} if tied else set())


@pytest.mark.parametrize("tied", [False, True])
def test_what_is_detached_is_missing_and_may_come_again_elsewhere(tmp_path, tied):
    directory = checkpoints.make_checkpoint(tmp_path, "llama", tied=tied)
    skeleton = bare(directory)
    for _ in range(2):
        buffer, views = checkpoints.packed_tensors(directory)
        skeleton.attach(views)  # the second time without detaching all of it first
        inside = range(buffer.data_ptr(), buffer.data_ptr() + buffer.nbytes)
        assert all(parameter.data_ptr() in inside for parameter in skeleton.llm.parameters())
        embedding = [name for name in views if 0 in skeleton.units_of(name)]
        skeleton.detach(embedding)
        missing = skeleton.missing(0, oracle.LAYERS + 2)
        assert len(missing) == (2 if tied else 1)
        assert all(skeleton.llm.get_parameter(name).is_meta for name in missing)


ROPES = {
    "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 64},
    "linear": {"factor": 2.0},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", [*checkpoints.FAMILIES, *ROPES])
def test_buffers_that_no_checkpoint_holds_are_real(tmp_path, family, dtype):
    shape = {}
    if family in ROPES:
        shape = {"rope_parameters": {"rope_type": family, "rope_theta": 10000.0, **ROPES[family]}}
    directory = checkpoints.make_checkpoint(tmp_path, "llama" if shape else family, dtype=dtype, **shape)
    skeleton = Skeleton(directory, dtype=dtype, device=oracle.CPU)
    for name, expected in oracle.reference(directory, dtype).named_buffers():
        buffer = skeleton.llm.get_buffer(name)
        assert buffer.dtype == expected.dtype, name
        assert torch.equal(buffer, expected), name


def test_scaled_rotary_gives_the_tokens_of_generate(tmp_path):
    rope = {"rope_type": "yarn", "rope_theta": 10000.0, **ROPES["yarn"]}
    directory = checkpoints.make_checkpoint(tmp_path, "llama", rope_parameters=rope)
    answers = generate(oracle.stages(oracle.skeleton(directory), (0, 6)), oracle.requests())
    for prompt, answer in zip(oracle.PROMPTS, answers.values(), strict=True):
        assert [sampled.token for sampled in answer] == oracle.greedy(directory, prompt, 10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensor: tensor[:-1], "the shape .* but the LLM needs"),
        (lambda tensor: tensor.to(torch.bfloat16), "the dtype torch.bfloat16, but the LLM needs torch.float32"),
        (lambda tensor: tensor.to("meta"), "the device meta, but the LLM needs cpu"),
    ],
)
def test_wrong_tensor_is_refused_and_nothing_is_attached(llama, change, message):
    skeleton = bare(llama)
    _, views = checkpoints.packed_tensors(llama)
    before = skeleton.missing(*oracle.WHOLE)
    views["model.norm.weight"] = change(views["model.norm.weight"])
    with pytest.raises(WrongTensor, match=f"`model.norm.weight` has {message}"):
        skeleton.attach(views)
    assert skeleton.missing(*oracle.WHOLE) == before


def test_unknown_tensor_is_refused(llama):
    with pytest.raises(WrongTensor, match=r"no parameter for the tensor `model\.layers\.9\.mlp"):
        bare(llama).attach({"model.layers.9.mlp.up_proj.weight": torch.zeros(1)})


def test_end_tokens_come_from_the_generation_config_first(llama, tmp_path):
    assert bare(llama).end_tokens == {1}
    config = json.loads((llama / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert bare(tmp_path).end_tokens == {1}
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 9]}))
    assert bare(tmp_path).end_tokens == {5, 9}


def test_configuration_without_a_pipeline_plan_is_refused(tmp_path):
    config = transformers.OPTConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=1, ffn_dim=16, num_attention_heads=2
    )
    with pytest.raises(UnsupportedLlm, match="OPTForCausalLM cannot be cut into stages"):
        bare(configured(tmp_path, config))


@pytest.mark.parametrize(
    ("entry", "says"),
    [({"hidden_size": 7}, "is not a multiple of the number of attention heads"), ({"model_type": "nobody"}, "nobody")],
)
def test_a_configuration_that_transformers_refuses_is_refused_in_one_line(tmp_path, llama, entry, says):
    config = json.loads((llama / "config.json").read_text()) | entry
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedLlm, match=rf"config\.json: transformers does not take it: .*{says}") as caught:
        bare(tmp_path)
    assert "\n" not in str(caught.value)


def test_merged_experts_are_refused(tmp_path):
    config = transformers.MixtralConfig(
        vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=2,
    )  # fmt: skip
    skeleton = bare(configured(tmp_path, config))
    with pytest.raises(UnsupportedLlm, match="is merged with other tensors on loading"):
        skeleton.attach({"model.layers.0.block_sparse_moe.experts.0.w1.weight": torch.zeros(16, 16)})


def test_rotary_that_changes_with_other_requests_is_refused(tmp_path):
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    config = checkpoints.make_config("llama", max_position_embeddings=32, rope_parameters=rope)
    skeleton = bare(configured(tmp_path, config))
    Stage(skeleton, first_unit=0, end_unit=6, slots=1, context_tokens=32)
    with pytest.raises(UnsupportedLlm, match="`dynamic` changes with the length"):
        Stage(skeleton, first_unit=0, end_unit=6, slots=1, context_tokens=33)
