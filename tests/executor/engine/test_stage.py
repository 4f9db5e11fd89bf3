import attrs
import pytest
import torch

from executor.engine.batch import Batch, Row
from executor.engine.errors import NoRoom
from tests import checkpoints
from tests.executor.engine import oracle

TOKENS = torch.tensor(oracle.PROMPTS[0])
ROW = Row(slot=1, start=0, tokens=len(TOKENS), wants_logits=True)


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_bf16_logits_are_as_near_to_float32_as_those_of_transformers(tmp_path, family):
    """Bound: the distance is at most twice that which bf16 itself makes in `transformers`, on the same weights."""
    directory = checkpoints.make_checkpoint(tmp_path, family, dtype=torch.bfloat16)
    stages = oracle.stages(oracle.skeleton(directory, dtype=torch.bfloat16), (0, 3, 6))
    state = TOKENS
    for stage in stages:
        state = stage.run(Batch(rows=(ROW,)), state)
    assert state.dtype == torch.bfloat16
    with torch.inference_mode():
        in_bf16 = oracle.reference(directory, torch.bfloat16)(TOKENS[None]).logits[0, -1].float()
        exact = oracle.reference(directory, torch.float32)(TOKENS[None]).logits[0, -1]
    bound = 2 * float((in_bf16 - exact).abs().max())
    assert 0 < bound < 0.5
    assert float((state[0].float() - exact).abs().max()) <= bound
    assert float((state[0].float() - in_bf16).abs().max()) <= bound


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return checkpoints.make_checkpoint(tmp_path_factory.mktemp("llama"), "llama")


def test_only_rows_that_want_logits_reach_the_head(llama):
    (stage,) = oracle.stages(oracle.skeleton(llama), (0, 6))
    unwanted = Row(slot=0, start=0, tokens=5, wants_logits=False)
    logits = stage.run(Batch(rows=(unwanted, ROW)), torch.cat([TOKENS[:5], TOKENS]))
    assert logits.shape == (1, checkpoints.VOCABULARY_SIZE)
    with torch.inference_mode():
        expected = oracle.reference(llama)(TOKENS[None]).logits[0, -1]
    assert torch.allclose(logits[0], expected, atol=1e-5)
    assert stage.run(Batch(rows=(unwanted,)), TOKENS[:5]).shape == (0, checkpoints.VOCABULARY_SIZE)


def test_hidden_states_between_stages_are_those_of_the_layers(llama):
    shared = oracle.skeleton(llama)
    with torch.inference_mode():
        hidden = oracle.reference(llama)(TOKENS[None], output_hidden_states=True).hidden_states
    state = TOKENS
    for unit, stage in enumerate(oracle.stages(shared, range(6))):
        state = stage.run(Batch(rows=(ROW,)), state)
        assert state.shape == (len(TOKENS), shared.hidden_size)
        if unit < oracle.LAYERS:  # the last of transformers' hidden states has been through the norm
            assert torch.allclose(state, hidden[unit][0], atol=1e-5)


def test_stages_of_one_skeleton_have_caches_of_their_own_for_their_layers_only(llama):
    first, second = oracle.stages(oracle.skeleton(llama), (0, 3, 6))
    again, _ = oracle.stages(first.skeleton, (0, 3, 6))
    assert sorted(first.cache.keys) == [0, 1]
    assert sorted(second.cache.keys) == [2, 3]
    first.run(Batch(rows=(ROW,)), TOKENS)
    assert first.cache.keys[0].any()
    assert not again.cache.keys[0].any()


def test_pages_of_slots_that_are_free_go_before_rows_are_computed(llama):
    (stage,) = oracle.stages(oracle.skeleton(llama), (0, 6))
    stage.run(Batch(rows=(ROW,)), TOKENS)
    assert stage.cache.written_tokens == 64
    assert stage.cache.keys[3][1].any()
    stage.run(Batch(rows=(attrs.evolve(ROW, slot=0),), freed=(1, 2)), TOKENS)
    assert stage.cache.written_tokens == 64
    assert not stage.cache.keys[3][1].any()
    expected = stage.cache.read(range(4), 0, 0, len(TOKENS))
    stage.run(Batch(rows=(attrs.evolve(ROW, slot=0),), freed=(0,)), TOKENS)  # whoever is next in the same slot
    assert stage.cache.read(range(4), 0, 0, len(TOKENS)) == expected
    stage.cache.resize(64)
    with pytest.raises(NoRoom):
        stage.run(Batch(rows=(ROW,)), TOKENS)
