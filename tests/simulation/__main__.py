"""Carry out schedules by their seeds: `python -m tests.simulation SEED [--count N] [--jobs J]`.

A single schedule is shown whole; of many, those that went wrong, and what the others met.
"""

import argparse
import logging
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.checkpoints import make_checkpoint
from tests.simulation.schedule import Result, carry_out

_CHUNK = 25


def main() -> int:
    """Return 1 when any schedule went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--count", type=int, default=1, help="of seeds, from that one on")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    arguments = parser.parse_args()
    logging.disable()  # what daemons say of peers that die is expected
    end = arguments.seed + arguments.count
    chunks = [range(first, min(first + _CHUNK, end)) for first in range(arguments.seed, end, _CHUNK)]
    began = time.monotonic()
    met: Counter[str] = Counter()
    wrong = 0
    with tempfile.TemporaryDirectory() as directory, ProcessPoolExecutor(arguments.jobs) as pool:
        checkpoint = make_checkpoint(Path(directory) / "checkpoint", "llama")
        for chunk, results in zip(
            chunks, pool.map(_carry_out, chunks, [checkpoint] * len(chunks), [directory] * len(chunks)), strict=True
        ):
            for result in results:
                wrong += bool(result.wrong)
                met.update(result.met)
                if result.wrong or arguments.count == 1:
                    print(result, flush=True)
            if sys.stderr.isatty():
                print(f"\r{chunk.stop - arguments.seed} of {arguments.count}, {wrong} wrong", end="", file=sys.stderr)
    print(f"{arguments.count} schedules in {time.monotonic() - began:.0f} s, {wrong} of them wrong")
    print(", ".join(f"{count} {what}" for what, count in sorted(met.items())))
    return 1 if wrong else 0


def _carry_out(seeds: range, checkpoint: Path, directory: str) -> list[Result]:
    return [carry_out(seed, checkpoint, Path(directory) / f"state-{seed}") for seed in seeds]


if __name__ == "__main__":
    sys.exit(main())
