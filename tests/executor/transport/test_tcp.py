"""The TCP transport keeps every transport's promises, bears bad callers, and leaves nothing behind."""

import asyncio
import contextlib
import logging
import pathlib
import signal
import socket
import subprocess
import sys
from typing import Self

import pytest

from executor.transport import framing
from executor.transport.framing import Hello, Offer, Verdict
from executor.transport.interface import (
    BlobArrived,
    BlobFailed,
    BlobSent,
    FailureKind,
    MessageReceived,
    Peer,
    PeerLost,
)
from executor.transport.message_link import MessageLimits
from executor.transport.tcp import TcpLimits, listen_tcp
from specs.units import Bytes, Nanos
from tests.conformance.check_transport import CHECKS, Check
from tests.conformance.tcp_world import FRAME_BYTES, Diary, a_world, blob_threads
from tests.conformance.world import expect, noise, send


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_keeps_every_promise(check: Check) -> None:
    async def run() -> None:
        async with a_world() as world:
            await check(world)

    asyncio.run(run())


class RawPeer:
    """The far end of a connection, byte by byte."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def verdict(self) -> tuple[Verdict, str]:
        verdict, size_bytes = framing.decode_verdict_head(await self.reader.readexactly(framing.VERDICT_HEAD.size))
        return verdict, (await self.reader.readexactly(size_bytes)).decode()

    async def hung_up(self) -> None:
        """Wait until the other side closes, whichever way."""
        with contextlib.suppress(ConnectionResetError):
            assert await self.reader.read() == b""


def hello(sender: str = "a", receiver: str = "b", realm: str = "realm", offer: Offer | None = None) -> bytes:
    return framing.encode_hello(Hello(sender=sender, receiver=receiver, realm=realm, offer=offer))


GOOD = hello()


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"GET / HTTP/1.1\r\nHost: b\r\n\r\n", "begins with b'GET '"),
        (b"\0" * 100, "begins with"),
        (b"", "the connection was closed after 0 of 8 bytes"),
        (GOOD[:7], "the connection was closed after 7 of 8 bytes"),
        (GOOD[:-1], "the connection was closed after"),
        (framing.HELLO_HEAD.pack(framing.MAGIC, 2, 0), "protocol 2, wanted 1"),
        (framing.HELLO_HEAD.pack(framing.MAGIC, 1, 65_535), "a body of 65535 bytes"),
        (framing.HELLO_HEAD.pack(framing.MAGIC, 1, 4) + b"\xff\xfe\0\0", "not JSON"),
        (hello(realm="other"), "is of realm 'other', this is 'realm'"),
        (hello(sender="mallory\n"), "'mallory\\n' was not introduced to 'b'"),
        (hello(receiver="c"), "wants 'c', this is 'b'"),
        (hello(offer=Offer(transfer_id="t", size_bytes=Bytes(5))), "transfer 't' from 'a' is not expected"),
    ],
)
def test_a_bad_caller_is_turned_away_with_one_line(data: bytes, line: str, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with a_world() as world:
            a, b = await world.node("a"), await world.node("b")
            async with RawPeer(b.port) as raw:
                await raw.say(data)
                raw.writer.write_eof()
                with contextlib.suppress(ConnectionResetError):
                    await raw.reader.read()
            assert [line in record.getMessage() for record in caplog.records] == [True]
            assert "\n" not in caplog.records[0].getMessage()
            assert world.events("b") == []
            a.send_message("b", [b"still well"])
            await world.until("b", MessageReceived)

    with caplog.at_level(logging.INFO):
        asyncio.run(run())


@pytest.mark.parametrize(("sender", "lines"), [("a", 2), ("mallory", 4)])
def test_a_peer_that_calls_again_and_again_is_one_line_of_the_log(
    sender: str, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with a_world() as world:
            await world.node("a")
            b = await world.node("b")
            for realm in ("other", "other", "other", "yet another"):
                async with RawPeer(b.port) as raw:
                    await raw.say(hello(sender=sender, realm=realm))
                    verdict, sentence = await raw.verdict()
                assert (verdict, f"{sender!r} is of realm {realm!r}" in sentence) == (Verdict.STRANGER, True)

    asyncio.run(run())
    assert sum("is of realm" in record.getMessage() for record in caplog.records) == lines


def test_a_caller_who_says_nothing_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        quick = TcpLimits(hello_ns=Nanos(50_000_000))
        b = await listen_tcp(Peer(name="b", host="127.0.0.1", port=0), realm="r", on_event=print, limits=quick)
        async with RawPeer(b.port) as raw:
            await raw.hung_up()
        await b.close()

    asyncio.run(run())
    assert "did not say who it is" in caplog.text


def test_a_node_of_another_realm_is_told_why_it_is_turned_away() -> None:
    async def run() -> None:
        diary = Diary()
        async with a_world() as world:
            b = await world.node("b")
            a = await listen_tcp(Peer(name="a", host="127.0.0.1", port=0), realm="other", on_event=diary.note)
            a.meet([Peer(name="b", host="127.0.0.1", port=b.port)])
            a.send_message("b", [b"x"])
            send(a, "b", noise(10))
            lost, failed = (await diary.until(PeerLost))[0], (await diary.until(BlobFailed))[0]
            await a.close()
        assert "turned us away: 'a' is of realm 'other', this is 'realm'" in lost.sentence
        assert failed.kind is FailureKind.UNREACHABLE

    asyncio.run(run())


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (framing.FRAME_HEAD.pack(1, FRAME_BYTES + 1), f"a message of {FRAME_BYTES + 1} bytes, wanted at most"),
        (framing.FRAME_HEAD.pack(7, 0), "kind 7, wanted 1 or 2"),
        (framing.FRAME_HEAD.pack(1, 100_000) + b"short", "before a message's end"),
        (framing.FRAME_HEAD.pack(1, 10) + b"short", "closed the connection within a message"),
    ],
)
def test_a_bad_frame_loses_the_peer_and_harms_no_other(frame: bytes, reason: str) -> None:
    async def run() -> None:
        async with a_world() as world:
            b, c = await world.node("b"), await world.node("c")
            c.send_message("b", [b"before"])
            async with RawPeer(b.port) as raw:
                await raw.say(GOOD)
                assert (await raw.verdict())[0] is Verdict.WELCOME
                await raw.say(framing.FRAME_HEAD.pack(1, 2) + b"ok" + frame)
                raw.writer.write_eof()
                await raw.hung_up()
            lost = (await world.until("b", PeerLost))[0]
            assert lost.peer == "a"
            assert reason in lost.sentence
            c.send_message("b", [b"after"])
            got = await world.until("b", MessageReceived, 3)
            assert sorted((message.peer, bytes(message.payload)) for message in got) == [
                ("a", b"ok"),
                ("c", b"after"),
                ("c", b"before"),
            ]

    asyncio.run(run())


def test_a_blob_that_breaks_off_or_stops_is_reported_by_its_receiver() -> None:
    async def run() -> None:
        async with a_world() as world:
            b = await world.node("b")
            for breaks_off, kind in ((True, FailureKind.PATH_LOST), (False, FailureKind.STALLED)):
                data = noise(300_000)
                expect(b, "a", data)
                async with RawPeer(b.port) as raw:
                    await raw.say(hello(offer=Offer(transfer_id="t", size_bytes=Bytes(len(data)))))
                    assert (await raw.verdict())[0] is Verdict.WELCOME
                    await raw.say(bytes(data[:100_000]))
                    if breaks_off:
                        raw.writer.write_eof()
                    failed = (await world.until("b", BlobFailed))[0]
                assert (failed.kind, failed.moved_bytes) == (kind, 100_000)
                assert failed.sentence.startswith("transfer 't' from 'a': ")
                assert failed.sentence.endswith("after 100000 of 300000 bytes.")
                world.events("b").clear()

    asyncio.run(run())


def test_a_second_call_of_the_same_peer_ends_the_first() -> None:
    async def run() -> None:
        async with a_world() as world:
            b = await world.node("b")
            async with RawPeer(b.port) as old, RawPeer(b.port) as new:
                await old.say(GOOD)
                await old.verdict()
                await old.say(framing.FRAME_HEAD.pack(1, 3) + b"old")
                await world.until("b", MessageReceived)
                await new.say(GOOD)
                await new.verdict()
                await old.hung_up()
                await new.say(framing.FRAME_HEAD.pack(1, 3) + b"new")
                await world.until("b", MessageReceived, 2)
            kinds = [type(event) for event in world.events("b")]
            assert kinds[:3] == [MessageReceived, PeerLost, MessageReceived]

    asyncio.run(run())


def test_a_peer_that_reads_nothing_is_lost_before_memory_is() -> None:
    async def run() -> None:
        limits = TcpLimits(messages=MessageLimits(queued_bytes=Bytes(1 << 20)))
        diary = Diary()

        async def read_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(framing.encode_verdict(Verdict.WELCOME, ""))
            await done.wait()
            writer.close()

        done = asyncio.Event()
        async with await asyncio.start_server(read_nothing, "127.0.0.1", 0) as server:
            a = await listen_tcp(
                Peer(name="a", host="127.0.0.1", port=0), realm="r", on_event=diary.note, limits=limits
            )
            a.meet([Peer(name="b", host="127.0.0.1", port=server.sockets[0].getsockname()[1])])
            for _ in range(60):
                a.send_message("b", [bytes(1 << 20)])
                await asyncio.sleep(0)
                if diary.events:
                    break
            lost = (await diary.until(PeerLost))[0]
            done.set()
            await a.close()
        assert "left more than 1048576 bytes of messages unread" in lost.sentence

    asyncio.run(run())


def test_a_receipt_that_is_none_fails_the_blob() -> None:
    async def run() -> None:
        diary = Diary()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(framing.encode_verdict(Verdict.WELCOME, ""))
            writer.write(b"?" * framing.RECEIPT.size)
            writer.write_eof()
            await reader.read()
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            a = await listen_tcp(Peer(name="a", host="127.0.0.1", port=0), realm="r", on_event=diary.note)
            a.meet([Peer(name="b", host="127.0.0.1", port=server.sockets[0].getsockname()[1])])
            send(a, "b", noise(1000))
            failed = (await diary.until(BlobFailed))[0]
            await a.close()
        assert failed.kind is FailureKind.PATH_LOST
        assert "receipt: begins with b'????'" in failed.sentence

    asyncio.run(run())


def test_more_blobs_than_threads_take_turns() -> None:
    async def run() -> None:
        diary = Diary()
        limits = TcpLimits(blobs_each_way=2)
        nodes = [
            await listen_tcp(Peer(name=name, host="127.0.0.1", port=0), realm="r", on_event=diary.note, limits=limits)
            for name in ("a", "b")
        ]
        for node, other, name in ((*nodes, "b"), (*nodes[::-1], "a")):
            node.meet([Peer(name=name, host="127.0.0.1", port=other.port)])
        a, b = nodes
        blobs = {f"t{n}": noise(20_000, n) for n in range(10)}
        places = {transfer: expect(b, "a", data, transfer) for transfer, data in blobs.items()}
        for transfer, data in blobs.items():
            send(a, "b", data, transfer, rate=1_000_000)
        most = 0
        for count in range(1, 11):
            await diary.until(BlobArrived, count)
            most = max(most, blob_threads())
        await diary.until(BlobSent, 10)
        assert len(diary.events) == 20
        assert places == blobs
        assert most <= 8  # both nodes live here
        await a.close()
        await b.close()

    asyncio.run(run())


PROCESS = """
import asyncio, sys
from executor.transport.interface import Peer
from executor.transport.tcp import listen_tcp
from tests.conformance.world import expect, noise

