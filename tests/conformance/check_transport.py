"""What every transport promises, as checks that run on any of them.

A check gets a `World` with no node in it; the module that tests an implementation provides the worlds and runs each of
`CHECKS` in a fresh one.
"""

from collections.abc import Callable, Coroutine

import pytest

from executor.errors import BadSegments, FrameTooLarge, TransferInUse, TransportClosed, UnknownPeer
from executor.transport.interface import (
    BlobArrived,
    BlobFailed,
    BlobSent,
    ExpectedBlob,
    FailureKind,
    MessageReceived,
    PeerLost,
    Segment,
)
from specs.units import NANOS_PER_SECOND, Bytes
from tests.conformance.transport_faults import FAULT_CHECKS
from tests.conformance.world import DEADLINE_NS, MEBI, NODE_NAMES, World, expect, noise, send, underway


async def messages_arrive_whole_and_in_order(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    sizes = [0, 1, 7, 8, 9, 65_528, 65_529, 1, 65_536, 3 * MEBI, 0, 5, 200_000] + [n % 97 for n in range(300)]
    sent = [bytes(noise(size, seed)) for seed, size in enumerate(sizes)]
    for data in sent:
        third = len(data) // 3
        a.send_message("b", [data[:third], bytearray(data[third : 2 * third]), b"", memoryview(data)[2 * third :]])
        b.send_message("a", [data])
    assert world.events("a") == world.events("b") == []  # never from inside a method
    for name, peer in (("b", "a"), ("a", "b")):
        got = await world.until(name, MessageReceived, len(sent))
        assert [bytes(message.payload) for message in got] == sent
        assert {message.peer for message in got} == {peer}
        assert not any(message.payload.readonly for message in got)


async def a_message_without_buffers_arrives(world: World) -> None:
    a = await world.node("a")
    await world.node("b")
    a.send_message("b", [])
    assert bytes((await world.until("b", MessageReceived))[0].payload) == b""


async def a_message_at_the_limit_arrives_and_one_over_is_refused(world: World) -> None:
    a = await world.node("a")
    await world.node("b")
    whole = bytes(world.frame_bytes)
    with pytest.raises(FrameTooLarge, match=f"of {world.frame_bytes + 1} bytes to 'b', wanted at most"):
        a.send_message("b", [whole, b"x"])
    a.send_message("b", [whole])
    got = await world.until("b", MessageReceived)
    assert [len(message.payload) for message in got] == [world.frame_bytes]


async def strangers_are_named(world: World) -> None:
    a = await world.node("a")
    with pytest.raises(UnknownPeer, match="'nobody' was not introduced to 'a'"):
        a.send_message("nobody", [b"x"])
    with pytest.raises(UnknownPeer):
        send(a, "nobody", noise(1))
    with pytest.raises(UnknownPeer):
        expect(a, "nobody", noise(1))


async def a_message_to_a_node_that_is_not_there_is_reported(world: World) -> None:
    a = await world.node("a")
    a.send_message("b", [b"x"])
    assert (await world.until("a", PeerLost))[0].peer == "b"
    await world.node("b")
    a.send_message("b", [b"y"])
    assert bytes((await world.until("b", MessageReceived))[0].payload) == b"y"


async def a_blob_lands_in_its_place(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    data = noise(3 * MEBI + 12_345)
    place = expect(b, "a", data, cuts=(0, 0, 1, 4096, 262_144, 300_000, 3 * MEBI))
    send(a, "b", data)
    assert world.events("a") == world.events("b") == []
    arrived = (await world.until("b", BlobArrived))[0]
    sent = (await world.until("a", BlobSent))[0]
    assert place == data
    assert (arrived.transfer_id, arrived.peer, arrived.size_bytes) == ("t", "a", len(data))
    assert (sent.transfer_id, sent.peer, sent.sent_bytes) == ("t", "b", len(data))
    assert arrived.elapsed_ns > 0
    assert sent.elapsed_ns > 0


async def a_blob_may_be_empty(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    expect(b, "a", bytearray(), cuts=(0, 0))
    send(a, "b", bytearray())
    assert (await world.until("b", BlobArrived))[0].size_bytes == 0
    assert (await world.until("a", BlobSent))[0].sent_bytes == 0


async def many_blobs_each_way_at_once(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    blobs = {f"t{n}": noise(50_000 + n, n) for n in range(80)}
    places = {}
    for transfer, data in blobs.items():
        places[transfer, "b"] = expect(b, "a", data, transfer)
        places[transfer, "a"] = expect(a, "b", data, transfer)
        send(a, "b", data, transfer)
        send(b, "a", data, transfer)
    for name in ("a", "b"):
        assert {event.transfer_id for event in await world.until(name, BlobArrived, len(blobs))} == set(blobs)
        await world.until(name, BlobSent, len(blobs))
    assert all(place == blobs[transfer] for (transfer, _), place in places.items())


async def no_faster_than_the_rate(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    data, rate = noise(2 * MEBI), 8 * MEBI
    expect(b, "a", data)
    send(a, "b", data, rate=rate)
    arrived, sent = (await world.until("b", BlobArrived))[0], (await world.until("a", BlobSent))[0]
    shortest_ns = len(data) * NANOS_PER_SECOND // rate
    assert arrived.elapsed_ns >= shortest_ns
    assert sent.elapsed_ns >= shortest_ns


async def a_blob_delays_no_message(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    data = noise(32 * MEBI)
    place = expect(b, "a", data)
    send(a, "b", data, rate=MEBI // 2)  # it lasts longer than anybody waits for a message
    await underway(world, place)
    for n in range(20):
        a.send_message("b", [bytes([n])])
    await world.until("b", MessageReceived, 20)
    assert all(isinstance(event, MessageReceived) for event in world.events("b"))
    b.abandon_blob("a", "t")
    failed = (await world.until("b", BlobFailed))[0]
    assert (failed.kind, failed.moved_bytes > 0) == (FailureKind.ABANDONED, True), "it was on its way all the time"


async def an_unexpected_blob_is_refused(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    data = noise(MEBI)
    send(a, "b", data)
    failed = (await world.until("a", BlobFailed))[0]
    assert (failed.kind, failed.transfer_id, failed.peer) == (FailureKind.REFUSED, "t", "b")
    assert failed.moved_bytes == 0
    assert "not expected" in failed.sentence
    assert world.events("b") == []
    place = expect(b, "a", data)
    send(a, "b", data)
    await world.until("b", BlobArrived)
    assert place == data


async def a_blob_from_the_wrong_peer_is_refused(world: World) -> None:
    a, b, c = [await world.node(name) for name in NODE_NAMES]
    data = noise(MEBI)
    place = expect(b, "a", data)
    send(c, "b", data)
    assert (await world.until("c", BlobFailed))[0].kind is FailureKind.REFUSED
    assert place == bytes(len(data))
    assert world.events("b") == []
    send(a, "b", data)
    await world.until("b", BlobArrived)


async def a_blob_of_another_length_is_refused(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    data = noise(MEBI)
    place = expect(b, "a", data)
    for wrong in (MEBI - 1, MEBI + 1, 0):
        send(a, "b", noise(wrong))
        failed = (await world.until("a", BlobFailed))[-1]
        assert failed.kind is FailureKind.REFUSED
        assert f"is {wrong} bytes, wanted {MEBI}" in failed.sentence
        world.events("a").clear()
    assert place == bytes(MEBI)
    send(a, "b", data)
    await world.until("b", BlobArrived)
    assert place == data


async def a_blob_that_has_arrived_is_not_sent_again(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    data = noise(MEBI)
    place = expect(b, "a", data)
    send(a, "b", data)
    await world.until("b", BlobArrived)
    await world.until("a", BlobSent)
    place[:] = bytes(MEBI)
    send(a, "b", data)
    assert (await world.until("a", BlobSent, 2))[1].sent_bytes == 0
    assert place == bytes(MEBI)
    assert len(world.events("b")) == 1
    again = expect(b, "a", data)  # the blob was released since, and is wanted once more
    send(a, "b", data)
    await world.until("b", BlobArrived, 2)
    assert again == data
    expect(b, "a", data)  # a third time, but given up: now nobody may be told that it is there
    b.abandon_blob("a", "t")
    await world.until("b", BlobFailed)
    await world.until("a", BlobSent, 3)
    send(a, "b", data)
    assert (await world.until("a", BlobFailed))[0].kind is FailureKind.REFUSED


async def a_corrupt_byte_is_found_and_its_segment_named(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    data, cuts = noise(MEBI), (0, 100, 300_000, 600_001, MEBI)
    for segment, offset in ((0, 0), (0, 99), (1, 100), (2, 600_000), (3, MEBI - 1)):
        expect(b, "a", data, cuts=cuts)
        world.corrupt("t", Bytes(offset))
        send(a, "b", data)
        for name in ("a", "b"):
            failed = (await world.until(name, BlobFailed))[0]
            assert (failed.kind, failed.segment, failed.transfer_id) == (FailureKind.CORRUPT, segment, "t")
            assert f"segment {segment} arrived with another digest" in failed.sentence
            world.events(name).clear()
    place = expect(b, "a", data, cuts=cuts)
    send(a, "b", data)
    await world.until("b", BlobArrived)
    assert place == data


async def bad_segments_are_refused(world: World) -> None:
    a = await world.node("a")
    digest = "0" * 64

    def expected(destination: memoryview, *segments: tuple[int, int, str]) -> ExpectedBlob:
        made = [
            Segment(offset_bytes=Bytes(offset), size_bytes=Bytes(size), blake3_hex=hexdigits)
            for offset, size, hexdigits in segments
        ]
        return ExpectedBlob(
            peer="b",
            transfer_id="t",
            destination=destination,
            segments=tuple(made),
            progress_deadline_ns=DEADLINE_NS,
        )

    place = memoryview(bytearray(100))
    for blob in (
        expected(place, (0, 101, digest)),
        expected(place, (-1, 2, digest)),
        expected(place, (0, 50, digest), (49, 1, digest)),
        expected(place, (50, 50, digest), (0, 50, digest)),
        expected(place, (5, -1, digest)),
        expected(place, (0, 1, digest[1:])),
        expected(place, (0, 1, "A" * 64)),
        expected(place.toreadonly()),
        expected(place[::2]),
        expected(place.cast("i")),
    ):
        with pytest.raises(BadSegments, match="transfer 't' from 'b'"):
            a.expect_blob(blob)
    a.expect_blob(expected(place, (0, 100, digest)))


async def a_transfer_in_use_is_not_begun_again(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    data = noise(MEBI)
    place = expect(b, "a", data)
    with pytest.raises(TransferInUse, match="transfer 't' from 'a'"):
        expect(b, "a", data)
    send(a, "b", data, rate=MEBI // 2)
    with pytest.raises(TransferInUse, match="transfer 't' to 'b'"):
        send(a, "b", data)
    await underway(world, place)
    with pytest.raises(TransferInUse):
        expect(b, "a", data)
    await world.until("b", BlobArrived)
    assert place == data


async def abandoned_transfers_end(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    data = noise(4 * MEBI)
    for which, node, peer in (("a", a, "b"), ("b", b, "a")):
        place = expect(b, "a", data)
        send(a, "b", data, rate=MEBI // 2)
        await underway(world, place)
        node.abandon_blob(peer, "t")
        for name in ("a", "b"):
            failed = (await world.until(name, BlobFailed))[0]
            assert failed.kind is (FailureKind.ABANDONED if name == which else FailureKind.PATH_LOST)
            assert 0 < failed.moved_bytes < len(data)
            world.events(name).clear()
    expect(b, "a", data)
    b.abandon_blob("a", "t")
    b.abandon_blob("a", "never heard of")
    assert world.events("b") == []
    failed = (await world.until("b", BlobFailed))[0]
    assert (failed.kind, failed.moved_bytes) == (FailureKind.ABANDONED, 0)
    place = expect(b, "a", data)
    send(a, "b", data)
    await world.until("b", BlobArrived)
    assert place == data


async def what_is_abandoned_at_once_ends_too(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    data = noise(MEBI)
    send(a, "b", data)
    a.abandon_blob("b", "t")
    assert (await world.until("a", BlobFailed))[0].kind is FailureKind.ABANDONED
    place = expect(b, "a", data)
    send(a, "b", data)
    await world.until("b", BlobArrived)
    assert place == data
    send(a, "b", data, "other")
    await a.close()


async def a_node_closes_twice_and_is_silent_then(world: World) -> None:
    a, b = await world.node("a"), await world.node("b")
    data = noise(8 * MEBI)
    place = expect(b, "a", data)
    expect(a, "b", data)
    send(a, "b", data, rate=4 * MEBI)
    send(a, "c", data)  # which is not there
    a.send_message("b", [b"x"])
    await world.until("b", MessageReceived)
    await world.settle(NANOS_PER_SECOND // 4)
    world.events("b").clear()
    await b.close()
    await b.close()
    then = bytes(place)
    await world.until("a", PeerLost)
    assert world.events("b") == []
    assert place == then
    with pytest.raises(TransportClosed, match="'b' is closed"):
        b.send_message("a", [b"x"])
    with pytest.raises(TransportClosed):
        send(b, "a", data)
    with pytest.raises(TransportClosed):
        expect(b, "a", data, "other")


Check = Callable[[World], Coroutine[object, object, None]]

CHECKS: tuple[Check, ...] = (
    messages_arrive_whole_and_in_order,
    a_message_without_buffers_arrives,
    a_message_at_the_limit_arrives_and_one_over_is_refused,
    strangers_are_named,
    a_message_to_a_node_that_is_not_there_is_reported,
    a_blob_lands_in_its_place,
    a_blob_may_be_empty,
    many_blobs_each_way_at_once,
    no_faster_than_the_rate,
    a_blob_delays_no_message,
    an_unexpected_blob_is_refused,
    a_blob_from_the_wrong_peer_is_refused,
    a_blob_of_another_length_is_refused,
    a_blob_that_has_arrived_is_not_sent_again,
    a_corrupt_byte_is_found_and_its_segment_named,
    bad_segments_are_refused,
    a_transfer_in_use_is_not_begun_again,
    abandoned_transfers_end,
    what_is_abandoned_at_once_ends_too,
    a_node_closes_twice_and_is_silent_then,
    *FAULT_CHECKS,
)
