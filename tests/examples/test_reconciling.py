"""The example of a cluster that is left alone: its wish is what its text says, and a whole night ends well."""

import subprocess
import sys

import pytest

from examples.demo import checkpoint
from examples.reconciling import __main__ as example
from planner.description.reading import read_problem
from planner.outcome import Planned
from planner.solve import solve


def test_two_serve_together_and_one_is_to_spare(tmp_path):
    wish = tmp_path / "examples" / "night.yaml"
    wish.parent.mkdir()
    wish.write_text(example.WISH.read_text())
    checkpoint.make(tmp_path / "demo-out" / "night-llm", example.SHAPE)
    outcome = solve(read_problem(wish))
    assert isinstance(outcome, Planned)
    (pipeline,) = outcome.verified.plan.pipelines
    assert len(pipeline.stages) == 2


@pytest.mark.slow
def test_a_whole_night(tmp_path):
    command = [sys.executable, "-m", "examples.reconciling", str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "all the same" in found.stdout
