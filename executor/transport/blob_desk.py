"""Which blobs go and come: the tables on the event loop; the bytes move in threads (`carrier`)."""

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import attrs

from executor.errors import MalformedFrame, TransferInUse
from executor.transport import handshake
from executor.transport.blob_line import BlobEnd
from executor.transport.carrier import Carrier, Outgoing
from executor.transport.framing import Hello, Offer, Verdict
from executor.transport.interface import (
    BlobArrived,
    BlobFailed,
    BlobSent,
    ExpectedBlob,
    FailureKind,
    OnEvent,
    OutgoingBlob,
    Peer,
    check_expected,
)
from specs.units import Bytes, Nanos

# Transfers that arrived are remembered so that a repeated offer is not sent again; the oldest are forgotten.
ARRIVED_MAX = 1 << 16

_Key = tuple[str, str]  # peer, transfer id


@attrs.define(eq=False)
class _Running:
    """A transfer under way."""

    task: asyncio.Task[None] | None = None
    sock: socket.socket | None = None  # set while a thread has it
    stop: threading.Event = attrs.field(factory=threading.Event)

    def halt(self) -> None:
        """Make it end soon, whatever it waits for; on a later turn of the loop, by which its task has begun."""
        self.stop.set()
        asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        if self.sock is not None:
            handshake.hang_up(self.sock)
        elif self.task is not None:
            self.task.cancel()


