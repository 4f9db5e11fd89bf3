"""A relay before a listening port: what passes through it can be held up, cut off and altered."""

import asyncio
import contextlib
import json
import socket
import struct

import attrs

from executor.transport.framing import HELLO_HEAD

PIECE_BYTES = 64 << 10


class Harm:
    """What is done to the traffic of one world."""

    def __init__(self) -> None:
        self.stopped: set[str] = set()
        self.killed: set[str] = set()
        self.flips: dict[str, int] = {}  # by transfer: the offset of the byte to be flipped

    async def hold_up(self, ends: set[str]) -> None:
        """Wait for ever if one of them is stopped: in these worlds nobody resumes it."""
        if ends & self.stopped:
            await asyncio.Event().wait()


@attrs.define(eq=False)
class _Call:
    """One connection through a relay."""

    ends: set[str]
    transfer: str | None
    sockets: tuple[socket.socket, socket.socket]
    passed_bytes: int = 0  # after the hello, from the caller


class Relay:
    """Listens in the place of one node; node_port may be set later."""

    def __init__(self, harm: Harm) -> None:
        self.node_port: int | None = None
        self._harm = harm
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._calls: set[_Call] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._start(self._accept())

    def cut(self, name: str) -> None:
        """Reset every connection with a node."""
        for call in self._calls:
            if name in call.ends:
                for sock in call.sockets:
                    with contextlib.suppress(OSError):
                        sock.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listener.close()

    def _start(self, work) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _accept(self) -> None:
        while True:
            sock, _ = await asyncio.get_running_loop().sock_accept(self._listener)
            sock.setblocking(False)
            self._start(self._serve(sock)).add_done_callback(lambda _, sock=sock: sock.close())

    async def _serve(self, caller: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with caller, contextlib.suppress(OSError), socket.socket() as callee:
            # A relay that answers before its node does must not make a dead node look alive.
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            hello = await loop.sock_recv(caller, PIECE_BYTES)
            if len(hello) <= HELLO_HEAD.size:  # it was given up before it was said
                return
            body = json.loads(hello[HELLO_HEAD.size :])
            call = _Call(ends={body["from"], body["to"]}, transfer=body.get("transfer"), sockets=(caller, callee))
            if self.node_port is None or call.ends & self._harm.killed:
                return
            await self._harm.hold_up(call.ends)
            callee.setblocking(False)
            await loop.sock_connect(callee, ("127.0.0.1", self.node_port))
            await loop.sock_sendall(callee, hello)
            self._calls.add(call)
            try:
                await asyncio.gather(self._pump(call, caller, callee), self._pump(call, callee, caller))
            finally:
                self._calls.discard(call)

    async def _pump(self, call: _Call, source: socket.socket, target: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while piece := bytearray(await loop.sock_recv(source, PIECE_BYTES)):
            await self._harm.hold_up(call.ends)
            if source is call.sockets[0]:
                self._flip(call, piece)
            await loop.sock_sendall(target, piece)
        for sock in call.sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _flip(self, call: _Call, piece: bytearray) -> None:
        start = call.passed_bytes
        call.passed_bytes += len(piece)
        offset = self._harm.flips.get(call.transfer)
        if offset is not None and start <= offset < call.passed_bytes:
            piece[offset - start] ^= 0xFF
            del self._harm.flips[call.transfer]
