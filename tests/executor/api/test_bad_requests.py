"""Whatever a client sends gets one sentence in OpenAI's form, never a 500."""

import json
import socket

import attrs
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor.api.bodies import BODY_BYTES_MAX, ChatBody, CompletionBody
from tests.executor.api.fake_serving import CONTEXT_TOKENS, LLM

COMPLETION, CHAT = "/v1/completions", "/v1/chat/completions"
USER = [{"role": "user", "content": "x"}]


@pytest.fixture(scope="module")
def http(running):
    with httpx.Client(base_url=running[1], timeout=120) as http:
        yield http


def error_of(answer, status):
    assert answer.status_code == status, answer.text
    (detail,) = answer.json().values()
    assert set(detail) == {"message", "type", "param", "code"}
    assert "Traceback" not in answer.text
    assert "\n" not in detail["message"]
    assert len(detail["message"]) < 1500
    return detail


def body_of(path, **fields):
    return {"model": LLM} | ({"prompt": "x"} if path == COMPLETION else {"messages": USER}) | fields


REFUSED = [
    (COMPLETION, {"suffix": "end"}, "suffix", "not supported"),
    (COMPLETION, {"echo": True}, "echo", "not supported"),
    (COMPLETION, {"best_of": 3}, "best_of", "not supported"),
    (COMPLETION, {"logit_bias": {"5": 1}}, "logit_bias", "not supported"),
    (COMPLETION, {"presence_penalty": 0.5}, "presence_penalty", "not supported"),
    (COMPLETION, {"max_tokenz": 3}, "max_tokenz", "did you mean max_tokens"),
    (COMPLETION, {"temprature": 3}, "temprature", "did you mean temperature"),
    (COMPLETION, {"max_tokens": -1}, "max_tokens", "is -1; it must be at least 1"),
    (COMPLETION, {"max_tokens": 0}, "max_tokens", "at least 1"),
    (COMPLETION, {"max_tokens": 10**30}, "max_tokens", "context"),
    (COMPLETION, {"max_tokens": 1.5}, "max_tokens", "expected `int"),
    (COMPLETION, {"max_tokens": True}, "max_tokens", "expected `int"),
    (COMPLETION, {"temperature": -0.1}, "temperature", "from 0 to 2"),
    (COMPLETION, {"temperature": "hot"}, "temperature", "expected `float"),
    (COMPLETION, {"temperature": 2.5}, "temperature", "from 0 to 2"),
    (COMPLETION, {"top_p": 0}, "top_p", "above 0"),
    (COMPLETION, {"top_p": 1.01}, "top_p", "at most 1"),
    (COMPLETION, {"n": 0}, "n", "from 1 to 128"),
    (COMPLETION, {"n": 129}, "n", "from 1 to 128"),
    (COMPLETION, {"n": 100, "prompt": ["a", "b"]}, "n", "at most 128 in all"),
    (COMPLETION, {"seed": 2**63}, "seed", "64 bits"),
    (COMPLETION, {"seed": 10**40}, "seed", "out of all range"),
    (COMPLETION, {"logprobs": 21}, "logprobs", "from 0 to 20"),
    (COMPLETION, {"logprobs": -1}, "logprobs", "from 0 to 20"),
    (COMPLETION, {"stop": ["a", "b", "c", "d", "e"]}, "stop", "at most 4"),
    (COMPLETION, {"stop": ""}, "stop", "from 1 to"),
    (COMPLETION, {"stop": ["x" * 1001]}, "stop", "1000 characters"),
    (COMPLETION, {"stop": 5}, "stop", "expected"),
    (COMPLETION, {"prompt": []}, "prompt", "empty list"),
    (COMPLETION, {"prompt": ""}, "prompt", "no tokens"),
    (COMPLETION, {"prompt": [[]]}, "prompt", "no tokens"),
    (COMPLETION, {"prompt": ["a", 5]}, "prompt", "mixes"),
    (COMPLETION, {"prompt": ["a", [5]]}, "prompt", "mixes"),
    (COMPLETION, {"prompt": [5, -1]}, "prompt", "the token -1"),
    (COMPLETION, {"prompt": [[5, 384]]}, "prompt", "the token 384"),
    (COMPLETION, {"prompt": [2**70]}, "prompt", "out of all range"),
    (COMPLETION, {"prompt": [1.5]}, "prompt[0]", "expected"),
    (COMPLETION, {"prompt": None}, "prompt", "expected"),
    (COMPLETION, {"model": 5}, "model", "expected `str`"),
    (COMPLETION, {"stream_options": {"include_usage": True}}, "stream_options", "needs stream"),
    (COMPLETION, {"stream": True, "stream_options": {"usage": True}}, "stream_options.usage", "include_usage"),
    (CHAT, {"tools": [{"type": "function"}]}, "tools", "not supported"),
    (CHAT, {"response_format": {"type": "json_object"}}, "response_format", "not supported"),
    (CHAT, {"audio": {"voice": "alloy"}}, "audio", "not supported"),
    (CHAT, {"top_logprobs": 2}, "top_logprobs", "needs logprobs"),
    (CHAT, {"logprobs": True, "top_logprobs": 21}, "top_logprobs", "from 0 to 20"),
    (CHAT, {"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens", "differ"),
    (CHAT, {"max_completion_tokens": 0}, "max_completion_tokens", "at least 1"),
    (CHAT, {"messages": []}, "messages", "empty"),
    (CHAT, {"messages": "x"}, "messages", "expected `array`"),
    (CHAT, {"messages": [5]}, "messages[0]", "expected"),
    (CHAT, {"messages": [{"role": "user"}]}, "messages[0].content", "is missing"),
    (CHAT, {"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "must be one of"),
    (CHAT, {"messages": [{"role": "user", "content": "x", "nme": "y"}]}, "messages[0].nme", "did you mean name"),
    (
        CHAT,
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        "messages[0].content[0].type",
        "text parts only",
    ),
    (CHAT, {"messages": [{"role": "assistant", "content": "x", "tool_calls": [{}]}]}, "messages[0].tool_calls", "not"),
]


@pytest.mark.parametrize(("path", "fields", "param", "sentence"), REFUSED, ids=lambda value: f"{value}"[:40])
def test_a_wrong_field_is_named(http, path, fields, param, sentence):
    detail = error_of(http.post(path, json=body_of(path, **fields)), 400)
    assert detail["param"] == param
    assert sentence in detail["message"]
    assert detail["type"] == "invalid_request_error"


def test_a_missing_field_is_named(http):
    detail = error_of(http.post(COMPLETION, json={"model": LLM}), 400)
    assert (detail["param"], detail["message"]) == ("prompt", "prompt is missing")


HARMLESS = {
    "frequency_penalty": 0.0,
    "logit_bias": None,
    "user": "me",
    "store": True,
    "service_tier": "auto",
    "stop": None,
    "n": None,
}


@pytest.mark.parametrize("path", [COMPLETION, CHAT])
def test_what_changes_nothing_is_accepted(http, path):
    more = (
        {"tools": [], "response_format": {"type": "text"}, "tool_choice": "none"} if path == CHAT else {"echo": False}
    )
    assert http.post(path, json=body_of(path, **HARMLESS, **more)).status_code == 200


def test_too_long_for_the_context(http):
    detail = error_of(http.post(COMPLETION, json=body_of(COMPLETION, prompt=[9] * 500, max_tokens=13)), 400)
    assert detail["code"] == "context_length_exceeded"
    assert all(number in detail["message"] for number in ("512", "500", "13", "513"))
    fits = http.post(COMPLETION, json=body_of(COMPLETION, prompt=[9] * 500, max_tokens=12))
    assert fits.json()["usage"]["total_tokens"] == CONTEXT_TOKENS


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "x" * 100_000},
        {"prompt": ["y"] * 1_000_000},
        {"prompt": [9] * 2_000_000},
        {"p" * 8_000_000: 1},
        {"stop": ["a"] * 1_000_000},
    ],
    ids=["characters", "prompts", "tokens", "a name", "stops"],
)
def test_large_nonsense_is_refused(http, fields):
    body = json.dumps(body_of(COMPLETION, **fields)).encode()
    error_of(http.post(COMPLETION, content=body, headers={"content-type": "application/json"}), 400)


