import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from executor.engine.request import SamplingParams
from executor.engine.sampler import noise, sample

LOGITS = torch.tensor([[0.0, 3.0, 1.0, 3.0, -torch.inf], [2.0, 1.0, 0.0, -1.0, -2.0]])


def draws(params_of, count=3000):
    rows = LOGITS[1:].expand(count, -1)
    return [each.token for each in sample(rows, [params_of(seed) for seed in range(count)], [0] * count)]


def test_greedy_takes_the_first_of_the_most_likely():
    assert [each.token for each in sample(LOGITS, [SamplingParams()] * 2, [0, 0])] == [1, 0]


def test_choice_depends_on_seed_index_and_logits_only():
    params = [SamplingParams(temperature=1.0, seed=5), SamplingParams(temperature=0.7, top_p=0.8, seed=6)]
    together = sample(LOGITS, params, [3, 4])
    assert together[0] == sample(LOGITS[:1], params[:1], [3])[0]
    assert together[1] == sample(LOGITS[1:], params[1:], [4])[0]
    one_request = [
        sample(LOGITS[1:], [SamplingParams(temperature=1.0, seed=5)], [index])[0].token for index in range(40)
    ]
    assert len(set(one_request)) > 1


def test_frequencies_are_the_probabilities():
    drawn = draws(lambda seed: SamplingParams(temperature=2.0, seed=seed))
    expected = torch.softmax(LOGITS[1] / 2.0, dim=-1)
    found = torch.bincount(torch.tensor(drawn), minlength=5) / len(drawn)
    # Five standard deviations of a frequency over 3000 draws are at most 5 * sqrt(0.25 / 3000) = 0.046.
    assert torch.allclose(found, expected, atol=0.046)


@pytest.mark.parametrize(("top_p", "kept"), [(0.5, {0}), (0.64, {0, 1}), (0.9, {0, 1, 2}), (1.0, {0, 1, 2, 3, 4})])
def test_top_p_keeps_the_fewest_most_likely_tokens(top_p, kept):
    # Probabilities 0.636, 0.234, 0.086, 0.032, 0.012.
    assert set(draws(lambda seed: SamplingParams(temperature=1.0, top_p=top_p, seed=seed))) == kept


def test_impossible_token_is_never_drawn():
    rows = LOGITS[:1].expand(500, -1)
    params = [SamplingParams(temperature=50.0, seed=seed) for seed in range(500)]
    assert {each.token for each in sample(rows, params, [0] * 500)} == {0, 1, 2, 3}


def test_logprobs_are_of_the_raw_logits():
    (sampled,) = sample(LOGITS[1:], [SamplingParams(temperature=0.5, seed=1, top_logprobs=2)], [0])
    logprobs = torch.log_softmax(LOGITS[1], dim=-1)
    assert sampled.logprob == pytest.approx(float(logprobs[sampled.token]))
    assert [token for token, _ in sampled.top] == [0, 1]
    assert [value for _, value in sampled.top] == pytest.approx(logprobs[:2].tolist())
    (unasked,) = sample(LOGITS[1:], [SamplingParams()], [0])
    assert (unasked.logprob, unasked.top) == (None, ())
    (only_chosen,) = sample(LOGITS[1:], [SamplingParams(top_logprobs=0)], [0])
    assert only_chosen.logprob is not None
    assert only_chosen.top == ()


def test_no_rows():
    assert sample(torch.zeros(0, 5), [], []) == ()


@given(st.integers(-(2**70), 2**70), st.integers(0, 2**40))
def test_noise_is_in_the_open_unit_interval_and_the_request_s_own(seed, index):
    numbers = noise(seed, index, 5)
    assert torch.equal(numbers, noise(seed, index, 5))
    assert bool(((numbers > 0) & (numbers < 1)).all())
    assert not torch.equal(numbers, noise(seed, index + 1, 5))
    assert not torch.equal(numbers, noise(seed + 1, index, 5))


def test_the_last_bits_of_logits_decide_nothing():
    # Nudged ten times as much as they differ in fp32.  Inverting the cumulative distribution in order of probability
    # gave other tokens in 18 of these draws.
    generator = torch.Generator().manual_seed(1)
    draws = 20_000
    logits = torch.randn(200, 512, generator=generator).repeat(draws // 200, 1)
    nudged = logits + 1e-5 * torch.randn(logits.shape, generator=generator)
    params = [SamplingParams(temperature=0.9, top_p=0.95, seed=seed) for seed in range(draws)]
    once, again = (sample(each, params, [7] * draws) for each in (logits, nudged))
    changed = sum(one.token != other.token for one, other in zip(once, again, strict=True))
    assert changed <= 2
