"""`holdfastd`: the daemon of one node.  The only place that reads the command line."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import attrs
import torch
import typer

from executor.api.app import make_app
from executor.api.server import serve
from executor.daemon import Daemon
from executor.errors import VerbsMissing
from executor.transport.choosing import TransportKind
from executor.transport.rdma import verbs
from specs import fields
from specs.cluster import NodeId
from specs.errors import MalformedDocument
from specs.llm import LlmId

_BAD_INPUT = 2
_BUG = 70  # EX_SOFTWARE of sysexits.h
# A plan is judged in a thread, in Python, while tokens flow: they wait for the interpreter no longer than this.
_SWITCH_SECONDS = 0.0005

_log = logging.getLogger("holdfastd")

_DaemonOf = tuple[NodeId, dict[LlmId, Path], Path, TransportKind]


def _run(
    node: Annotated[str, typer.Option(help="This node's name in the cluster description.")],
    http: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where people and clients connect.")],
    state: Annotated[Path, typer.Option(metavar="DIR", help="Journal and small files of this node; made if missing.")],
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(metavar="LLM=DIR", help="A checkpoint on this node's disk; may be given again."),
    ] = None,
    transport: Annotated[
        TransportKind,
        typer.Option(help="How blobs move: through the RDMA device that has the node's address, or over TCP."),
    ] = TransportKind.AUTO,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="CPU threads that compute.")] = 1,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "warning",
) -> None:
    """Run the daemon of one node until it is told to stop (Ctrl-C or SIGTERM).

    It waits for a plan: PUT the document {"problem": ..., "plan": ...} to /plan.  The daemon verifies it again,
    carries it out, and serves the OpenAI API at /v1.  See /status, /health, /metrics, /journal and /schema.
    """
    _check_name("--node", node)
    level = logging.getLevelNamesMapping().get(log_level.upper())
    if level is None:
        raise typer.BadParameter(f"{log_level!r} is no level; debug, info, warning or error", param_hint="--log-level")
    logging.basicConfig(level=level, format=f"%(asctime)s {node} %(levelname)s %(name)s: %(message)s")
    torch.set_num_threads(threads)
    sys.setswitchinterval(_SWITCH_SECONDS)
    # Of an RDMA device that was taken away the kernel has closed everything: to libibverbs closing it is no error then.
    os.environ.setdefault("RDMAV_ALLOW_DISASSOC_DESTROY", "1")
    host, port = _address(http)
    daemon_of = (NodeId(node), dict(_checkpoint(each) for each in checkpoint or []), state, transport)
    try:
        if transport is TransportKind.RDMA:
            verbs.ports()  # what is lacking is said at once, not with the first plan
        code = asyncio.run(_serve(daemon_of, host, port))
    except VerbsMissing as error:
        typer.echo(f"holdfastd: {error}", err=True)
        raise typer.Exit(_BAD_INPUT) from None
    except OSError as error:
        typer.echo(f"holdfastd: {error.filename or http}: {error.strerror or error}", err=True)
        raise typer.Exit(_BAD_INPUT) from None
    raise typer.Exit(code)


async def _serve(daemon_of: _DaemonOf, host: str, port: int) -> int:
    """Serve, one life after the other, until a signal comes or something breaks; give the exit code."""
    while True:
        code = await _live(daemon_of, host, port)
        if code is not None:
            return code
        _log.warning("%s has given up its plan and begins a new life", daemon_of[0])


async def _live(daemon_of: _DaemonOf, host: str, port: int) -> int | None:
    """Serve until a signal comes, something breaks, or the plan is given up (None)."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int | None] = loop.create_future()

    def end(code: int | None) -> None:
        if not ended.done():
            ended.set_result(code)

    def on_bug(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        _log.critical("%s", context.get("message"), exc_info=error if isinstance(error, BaseException) else None)
        end(_BUG)

    loop.set_exception_handler(on_bug)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end, 0)
    daemon = Daemon(*daemon_of, on_given_up=lambda: end(None))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(daemon.close)
        address = await stack.enter_async_context(serve(make_app(daemon), host, port))
        typer.echo(f"holdfastd {daemon.node}: listening at {address.url}")
        sys.stdout.flush()
        return await ended


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise typer.BadParameter(f"{text!r} is no HOST:PORT, for example 127.0.0.1:8000", param_hint="--http")
    return host.strip("[]"), int(port)


def _checkpoint(text: str) -> tuple[LlmId, Path]:
    llm, _, directory = text.partition("=")
    path = Path(directory)
    if not llm or not directory or not path.is_dir():
        raise typer.BadParameter(f"{text!r} is no LLM=DIR with an existing directory", param_hint="--checkpoint")
    _check_name("--checkpoint", llm)
    return LlmId(llm), path


@attrs.frozen
class _Name:
    name: str = fields.name()


def _check_name(option: str, name: str) -> None:
    """Refuse here what no plan could name and no journal could be written with."""
    try:
        _Name(name)
    except MalformedDocument:
        raise typer.BadParameter(
            f"{name!r:.80} is no name; letters, digits and . _ / : > @ + - are taken", param_hint=option
        ) from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run `holdfastd` with these arguments, or the process's own; return the exit code."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(_run)
    try:
        app(args=list(argv) if argv is not None else None, prog_name="holdfastd")
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else _BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
