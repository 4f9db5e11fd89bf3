"""Real `holdfastd` processes on this machine: started, watched and stopped."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import attrs
import httpx
from rich.console import Console

from examples.demo.settings import DemoFailed
from specs.cluster import Cluster, NodeId
from specs.journal import Record, read_lines
from specs.llm import LlmId
from specs.problem import Problem

_STOP_S = 20  # a daemon that needs longer is killed, and the demo has failed
_START_S = 180  # importing torch five times on a busy machine
_ENDING_S = 5
_LISTENING = "listening at "


def check_ports_free(cluster: Cluster) -> None:
    """Raise DemoFailed, naming the port, if another process has one that a node of the cluster needs."""
    for node in cluster.nodes:
        host, _, port = (node.address or "").rpartition(":")
        try:
            with socket.socket() as probe:
                # As the daemon binds: connections of an earlier run that are closing are no obstacle.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, int(port)))
        except OSError as error:
            raise DemoFailed(
                f"Port {port} of {host}, which the description gives to {node.id}, cannot be had ({error.strerror}): "
                "end what uses it, or change the address in the description."
            ) from None


@attrs.frozen(kw_only=True)
class Daemons:
    """The running daemons."""

    urls: Mapping[NodeId, str]
    exits: dict[NodeId, int]  # filled when they have been stopped
    processes: Mapping[NodeId, asyncio.subprocess.Process]

    async def check_alive(self, logs: Path) -> None:
        """Raise DemoFailed if one has ended by itself, or is about to: one that has closed its port needs a moment."""
        waits = [asyncio.create_task(process.wait()) for process in self.processes.values()]
        await asyncio.wait(waits, timeout=_ENDING_S, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        for node, process in self.processes.items():
            if process.returncode is not None:
                raise DemoFailed(
                    f"The daemon of {node} ended by itself with exit code {process.returncode}; "
                    f"{logs / f'{node}.log'} says why."
                )

    async def save_journals(self, directory: Path) -> dict[NodeId, tuple[Record, ...]]:
        """Save the journal of every node that still answers, in place of those that the directory has."""
        journals = {}
        _clear(directory)
        async with httpx.AsyncClient(timeout=20) as client:
            for node, url in self.urls.items():
                try:
                    reply = await client.get(f"{url}/journal", params={"follow": "false"})
                except httpx.HTTPError:
                    continue  # a dead node's journal is missing, and who reads them says so
                (directory / f"{node}.jsonl").write_text(reply.text, encoding="utf-8")
                journals[node] = read_lines(reply.text)
        return journals


def _clear(directory: Path) -> None:
    for old in directory.glob("*.jsonl"):
        old.unlink()


@attrs.frozen(kw_only=True)
class Launch:
    """Where the daemons find and put things."""

    checkpoints: Mapping[NodeId, Mapping[LlmId, Path]]  # of every node; empty for those that hold nothing
    states: Path
    logs: Path


def launch_of(problem: Problem, checkpoint: Path, states: Path, logs: Path) -> Launch:
    """A daemon for each node; those that hold the LLM at the start have its checkpoint."""
    holders = {holding.place for holding in problem.holdings}
    holding = {place.node for place in problem.cluster.places if place.id in holders}
    llm = problem.llms[0].id
    return Launch(
        checkpoints={node.id: {llm: checkpoint} if node.id in holding else {} for node in problem.cluster.nodes},
        states=states,
        logs=logs,
    )


def cancel_on_signals() -> None:
    """Let the first signal cancel this task; later ones must not disturb the stopping of the daemons."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def cancel() -> None:
        task.cancel()
        for number in signals:
            loop.add_signal_handler(number, lambda: None)

    for number in signals:
        loop.add_signal_handler(number, cancel)


@contextlib.asynccontextmanager
async def running(launch: Launch, progress: Callable[[int], None]) -> AsyncIterator[Daemons]:
    """Run a daemon per node while the block runs.  Raises DemoFailed when one does not start or does not stop."""
    processes: dict[NodeId, asyncio.subprocess.Process] = {}
    exits: dict[NodeId, int] = {}
    try:
        for node in launch.checkpoints:
            processes[node] = await _start(launch, node)
        urls: dict[NodeId, str] = {}
        starting = [asyncio.create_task(_listening(node, processes[node], launch.logs)) for node in processes]
        try:
            for started in asyncio.as_completed(starting, timeout=_START_S):
                node, url = await started
                urls[node] = url
                progress(len(urls))
        except TimeoutError:
            raise DemoFailed(f"After {_START_S} s only {len(urls)} of {len(processes)} daemons listen.") from None
        finally:
            for task in starting:
                task.cancel()
            await asyncio.gather(*starting, return_exceptions=True)
        yield Daemons(urls={node: urls[node] for node in processes}, exits=exits, processes=processes)
    finally:
        exits.update(await _stop(processes))


async def start_shown(stack: contextlib.AsyncExitStack, launch: Launch, console: Console) -> Daemons:
    """Run a daemon per node until the stack ends, and say how far that is.  Raises DemoFailed as `running` does."""
    count = len(launch.checkpoints)
    with console.status(f"starting {count} daemons; each imports torch") as status:
        daemons = await stack.enter_async_context(
            running(launch, lambda started: status.update(f"{started} of {count} daemons listen"))
        )
    listening = ", ".join(f"{node} at {url}" for node, url in daemons.urls.items())
    console.print(f"{count} daemons: {listening}", soft_wrap=True)
    return daemons


async def _start(launch: Launch, node: NodeId) -> asyncio.subprocess.Process:
    program = Path(sys.executable).with_name("holdfastd")
    options = [
        "--node",
        node,
        "--http",
        "127.0.0.1:0",
        "--state",
        str(launch.states / node),
        "--threads",
        "1",
        "--log-level",
        "info",
    ]
    for llm, directory in launch.checkpoints[node].items():
        options += ["--checkpoint", f"{llm}={directory}"]
    with (launch.logs / f"{node}.log").open("wb") as log:
        # Its own process group: Ctrl-C reaches only the demo, which then stops the daemons itself.
        return await asyncio.create_subprocess_exec(
            program, *options, stdout=asyncio.subprocess.PIPE, stderr=log, process_group=0
        )


async def _listening(node: NodeId, process: asyncio.subprocess.Process, logs: Path) -> tuple[NodeId, str]:
    """Wait for the line in which a daemon says where it listens."""
    assert process.stdout is not None
    while line := (await process.stdout.readline()).decode():
        if _LISTENING in line:
            return node, line.partition(_LISTENING)[2].strip()
    raise DemoFailed(f"The daemon of {node} did not start; {logs / f'{node}.log'} says why.")


async def _stop(processes: Mapping[NodeId, asyncio.subprocess.Process]) -> dict[NodeId, int]:
    """End every daemon, gently first; give the exit codes."""
    for process in processes.values():
        if process.returncode is None:
            process.terminate()
    waits = [asyncio.create_task(process.wait()) for process in processes.values()]
    if waits:
        await asyncio.wait(waits, timeout=_STOP_S)
    for process in processes.values():
        if process.returncode is None:
            process.kill()
    return {node: await process.wait() for node, process in processes.items()}


def all_stopped(console: Console, exits: Mapping[NodeId, int]) -> bool:
    """Say whether every daemon stopped cleanly."""
    unclean = {node: code for node, code in exits.items() if code != 0}
    console.print(f"not stopped cleanly, by exit code: {unclean}" if unclean else "every daemon stopped cleanly")
    return not unclean
