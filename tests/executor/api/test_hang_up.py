"""A client that hangs up cancels what it asked for."""

import socket
import time

import httpx
import pytest

from tests.executor.api.fake_serving import LLM


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)


@pytest.mark.parametrize("choices", [1, 3])
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_hanging_up_in_mid_stream(url, serving, path, choices):
    serving.token_delay_s = 0.01
    body = {"model": LLM, "max_tokens": 400, "stream": True, "n": choices}
    body |= {"prompt": "x"} if path == "/v1/completions" else {"messages": [{"role": "user", "content": "x"}]}
    with httpx.stream("POST", url + path, json=body) as answer:
        assert answer.status_code == 200
        next(answer.iter_lines())
    wait_for(lambda: serving.cancelled == choices)
    assert serving.finished == 0
    assert serving.given < 400


def test_hanging_up_while_the_whole_answer_is_made(url, serving):
    serving.token_delay_s = 0.01
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{url}/v1/completions", json={"model": LLM, "prompt": "x", "max_tokens": 400}, timeout=0.3)
    wait_for(lambda: serving.cancelled == 1)
    assert serving.finished == 0


def test_hanging_up_before_the_first_token(url, serving):
    serving.token_delay_s = 30
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{url}/v1/completions", json={"model": LLM, "prompt": "x", "stream": True}, timeout=0.3)
    wait_for(lambda: serving.cancelled == 1)


def test_hanging_up_in_mid_body_asks_for_nothing(url, serving):
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b'content-length: 1000\r\n\r\n{"model": '
        )
    time.sleep(0.2)
    assert serving.requests == []
    assert httpx.get(f"{url}/health").status_code == 200


def test_hanging_up_on_the_journal(url, serving):
    with httpx.stream("GET", f"{url}/journal") as answer:
        lines = answer.iter_lines()  # httpx hangs up when this is collected
        next(lines)
        assert serving.followers == 1
    wait_for(lambda: serving.followers == 0)
