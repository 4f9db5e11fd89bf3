"""The transport whose blobs are written keeps every transport's promises on real devices."""

import asyncio

import pytest

from executor.transport.rdma import verbs
from tests.conformance.check_transport import CHECKS, Check
from tests.conformance.rdma_world import RdmaWorld
from tests.conformance.tcp_world import a_world
from tests.conformance.world import NODE_NAMES, SLOWNESS

pytestmark = [pytest.mark.rdma, pytest.mark.timeout(300 * SLOWNESS)]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_keeps_every_promise(check: Check) -> None:
    ports = dict(zip(NODE_NAMES, verbs.ports(), strict=False))

    async def run() -> None:
        async with a_world(lambda: RdmaWorld(lambda name: verbs.Device(ports[name]))) as world:
            await check(world)

    asyncio.run(run())
