"""What a node knows of its peers from plan to plan: in which lives they are, and what was dropped because of a loss."""

import asyncio
from pathlib import Path

import pytest

from executor.shell import Shell
from specs.checker import VerifiedPlan
from specs.cluster import NodeId
from specs.protocols.events import PeerLost
from specs.protocols.nouns import LossReason
from tests.processes.cluster import document
from tests.simulation.operator import Operator
from tests.simulation.world import World, virtual_time


def test_a_word_about_plans_from_another_life_is_a_loss(checkpoint: Path, tmp_path: Path) -> None:
    with virtual_time(1) as (network, chance):
        operator = Operator(checkpoint, chance)
        world = World(operator.problem, checkpoint, tmp_path / "state", network)

        async def run() -> None:
            for daemon in world.daemons.values():
                await daemon.adopt(document(operator.first()))
            await asyncio.sleep(5)
            here = world.daemons["n0"]._run
            assert here.shell is not None
            assert not here.shell.lost
            here.met(NodeId("n1"), world.daemons["n1"]._run.life, None)
            assert not here.shell.lost, "the life that is known"
            here.met(NodeId("n1"), "another life", None)
            assert [(each.node, each.reason) for each in here.shell.machine.state.lost] == [
                ("n1", LossReason.RESTARTED)
            ]
            await world.close()

        network.loop.run_until_complete(run())


def test_what_was_dropped_because_of_a_loss_is_asked_for_again_when_the_next_plan_ends_it(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[NodeId, NodeId]] = []
    disconnected = Shell.disconnected

    def noted(shell: Shell, peer: NodeId) -> None:
        asked.append((shell._node, peer))
        disconnected(shell, peer)

    with virtual_time(1) as (network, chance):
        operator = Operator(checkpoint, chance)
        world = World(operator.problem, checkpoint, tmp_path / "state", network)

        async def run() -> None:
            for daemon in world.daemons.values():
                await daemon.adopt(document(operator.first()))
            await asyncio.sleep(5)
            here = world.daemons["n0"]._run
            assert here.shell is not None
            wishes = (operator.next(world, frozenset(), frozenset()) for _ in range(20))
            following = next(each for each in wishes if isinstance(each, VerifiedPlan))
            monkeypatch.setattr(Shell, "disconnected", noted)
            await world.daemons["n0"].adopt(document(following))
            network.report_loss = 1.0  # n1 does not hear that it counts as lost
            here.shell.take(PeerLost(NodeId("n1"), LossReason.SILENT))
            assert asked == []
            await asyncio.sleep(2)
            assert here.shell.generation == following.plan.generation
            assert not here.shell.lost
            assert {("n0", "n1"), ("n1", "n0")} <= set(asked)
            await world.close()

        network.loop.run_until_complete(run())
