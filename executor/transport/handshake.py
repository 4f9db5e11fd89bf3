"""How two nodes meet on a new TCP connection: the hello, its answer, and the sockets' options."""

import asyncio
import contextlib
import socket

from executor.errors import MalformedFrame
from executor.transport import framing
from executor.transport.framing import Hello, Verdict
from executor.transport.interface import Peer
from specs.units import NANOS_PER_SECOND, Bytes, Nanos

# Enough to keep 25 GB/s busy over a round trip of 0.1 ms; more would only hide a receiver that has stopped.
SOCKET_BUFFER_BYTES = Bytes(2 << 20)
BACKLOG = 256


def listening_socket(host: str, port: int) -> socket.socket:
    """Open the socket that peers call; port 0 lets the system choose.  Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    # Inherited by what is accepted, and only in time for the window's scale when it is set here.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
    listener.setblocking(False)
    return listener


async def call(peer: Peer, hello: Hello, patience_ns: Nanos) -> tuple[socket.socket, Verdict, str]:
    """Connect, say hello and hear the verdict with its sentence.

    Raises TimeoutError, OSError or MalformedFrame; then nothing is left open.
    """
    family = socket.AF_INET6 if ":" in peer.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
        prepare(sock)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(patience_ns / NANOS_PER_SECOND):
            await loop.sock_connect(sock, (peer.host, peer.port))
            await loop.sock_sendall(sock, framing.encode_hello(hello))
            verdict, size_bytes = framing.decode_verdict_head(await _read(sock, framing.VERDICT_HEAD.size))
            sentence = (await _read(sock, size_bytes)).decode(errors="replace")
    except BaseException:
        sock.close()
        raise
    return sock, verdict, sentence


async def hear_hello(sock: socket.socket, patience_ns: Nanos) -> Hello:
    """Read the hello of a caller.  Raises TimeoutError, OSError or MalformedFrame."""
    async with asyncio.timeout(patience_ns / NANOS_PER_SECOND):
        size_bytes = framing.decode_hello_head(await _read(sock, framing.HELLO_HEAD.size))
        return framing.decode_hello_body(await _read(sock, size_bytes))


def answer(sock: socket.socket, verdict: Verdict, sentence: str = "") -> None:
    """Answer a hello.  It fits in the empty buffer of a new connection; a caller that has gone is not our concern."""
    with contextlib.suppress(OSError):
        sock.send(framing.encode_verdict(verdict, sentence))


def prepare(sock: socket.socket) -> None:
    """Set the options of a connected or connecting socket."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)


def hang_up(sock: socket.socket) -> None:
    """Wake whoever waits on the socket, in this thread or another; its owner closes it."""
    with contextlib.suppress(OSError):  # not connected any more
        sock.shutdown(socket.SHUT_RDWR)


async def _read(sock: socket.socket, size_bytes: int) -> bytes:
    """Read exactly so much.  Raises MalformedFrame when the connection ends before."""
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size_bytes:
        piece = await loop.sock_recv(sock, size_bytes - len(data))
        if not piece:
            raise MalformedFrame(f"the connection was closed after {len(data)} of {size_bytes} bytes.")
        data += piece
    return data
