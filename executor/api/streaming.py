"""Answers that are written while they are made, and that stop being made when the client hangs up."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any

import attrs
import msgspec
from litestar.types import Receive, Scope, Send

from executor.api.choice import Piece
from executor.api.errors import ApiError
from executor.api.forms import Form, joined
from executor.api.generation import run_order
from executor.api.metrics import Meter
from executor.api.order import Order
from executor.api.replies import Usage
from executor.api.serving import Serving

_ENCODER = msgspec.json.Encoder()


@attrs.frozen(kw_only=True)
class GenerationReply:
    """The ASGI application that answers one order."""

    serving: Serving
    meter: Meter
    order: Order
    form: Form

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Generate and write; cancel the generation when the client hangs up.  Raises ApiError before the start."""
        del scope
        work = self._write_chunks(send) if self.order.stream else self._write_whole(send)
        await until_hang_up(receive, work)

    async def _write_whole(self, send: Send) -> None:
        order = self.order
        pieces: list[list[Piece]] = [[] for _ in order.requests]

        async def keep(index: int, piece: Piece) -> None:
            pieces[index].append(piece)

        generated_tokens = await run_order(self.serving, order, self.meter, keep)
        reply = self.form.whole(order, [joined(each) for each in pieces], _usage(order, generated_tokens))
        stream = BodyStream(send, "application/json")
        await stream.write(_ENCODER.encode(reply))
        await stream.end()

    async def _write_chunks(self, send: Send) -> None:
        order = self.order
        stream = BodyStream(send, "text/event-stream")
        opened: set[int] = set()

        async def write(index: int, piece: Piece) -> None:
            chunk = _server_sent(self.form.chunk(order, index, piece))
            if index not in opened:
                opened.add(index)
                opening = self.form.opening(order, index)
                chunk = chunk if opening is None else _server_sent(opening) + chunk
            await stream.write(chunk)

        try:
            generated_tokens = await run_order(self.serving, order, self.meter, write)
        except ApiError as error:
            if not stream.started:
                raise
            # The status is out; OpenAI's clients raise on a chunk with an error.
            await stream.write(_server_sent(error.reply))
            await stream.end()
            return
        last = b""
        if order.stream_usage:
            last = _server_sent(self.form.usage_chunk(order, _usage(order, generated_tokens)))
        await stream.write(last + b"data: [DONE]\n\n")
        await stream.end()


@attrs.frozen(kw_only=True)
class LinesReply:
    """The ASGI application that writes lines as they come, as server-sent events or as lines of JSON."""

    lines: AsyncGenerator[str, None]
    as_events: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write the lines until they end or the client hangs up."""
        del scope
        await until_hang_up(receive, self._write(send))

    async def _write(self, send: Send) -> None:
        stream = BodyStream(send, "text/event-stream" if self.as_events else "application/x-ndjson")
        # Headers at once: a follower of a quiet journal would else wait for them.
        await stream.write(b"")
        async with aclosing(self.lines) as lines:
            async for line in lines:
                await stream.write(f"data: {line}\n\n".encode() if self.as_events else f"{line}\n".encode())
        await stream.end()


class BodyStream:
    """A body of unknown length.  Several tasks may write; what one writes stays together."""

    def __init__(self, send: Send, media_type: str) -> None:
        self._send = send
        self._headers = [
            (b"content-type", f"{media_type}; charset=utf-8".encode()),
            (b"cache-control", b"no-cache"),
        ]
        self._turn = asyncio.Lock()
        self.started = False

    async def write(self, body: bytes) -> None:
        """Send a part of the body; the first brings status 200 and the headers."""
        async with self._turn:
            if not self.started:
                self.started = True
                await self._send({"type": "http.response.start", "status": 200, "headers": self._headers})
            await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self) -> None:
        """Send the end of the body."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


async def until_hang_up(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, or cancel it when the client is gone."""
    worker = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_hang_up(receive))
    try:
        await asyncio.wait((worker, watcher), return_when=asyncio.FIRST_COMPLETED)
        if worker.done():
            worker.result()
    finally:
        worker.cancel()
        watcher.cancel()
        await asyncio.gather(worker, watcher, return_exceptions=True)


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _server_sent(value: object) -> bytes:
    return b"data: " + _ENCODER.encode(value) + b"\n\n"


def _usage(order: Order, generated_tokens: int) -> Usage:
    return Usage(
        prompt_tokens=order.prompt_tokens,
        completion_tokens=generated_tokens,
        total_tokens=order.prompt_tokens + generated_tokens,
    )
