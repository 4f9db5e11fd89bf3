"""A pipeline whose stages are all in this process: what one node serves by itself, and what tests compare with."""

from collections import deque
from collections.abc import Sequence

import torch

from executor.engine.batcher import Batcher
from executor.engine.iteration import Iteration, Limits
from executor.engine.request import Request, RequestId
from executor.engine.sampler import Sampled, sample
from executor.engine.stage import Stage


def compute(stages: Sequence[Stage], iteration: Iteration) -> tuple[Sampled, ...]:
    """Run an iteration through all stages, from the embedding to the head, and sample its tokens."""
    batch = iteration.batch
    state = torch.tensor(iteration.tokens, dtype=torch.long)
    for stage in stages:
        state = stage.run(batch, state)
    wanted = iteration.sampled
    return sample(state, [entry.sampling for entry in wanted], [entry.index for entry in wanted])


def step(stages: Sequence[Stage], batcher: Batcher, under_way: deque[Iteration]) -> dict[RequestId, Sampled]:
    """Form as many iterations as may be under way, then complete the oldest; give the tokens that came of it."""
    while (iteration := batcher.next_iteration()) is not None:
        under_way.append(iteration)
    if not under_way:
        return {}
    iteration = under_way.popleft()
    sampled = compute(stages, iteration)
    progress = batcher.complete(iteration.id, [each.token for each in sampled])
    reported = {each.request for each in progress}
    return {
        entry.request: each for entry, each in zip(iteration.sampled, sampled, strict=True) if entry.request in reported
    }


def generate(
    stages: Sequence[Stage], requests: Sequence[Request], *, tokens_per_iteration: int = 512, in_flight_max: int = 1
) -> dict[RequestId, tuple[Sampled, ...]]:
    """Serve the requests to their ends; give the tokens generated for each, in order.

    Raises RequestRefused, before anything is computed, for a request that does not fit the stages.
    """
    cache = stages[0].cache
    limits = Limits(
        slots=cache.slots,
        context_tokens=cache.context_tokens,
        tokens_per_iteration=tokens_per_iteration,
        in_flight_max=in_flight_max,
    )
    batcher = Batcher(limits)
    for request in requests:
        batcher.add(request)
    answers: dict[RequestId, list[Sampled]] = {request.id: [] for request in requests}
    under_way: deque[Iteration] = deque()
    while batcher.running or batcher.waiting:
        for request_id, sampled in step(stages, batcher, under_way).items():
            answers[request_id].append(sampled)
    return {request_id: tuple(tokens) for request_id, tokens in answers.items()}
