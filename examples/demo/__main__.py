"""`python -m examples.demo`: what `make demo` runs."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from examples.demo.sequence import run
from examples.demo.settings import Settings
from examples.demo.starting import start

_DESCRIPTION = Path(__file__).resolve().parent.parent / "demo.yaml"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; return 0 only if every request's tokens equal the oracle's and every daemon stopped cleanly."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo",
        description="Five daemons on this machine serve an LLM while four of them are still loading it.",
    )
    parser.add_argument("--out", type=Path, default=Path("demo-out"), metavar="DIR", help="plan, journals, logs, page")
    parser.add_argument("--keep", action="store_true", help="go on serving at the end, until Ctrl-C")
    options = parser.parse_args(argv)
    settings = Settings(description=Path(os.path.relpath(_DESCRIPTION)), out=options.out, keep=options.keep)
    return start(lambda console: run(settings, console), width=120)


if __name__ == "__main__":
    sys.exit(main())
