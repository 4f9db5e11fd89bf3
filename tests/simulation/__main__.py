"""Carry out schedules by their seeds and show what became of them: `python -m tests.simulation SEED [--count N]`."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.checkpoints import make_checkpoint
from tests.simulation.schedule import carry_out


def main() -> int:
    """Show a single schedule whole; of many, those that went wrong.  Return 1 when any did."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--count", type=int, default=1, help="of seeds, from that one on")
    arguments = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as directory:
        checkpoint = make_checkpoint(Path(directory) / "checkpoint", "llama")
        for seed in range(arguments.seed, arguments.seed + arguments.count):
            result = carry_out(seed, checkpoint, Path(directory) / "state")
            wrong += bool(result.wrong)
            if result.wrong or arguments.count == 1:
                print(result)
    print(f"{arguments.count} schedules, {wrong} of them wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
