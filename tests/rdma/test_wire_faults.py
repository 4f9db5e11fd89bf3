"""What happens to the wire while a blob is written over it, and what becomes of the blob: on Soft-RoCE devices."""

import asyncio
import os
import signal
import subprocess

import pytest

from executor.transport.interface import (
    BlobArrived,
    BlobFailed,
    BlobSent,
    FailureKind,
    MessageReceived,
    Peer,
    PeerLost,
)
from executor.transport.rdma import verbs
from executor.transport.rdma.carrier import RdmaCarrier
from executor.transport.tcp import listen_tcp
from tests.conformance.rdma_world import RdmaWorld, real_device
from tests.conformance.tcp_world import Diary, a_world
from tests.conformance.world import MEBI, SLOWNESS, expect, noise, send, underway

pytestmark = [pytest.mark.rdma, pytest.mark.timeout(300 * SLOWNESS)]

SIZE = 6 * MEBI
RATE = 2 * MEBI  # it lasts three seconds, if the machine keeps up


@pytest.fixture
def wire(lab):
    """Do something to the wire of the second device; afterwards it is as it was."""

    def harm(*words):
        subprocess.run(words, check=True)

    yield harm
    subprocess.run(["ip", "link", "set", "p1", "up"], check=True)
    subprocess.run(["tc", "qdisc", "del", "dev", "p1", "root"], check=False, stderr=subprocess.DEVNULL)


def netem(*words):
    return ("tc", "qdisc", "replace", "dev", "p1", "root", "netem", *words)


# What is done to the wire in the midst of the blob, and whether the rest has to come as a stream.
HARMS = {
    "the link goes down": (("ip", "link", "set", "p1", "down"), True),
    "all packets are lost": (netem("loss", "100%"), True),
    "one packet of a hundred is lost": (netem("loss", "1%"), None),  # a stream only if one is lost seven times
    "packets come late": (netem("delay", "20ms"), False),
}


@pytest.mark.parametrize("harm", HARMS)
def test_the_blob_arrives_whatever_happens_to_the_wire(harm, wire):
    data = noise(SIZE)
    words, is_detour = HARMS[harm]

    async def run():
        async with a_world(lambda: RdmaWorld(real_device)) as world:
            a, b = await world.node("a"), await world.node("b")
            place = expect(b, "a", data)
            send(a, "b", data, rate=RATE)
            await underway(world, place)
            wire(*words)
            (arrived,), (sent,) = await world.until("b", BlobArrived), await world.until("a", BlobSent)
            assert place == data
            if is_detour is not None:
                assert bool(arrived.detour) == bool(sent.detour) == is_detour, (arrived, sent)

    asyncio.run(run())


def test_messages_go_on_over_tcp_when_the_link_is_down(wire):

    async def run():
        async with a_world(lambda: RdmaWorld(real_device)) as world:
            a, _ = await world.node("a"), await world.node("b")
            a.send_message("b", [b"one"])
            await world.until("b", MessageReceived)
            wire("ip", "link", "set", "p1", "down")
            a.send_message("b", [b"two"])
            await world.until("a", PeerLost)
            a.send_message("b", [b"three"])
            got = await world.until("b", MessageReceived, 2)
            assert bytes(got[-1].payload) == b"three"

    asyncio.run(run())


def test_a_receiver_that_is_killed_is_noticed(lab):
    """A process of its own, which the kernel cleans up after."""
    ports = verbs.ports()
    data = noise(SIZE)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        asyncio.run(_receive(ports[1], data, writing))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        port = int(pipe.readline())

        async def run():
            diary = Diary()
            carrier = RdmaCarrier(verbs.Device(ports[0]))
            node = await listen_tcp(_peer("a", 0), realm="realm", on_event=diary.note, carrier=carrier)
            node.meet([_peer("b", port)])
            send(node, "b", data, rate=RATE)
            await asyncio.to_thread(pipe.readline)  # it is under way
            os.kill(child, signal.SIGKILL)
            (failed,) = await diary.until(BlobFailed)
            await node.close()
            return failed

        failed = asyncio.run(run())
    os.waitpid(child, 0)
    assert failed.kind is FailureKind.PATH_LOST


async def _receive(port, data, writing):
    diary = Diary()
    carrier = RdmaCarrier(verbs.Device(port))
    node = await listen_tcp(_peer("b", 0), realm="realm", on_event=diary.note, carrier=carrier)
    node.meet([_peer("a", 0)])
    place = expect(node, "a", data)
    with os.fdopen(writing, "w", buffering=1) as pipe:
        print(node.port, file=pipe)
        while not any(place[MEBI : MEBI + 64]):  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # a device tells nobody of the bytes that it writes
        print("under way", file=pipe)
    await diary.until(BlobArrived)


def _peer(name, port):
    return Peer(name=name, host="127.0.0.1", port=port)
