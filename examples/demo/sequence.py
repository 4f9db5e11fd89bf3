"""The demo from beginning to end."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import httpx
from rich.console import Console
from rich.progress import Progress
from ruamel.yaml import YAML

from examples.demo import checkpoint, oracle
from examples.demo.daemons import Daemons, Launch, check_ports_free, running
from examples.demo.findings import Findings, find, table_of
from examples.demo.load import Answer, Load
from examples.demo.settings import DemoFailed, Settings
from examples.demo.watch import Watch
from planner.cli.documents import read_plan
from planner.description.reading import read_problem
from specs import codec
from specs.checker import VerifiedPlan, verify
from specs.cluster import NodeId
from specs.journal import Record, read_lines
from specs.llm import LlmId

_LOADING_S = 180
_SILENCE_S = 30  # a request that waits longer for its next token will never get it


@attrs.frozen(kw_only=True)
class _Served:
    """What remains of the cluster after it was stopped."""

    put_unix_ns: int
    answers: Sequence[Answer]
    journals: dict[NodeId, tuple[Record, ...]]
    exits: dict[NodeId, int]


def run(settings: Settings, console: Console) -> int:
    """Run the demo; give the exit code.  Raises DemoFailed, and CancelledError when it was interrupted."""
    for directory in (settings.out, settings.journals, settings.logs):
        directory.mkdir(parents=True, exist_ok=True)
    llm, directory = _the_llm(settings.description)
    if not checkpoint.is_whole(directory, settings.llm_shape):
        with console.status(f"making the checkpoint of {llm}"):
            checkpoint.make(directory, settings.llm_shape)
    weights = sum(file.stat().st_size for file in directory.glob("*.safetensors"))
    console.print(f"checkpoint: {directory}, {weights / 1e6:.0f} MB of seeded weights")
    description, plan = str(settings.description), str(settings.plan)
    _holdfast(console, "plan", description, "--out", plan)
    _holdfast(console, "check", description, plan)
    verified = verify(read_problem(settings.description), read_plan(settings.plan))
    assert isinstance(verified, VerifiedPlan), "`holdfast check` has just passed this plan"
    check_ports_free(verified.problem.cluster)
    with Progress(console=console, transient=True) as bars:
        task = bars.add_task("tokens of the oracle, transformers' generate", total=len(oracle.PROMPTS))
        expected = oracle.expected_names(directory, lambda done: bars.update(task, completed=done))
    console.print(f"oracle: {sum(map(len, expected)):,} tokens by transformers' generate, fp32, greedy")
    served = asyncio.run(_serve(settings, verified, directory, console))
    found = find(
        verified,
        served.journals,
        served.put_unix_ns,
        [(answer, answer.equals(expected)) for answer in served.answers],
    )
    return _conclude(settings, console, served, found)


def _the_llm(description: Path) -> tuple[LlmId, Path]:
    """Give the only LLM of the description and the directory in which its checkpoint is to be.  Raises DemoFailed."""
    try:
        llms = YAML(typ="safe", pure=True).load(description)["llms"]
        ((name, entry),) = llms.items()
        return LlmId(name), (description.parent / entry["checkpoint"]).resolve()
    except OSError as error:
        raise DemoFailed(f"{description} cannot be read: {error.strerror}.") from None
    except (KeyError, ValueError, TypeError, AttributeError):
        raise DemoFailed(f"{description} does not describe exactly one LLM with a checkpoint.") from None


def _holdfast(console: Console, *arguments: str) -> None:
    """Run a command of `holdfast` as a person would.  Raises DemoFailed when it does not exit with 0."""
    console.print(f"[bold]$ holdfast {' '.join(arguments)}[/bold]", soft_wrap=True, highlight=False)
    console.file.flush()
    program = Path(sys.executable).with_name("holdfast")
    code = subprocess.run([program, *arguments], check=False).returncode
    if code != 0:
        raise DemoFailed(f"`holdfast {arguments[0]}` ended with exit code {code}.")


async def _serve(settings: Settings, verified: VerifiedPlan, directory: Path, console: Console) -> _Served:
    """Start the daemons, put plan and load on them, wait until both are done, and stop them."""
    _cancel_on_signals()
    holders = {holding.place for holding in verified.problem.holdings}
    holding = {place.node for place in verified.problem.cluster.places if place.id in holders}
    llm = verified.problem.llms[0].id
    nodes = [node.id for node in verified.problem.cluster.nodes]
    with tempfile.TemporaryDirectory(prefix="holdfast-demo-") as states:
        launch = Launch(
            checkpoints={node: {llm: directory} if node in holding else {} for node in nodes},
            states=Path(states),
            logs=settings.logs,
        )
        async with contextlib.AsyncExitStack() as stack:
            with console.status("starting the daemons; each imports torch") as status:
                daemons = await stack.enter_async_context(
                    running(launch, lambda count: status.update(f"{count} of {len(nodes)} daemons listen"))
                )
            console.print(f"{len(nodes)} daemons listen: {', '.join(daemons.urls.values())}")
            load = await stack.enter_async_context(Load(llm, daemons.urls))
            try:
                put_unix_ns = await _drive(settings, verified, daemons, load, console)
            finally:
                journals = await _journals(settings, daemons)
            if settings.keep:
                console.print("serving until Ctrl-C")
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
    return _Served(put_unix_ns=put_unix_ns, answers=load.answers, journals=journals, exits=daemons.exits)


def _cancel_on_signals() -> None:
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


async def _drive(settings: Settings, verified: VerifiedPlan, daemons: Daemons, load: Load, console: Console) -> int:
    """Put the plan and the burst; wait until the LLM is everywhere and every request is answered.  Give the start."""
    document = b'{"plan":' + codec.encode(verified.plan) + b',"problem":' + codec.encode(verified.problem) + b"}"
    put_unix_ns = time.time_ns()
    watch = Watch(console, daemons.urls, load)
    watching = asyncio.create_task(watch.run())
    trickling = None
    try:
        async with httpx.AsyncClient(timeout=60) as client:
            await asyncio.gather(
                *(
                    _put_and_burst(client, load, node, url, document, settings.burst // len(daemons.urls))
                    for node, url in daemons.urls.items()
                )
            )
        trickling = asyncio.create_task(load.trickle(settings.trickle_per_second))
        loaded = asyncio.create_task(watch.loaded.wait())
        await asyncio.wait((loaded, watching), timeout=_LOADING_S, return_when=asyncio.FIRST_COMPLETED)
        loaded.cancel()
        trickling.cancel()
        if not watch.loaded.is_set():
            daemons.check_alive()
            if watching.done():
                watching.result()
            raise DemoFailed(f"After {_LOADING_S} s the LLM is not everywhere: {watch.lacking()}.")
        await _answered(load, watch)
    finally:
        for task in (watching, trickling):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
    daemons.check_alive()
    return put_unix_ns


async def _answered(load: Load, watch: Watch) -> None:
    """Wait until every request is answered or has failed.  Raises DemoFailed when no token comes any more."""
    waiting = asyncio.create_task(load.wait())
    try:
        while not waiting.done():
            before = load.tokens
            await asyncio.wait((waiting,), timeout=_SILENCE_S)
            if not waiting.done() and load.tokens == before:
                raise DemoFailed(f"For {_SILENCE_S} s no token has come; waiting: {watch.waiting()}.")
    finally:
        waiting.cancel()


async def _put_and_burst(
    client: httpx.AsyncClient, load: Load, node: NodeId, url: str, document: bytes, requests: int
) -> None:
    """Put the plan to a node, and at once a burst of requests.  Raises DemoFailed when the node refuses the plan."""
    reply = await client.put(f"{url}/plan", content=document)
    if reply.status_code != httpx.codes.OK:
        raise DemoFailed(f"{node} refuses the plan ({reply.status_code}): {reply.text}")
    for _ in range(requests):
        load.ask(node)


async def _journals(settings: Settings, daemons: Daemons) -> dict[NodeId, tuple[Record, ...]]:
    """Fetch and save the journal of every node."""
    journals = {}
    async with httpx.AsyncClient(timeout=60) as client:
        for node, url in daemons.urls.items():
            reply = await client.get(f"{url}/journal", params={"follow": "false"})
            text = reply.raise_for_status().text
            (settings.journals / f"{node}.jsonl").write_text(text, encoding="utf-8")
            journals[node] = read_lines(text)
    return journals


def _conclude(settings: Settings, console: Console, served: _Served, found: Findings) -> int:
    """Print what happened; give the exit code."""
    journals = [str(settings.journals / f"{node}.jsonl") for node in served.journals]
    del journals
    console.print(table_of(found))
    for error in [answer.error for answer in served.answers if answer.error][:5]:
        console.print(f"failed request: {error}", markup=False)
    unclean = {node: code for node, code in served.exits.items() if code != 0}
    if unclean:
        console.print(f"not stopped cleanly: {unclean}", markup=False)
    else:
        console.print("every daemon stopped cleanly")
    return 0 if found.is_good and not unclean else 1
