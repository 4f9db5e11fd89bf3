"""While the daemons run: the first plan, a constant load, the changes one after another, and the journals."""

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
from examples.demo.settings import DemoFailed
from examples.demo_move.changing import Change, Operator
from examples.demo_move.settings import Settings
from examples.demo_move.watch import Watch
from specs.checker import VerifiedPlan
from specs.cluster import NodeId
from specs.journal import Record

_WARM_S = 3  # of load before anything counts: the first iterations of a process are slow


@attrs.frozen(kw_only=True)
class Served:
    """What came of the run."""

    calm_unix_ns: int  # from here on it counts
    changes: Sequence[Change]
    answers: Sequence[Answer]
    journals: Mapping[NodeId, tuple[Record, ...]]


async def serve(
    settings: Settings, prepared: Prepared, console: Console, conclude: Callable[[Served], bool]
) -> tuple[bool, Mapping[NodeId, int]]:
    """Start the daemons, serve and change, conclude, and stop them; give the verdict and the exit code of each daemon.

    Raises DemoFailed, and CancelledError when interrupted; the daemons are stopped before.
    """
    cancel_on_signals()
    verified = prepared.verified
    with tempfile.TemporaryDirectory(prefix="holdfast-demo-move-") as states:
        launch = launch_of(verified.problem, prepared.checkpoint, Path(states), settings.logs)
        async with contextlib.AsyncExitStack() as stack:
            daemons = await start_shown(stack, launch, console)
            llm = verified.problem.llms[0].id
            load = await stack.enter_async_context(Load(llm, daemons.urls, settings.lengths, settings.prompts))
            watch = Watch(console, daemons.urls, load, [wish.name for wish in settings.wishes])
            watch.know(verified)
            operator = Operator(settings=settings, urls=daemons.urls, watch=watch)
            changes: list[Change] = []
            calm_unix_ns = 0
            try:
                calm_unix_ns = await _drive(operator, verified, daemons, load, changes)
            finally:
                # After a failure too: they say what happened.
                journals = await daemons.save_journals(settings.journals)
            served = Served(calm_unix_ns=calm_unix_ns, changes=changes, answers=load.answers, journals=journals)
            is_good = conclude(served)
    return is_good, daemons.exits


async def _drive(
    operator: Operator, verified: VerifiedPlan, daemons: Daemons, load: Load, changes: list[Change]
) -> int:
    """Serve under load, and carry out one wish after another.  Give the instant from which on it counts."""
    working = asyncio.create_task(_work(operator, verified, load, changes))
    watching = asyncio.create_task(operator.watch.run())
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            await watching  # raises
        return await working
    except httpx.HTTPError as error:
        await daemons.check_alive(operator.settings.logs)
        raise DemoFailed(f"A daemon does not answer: {error or type(error).__name__}.") from error
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _work(operator: Operator, verified: VerifiedPlan, load: Load, changes: list[Change]) -> int:
    settings = operator.settings
    await operator.put_first(settings.document, verified)
    asking = asyncio.create_task(load.keep(settings.clients, settings.think_s))
    try:
        await asyncio.sleep(_WARM_S)
        calm_unix_ns = time.time_ns()
        await asyncio.sleep(settings.calm_s)
        for number, wish in enumerate(settings.wishes, start=1):
            changes.append(await operator.change(number, wish))
            operator.watch.count(number)
            await asyncio.sleep(settings.calm_s)
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    operator.watch.say("the last requests are answered")
    await load.wait()
    return calm_unix_ns
