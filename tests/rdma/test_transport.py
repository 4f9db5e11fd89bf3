"""The transport whose blobs are written keeps every transport's promises on real devices."""

import asyncio

import pytest

from tests.conformance.check_transport import CHECKS, Check
from tests.conformance.rdma_world import RdmaWorld, real_device
from tests.conformance.tcp_world import a_world
from tests.conformance.world import SLOWNESS

pytestmark = [pytest.mark.rdma, pytest.mark.timeout(300 * SLOWNESS)]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_keeps_every_promise(check: Check) -> None:
    async def run() -> None:
        async with a_world(lambda: RdmaWorld(real_device)) as world:
            await check(world)

    asyncio.run(run())
