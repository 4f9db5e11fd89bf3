"""Uvicorn inside a loop that is not its own: addresses, signals and a clean end."""

import asyncio
import signal
import socket

import httpx
import pytest

from executor.api.app import make_app
from executor.api.server import serve
from tests.executor.api.fake_serving import LLM, FakeServing


def test_a_free_port_is_taken_and_told(tokenizer_directory):
    async def run():
        async with (
            serve(make_app(FakeServing(tokenizer_directory)), "127.0.0.1", 0) as address,
            httpx.AsyncClient() as http,
        ):
            assert address.port > 0
            assert (await http.get(f"{address.url}/health")).status_code == 200
        return address

    address = asyncio.run(run())
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address.url}/health")


def test_a_taken_port_is_an_error_at_once(tokenizer_directory):
    async def run(port):
        async with serve(make_app(FakeServing(tokenizer_directory)), "127.0.0.1", port):
            raise AssertionError("the port was taken")

    with socket.create_server(("127.0.0.1", 0)) as holder, pytest.raises(OSError, match="in use"):
        asyncio.run(run(holder.getsockname()[1]))


def test_signals_stay_the_daemons(tokenizer_directory):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    async def run():
        async with serve(make_app(FakeServing(tokenizer_directory)), "127.0.0.1", 0):
            await asyncio.sleep(0.2)
            return signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    assert asyncio.run(run())[0] == before[0]


def test_leaving_cancels_what_is_under_way(tokenizer_directory):
    serving = FakeServing(tokenizer_directory, token_delay_s=0.05)

    async def first_line(http, method, url, **options):
        async with http.stream(method, url, **options) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            begun.release()
            with pytest.raises(httpx.RemoteProtocolError):
                [line async for line in lines]

    begun = asyncio.Semaphore(0)

    async def run():
        async with httpx.AsyncClient() as http:
            async with serve(make_app(serving), "127.0.0.1", 0) as address:
                body = {"model": LLM, "prompt": "x", "max_tokens": 400, "stream": True}
                clients = asyncio.gather(
                    first_line(http, "POST", f"{address.url}/v1/completions", json=body),
                    first_line(http, "GET", f"{address.url}/journal"),
                )
                await begun.acquire()
                await begun.acquire()
            await clients

    asyncio.run(run())
    assert serving.cancelled == 1
    assert serving.followers == 0


def test_an_answer_under_way_may_end(tokenizer_directory):
    serving = FakeServing(tokenizer_directory, token_delay_s=0.02)

    async def run():
        async with httpx.AsyncClient() as http:
            async with serve(make_app(serving), "127.0.0.1", 0) as address:
                body = {"model": LLM, "prompt": "x", "max_tokens": 20}
                answering = asyncio.create_task(http.post(f"{address.url}/v1/completions", json=body))
                while not serving.given:  # noqa: ASYNC110  the daemon need not know that it is watched
                    await asyncio.sleep(0.01)
            return await answering

    assert asyncio.run(run()).json()["usage"]["completion_tokens"] == 20
