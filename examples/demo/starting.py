"""How a demo is started from a shell, and how it ends there."""

import asyncio
import sys
from collections.abc import Callable

from rich.console import Console

from examples.demo.settings import DemoFailed

_FAILED = 1
_INTERRUPTED = 130  # as shells count SIGINT


def start(run: Callable[[Console], int], *, width: int) -> int:
    """Run a demo on a console, which is so wide where there is no terminal; give the exit code."""
    console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else width)
    try:
        return run(console)
    except DemoFailed as error:
        print(f"demo: {error}", file=sys.stderr)
        return _FAILED
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("demo: interrupted; every daemon has been stopped", file=sys.stderr)
        return _INTERRUPTED
