"""Log-probabilities in the forms of the two APIs."""

import attrs

from executor.api.choice import WrittenToken
from executor.text.tokenizer import Tokenizer

# JSON has no infinity; OpenAI's reference gives this for tokens that are as good as impossible.
LOGPROB_LEAST = -9999.0


@attrs.frozen(kw_only=True)
class CompletionLogprobs:
    """Of a completion: four lists, one entry per token."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]  # the likeliest alternatives; empty objects where none are wanted
    text_offset: list[int]  # characters from the start of the choice's text


@attrs.frozen(kw_only=True)
class TopLogprob:
    """An alternative."""

    token: str
    bytes: list[int]
    logprob: float


@attrs.frozen(kw_only=True)
class TokenLogprob:
    """A token of a chat's answer."""

    token: str
    bytes: list[int]
    logprob: float
    top_logprobs: list[TopLogprob]


@attrs.frozen(kw_only=True)
class ChatLogprobs:
    """Of a chat's answer."""

    content: list[TokenLogprob]
    refusal: list[TokenLogprob] | None = None  # always null; OpenAI's clients expect the key


def completion_logprobs(tokenizer: Tokenizer, tokens: tuple[WrittenToken, ...]) -> CompletionLogprobs:
    """Write the tokens of a completion."""
    return CompletionLogprobs(
        tokens=[_named(tokenizer, written.event.token) for written in tokens],
        token_logprobs=[_finite(written.event.logprob) for written in tokens],
        top_logprobs=[_by_name(tokenizer, written.event.top) for written in tokens],
        text_offset=[written.offset for written in tokens],
    )


def chat_logprobs(tokenizer: Tokenizer, tokens: tuple[WrittenToken, ...]) -> ChatLogprobs:
    """Write the tokens of a chat's answer."""
    return ChatLogprobs(
        content=[
            TokenLogprob(
                token=_shown(tokenizer, written.event.token),
                bytes=list(tokenizer.token_bytes(written.event.token)),
                logprob=_finite(written.event.logprob),
                top_logprobs=[
                    TopLogprob(
                        token=_shown(tokenizer, token),
                        bytes=list(tokenizer.token_bytes(token)),
                        logprob=_finite(logprob),
                    )
                    for token, logprob in written.event.top
                ],
            )
            for written in tokens
        ]
    )


def _shown(tokenizer: Tokenizer, token: int) -> str:
    return tokenizer.token_bytes(token).decode(errors="replace")


def _named(tokenizer: Tokenizer, token: int) -> str:
    """Name a token in text; one that is no text by itself by its bytes, as OpenAI does."""
    written = tokenizer.token_bytes(token)
    try:
        return written.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in written)


def _by_name(tokenizer: Tokenizer, top: tuple[tuple[int, float], ...]) -> dict[str, float]:
    """Key alternatives by name; of two tokens with one name the likelier, which comes first, is kept."""
    named: dict[str, float] = {}
    for token, logprob in top:
        named.setdefault(_named(tokenizer, token), _finite(logprob))
    return named


def _finite(logprob: float | None) -> float:
    assert logprob is not None  # the request asked for them
    return max(logprob, LOGPROB_LEAST)
