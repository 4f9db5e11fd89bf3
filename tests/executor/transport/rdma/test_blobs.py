"""Blobs that are written keep every transport's promises, and go on as streams where writes fail; on fake devices."""

import asyncio
import logging

import pytest

from executor.errors import Failure
from executor.transport.interface import BlobArrived, BlobSent
from executor.transport.rdma import blob_taker
from tests.conformance.check_transport import CHECKS, Check
from tests.conformance.rdma_world import RdmaWorld
from tests.conformance.tcp_world import a_world
from tests.conformance.world import MEBI, expect, noise, send
from tests.executor.transport.rdma.fake_verbs import Fabric, FakeDevice


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_keeps_every_promise(check: Check) -> None:
    fabric = Fabric()

    async def run() -> None:
        async with a_world(lambda: RdmaWorld(lambda _: FakeDevice(fabric))) as world:
            await check(world)

    asyncio.run(run())
    assert fabric.left == (0, 0)


SIZE = 20 * MEBI + 12_345  # one and twenty spans, the last of them short


@pytest.fixture
def streamed(monkeypatch):
    """Where each stream began."""
    began = []
    stream_in = blob_taker.stream_in

    def noting(line, destination, hasher, course):
        began.append(course.moved_bytes)
        stream_in(line, destination, hasher, course)

    monkeypatch.setattr(blob_taker, "stream_in", noting)
    return began


def carry(harm, streamed):
    """Carry a blob from a to b, to a good end; give the fabric."""
    fabric = Fabric()
    data = noise(SIZE)

    async def run():
        async with a_world(lambda: RdmaWorld(lambda _: FakeDevice(fabric))) as world:
            a, b = await world.node("a"), await world.node("b")
            harm(fabric)
            place = expect(b, "a", data, cuts=(0, 5 * MEBI, 12 * MEBI + 7, SIZE))
            send(a, "b", data)
            (sent,), (arrived,) = await world.until("a", BlobSent), await world.until("b", BlobArrived)
            assert (sent.sent_bytes, arrived.size_bytes) == (SIZE, SIZE)
            assert bool(sent.detour) == bool(arrived.detour) == bool(streamed)
            assert place == data

    asyncio.run(run())
    assert fabric.left == (0, 0)
    return fabric


def test_all_is_written_where_nothing_fails(streamed, caplog):
    with caplog.at_level(logging.WARNING):
        fabric = carry(lambda _: None, streamed)
    assert (fabric.writes, streamed, caplog.records) == (21, [], [])


def at(write, failure):
    def harm(fabric):
        fabric.fail_write = (write, failure)

    return harm


def lost(index, write):
    """The device of a (0) or b (1) is taken away right before a write."""

    def harm(fabric):
        def look(number):
            if number == write:
                fabric.devices[index].is_lost = True

        fabric.before_write = look

    return harm


def refusing(index, registrations):
    def harm(fabric):
        fabric.devices[index].registrations_max = registrations

    return harm


HARMS = {
    **{f"write {write} fails: {why.name}": at(write, why) for write in (0, 7, 20) for why in Failure},
    **{
        f"the device of {'ab'[index]} is lost at {write}": lost(index, write)
        for index in (0, 1)
        for write in (0, 9, 20)
    },
    **{f"{'ab'[index]} registers {count}": refusing(index, count) for index in (0, 1) for count in (0, 1, 8, 20)},
}


@pytest.mark.parametrize("harm", HARMS)
def test_the_rest_comes_as_a_stream(harm, streamed, caplog):
    with caplog.at_level(logging.WARNING):
        fabric = carry(HARMS[harm], streamed)
    assert fabric.writes <= 21
    assert any("cannot be written to the end" in record.message for record in caplog.records)
    # A device that is lost with the last write may be missed by nobody.
    assert len(streamed) == 1 or "at 20" in harm


def test_what_was_written_is_not_streamed_again(streamed):
    """The stream begins with the first span of which the receiver has not heard when it shuts its side."""
    carry(at(10, Failure.PEER_SILENT), streamed)
    assert 0 < streamed[0] <= 10 * MEBI
    assert streamed[0] % MEBI == 0


@pytest.mark.parametrize("index", [0, 1])
def test_without_a_device_it_is_a_stream_and_that_end_says_so(index):
    fabric = Fabric()
    data = noise(MEBI)

    async def run():
        async with a_world(lambda: RdmaWorld(lambda _: FakeDevice(fabric))) as world:
            a, b = await world.node("a"), await world.node("b")
            fabric.devices[index].is_lost = True
            place = expect(b, "a", data)
            send(a, "b", data)
            (sent,), (arrived,) = await world.until("a", BlobSent), await world.until("b", BlobArrived)
            assert place == data
            return [sent.detour, arrived.detour]

    detours = asyncio.run(run())
    assert detours[index] == "fake0: it was taken away."
    assert (fabric.writes, fabric.left) == (0, (0, 0))
