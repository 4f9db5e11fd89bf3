"""`python -m examples.demo`: what `make demo` runs."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from examples.demo.sequence import run
from examples.demo.settings import DemoFailed, Settings

_DESCRIPTION = Path(__file__).resolve().parent.parent / "demo.yaml"
_FAILED = 1
_INTERRUPTED = 130  # as shells count SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; return 0 only if every request's tokens equal the oracle's and every daemon stopped cleanly."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo",
        description="Five daemons on this machine serve an LLM while four of them are still loading it.",
    )
    parser.add_argument("--out", type=Path, default=Path("demo-out"), metavar="DIR", help="plan, journals, logs, page")
    parser.add_argument("--keep", action="store_true", help="go on serving at the end, until Ctrl-C")
    options = parser.parse_args(argv)
    # Without a terminal, tables are as wide as they need to be.
    console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 120)
    settings = Settings(
        description=Path(os.path.relpath(_DESCRIPTION)),
        out=options.out,
        keep=options.keep,
    )
    try:
        return run(settings, console)
    except DemoFailed as error:
        print(f"demo: {error}", file=sys.stderr)
        return _FAILED
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("demo: interrupted; every daemon has been stopped", file=sys.stderr)
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
