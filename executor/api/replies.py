"""The bodies that clients get, in OpenAI's form.  Keys whose value is null are sent: clients expect them."""

from typing import Literal

import attrs

from executor.api.logprobs import ChatLogprobs, CompletionLogprobs
from executor.api.serving import Phase, Reason


@attrs.frozen(kw_only=True)
class Usage:
    """Tokens of a request; of all its prompts and choices together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


@attrs.frozen(kw_only=True)
class CompletionChoice:
    """A choice of a completion, or what a chunk adds to it."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Reason | None


@attrs.frozen(kw_only=True)
class Completion:
    """A completion, or a chunk of a streamed one."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None


@attrs.frozen(kw_only=True)
class AssistantMessage:
    """The answer of a chat."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


@attrs.frozen(kw_only=True)
class ChatChoice:
    """A choice of a chat."""

    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: Reason


@attrs.frozen(kw_only=True)
class ChatCompletion:
    """A chat's answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


@attrs.frozen(kw_only=True)
class ChatDelta:
    """What a chunk adds to the answer of a chat; the role is in the first."""

    role: Literal["assistant"] | None = None
    content: str | None = None


@attrs.frozen(kw_only=True)
class ChatChunkChoice:
    """What a chunk adds to a choice of a chat."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: Reason | None


@attrs.frozen(kw_only=True)
class ChatChunk:
    """A chunk of a streamed chat."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: Usage | None


@attrs.frozen(kw_only=True)
class LlmReply:
    """An LLM that requests can name."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "holdfast"
    max_model_len: int  # tokens of the context; the key that vLLM's clients read


@attrs.frozen(kw_only=True)
class LlmListReply:
    """All LLMs that requests can name."""

    object: Literal["list"] = "list"
    data: list[LlmReply]


@attrs.frozen(kw_only=True)
class HealthReply:
    """Whether this node can generate."""

    ok: bool
    sentence: str


@attrs.frozen(kw_only=True)
class AdoptedReply:
    """A plan that this node carries out, or has accepted and will carry out when the others have accepted it too."""

    generation: int
    digest: str
    phase: Phase
