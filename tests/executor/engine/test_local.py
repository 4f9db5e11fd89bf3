"""Tokens of any cut of any family equal those of `transformers` on one device."""

from collections import deque

import pytest
import torch

from executor.engine.batcher import Batcher
from executor.engine.iteration import Limits
from executor.engine.local import generate, step
from executor.engine.request import SamplingParams
from executor.engine.sampler import sample
from executor.engine.skeleton import Skeleton
from tests import checkpoints
from tests.executor.engine import oracle

CUTS = ((0, 6), (0, 3, 6), (0, 5, 6), (0, 1, 2, 3, 4, 5, 6))


@pytest.fixture(scope="module", params=checkpoints.FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module", params=["untied", "tied"])
def checkpoint(request, family, tmp_path_factory):
    directory = tmp_path_factory.mktemp(f"{family}-{request.param}")
    return checkpoints.make_checkpoint(directory, family, tied=request.param == "tied", sharded=request.param == "tied")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return checkpoints.make_checkpoint(tmp_path_factory.mktemp("llama"), "llama")


def tokens(answers):
    return [[sampled.token for sampled in each] for each in answers.values()]


def test_greedy_tokens_equal_generate_at_every_cut(checkpoint):
    expected = [oracle.greedy(checkpoint, prompt, 10) for prompt in oracle.PROMPTS]
    whole = oracle.skeleton(checkpoint)
    for cuts in CUTS:
        stages = oracle.stages(whole, cuts, slots=3)
        answers = generate(stages, oracle.requests(), tokens_per_iteration=9, in_flight_max=len(stages))
        assert tokens(answers) == expected, cuts


def test_nodes_that_hold_only_their_stage(checkpoint):
    expected = [oracle.greedy(checkpoint, prompt, 6) for prompt in oracle.PROMPTS]
    stages = []
    for units in ((0, 2), (2, 5), (5, 6)):
        part = oracle.skeleton(checkpoint, units=units)
        stages += oracle.stages(part, units)
        assert stages[-1].missing() == ()
        assert part.missing(*oracle.WHOLE) != ()
    assert tokens(generate(stages, oracle.requests(max_tokens=6))) == expected


def test_end_tokens_end_as_in_generate(llama):
    free = oracle.greedy(llama, oracle.PROMPTS[0], 10)
    end = free[4]
    expected = [oracle.greedy(llama, prompt, 10, end) for prompt in oracle.PROMPTS]
    assert len(expected[0]) < 10
    stages = oracle.stages(oracle.skeleton(llama), (0, 6))
    assert tokens(generate(stages, oracle.requests(end_tokens=frozenset({end})))) == expected


@pytest.mark.parametrize("cuts", [(0, 6), (0, 2, 5, 6)])
def test_requests_that_move_in_mid_generation_keep_their_tokens(checkpoint, cuts):
    expected = [oracle.greedy(checkpoint, prompt, 10) for prompt in oracle.PROMPTS]
    shared = oracle.skeleton(checkpoint)
    old, new = oracle.stages(shared, (0, 3, 6), slots=2), oracle.stages(shared, cuts)
    batcher = Batcher(Limits(slots=2, context_tokens=64, tokens_per_iteration=12, in_flight_max=2))
    for request in oracle.requests():
        batcher.add(request)
    before = {request.id: [] for request in oracle.requests()}
    under_way = deque()
    for _ in range(11):
        for name, sampled in step(old, batcher, under_way).items():
            before[name].append(sampled.token)
    moved = batcher.drain()
    assert any(request.generated for request in moved)
    after = generate(new, moved)
    joined = [before[name] + [sampled.token for sampled in after.get(name, ())] for name in before]
    assert joined == expected


def test_many_requests_reuse_slots(llama):
    prompts = [tuple(3 + (7 * i + j) % 300 for j in range(1 + (5 * i) % 17)) for i in range(24)]
    expected = [oracle.greedy(llama, prompt, 7) for prompt in prompts]
    stages = oracle.stages(oracle.skeleton(llama), (0, 6), slots=8, context_tokens=32)
    assert tokens(generate(stages, oracle.requests(prompts, max_tokens=7), tokens_per_iteration=11)) == expected


@pytest.mark.parametrize("family", ["llama", "gemma2"], scope="module")
def test_seeded_sampling_equals_full_recomputation(checkpoint):
    sampling = SamplingParams(temperature=1.3, top_p=0.9, seed=42, top_logprobs=3)
    stages = oracle.stages(oracle.skeleton(checkpoint), (0, 2, 6))
    answers = generate(stages, oracle.requests(sampling=sampling), tokens_per_iteration=8)
    whole = oracle.reference(checkpoint)
    greedy_too = []
    for prompt, got in zip(oracle.PROMPTS, answers.values(), strict=True):
        known = list(prompt)
        for index, sampled in enumerate(got):
            with torch.inference_mode():
                logits = whole(torch.tensor([known]), use_cache=False).logits[:, -1]
            (expected,) = sample(logits, [sampling], [index])
            assert sampled.token == expected.token
            assert sampled.logprob == pytest.approx(expected.logprob, abs=1e-4)
            assert [token for token, _ in sampled.top] == [token for token, _ in expected.top]
            greedy_too.append(expected.token == expected.top[0][0])
            known.append(expected.token)
    assert not all(greedy_too), "the test must see choices that are not the most likely token"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2"], scope="module")
def test_greedy_tokens_on_cuda_equal_generate_on_the_cpu(checkpoint):
    expected = [oracle.greedy(checkpoint, prompt, 10) for prompt in oracle.PROMPTS]
    cuda = Skeleton(checkpoint, dtype=torch.float32, device=torch.device("cuda"))
    _, views = checkpoints.packed_tensors(checkpoint)
    cuda.attach({name: view.to("cuda") for name, view in views.items()})
    stages = oracle.stages(cuda, (0, 3, 6), slots=3)
    assert tokens(generate(stages, oracle.requests(), tokens_per_iteration=9, in_flight_max=2)) == expected
