"""A node that is started again is lost to the plan of its earlier life, whatever it carries out by then."""

import asyncio
from pathlib import Path

from specs.cluster import NodeId
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
