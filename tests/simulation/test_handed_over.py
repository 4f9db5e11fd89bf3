"""Between the word to the fronts and the core's knowledge of it nothing may come."""

from pathlib import Path
from typing import Any

import pytest

from executor.pipelines.departure import Departure
from executor.shell import Shell
from specs.plan import PipelineId
from specs.protocols import events as core
from specs.protocols.nouns import LossReason
from tests.simulation.schedule import carry_out

_SEED = 300191  # a pipeline is handed over, with a request


def test_a_successor_that_is_lost_in_that_very_moment(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The core closes the old pipeline first, which takes no request any more, and only then learns of the loss."""
    shells: list[Shell] = []
    closed: list[bool] = []
    hand_over, hand_out = Shell._hand_over, Departure._hand_out

    def remembered(shell: Shell, pipeline: PipelineId, successor: PipelineId) -> None:
        shells.append(shell)
        hand_over(shell, pipeline, successor)

    def losing(departure: Departure, plan: Any, action: Any) -> None:
        hand_out(departure, plan, action)
        shell, old = shells[-1], departure._led.pipeline.id
        leader = shell.machine.plan.part[plan.successor].leader
        shell.take(core.PeerLost(leader, LossReason.SILENT))
        closed.append(old in shell.machine.state.closed)

    monkeypatch.setattr(Shell, "_hand_over", remembered)
    monkeypatch.setattr(Departure, "_hand_out", losing)
    result = carry_out(_SEED, checkpoint, tmp_path / "state")
    assert closed
    assert all(closed)
    assert not any("have no answer" in each for each in result.wrong)
