"""The canary: right by `transformers`, and never longer than a request may be."""

import pytest
import torch

from executor.canary import reference
from planner.description.checkpoint import read_llm
from tests.checkpoints import make_checkpoint, packed_tensors
from tests.executor.engine import oracle


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("canary"), "llama")


@pytest.mark.parametrize(
    ("tokens_max", "prompt", "answer"), [(128, 8, 3), (11, 8, 3), (10, 7, 3), (3, 1, 2), (2, 1, 1)]
)
def test_the_answer_is_that_of_transformers(checkpoint, tokens_max, prompt, answer):
    _, tensors = packed_tensors(checkpoint)
    canary = reference(checkpoint, read_llm(checkpoint, "llm"), [tensors], tokens_max)
    assert (len(canary.prompt), len(canary.tokens)) == (prompt, answer)
    ids = torch.tensor([canary.prompt])
    with torch.inference_mode():
        found = oracle.reference(checkpoint).generate(
            ids, max_new_tokens=answer, do_sample=False, eos_token_id=None, pad_token_id=0
        )
    assert tuple(found[0, prompt:].tolist()) == canary.tokens
