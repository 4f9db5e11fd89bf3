"""What is asked of the engine: a request for tokens, and how to choose each of them."""

from typing import NewType

import attrs

from executor.engine.errors import RequestRefused
from specs import fields

RequestId = NewType("RequestId", str)


@attrs.frozen(kw_only=True)
class SamplingParams:
    """How a token is chosen from its logits.  Temperature and top_p are the floats that people send."""

    temperature: float = 0.0  # 0 takes the most likely token
    top_p: float = 1.0  # the fewest, most likely tokens whose probabilities sum to this much
    seed: int = 0  # with the token's index it decides the choice, so a request goes on equally on another node
    top_logprobs: int | None = None  # None: no log-probability at all; 0: only the chosen token's

    def __attrs_post_init__(self) -> None:
        if not self.temperature >= 0.0:
            raise RequestRefused(f"temperature must be at least 0, not {self.temperature}")
        if not 0.0 < self.top_p <= 1.0:
            raise RequestRefused(f"top_p must be above 0 and at most 1, not {self.top_p}")


@attrs.frozen(kw_only=True)
class Request:
    """A request, at its beginning or with the tokens that other pipelines have generated for it."""

    id: RequestId = fields.name()
    tokens: tuple[int, ...]  # the prompt, then what has been generated so far
    prompt_tokens: int = fields.positive()
    max_tokens: int = fields.positive()  # to generate, those before included
    end_tokens: frozenset[int]  # a token of these is the last; none of them: only the length ends it
    sampling: SamplingParams = attrs.field(factory=SamplingParams)

    def __attrs_post_init__(self) -> None:
        if len(self.tokens) < self.prompt_tokens:
            raise RequestRefused(
                f"request {self.id}: {self.prompt_tokens} prompt tokens, but only {len(self.tokens)} given"
            )
        if self.generated >= self.max_tokens:
            raise RequestRefused(f"request {self.id}: all of its {self.max_tokens} tokens have been generated")

    @property
    def generated(self) -> int:
        """How many tokens have been generated: the index of the next."""
        return len(self.tokens) - self.prompt_tokens
