"""Carry out rounds and show what was hit: `python -m tests.processes.kill_rounds SEED --first N --rounds N`."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.checkpoints import make_checkpoint
from tests.processes.cluster import Oracle, adopt, daemons
from tests.processes.kill_rounds.draws import first_plan
from tests.processes.kill_rounds.rounds import Rounds


def main() -> int:
    """Carry out rounds; return 1 at the first that goes wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.processes.kill_rounds", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--first", type=int, default=0, help="round")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--within", type=float, default=float("inf"), help="seconds: no round begins after them")
    parser.add_argument("--keep", type=Path, help="an empty directory for logs and journals")
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.within
    with tempfile.TemporaryDirectory() as directory:
        folder = arguments.keep or Path(directory)
        folder.mkdir(exist_ok=True)
        checkpoint = make_checkpoint(
            Path(directory) / "checkpoint", "llama", num_hidden_layers=8, max_position_embeddings=256
        )
        first = first_plan(checkpoint)
        with daemons(first.problem, checkpoint, folder) as running:
            adopt(running, first)
            rounds = Rounds(arguments.seed, first, running, Oracle(checkpoint), folder)
            for number in range(arguments.first, arguments.first + arguments.rounds):
                if time.monotonic() > end:
                    break
                try:
                    rounds.carry_out(number)
                except AssertionError as error:
                    print(error, *rounds.table(), sep="\n")
                    return 1
                print(f"round {number}", *rounds.story, sep="\n", flush=True)
            print(*rounds.table(), sep="\n")
        replayed = rounds.replayed()  # once all daemons have written down what they kept
    print(f"{replayed.records:,} records replayed, {replayed.hand_over_records:,} of hand-overs")
    print(*(f"BREACH {each.node}: {each.sentence}" for each in replayed.breaches), sep="\n")
    return 1 if replayed.breaches else 0


if __name__ == "__main__":
    sys.exit(main())
