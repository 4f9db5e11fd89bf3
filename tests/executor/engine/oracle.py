"""What every engine test compares with: the tokens of `transformers` on the whole LLM, one request at a time."""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
import transformers

from executor.engine.request import Request, RequestId, SamplingParams
from executor.engine.skeleton import Skeleton
from executor.engine.stage import Stage
from tests import checkpoints

LAYERS = 4
WHOLE = (0, LAYERS + 2)
PROMPTS = (tuple(range(3, 26)), (9,), (50, 60, 70, 80, 90, 100, 110, 120, 130), (11, 12))
CPU = torch.device("cpu")


@cache
def reference(directory: Path, dtype: torch.dtype = torch.float32) -> transformers.PreTrainedModel:
    return transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=dtype).eval()


def greedy(directory: Path, prompt: Sequence[int], tokens: int, end: int | None = None) -> list[int]:
    output = reference(directory).generate(
        torch.tensor([prompt]), max_new_tokens=tokens, do_sample=False, eos_token_id=end, pad_token_id=2
    )
    return output[0, len(prompt) :].tolist()


def skeleton(directory: Path, *, units: tuple[int, int] = WHOLE, dtype: torch.dtype = torch.float32) -> Skeleton:
    """A skeleton with the tensors that units [units[0], units[1]) need, and no other."""
    made = Skeleton(directory, dtype=dtype, device=CPU)
    _, views = checkpoints.packed_tensors(directory)
    made.attach({name: view for name, view in views.items() if set(made.units_of(name)) & set(range(*units))})
    return made


def stages(shared: Skeleton, cuts: Sequence[int], *, slots: int = 4, context_tokens: int = 64) -> list[Stage]:
    return [
        Stage(shared, first_unit=first, end_unit=end, slots=slots, context_tokens=context_tokens)
        for first, end in pairwise(cuts)
    ]


def requests(
    prompts: Sequence[Sequence[int]] = PROMPTS,
    *,
    max_tokens: int = 10,
    end_tokens: frozenset[int] = frozenset(),
    sampling: SamplingParams | None = None,
) -> list[Request]:
    return [
        Request(
            id=RequestId(f"r{number}"),
            tokens=tuple(prompt),
            prompt_tokens=len(prompt),
            max_tokens=max_tokens,
            end_tokens=end_tokens,
            sampling=sampling or SamplingParams(),
        )
        for number, prompt in enumerate(prompts)
    ]
