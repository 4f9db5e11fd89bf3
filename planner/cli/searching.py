"""How long a command searches: limits from its options, progress on the error stream, Ctrl-C."""

import contextlib
import signal
import threading
from collections.abc import Iterator

import typer
from rich.console import Console

from planner.description.quantities import parse_duration
from planner.errors import BadQuantity
from planner.search import Progress, Search
from specs.units import NANOS_PER_SECOND

# The limit of --reproducible, in steps of searches: some tens of seconds of one core.
STEPS_DEFAULT = 3_000_000


def make_search(*, within: str | None, reproducible: bool, steps: int | None, seed: int) -> Search:
    """Set the limits that the options ask for.  Raises typer.BadParameter."""
    if reproducible and steps is None:
        steps = STEPS_DEFAULT
    if within is None:
        return Search(steps_max=steps, seed=seed)
    if steps is not None:
        asked = "--reproducible" if reproducible else "--steps"
        raise typer.BadParameter(
            f"a limit by the clock differs from run to run; {asked} rules it out", param_hint="'--within'"
        )
    try:
        return Search(within_s=parse_duration(within) / NANOS_PER_SECOND, seed=seed)
    except BadQuantity as error:
        raise typer.BadParameter(str(error), param_hint="'--within'") from error


@contextlib.contextmanager
def shown(search: Search, what: str) -> Iterator[None]:
    """Show on the error stream, where it is a terminal, what the search knows; end it early on Ctrl-C.

    The first Ctrl-C ends the search with the best that it has; the second ends the command (KeyboardInterrupt).
    """
    console = Console(stderr=True)
    with console.status(what) as status, _interruptible(search):

        def tell(progress: Progress) -> None:
            status.update(f"{what}: {say(progress)}")

        search.tell = tell
        yield


def say(progress: Progress) -> str:
    """Put progress in words: the decision, its value, bound and gap."""
    if progress.value is None:
        return f"{progress.decision}: none found yet"
    if progress.bound is None:
        return f"{progress.decision}: value {progress.value:,}, bound unknown"
    gap = f"{abs(progress.value - progress.bound) / progress.bound:.2%}" if progress.bound else "unknown"
    return f"{progress.decision}: value {progress.value:,}, bound {progress.bound:,}, gap {gap}"


@contextlib.contextmanager
def _interruptible(search: Search) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's business
        return
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        yield  # a job in the background: Ctrl-C is for others
        return

    def end_early(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        typer.echo("ending with the best plan so far; Ctrl-C again ends at once", err=True)
        search.stop()

    signal.signal(signal.SIGINT, end_early)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
