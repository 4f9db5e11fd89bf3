import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_it_says_what_binds_and_what_to_add():
    command = [sys.executable, "-m", "examples.what_if"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    most = int(said[3].split(" up to ")[1].split(" users")[0].replace(",", ""))
    assert most > 1500
    assert said[4].startswith("what breaks first: TPOT: ")
    more = [int(line.split(" users, ")[1].removesuffix(" more").replace(",", "")) for line in said[6:]]
    machine, tpot, ttft = more
    assert machine > 0
    assert tpot > 0
    assert ttft == 0  # it is not what binds