def test_an_unknown_llm(http):
    detail = error_of(http.post(COMPLETION, json=body_of(COMPLETION, model="x" * 1000)), 404)
    assert (detail["code"], detail["param"]) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "the body is empty"),
        (b"{", "not JSON"),
        (b'{"model": NaN}', "not JSON"),
        (b'{"temperature": 1e999}', "not JSON"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'{"model": "\xff"}', "not UTF-8"),
        (b'{"model": "\\ud800"}', "not JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b"\x00" * 100, "not JSON"),
    ],
    ids=lambda value: f"{value}"[:24],
)
def test_a_body_that_is_no_document(http, raw, sentence):
    for path in (COMPLETION, CHAT):
        detail = error_of(http.post(path, content=raw, headers={"content-type": "application/json"}), 400)
        assert sentence in detail["message"]


def test_another_media_type(http):
    error_of(http.post(COMPLETION, data={"model": LLM}), 415)
    # No content type at all is taken as JSON.
    raw = json.dumps(body_of(COMPLETION)).encode()
    assert http.post(COMPLETION, content=raw).status_code == 200


def test_oversized_bodies(http):
    body = json.dumps(body_of(COMPLETION, prompt="x" * BODY_BYTES_MAX)).encode()
    headers = {"content-type": "application/json"}
    detail = error_of(http.post(COMPLETION, content=body, headers=headers), 413)
    assert str(BODY_BYTES_MAX) in detail["message"]

    def chunked():
        yield from (b" " * 2**20 for _ in range(9))

    error_of(http.post(COMPLETION, content=chunked(), headers=headers), 413)


def test_paths_and_methods(http):
    assert error_of(http.get("/v1/nothing"), 404)["code"] == "not_found"
    answer = http.get(COMPLETION)
    assert error_of(answer, 405)["code"] == "method_not_allowed"
    assert "POST" in answer.headers["allow"]
    error_of(http.get("/v1/models/%ff%00%F0%9F"), 404)
    error_of(http.get("/journal", params={"since": "-1"}), 400)
    error_of(http.get("/journal", params={"since": "x"}), 400)


GARBAGE = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 60 + b"\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
    b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000 + b"\r\n",
    b"\r\n\r\n\r\n\x00\x01\x02",
)


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_bytes_that_are_no_http(url, http, garbage):
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.settimeout(10)
        try:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(65536)
        except ConnectionError:
            answer = b""
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert b"Traceback" not in answer
    assert http.get("/health").status_code == 200


FIELDS = sorted(
    {field.name for kind in (CompletionBody, ChatBody) for field in attrs.fields(kind)} | {"echo", "suffix", "tools"}
)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("aä\x00🎉")
)
values = st.recursive(
    scalars | st.just(LLM),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "type", "text"]), inner)
    ),
    max_leaves=8,
)
bodies = st.dictionaries(st.sampled_from(FIELDS), values, max_size=6)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from([COMPLETION, CHAT]), fields=bodies)
def test_any_document_gets_an_answer_or_one_sentence(http, path, fields):
    answer = http.post(path, json=body_of(path) | fields)
    if answer.status_code != 200:
        assert answer.status_code in (400, 404)
        error_of(answer, answer.status_code)
