"""The same bytes, whatever a process hashes strings to: no set of names may decide the order of anything."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def printed(program: str) -> bytes:
    """Run a program in two fresh processes with different hash seeds; what both print.  Fails where that differs."""
    found = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert found[0] == found[1]
    return found[0]
