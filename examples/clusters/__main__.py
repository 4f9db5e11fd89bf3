"""Plan on the example clusters and write a page about each.

python -m examples.clusters OUT [NAME ...] [--nodes N]
"""

import argparse
import time
from pathlib import Path

from examples.clusters.problems import EXAMPLES, example
from planner.decided import Request
from planner.outcome import Planned
from planner.page.render import render
from planner.solve import solve


def main() -> None:
    """Plan, draw, and say how long each took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="directory for the pages")
    parser.add_argument("names", nargs="*", default=list(EXAMPLES), help=f"of {', '.join(EXAMPLES)}")
    parser.add_argument("--nodes", type=int, help="only the first nodes of each cluster")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names:
        began = time.process_time()
        outcome = solve(example(name, arguments.nodes), Request(blocks=EXAMPLES[name].blocks))
        if not isinstance(outcome, Planned):
            print(f"{name}: {outcome}")
            continue
        planned = time.process_time()
        page = arguments.out / f"{name}.html"
        page.write_text(render(outcome.verified), encoding="utf-8")
        drawn = time.process_time()
        figures = f"planned in {planned - began:.1f} s, drawn in {drawn - planned:.1f} s"
        print(f"{page}: {figures}, {page.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
