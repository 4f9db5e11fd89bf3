"""The checks in which a node is killed or stopped: part of `check_transport.CHECKS`."""

from executor.transport.interface import BlobFailed, FailureKind, MessageReceived, PeerLost
from tests.conformance.world import DEADLINE_NS, MEBI, World, expect, noise, send, underway


async def a_killed_receiver_is_noticed(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    data = noise(8 * MEBI)
    place = expect(b, "a", data)
    a.send_message("b", [b"x"])
    await world.until("b", MessageReceived)
    send(a, "b", data, rate=MEBI // 2)
    await underway(world, place)
    await world.kill("b")
    failed = (await world.until("a", BlobFailed))[0]
    assert (failed.kind, failed.transfer_id, failed.peer) == (FailureKind.PATH_LOST, "t", "b")
    assert 0 < failed.moved_bytes < len(data)
    assert f"after {failed.moved_bytes} of {len(data)} bytes" in failed.sentence
    assert [lost.peer for lost in await world.until("a", PeerLost)] == ["b"]
    send(a, "b", data)
    assert (await world.until("a", BlobFailed, 2))[1].kind is FailureKind.UNREACHABLE


async def a_killed_sender_is_noticed(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    data = noise(8 * MEBI)
    place = expect(b, "a", data)
    a.send_message("b", [b"x"])
    send(a, "b", data, rate=MEBI // 2)
    await world.until("b", MessageReceived)
    await underway(world, place)
    await world.kill("a")
    failed = (await world.until("b", BlobFailed))[0]
    assert (failed.kind, failed.transfer_id, failed.peer) == (FailureKind.PATH_LOST, "t", "a")
    assert 0 < failed.moved_bytes < len(data)
    assert [lost.peer for lost in await world.until("b", PeerLost)] == ["a"]


async def a_stopped_receiver_is_noticed(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    data = noise(24 * MEBI)
    place = expect(b, "a", data)
    send(a, "b", data, rate=8 * MEBI)
    await underway(world, place)
    world.stop("b")
    failed = (await world.until("a", BlobFailed))[0]
    assert (failed.kind, failed.transfer_id, failed.peer) == (FailureKind.STALLED, "t", "b")
    assert f"no byte moved for {DEADLINE_NS} ns" in failed.sentence


async def a_stopped_sender_is_noticed(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    data = noise(8 * MEBI)
    place = expect(b, "a", data)
    send(a, "b", data, rate=MEBI // 2)
    await underway(world, place)
    world.stop("a")
    failed = (await world.until("b", BlobFailed))[0]
    assert (failed.kind, failed.transfer_id, failed.peer) == (FailureKind.STALLED, "t", "a")
    assert 0 < failed.moved_bytes < len(data)


async def a_receiver_that_is_stopped_from_the_start_is_noticed(world: World) -> None:
    a = await world.node("a")
    await world.node("b")
    world.stop("b")
    send(a, "b", noise(1000))
    failed = (await world.until("a", BlobFailed))[0]
    assert (failed.kind, failed.moved_bytes) == (FailureKind.STALLED, 0)


async def a_silent_peer_is_lost(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    a.send_message("b", [b"x"])
    b.send_message("a", [b"x"])
    await world.until("a", MessageReceived)
    await world.until("b", MessageReceived)
    world.stop("b")
    lost = (await world.until("a", PeerLost))[0]
    assert lost.peer == "b"
    assert "answered nothing" in lost.sentence


FAULT_CHECKS = (
    a_killed_receiver_is_noticed,
    a_killed_sender_is_noticed,
    a_stopped_receiver_is_noticed,
    a_stopped_sender_is_noticed,
    a_receiver_that_is_stopped_from_the_start_is_noticed,
    a_silent_peer_is_lost,
)
