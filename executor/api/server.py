"""Uvicorn inside the daemon's own event loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import attrs
import uvicorn
from litestar import Litestar

_KEEP_ALIVE_S = 75  # longer than the idle time of usual clients' pools, so that the client closes first
_GRACE_S = 2  # for answers under way when the daemon stops; followers of the journal never end by themselves
_BACKLOG = 2048


@attrs.frozen(kw_only=True)
class Address:
    """Where the server listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The address as a client writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


class _EmbeddedServer(uvicorn.Server):
    """Uvicorn that leaves signals to the daemon."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serve(app: Litestar, host: str, port: int) -> AsyncIterator[Address]:
    """Serve while the block runs; port 0 takes a free one.  Raises OSError if the address cannot be had.

    On leaving, no new connection is taken, answers under way have a moment to end, the rest is cancelled.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        lifespan="off",
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
        backlog=_BACKLOG,
    )
    server = _EmbeddedServer(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield Address(host=host, port=listener.getsockname()[1])
    finally:
        server.should_exit = True
        await running
        listener.close()
