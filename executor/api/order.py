"""An order: a request that was read, found possible and turned into prompts of tokens."""

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import attrs

from executor.api.bodies import ChatBody, CompletionBody, Message
from executor.api.errors import NOT_FOUND, ApiError, invalid, unavailable
from executor.api.sampling import CHOICES_MAX, Sampling, chat_sampling, completion_sampling
from executor.api.serving import GenerationRequest, RequestId, ServedLlm, Serving
from executor.text.errors import ChatRefused, UnusableTokenizer
from executor.text.tokenizer import Tokenizer, load_tokenizer
from specs.units import Tokens

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_Source = TypeVar("_Source")
# A node gets the small files of its LLMs within milliseconds of its plan, unless their holder is gone.
TOKENIZER_PATIENCE_S = 10
_INLINE_CHARACTERS_MAX = 20_000  # about 10 ms of tokenizing; more is done beside the event loop
_MESSAGE_CHARACTERS = 20  # what rendering a message costs, in characters of tokenizing


@attrs.frozen(kw_only=True)
class Order:
    """What one HTTP request asks for."""

    id: str
    created_s: int
    llm: ServedLlm
    tokenizer: Tokenizer
    prompts: tuple[tuple[int, ...], ...]
    sampling: Sampling
    stream: bool
    stream_usage: bool

    @property
    def requests(self) -> tuple[GenerationRequest, ...]:
        """One request per choice: those of the first prompt, those of the second, ..."""
        sampling = self.sampling
        return tuple(
            GenerationRequest(
                id=RequestId(f"{self.id}-{place * sampling.choices + index}"),
                llm=self.llm.id,
                prompt_tokens=prompt,
                max_tokens=Tokens(sampling.max_tokens or self.llm.context_tokens - len(prompt)),
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=sampling.seed_of_choice(index),
                logprobs=sampling.logprobs,
                ignore_eos=sampling.ignore_eos,
            )
            for place, prompt in enumerate(self.prompts)
            for index in range(sampling.choices)
        )

    @property
    def prompt_tokens(self) -> int:
        """Of all prompts, each counted once however many choices it has."""
        return sum(map(len, self.prompts))


class Tokenizers:
    """The tokenizers in use, each read once and beside the event loop."""

    def __init__(self) -> None:
        self._loading: dict[Path, asyncio.Task[Tokenizer]] = {}

    async def of(self, serving: Serving, llm: ServedLlm) -> Tokenizer:
        """Give the tokenizer of an LLM, waiting for it a while.  Raises ApiError when there is none."""
        try:
            directory = await asyncio.wait_for(serving.tokenizer_directory(llm.id), TOKENIZER_PATIENCE_S)
        except TimeoutError:
            raise unavailable(f"the tokenizer of {llm.id} has not arrived yet") from None
        if directory not in self._loading:
            self._loading[directory] = asyncio.create_task(asyncio.to_thread(load_tokenizer, directory))
        try:
            # Shielded: a client that hangs up must not take the tokenizer from the others.
            return await asyncio.shield(self._loading[directory])
        except UnusableTokenizer as error:
            self._loading.pop(directory, None)
            raise unavailable(str(error)) from None


async def order_completion(serving: Serving, tokenizers: Tokenizers, body: CompletionBody) -> Order:
    """Read a completion.  Raises ApiError."""
    sampling = completion_sampling(body)
    llm = find_llm(serving, body.model)
    tokenizer = await tokenizers.of(serving, llm)
    several = _prompts(body.prompt)
    # Before any work on them: a million prompts fit into a body.
    if len(several) * sampling.choices > CHOICES_MAX:
        raise invalid("n", f"{len(several)} prompts with {sampling.choices} choices each; at most {CHOICES_MAX} in all")
    prompts = []
    for prompt in several:
        if isinstance(prompt, str):
            prompts.append(await _encode(tokenizer.encode, prompt, len(prompt)))
        else:
            _check_context(llm, prompt, sampling.max_tokens)
            prompts.append(_known_tokens(tokenizer, prompt))
    return _order("cmpl-", llm, tokenizer, tuple(prompts), body, sampling)


