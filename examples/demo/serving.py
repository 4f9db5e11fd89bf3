"""While the daemons run: the plan and the burst at t = 0, a trickle until the load has ended, and the journals."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs
import httpx
from rich.console import Console

from examples.demo.daemons import Daemons, cancel_on_signals, launch_of, start_shown
from examples.demo.load import Answer, Load
from examples.demo.preparing import Prepared
from examples.demo.settings import DemoFailed, Settings
from examples.demo.watch import Watch
from specs.cluster import NodeId
from specs.journal import Record

_LOADING_S = 180


@attrs.frozen(kw_only=True)
class Served:
    """What came of the run."""

    put_unix_ns: int
    answers: Sequence[Answer]
    journals: Mapping[NodeId, tuple[Record, ...]]


async def serve(
    settings: Settings, prepared: Prepared, console: Console, conclude: Callable[[Served], bool]
) -> tuple[bool, Mapping[NodeId, int]]:
    """Start the daemons, put plan and load on them, wait until both are done, conclude, and stop them.

    Give the verdict and the exit code of each daemon.  Raises DemoFailed, and CancelledError when interrupted; the
    daemons are stopped before.
    """
    cancel_on_signals()
    with tempfile.TemporaryDirectory(prefix="holdfast-demo-") as states:
        launch = launch_of(prepared.verified.problem, prepared.checkpoint, Path(states), settings.logs)
        async with contextlib.AsyncExitStack() as stack:
            daemons = await start_shown(stack, launch, console)
            llm = prepared.verified.problem.llms[0].id
            load = await stack.enter_async_context(Load(llm, daemons.urls, settings.lengths, settings.prompts))
            try:
                put_unix_ns = await _drive(settings, daemons, load, console)
            finally:
                # After a failure too: they say what happened.
                journals = await daemons.save_journals(settings.journals)
            is_good = conclude(Served(put_unix_ns=put_unix_ns, answers=load.answers, journals=journals))
            if settings.keep:
                await _keep(daemons, load, console)
    return is_good, daemons.exits


async def _drive(settings: Settings, daemons: Daemons, load: Load, console: Console) -> int:
    """Put the plan and the burst; wait until the LLM is everywhere and every request is answered.  Give the start."""
    document = settings.document.read_bytes()
    burst = settings.burst // len(daemons.urls)
    put_unix_ns = time.time_ns()
    watch = Watch(console, daemons.urls, load)
    watching = asyncio.create_task(watch.run())
    try:
        async with httpx.AsyncClient(timeout=60) as client:
            puts = (_put_and_burst(client, load, node, document, burst) for node in daemons.urls)
            await asyncio.gather(*puts)
        trickling = asyncio.create_task(load.trickle(settings.trickle_per_second))
        try:
            await _loaded(watch, watching)
        finally:
            await _cancelled(trickling)
        await load.wait()
    except httpx.HTTPError as error:
        await daemons.check_alive(settings.logs)
        raise DemoFailed(f"A daemon does not answer: {error or type(error).__name__}.") from error
    finally:
        await _cancelled(watching)
    return put_unix_ns


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _loaded(watch: Watch, watching: asyncio.Task[None]) -> None:
    """Wait until every node has what it is to get.  Raises DemoFailed when that takes too long."""
    loaded = asyncio.create_task(watch.loaded.wait())
    await asyncio.wait((loaded, watching), timeout=_LOADING_S, return_when=asyncio.FIRST_COMPLETED)
    loaded.cancel()
    if watching.done():
        await watching  # raises
    if not watch.loaded.is_set():
        raise DemoFailed(f"After {_LOADING_S} s the LLM is not everywhere: {watch.lacking()}.")


async def _put_and_burst(client: httpx.AsyncClient, load: Load, node: NodeId, document: bytes, requests: int) -> None:
    """Put the plan to a node, and at once a burst of requests.  Raises DemoFailed when the node refuses the plan."""
    reply = await client.put(f"{load.urls[node]}/plan", content=document)
    if reply.status_code != httpx.codes.OK:
        raise DemoFailed(f"{node} refuses the plan ({reply.status_code}): {reply.text}")
    for _ in range(requests):
        load.ask(node)


async def _keep(daemons: Daemons, load: Load, console: Console) -> None:
    """Go on serving until a signal comes."""
    url = next(iter(daemons.urls.values()))
    body = f'{{"model": "{load.llm}", "prompt": "Hello", "max_tokens": 16}}'
    console.print(
        f"Serving until Ctrl-C.  Try: curl {url}/v1/completions -H 'content-type: application/json' -d '{body}'",
        soft_wrap=True,
    )
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
