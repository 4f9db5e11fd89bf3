"""What a request asks of the sampler, within its limits."""

import hashlib
import secrets

import attrs

from executor.api.bodies import ChatBody, CompletionBody, SamplingBody
from executor.api.errors import ApiError, invalid

TEMPERATURE_MAX = 2.0
LOGPROBS_MAX = 20  # OpenAI's limit for chats; its 5 for completions is too tight for those who measure
STOPS_MAX = 4
STOP_CHARACTERS_MAX = 1000
CHOICES_MAX = 128  # of one request: prompts times n
COMPLETION_TOKENS_DEFAULT = 16
_SEED_MIN, _SEED_COUNT = -(2**63), 2**63


@attrs.frozen(kw_only=True)
class Sampling:
    """How the sequences of one request are drawn."""

    max_tokens: int | None  # None: up to the end of the context
    temperature: float | None  # None: the likeliest token, always
    top_p: float
    seed: int  # of the first choice; see `seed_of_choice`
    choices: int  # per prompt
    stops: tuple[str, ...]
    logprobs: int | None  # alternatives per token; None: none, not even the token's own
    ignore_eos: bool

    def seed_of_choice(self, index: int) -> int:
        """Give each choice its own seed; the first has the request's, so that it is the same whatever n is."""
        if index == 0:
            return self.seed
        return int.from_bytes(hashlib.sha256(f"{self.seed}/{index}".encode()).digest()[:8]) % _SEED_COUNT


def completion_sampling(body: CompletionBody) -> Sampling:
    """Read the sampling of a completion.  Raises ApiError."""
    if body.best_of is not None and body.best_of != (body.n or 1):
        raise invalid("best_of", "best_of is not supported other than equal to n", "unsupported_parameter")
    max_tokens = COMPLETION_TOKENS_DEFAULT if body.max_tokens is None else body.max_tokens
    return _sampling(body, "max_tokens", max_tokens, _count("logprobs", body.logprobs, 0, LOGPROBS_MAX))


def chat_sampling(body: ChatBody) -> Sampling:
    """Read the sampling of a chat.  Raises ApiError."""
    if body.top_logprobs is not None and not body.logprobs:
        raise invalid("top_logprobs", "top_logprobs needs logprobs to be true")
    newer = body.max_completion_tokens is not None
    name, max_tokens = (
        ("max_completion_tokens", body.max_completion_tokens) if newer else ("max_tokens", body.max_tokens)
    )
    if newer and body.max_tokens not in (None, body.max_completion_tokens):
        raise invalid("max_tokens", "max_tokens and max_completion_tokens differ; give one")
    top = _count("top_logprobs", body.top_logprobs, 0, LOGPROBS_MAX) or 0
    return _sampling(body, name, max_tokens, top if body.logprobs else None)


def _sampling(body: SamplingBody, max_tokens_name: str, max_tokens: int | None, logprobs: int | None) -> Sampling:
    temperature = 1.0 if body.temperature is None else body.temperature
    if not 0 <= temperature <= TEMPERATURE_MAX:
        raise invalid("temperature", f"temperature is {temperature:g}; it must be from 0 to {TEMPERATURE_MAX:g}")
    top_p = 1.0 if body.top_p is None else body.top_p
    if not 0 < top_p <= 1:
        raise invalid("top_p", f"top_p is {top_p:g}; it must be above 0 and at most 1")
    if body.stream_options is not None and not body.stream:
        raise invalid("stream_options", "stream_options needs stream to be true")
    return Sampling(
        max_tokens=_count(max_tokens_name, max_tokens, 1, None),
        temperature=temperature or None,
        top_p=top_p,
        seed=_seed(body.seed),
        choices=_count("n", body.n, 1, CHOICES_MAX) or 1,
        stops=_stops(body.stop),
        logprobs=logprobs,
        ignore_eos=bool(body.ignore_eos),
    )


def _count(name: str, value: int | None, least: int, most: int | None) -> int | None:
    if value is None or (least <= value and (most is None or value <= most)):
        return value
    wanted = f"at least {least}" if most is None else f"from {least} to {most}"
    raise _out_of_range(name, value, wanted)


def _out_of_range(name: str, value: int, wanted: str) -> ApiError:
    shown = str(value) if abs(value) < 2**64 else "out of all range"
    return invalid(name, f"{name} is {shown}; it must be {wanted}")


def _seed(seed: int | None) -> int:
    if seed is None:
        return secrets.randbelow(_SEED_COUNT)
    if not _SEED_MIN <= seed < _SEED_COUNT:
        raise _out_of_range("seed", seed, "a whole number of 64 bits")
    return seed % _SEED_COUNT


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if len(stops) > STOPS_MAX:
        raise invalid("stop", f"stop has {len(stops)} strings; at most {STOPS_MAX} are taken")
    if not all(0 < len(each) <= STOP_CHARACTERS_MAX for each in stops):
        raise invalid("stop", f"stop strings have from 1 to {STOP_CHARACTERS_MAX} characters")
    return stops
