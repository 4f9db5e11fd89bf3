"""Messages over one path, one way: the two ends of it, on the event loop.

The sending end hands buffers on as they are, at once when nothing is queued.  It also pings: a peer whose process is
stopped keeps its connections, and only its silence shows that it is gone.
"""

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence

import attrs
import numpy as np

from executor.errors import MalformedFrame
from executor.transport import framing
from executor.transport.interface import Buffer
from executor.transport.message_path import ReadingPath, WritingPath
from specs.units import NANOS_PER_SECOND, Bytes, Nanos

SCRATCH_BYTES = Bytes(64 << 10)  # small frames are read many at a time, larger ones into memory of their own
BUFFERS_PER_CALL = 64
PINGS_PER_SILENCE = 4


@attrs.frozen(kw_only=True)
class MessageLimits:
    """What a message connection bears."""

    frame_bytes: Bytes = framing.FRAME_BYTES_MAX
    queued_bytes: Bytes = Bytes(1 << 30)  # unsent; a peer that takes no more than this is lost
    silence_ns: Nanos = Nanos(10_000_000_000)  # a peer that answers no ping for that long is lost


class SendingLink:
    """The sending end: a queue until the connection stands, then as good as none."""

    def __init__(self, limits: MessageLimits) -> None:
        self._limits = limits
        self._path: WritingPath | None = None
        self._queue: deque[memoryview] = deque()
        self._queued_bytes = 0
        self._filled = asyncio.Event()
        self._overfull = asyncio.Event()
        self._heard_ns = time.monotonic_ns()

    def send(self, payload: Sequence[Buffer]) -> None:
        """Send one message; the caller has checked its size."""
        views = [memoryview(buffer).cast("B") for buffer in payload]
        size_bytes = sum(len(view) for view in views)
        self._push([memoryview(framing.FRAME_HEAD.pack(framing.FrameKind.MESSAGE, size_bytes)), *views])

    async def run(self, path: WritingPath) -> str:
        """Use this path until it ends; return a sentence that says why it did."""
        self._path = path
        self._heard_ns = time.monotonic_ns()
        self._filled.set()
        work = (self._drain(path), self._hear(path), self._ping(), self._overflow())
        parts = [asyncio.create_task(part) for part in work]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            return next(part for part in parts if part in done).result()
        finally:
            self._path = None
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    def _push(self, views: list[memoryview]) -> None:
        if self._path is not None and not self._queue:
            # A broken connection is left for `_drain` to find, so that a request never fails halfway.
            with contextlib.suppress(OSError):
                views = _unsent(views, self._path.write(views))
        self._queue.extend(views)
        self._queued_bytes += sum(len(view) for view in views)
        if self._queue:
            self._filled.set()
        if self._queued_bytes > self._limits.queued_bytes:
            self._overfull.set()

    async def _overflow(self) -> str:
        await self._overfull.wait()
        return f"it left more than {self._limits.queued_bytes} bytes of messages unread"

    async def _drain(self, path: WritingPath) -> str:
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._queue:
                try:
                    self._pop(path.write(list(itertools.islice(self._queue, BUFFERS_PER_CALL))))
                except BlockingIOError:
                    await path.until_writable()
                except OSError as error:
                    return f"the connection broke: {error}"

    def _pop(self, sent_bytes: int) -> None:
        self._queued_bytes -= sent_bytes
        while self._queue and sent_bytes >= len(self._queue[0]):
            sent_bytes -= len(self._queue.popleft())
        if sent_bytes:
            self._queue[0] = self._queue[0][sent_bytes:]

    async def _hear(self, path: WritingPath) -> str:
        """Take the answers to pings; they say nothing but that the peer lives."""
        try:
            while await path.hear():
                self._heard_ns = time.monotonic_ns()
                await asyncio.sleep(0)  # a peer that always answers must not keep others from speaking
        except OSError as error:
            return f"the connection broke: {error}"
        return "it closed the connection"

    async def _ping(self) -> str:
        silence_ns = self._limits.silence_ns
        interval_ns = silence_ns // PINGS_PER_SILENCE
        looked_ns = time.monotonic_ns()
        while True:
            await asyncio.sleep(interval_ns / NANOS_PER_SECOND)
            now_ns = time.monotonic_ns()
            if now_ns - looked_ns > 2 * interval_ns:
                # This very process was held up, so answers may be waiting to be read: the silence is our own.
                self._heard_ns = now_ns
            looked_ns = now_ns
            if now_ns - self._heard_ns >= silence_ns:
                return f"it has answered nothing for {silence_ns} ns"
            self._push([memoryview(framing.FRAME_HEAD.pack(framing.FrameKind.PING, 0))])


async def receive_messages(path: ReadingPath, limits: MessageLimits, deliver: Callable[[memoryview], None]) -> str:
    """Read frames until the path ends; return a sentence that says why it did."""
    scratch = memoryview(bytearray(SCRATCH_BYTES))
    held = 0  # bytes at the front of scratch that are not a whole frame yet
    try:
        while True:
            received = await path.read_into(scratch[held:])
            if received == 0:
                return "it closed the connection" if held == 0 else "it closed the connection within a message"
            held = await _take_frames(path, scratch, held + received, limits.frame_bytes, deliver)
            await asyncio.sleep(0)  # a peer that always has more to say must not keep others from speaking
    except OSError as error:
        return f"the connection broke: {error}"
    except MalformedFrame as error:
        return str(error)


async def _take_frames(
    path: ReadingPath, scratch: memoryview, held: int, limit_bytes: Bytes, deliver: Callable[[memoryview], None]
) -> int:
    """Deliver every frame that begins in scratch[:held]; move what is left to the front and return its length."""
    at = 0
    while held - at >= framing.FRAME_HEAD.size:
        kind, size_bytes = framing.decode_frame_head(scratch[at:held], limit_bytes)
        body = at + framing.FRAME_HEAD.size
        here = min(held - body, size_bytes)
        if here < size_bytes and framing.FRAME_HEAD.size + size_bytes <= len(scratch):
            break
        payload = _fresh(size_bytes)
        payload[:here] = scratch[body : body + here]
        while here < size_bytes:
            received = await path.read_into(payload[here:])
            if received == 0:
                raise MalformedFrame(f"it closed the connection {size_bytes - here} bytes before a message's end")
            here += received
        at = min(body + size_bytes, held)
        if kind is framing.FrameKind.MESSAGE:
            deliver(payload)
        else:
            with contextlib.suppress(OSError):
                path.answer_ping()
    left = held - at
    scratch[:left] = bytes(scratch[at:held])
    return left


def _fresh(size_bytes: int) -> memoryview:
    """Writable memory that is not cleared first, as a bytearray would be."""
    return np.empty(size_bytes, dtype=np.uint8).data


def _unsent(views: list[memoryview], sent_bytes: int) -> list[memoryview]:
    for index, view in enumerate(views):
        if sent_bytes < len(view):
            return [view[sent_bytes:], *views[index + 1 :]]
        sent_bytes -= len(view)
    return []