async def main():
    b = await listen_tcp(Peer(name="b", host="127.0.0.1", port=0), realm="realm", on_event=print)
    b.meet([Peer(name="a", host="127.0.0.1", port=int(sys.argv[1]))])
    place = expect(b, "a", noise(24 << 20))
    print(b.port, flush=True)
    while not any(place[:64]):
        await asyncio.sleep(0.01)
    print("begun", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("sign", "kind", "words"),
    [
        (signal.SIGSTOP, FailureKind.STALLED, "no byte moved for"),
        (signal.SIGKILL, FailureKind.PATH_LOST, "the connection broke"),
    ],
)
def test_a_process_that_is_stopped_or_killed_is_noticed_by_the_sender(
    sign: signal.Signals, kind: FailureKind, words: str
) -> None:
    async def run() -> None:
        async with a_world() as world:
            a = await world.node("a")
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", PROCESS, str(a.port)),
                stdout=subprocess.PIPE,
                cwd=pathlib.Path(__file__).parents[3],
            )
            try:
                assert process.stdout is not None
                a.meet([Peer(name="b", host="127.0.0.1", port=int(await process.stdout.readline()))])
                a.send_message("b", [b"x"])
                send(a, "b", noise(24 << 20), rate=8 << 20)
                while (line := await process.stdout.readline()) != b"begun\n":
                    assert line, "the process ended"
                process.send_signal(sign)
                failed = (await world.until("a", BlobFailed))[0]
                assert (await world.until("a", PeerLost))[0].peer == "b"
            finally:
                if process.returncode is None:
                    process.kill()
                await process.communicate()
            assert (failed.kind, failed.peer, failed.transfer_id) == (kind, "b", "t")
            assert words in failed.sentence
            assert 0 < failed.moved_bytes < 24 << 20

    asyncio.run(run())


def test_an_address_that_is_taken_is_an_error() -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = Peer(name="a", host="127.0.0.1", port=taken.getsockname()[1])
            with pytest.raises(OSError, match="Address already in use"):
                await listen_tcp(address, realm="r", on_event=print)

    asyncio.run(run())
