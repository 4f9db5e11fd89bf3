"""What a message connection writes bytes to and reads them from: a socket, or whatever else both ends have."""

import asyncio
import socket
from typing import Protocol

from specs.units import Bytes

# All that the reading end ever says of itself: that it lives.
PONG = b"\x01"
_PONGS_BYTES = Bytes(64 << 10)
_BUFFERS_PER_CALL = 64  # far below the kernel's limit of 1024


class WritingPath(Protocol):
    """The writing end.  Its methods raise OSError when the path broke."""

    def write(self, views: list[memoryview]) -> int:
        """Take bytes from the front of the views; return how many.  Raises BlockingIOError where there is no room."""

    async def until_writable(self) -> None:
        """Wait until there may be room."""

    async def hear(self) -> bool:
        """Wait until the reader shows that it lives; False when it has closed the connection."""


class ReadingPath(Protocol):
    """The reading end.  Its methods raise OSError when the path broke."""

    async def read_into(self, view: memoryview) -> int:
        """Wait for bytes; return how many were put into the view, 0 when the writer has closed the connection."""

    def answer_ping(self) -> None:
        """Show the writer that this end lives; one that does not take it will find out by itself."""


class SocketWriting:
    """Writes to a connected socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def write(self, views: list[memoryview]) -> int:
        """As `WritingPath.write`."""
        return self._sock.sendmsg(views[:_BUFFERS_PER_CALL])

    async def until_writable(self) -> None:
        """As `WritingPath.until_writable`."""
        loop = asyncio.get_running_loop()
        writable = loop.create_future()

        def settle() -> None:
            if not writable.done():
                writable.set_result(None)

        loop.add_writer(self._sock, settle)
        try:
            await writable
        finally:
            loop.remove_writer(self._sock)

    async def hear(self) -> bool:
        """As `WritingPath.hear`."""
        return bool(await asyncio.get_running_loop().sock_recv(self._sock, _PONGS_BYTES))


class SocketReading:
    """Reads from a connected socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def read_into(self, view: memoryview) -> int:
        """As `ReadingPath.read_into`."""
        return await asyncio.get_running_loop().sock_recv_into(self._sock, view)

    def answer_ping(self) -> None:
        """As `ReadingPath.answer_ping`."""
        self._sock.send(PONG)