class BlobDesk:
    """One node's outgoing, expected and arrived blobs."""

    def __init__(
        self, *, emit: OnEvent, hello: Callable[[str, Offer], Hello], carrier: Carrier, threads_each_way: int
    ) -> None:
        self._emit = emit
        self._carrier = carrier
        self._hello = hello
        self._pool = ThreadPoolExecutor(2 * threads_each_way, thread_name_prefix="blob")
        self._may_send = asyncio.Semaphore(threads_each_way)
        self.may_receive = asyncio.Semaphore(threads_each_way)  # held from the judgement of an offer to its end
        self._outgoing: dict[_Key, _Running] = {}
        self._incoming: dict[_Key, _Running] = {}
        self._expected: dict[_Key, ExpectedBlob] = {}
        self._arrived: dict[_Key, Bytes] = {}  # oldest first

    def send(self, peer: Peer, blob: OutgoingBlob) -> None:
        """As `Transport.send_blob`."""
        key = (blob.peer, blob.transfer_id)
        if key in self._outgoing:
            raise TransferInUse(f"transfer {blob.transfer_id!r} to {blob.peer!r} is under way.")
        running = self._outgoing[key] = _Running()
        running.task = asyncio.create_task(self._send(peer, blob, running))

    def expect(self, blob: ExpectedBlob) -> None:
        """As `Transport.expect_blob`."""
        key = (blob.peer, blob.transfer_id)
        if key in self._expected or key in self._incoming:
            raise TransferInUse(f"transfer {blob.transfer_id!r} from {blob.peer!r} is expected or under way.")
        check_expected(blob)
        self._arrived.pop(key, None)
        self._expected[key] = blob

    def abandon(self, peer: str, transfer_id: str) -> None:
        """As `Transport.abandon_blob`."""
        key = (peer, transfer_id)
        for running in (self._outgoing.get(key), self._incoming.get(key)):
            if running is not None:
                running.halt()
        if self._expected.pop(key, None) is not None:
            sentence = f"transfer {transfer_id!r} from {peer!r}: it was abandoned on this side, before its offer."
            failed = _failed(key, FailureKind.ABANDONED, sentence)
            asyncio.get_running_loop().call_soon(self._emit, failed)

    def judge(self, peer: str, offer: Offer) -> tuple[Verdict, str]:
        """Decide about an offer; changes nothing."""
        key = (peer, offer.transfer_id)
        where = f"transfer {offer.transfer_id!r} from {peer!r}"
        blob = self._expected.get(key)
        if blob is None:
            size_bytes = self._arrived.get(key)
            if size_bytes == offer.size_bytes:
                return Verdict.HAVE, ""
            known = "is under way already" if key in self._incoming else "is not expected"
            return Verdict.REFUSE, f"{where} {known}."
        if len(blob.destination) != offer.size_bytes:
            return Verdict.REFUSE, f"{where} is {offer.size_bytes} bytes, wanted {len(blob.destination)}."
        return Verdict.WELCOME, ""

    async def receive(self, sock: socket.socket, peer: str, offer: Offer) -> None:
        """Welcome a blob whose offer was just judged so, and take it; the caller closes the socket."""
        key = (peer, offer.transfer_id)
        blob = self._expected.pop(key)
        running = self._incoming[key] = _Running(sock=sock, task=asyncio.current_task())
        loop = asyncio.get_running_loop()
        try:
            end = await loop.run_in_executor(self._pool, self._carrier.receive, sock, blob, offer, running.stop)
        finally:
            del self._incoming[key]
        if end.kind is not None:
            self._emit(_blob_failed(key, end.kind, end))
            return
        self._arrived[key] = end.moved_bytes
        if len(self._arrived) > ARRIVED_MAX:
            del self._arrived[next(iter(self._arrived))]
        self._emit(
            BlobArrived(
                transfer_id=offer.transfer_id,
                peer=peer,
                size_bytes=end.moved_bytes,
                elapsed_ns=end.elapsed_ns,
                detour=end.detour,
            )
        )

    async def close(self) -> None:
        """End every transfer and every thread."""
        running = [*self._outgoing.values(), *self._incoming.values()]
        for transfer in running:
            transfer.halt()
        tasks = (transfer.task for transfer in running if transfer.task is not None)
        await asyncio.gather(*tasks, return_exceptions=True)
        self._pool.shutdown()  # at once: no thread has anything to do

    async def _send(self, peer: Peer, blob: OutgoingBlob, running: _Running) -> None:
        key = (blob.peer, blob.transfer_id)
        try:
            async with self._may_send:
                event = await self._carry(peer, blob, running)
        except asyncio.CancelledError:
            sentence = f"transfer {blob.transfer_id!r} to {blob.peer!r}: it was abandoned on this side, before consent."
            event = _failed(key, FailureKind.ABANDONED, sentence)
        finally:
            del self._outgoing[key]
        self._emit(event)

    async def _carry(self, peer: Peer, blob: OutgoingBlob, running: _Running) -> BlobSent | BlobFailed:
        with self._carrier.outgoing(blob) as outgoing:
            return await self._offer(peer, blob, outgoing, running)

    async def _offer(
        self, peer: Peer, blob: OutgoingBlob, outgoing: Outgoing, running: _Running
    ) -> BlobSent | BlobFailed:
        key = (blob.peer, blob.transfer_id)
        where = f"transfer {blob.transfer_id!r} to {blob.peer!r}"
        offer = Offer(transfer_id=blob.transfer_id, size_bytes=Bytes(len(blob.buffer)), writing=outgoing.writing)
        try:
            hello = self._hello(blob.peer, offer)
            sock, verdict, sentence = await handshake.call(peer, hello, blob.progress_deadline_ns)
        except TimeoutError:
            sentence = f"{where}: no answer to the offer for {blob.progress_deadline_ns} ns, after 0 bytes."
            return _failed(key, FailureKind.STALLED, sentence)
        except (OSError, MalformedFrame) as error:
            return _failed(key, FailureKind.UNREACHABLE, f"{where}: {peer.host}:{peer.port} cannot be reached: {error}")
        with sock:
            if verdict is Verdict.REFUSE:
                return _failed(key, FailureKind.REFUSED, f"{where}: refused there: {sentence}")
            if verdict is Verdict.STRANGER:
                return _failed(key, FailureKind.UNREACHABLE, f"{where}: turned away there: {sentence}")
            if verdict is Verdict.HAVE:
                return _sent(key, Bytes(0), Nanos(0), "")
            running.sock = sock
            loop = asyncio.get_running_loop()
            end = await loop.run_in_executor(self._pool, outgoing.send, sock, sentence, running.stop)
            running.sock = None
        if end.kind is not None:
            return _blob_failed(key, end.kind, end)
        return _sent(key, end.moved_bytes, end.elapsed_ns, end.detour)


def _sent(key: _Key, sent_bytes: Bytes, elapsed_ns: Nanos, detour: str) -> BlobSent:
    peer, transfer_id = key
    return BlobSent(transfer_id=transfer_id, peer=peer, sent_bytes=sent_bytes, elapsed_ns=elapsed_ns, detour=detour)


def _failed(key: _Key, kind: FailureKind, sentence: str) -> BlobFailed:
    peer, transfer_id = key
    return BlobFailed(
        transfer_id=transfer_id, peer=peer, kind=kind, segment=None, moved_bytes=Bytes(0), sentence=sentence
    )


def _blob_failed(key: _Key, kind: FailureKind, end: BlobEnd) -> BlobFailed:
    peer, transfer_id = key
    return BlobFailed(
        transfer_id=transfer_id,
        peer=peer,
        kind=kind,
        segment=end.segment,
        moved_bytes=end.moved_bytes,
        sentence=end.sentence,
    )
