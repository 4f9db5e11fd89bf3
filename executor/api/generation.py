"""Running an order: its choices side by side, each event as a piece to whoever writes the answer."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from executor.api.choice import ChoiceWriter, Piece
from executor.api.errors import SERVER_ERROR, ApiError, unavailable
from executor.api.metrics import Meter
from executor.api.order import Order
from executor.api.serving import Failed, Finished, GenerationRequest, Serving, TokenEvent

# Takes the index of a choice and what is new in it.
Emit = Callable[[int, Piece], Awaitable[None]]


async def run_order(serving: Serving, order: Order, meter: Meter, emit: Emit) -> int:
    """Generate every choice and give the number of generated tokens.

    Cancelling this cancels every generation of the order.  Raises ApiError when one fails.
    """
    requests = order.requests
    if len(requests) == 1:
        return await _run_choice(serving, order, meter, (0, requests[0]), emit)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_run_choice(serving, order, meter, numbered, emit))
                for numbered in enumerate(requests)
            ]
    except* ApiError as failures:
        failure = failures
    else:
        return sum(task.result() for task in tasks)
    raise _first(failure)


def _first(failures: BaseExceptionGroup[ApiError]) -> ApiError:
    found = failures.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


async def _run_choice(
    serving: Serving, order: Order, meter: Meter, numbered: tuple[int, GenerationRequest], emit: Emit
) -> int:
    index, request = numbered
    sampling = order.sampling
    writer = ChoiceWriter(order.tokenizer, sampling.stops, with_tokens=sampling.logprobs is not None)
    timing = meter.begin(order.llm.id, len(request.prompt_tokens))
    async with aclosing(serving.generate(request)) as events:
        async for event in events:
            match event:
                case TokenEvent():
                    timing.token()
                    piece = writer.push(event)
                case Finished(reason=reason):
                    piece = writer.finish(reason)
                case Failed(sentence=sentence, retryable=retryable):
                    raise unavailable(sentence) if retryable else ApiError(message=sentence, status=SERVER_ERROR)
            if not piece.is_empty:
                await emit(index, piece)
            if piece.reason is not None:
                return writer.generated_tokens
    raise RuntimeError(f"the generation of {request.id} ended without Finished or Failed")