async def order_chat(serving: Serving, tokenizers: Tokenizers, body: ChatBody) -> Order:
    """Read a chat.  Raises ApiError."""
    sampling = chat_sampling(body)
    if not body.messages:
        raise invalid("messages", "messages is empty; at least one is needed")
    messages = [_templated(index, message) for index, message in enumerate(body.messages)]
    llm = find_llm(serving, body.model)
    tokenizer = await tokenizers.of(serving, llm)
    try:
        characters = sum(len(message["content"]) + _MESSAGE_CHARACTERS for message in messages)
        prompt = await _encode(tokenizer.encode_chat, messages, characters)
    except ChatRefused as error:
        raise invalid("messages", str(error)) from None
    return _order("chatcmpl-", llm, tokenizer, (prompt,), body, sampling)


def find_llm(serving: Serving, name: str) -> ServedLlm:
    """Find the LLM that a request names.  Raises ApiError."""
    llms = serving.llms()
    for llm in llms:
        if llm.id == name:
            return llm
    if not llms:
        raise unavailable("this node serves no LLM yet")
    known = ", ".join(llm.id for llm in llms)
    raise ApiError(
        message=f"the model {name:.200} is not served here; served are {known}",
        status=NOT_FOUND,
        param="model",
        code="model_not_found",
    )


def _order(
    prefix: str,
    llm: ServedLlm,
    tokenizer: Tokenizer,
    prompts: tuple[tuple[int, ...], ...],
    body: CompletionBody | ChatBody,
    sampling: Sampling,
) -> Order:
    for prompt in prompts:
        _check_context(llm, prompt, sampling.max_tokens)
    return Order(
        id=prefix + uuid.uuid4().hex,
        created_s=int(time.time()),
        llm=llm,
        tokenizer=tokenizer,
        prompts=prompts,
        sampling=sampling,
        stream=bool(body.stream),
        stream_usage=body.stream_options is not None and bool(body.stream_options.include_usage),
    )


def _check_context(llm: ServedLlm, prompt: Sequence[int], max_tokens: int | None) -> None:
    if not prompt:
        raise invalid("prompt", "the prompt has no tokens; at least one is needed")
    wanted = len(prompt) + (max_tokens or 1)
    if wanted > llm.context_tokens:
        raise invalid(
            "max_tokens" if len(prompt) < llm.context_tokens else "prompt",
            f"the context of {llm.id} is {llm.context_tokens} tokens; the prompt has {len(prompt)} and "
            f"{max_tokens or 1} are to be generated, together {wanted}",
            "context_length_exceeded",
        )


def _prompts(prompt: str | list[str | int | list[int]]) -> list[str | list[int]]:
    """Tell the four forms of a prompt apart."""
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        raise invalid("prompt", "prompt is an empty list; at least one prompt is needed")
    tokens = [each for each in prompt if isinstance(each, int)]
    if len(tokens) == len(prompt):
        return [tokens]
    several = [each for each in prompt if not isinstance(each, int)]
    if tokens or len({type(each) for each in several}) > 1:
        raise invalid("prompt", "prompt mixes kinds; give a string, strings, tokens or lists of tokens")
    return several


def _known_tokens(tokenizer: Tokenizer, prompt: list[int]) -> tuple[int, ...]:
    for token in prompt:
        if not tokenizer.knows(token):
            shown = str(token) if abs(token) < 2**64 else "a number out of all range"
            raise invalid("prompt", f"prompt has the token {shown}, which this LLM's tokenizer does not know")
    return tuple(prompt)


def _templated(index: int, message: Message) -> dict[str, str]:
    role = _ROLES.get(message.role)
    if role is None:
        raise invalid(
            f"messages[{index}].role",
            f"messages[{index}].role is {message.role!r:.40}; it must be one of {', '.join(_ROLES)}",
        )
    content = message.content
    text = content if isinstance(content, str) else "".join(part.text for part in content)
    return {"role": role, "content": text}


async def _encode(encode: Callable[[_Source], tuple[int, ...]], source: _Source, characters: int) -> tuple[int, ...]:
    if characters <= _INLINE_CHARACTERS_MAX:
        return encode(source)
    return await asyncio.to_thread(encode, source)
