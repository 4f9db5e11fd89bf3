"""`python -m examples.demo_move`: what `make demo-move` runs."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from examples.demo.starting import start
from examples.demo_move.sequence import run
from examples.demo_move.settings import Settings

_DESCRIPTION = Path(__file__).resolve().parent.parent / "move.yaml"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; return 0 only if all tokens are the oracle's, no gap is beyond its bound, and daemons stopped."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo_move",
        description="Six daemons on this machine serve an LLM in three pipelines, which change shape ten times under "
        "constant load: borders moved, stages merged and split, nodes added, drained and replaced.",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("demo-out/move"), metavar="DIR", help="wishes, states, plans, journals, page"
    )
    options = parser.parse_args(argv)
    settings = Settings(description=Path(os.path.relpath(_DESCRIPTION)), out=options.out)
    return start(lambda console: run(settings, console), width=180)


if __name__ == "__main__":
    sys.exit(main())
