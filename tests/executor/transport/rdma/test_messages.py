"""Messages that are written into a ring at their receiver, and what becomes of them when writing fails; on fakes."""

import asyncio
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.errors import Failure, MalformedFrame
from executor.transport.interface import MessageReceived, PeerLost
from executor.transport.rdma import carrier
from executor.transport.rdma.ring_words import (
    RingOffer,
    decode_credit,
    decode_ring_offer,
    encode_credit,
    encode_ring_offer,
)
from executor.transport.rdma.verbs import Contact
from specs.protocols.message_ring import Credit, Terms
from tests.conformance.rdma_world import RdmaWorld
from tests.conformance.tcp_world import a_world
from tests.executor.transport.rdma.fake_verbs import GID, Fabric, FakeDevice

CONTACT = Contact(queue_pair=17, psn=3, gid=GID, mtu_bytes=4096)
OFFER = RingOffer(contact=CONTACT, address=1 << 40, key=9, terms=Terms(size_bytes=1 << 20, notes_max=64))


def with_nodes(test):
    """Run a test with two nodes; give the fabric."""
    fabric = Fabric()

    async def run():
        async with a_world(lambda: RdmaWorld(lambda _: FakeDevice(fabric))) as world:
            a, b = await world.node("a"), await world.node("b")
            await test(fabric, world, a, b)

    asyncio.run(run())
    assert fabric.left == (0, 0)
    return fabric


async def received(world, count):
    return [bytes(each.payload) for each in await world.until("b", MessageReceived, count)]


def test_messages_go_through_the_ring():
    sent = [bytes([number % 256]) * (number * 37 % 5000) for number in range(500)]

    async def test(_fabric, world, a, _b):
        for data in sent:
            a.send_message("b", [data])
        assert await received(world, len(sent)) == sent

    assert with_nodes(test).writes > 10


def test_many_at_once_take_few_writes():
    """What waits for room goes together."""

    async def test(_fabric, world, a, _b):
        for _ in range(5000):
            a.send_message("b", [b"x" * 500])
        await world.until("b", MessageReceived, 5000)

    assert with_nodes(test).writes < 1000


@pytest.mark.parametrize("why", Failure)
def test_a_ring_that_fails_ends_the_path_and_the_next_is_a_stream(why, caplog):
    async def test(fabric, world, a, _b):
        a.send_message("b", [b"one"])
        assert await received(world, 1) == [b"one"]
        fabric.fail_write = (fabric.writes, why)
        a.send_message("b", [b"two"])
        assert [each.peer for each in await world.until("a", PeerLost)] == ["b"]
        writes = fabric.writes
        a.send_message("b", [b"three"])
        assert (await received(world, 2))[1] == b"three"
        assert fabric.writes == writes

    with caplog.at_level(logging.WARNING):
        with_nodes(test)
    assert any("the next path of messages with 'b' is a stream" in each for each in caplog.messages)


def test_a_ring_is_tried_again_after_a_while(monkeypatch):
    monkeypatch.setattr(carrier, "SHUN_NS", 0)

    async def test(fabric, world, a, _b):
        fabric.fail_write = (0, Failure.PEER_SILENT)
        a.send_message("b", [b"one"])
        await world.until("a", PeerLost)
        a.send_message("b", [b"two"])
        assert await received(world, 1) == [b"two"]

    assert with_nodes(test).writes > 1


@pytest.mark.parametrize("which", [0, 1])
def test_a_device_without_room_for_a_ring_is_no_reason_to_be_silent(which):
    async def test(fabric, world, a, _b):
        fabric.devices[which].registrations_max = 0
        for text in (b"one", b"two"):  # where the writer finds out, the first is lost with its path
            a.send_message("b", [text])
            if which == 0 and text == b"one":
                await world.until("a", PeerLost)
        assert (await received(world, 1))[-1] == b"two"

    with_nodes(test)


# --- words ------------------------------------------------------------------------------------------------------------


@given(st.builds(Credit, taken_bytes=st.integers(0, 2**64 - 1), notes=st.integers(0, 2**64 - 1)))
def test_a_credit_is_read_back(credit):
    assert decode_credit(encode_credit(credit)) == credit


def test_a_ring_is_read_back():
    assert decode_ring_offer(json.loads(json.dumps(encode_ring_offer(OFFER)))) == OFFER


@pytest.mark.parametrize(
    "change", [{"bytes": 0}, {"bytes": 2**40}, {"notes": True}, {"key": -1}, {"address": "1"}, {"more": 1}]
)
def test_a_ring_that_makes_no_sense_is_refused(change):
    with pytest.raises(MalformedFrame, match=r"ring: (wanted|\w+ .* wanted)"):
        decode_ring_offer(encode_ring_offer(OFFER) | change)
