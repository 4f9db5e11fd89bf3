"""Tokens per second of the engine beside `transformers`: `generate`, and its continuous batching.

    python -m benchmarks.engine_tokens [--threads 1] [--batches 1 8 32] [--dtype float32]

A Llama of 8 layers, 512 wide, 8 heads over 4 of keys and values; prompts of 64 tokens, 64 generated greedily, no end
token; the same weights, process and threads for all.  Each figure is the best of five runs after one to warm up; the
tokens of the engine must be those of `generate` (in float32).
"""

import argparse
import logging
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import transformers

from executor.engine.local import generate
from executor.engine.request import Request, RequestId
from executor.engine.skeleton import Skeleton
from executor.engine.stage import Stage
from tests import checkpoints

PROMPT_TOKENS = NEW_TOKENS = 64
RUNS = 5
SHAPE = {
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "initializer_range": 0.02,
}

Answers = list[list[int]]


def by_engine(stages: list[Stage], prompts: Answers) -> Answers:
    requests = [
        Request(
            id=RequestId(f"r{number}"),
            tokens=tuple(prompt),
            prompt_tokens=len(prompt),
            max_tokens=NEW_TOKENS,
            end_tokens=frozenset(),
        )
        for number, prompt in enumerate(prompts)
    ]
    answers = generate(stages, requests, tokens_per_iteration=2048)
    return [[sampled.token for sampled in answer] for answer in answers.values()]


def by_generate(llm, prompts: Answers) -> Answers:
    output = llm.generate(
        torch.tensor(prompts), max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=None, pad_token_id=2
    )
    return output[:, PROMPT_TOKENS:].tolist()


def by_continuous_batching(llm, prompts: Answers) -> Answers:
    config = transformers.GenerationConfig(max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=-1, pad_token_id=2)
    # Its default cache would take nine tenths of the memory; this one holds 16,384 tokens.  The manager lives on, so
    # that its start is in the run to warm up.
    batching = transformers.ContinuousBatchingConfig(num_blocks=64, page_size=256, max_batch_tokens=2048)
    output = llm.generate_batch(
        prompts,
        generation_config=config,
        continuous_batching_config=batching,
        progress_bar=False,
        persistent_manager=True,
    )
    return [answer.generated_tokens for answer in output.values()]


def contest(contestants: list[Callable[[], Answers]]) -> list[tuple[float, Answers]]:
    """Tokens per second and answers of each; they take turns, so that what else the machine does falls on all alike."""
    answers = [run() for run in contestants]
    seconds = [float("inf")] * len(contestants)
    for _ in range(RUNS):
        for index, run in enumerate(contestants):
            start = time.perf_counter()
            answers[index] = run()
            seconds[index] = min(seconds[index], time.perf_counter() - start)
    return [(sum(map(len, each)) / least, each) for each, least in zip(answers, seconds, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--without-continuous-batching", action="store_true", help="which takes minutes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.ERROR)
    transformers.logging.disable_progress_bar()
    dtype = getattr(torch, options.dtype)
    with tempfile.TemporaryDirectory() as name:
        directory = checkpoints.make_checkpoint(Path(name), "llama", dtype=dtype, **SHAPE)
        # Continuous batching changes the attention of its LLM, so it has one of its own.
        llm, batched = (transformers.AutoModelForCausalLM.from_pretrained(directory).eval() for _ in range(2))
        skeleton = Skeleton(directory, dtype=dtype, device=torch.device("cpu"))
        skeleton.attach(checkpoints.packed_tensors(directory)[1])
    end = skeleton.layers + 2
    print(f"{'batch':>5} {'engine':>10} {'generate':>10} {'continuous':>10}  tokens/s; engine = generate?")
    for batch in options.batches:
        stage = Stage(skeleton, first_unit=0, end_unit=end, slots=batch, context_tokens=PROMPT_TOKENS + NEW_TOKENS + 1)
        prompts = torch.randint(10, 380, (batch, PROMPT_TOKENS), generator=torch.manual_seed(batch)).tolist()
        contestants = [
            partial(by_engine, [stage], prompts),
            partial(by_generate, llm, prompts),
            partial(by_continuous_batching, batched, prompts),
        ]
        results = contest(contestants[: 2 if options.without_continuous_batching else 3])
        print(
            f"{batch:>5} " + " ".join(f"{figure:>10.1f}" for figure, _ in results), " ", results[0][1] == results[1][1]
        )
    if not options.without_continuous_batching:
        batched.destroy_cached_continuous_batching_manager()


if __name__ == "__main__":
    main()
