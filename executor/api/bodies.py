"""The bodies that clients send: their fields, and reading one strictly.

Unknown fields are refused with the nearest known name; fields of OpenAI's that would change the answer and are not
supported are refused unless they hold the value that changes nothing.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import attrs
import msgspec

from executor.api.errors import invalid
from specs.codec import nearest

BODY_BYTES_MAX = 8 * 2**20  # a context of a million tokens as text, or as a list of numbers
_DEPTH_SENTENCE = "the body is nested too deeply"

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class StreamOptions:
    """Options of a streamed answer."""

    include_usage: bool | None = None  # a last chunk with the token counts
    include_obfuscation: bool | None = None  # accepted; no padding is ever added


@attrs.frozen(kw_only=True)
class SamplingBody:
    """What both kinds of request say about sampling."""

    model: str
    temperature: float | None = None  # 0 to 2, default 1; 0: the likeliest token, always
    top_p: float | None = None  # above 0, at most 1, default 1
    seed: int | None = None
    n: int | None = None  # choices per prompt, default 1
    stop: str | list[str] | None = None  # at most four
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    ignore_eos: bool | None = None  # beyond OpenAI's: go on past end tokens, for measurements
    user: str | None = None  # accepted, without effect
    metadata: dict[str, str] | None = None  # accepted, without effect
    store: bool | None = None  # accepted; nothing is stored


@attrs.frozen(kw_only=True)
class CompletionBody(SamplingBody):
    """The body of POST /v1/completions."""

    # A string, strings, tokens or lists of tokens; msgspec reads no union of lists, so the mixture is refused later.
    prompt: str | list[str | int | list[int]]
    max_tokens: int | None = None  # default 16
    logprobs: int | None = None  # alternatives per token
    best_of: int | None = None  # accepted if it is n


@attrs.frozen(kw_only=True)
class TextPart:
    """A part of a message's content."""

    type: str  # "text"
    text: str


@attrs.frozen(kw_only=True)
class Message:
    """One message of a conversation."""

    role: str  # system, developer, user or assistant
    content: str | list[TextPart]
    name: str | None = None


@attrs.frozen(kw_only=True)
class ChatBody(SamplingBody):
    """The body of POST /v1/chat/completions."""

    messages: list[Message]
    max_tokens: int | None = None  # default: up to the end of the context
    max_completion_tokens: int | None = None  # OpenAI's newer name of max_tokens
    logprobs: bool | None = None
    top_logprobs: int | None = None
    safety_identifier: str | None = None  # accepted, without effect
    prompt_cache_key: str | None = None  # accepted, without effect
    parallel_tool_calls: bool | None = None  # accepted, without effect: there are no tools


_Harmless = Mapping[str, tuple[object, ...]]

_REFUSED_BY_BOTH: _Harmless = {
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "logit_bias": (None, {}),
    "service_tier": (None, "auto", "default"),
}
# For each body the fields that are known and refused, with the values that change nothing.
_REFUSED: Mapping[type, _Harmless] = {
    CompletionBody: {**_REFUSED_BY_BOTH, "echo": (None, False), "suffix": (None, "")},
    ChatBody: {
        **_REFUSED_BY_BOTH,
        "audio": (None,),
        "function_call": (None, "none"),
        "functions": (None, []),
        "modalities": (None, ["text"]),
        "moderation": (None,),
        "prediction": (None,),
        "reasoning_effort": (None,),
        "response_format": (None, {"type": "text"}),
        "tool_choice": (None, "none", "auto"),
        "tools": (None, []),
        "verbosity": (None,),
        "web_search_options": (None,),
    },
    Message: {
        "annotations": (None, []),
        "audio": (None,),
        "function_call": (None,),
        "refusal": (None,),
        "tool_call_id": (None,),
        "tool_calls": (None, []),
    },
    TextPart: {},
    StreamOptions: {},
}


def read_body(kind: type[T], raw: bytes) -> T:
    """Read a request body.  Raises ApiError."""
    document = _parse(raw)
    if not isinstance(document, dict):
        raise invalid(None, "the body must be a JSON object")
    _screen(document, kind, "")
    _screen_parts(document)
    try:
        return msgspec.convert(_without_refused(document, kind), kind)
    except msgspec.ValidationError as error:
        raise _unconvertible(str(error)) from None


def _parse(raw: bytes) -> object:
    try:
        return msgspec.json.decode(raw)
    except UnicodeDecodeError as error:
        raise invalid(None, f"the body is not UTF-8: {error.reason}") from None
    except msgspec.MsgspecError as error:
        raise invalid(None, f"the body is not JSON: {error}") from None
    except RecursionError:
        raise invalid(None, _DEPTH_SENTENCE) from None


def _screen(document: Mapping[str, Any], kind: type, where: str) -> None:
    """Refuse unknown fields and fields that are not supported."""
    refused = _REFUSED[kind]
    known = [field.name for field in attrs.fields(kind)]
    for name, value in document.items():
        if name in refused:
            if value not in refused[name]:
                raise invalid(where + name, f"{where}{name} is not supported here", "unsupported_parameter")
        elif name not in known:
            shown = f"{where}{name:.80}"
            raise invalid(shown, f"{shown} is not a known field; {nearest(name[:80], known)}", "unknown_parameter")


def _screen_parts(document: Mapping[str, Any]) -> None:
    """Screen the objects inside; what is no object is left to the conversion to refuse."""
    options = document.get("stream_options")
    if isinstance(options, dict):
        _screen(options, StreamOptions, "stream_options.")
    messages = document.get("messages")
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        if not isinstance(message, dict):
            continue
        _screen(message, Message, f"messages[{index}].")
        content = message.get("content")
        for place, part in enumerate(content if isinstance(content, list) else ()):
            where = f"messages[{index}].content[{place}]."
            if isinstance(part, dict) and part.get("type") != "text":
                kind = f"{part.get('type')!r:.40}"
                raise invalid(where + "type", f"{where}type is {kind}; this LLM takes text parts only")
            if isinstance(part, dict):
                _screen(part, TextPart, where)


def _without_refused(document: Mapping[str, Any], kind: type) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in _REFUSED[kind]}


_PLACE = re.compile(r"^(?P<what>.*) - at `\$\.?(?P<where>.*)`$", re.DOTALL)


def _unconvertible(sentence: str) -> Exception:
    """Turn msgspec's sentence into ours: the field first."""
    found = _PLACE.match(sentence)
    what, where = (found["what"], found["where"]) if found else (sentence, "")
    if what.startswith("Object missing required field `"):
        where = f"{where}.{what.split('`')[1]}".lstrip(".")
        return invalid(where, f"{where} is missing")
    return invalid(where or None, f"{where or 'the body'}: {what[0].lower()}{what[1:]}")
