"""How an LLM is used, and what its users are promised."""

import attrs

from specs import fields
from specs.llm import LlmId
from specs.units import Nanos, Tokens


@attrs.frozen(kw_only=True)
class Workload:
    """The requests that one LLM gets.  Sizes are per request."""

    llm: LlmId = fields.name()
    requests_per_hour: int = fields.natural()
    prompt_tokens_mean: Tokens = fields.positive()
    output_tokens_mean: Tokens = fields.positive()
    request_tokens_max: Tokens = fields.positive()  # prompt and output together; KV is reserved for this many
    live_requests_max: int = fields.positive()  # in one pipeline at once


@attrs.frozen(kw_only=True)
class Slo:
    """A promise to the users of one LLM, at a percentile of its requests."""

    llm: LlmId = fields.name()
    percentile: int = fields.positive()  # 50 to 99
    ttft_ns_max: Nanos = fields.positive()  # time to first token
    tpot_ns_max: Nanos = fields.positive()  # time per output token after the first
    pause_ns_max: Nanos | None = None  # beyond an iteration, while KV is handed over; absent: nothing promised
