"""The two ends of a message path through a ring in the reader's memory, on the event loop.

The connection stays: the reader says on it how much it has taken, in answer to a ping too, and whoever closes it ends
the path.  What the device cannot do ends the path as a broken connection does: messages under way are lost, and the
next path is made anew, over whatever there is then.  See `specs.protocols.message_ring`.
"""

import asyncio
import contextlib
import mmap
import socket
from collections.abc import Callable

from executor.errors import DeviceFailed
from executor.transport.rdma.ring_words import CREDIT, RingOffer, decode_credit, encode_credit
from executor.transport.rdma.verbs import Completion, Device, QueuePair
from specs.protocols import message_ring as ring
from specs.protocols.message_ring import Terms

# Pinned for each peer that sends: enough that one iteration's activations, or a chunk of KV, need not wait.
RING = Terms(size_bytes=1 << 20, notes_max=64)
CREDITS_AT_ONCE = 64
WRITES_MAX = 2 * RING.notes_max  # each note may go with two pieces

OnFailed = Callable[[DeviceFailed], None]  # the device ended a path


class RingWriting:
    """The writing end.  Implements `WritingPath`; it copies what it is given, so that the caller keeps its buffers."""

    def __init__(
        self, device: Device, pair: QueuePair, offer: RingOffer, sock: socket.socket, on_failed: OnFailed
    ) -> None:
        """Use a pair that is connected.  Raises DeviceFailed."""
        self._pair, self._offer, self._sock, self._on_failed = pair, offer, sock, on_failed
        self._memory = mmap.mmap(-1, offer.terms.size_bytes)
        self._view = memoryview(self._memory)
        self._state = ring.SenderState()
        self._word = b""  # what has come of the next credit
        self._news = asyncio.Event()  # there may be more room than before
        self._region = device.register(self._view, is_remote=False)
        asyncio.get_running_loop().add_reader(pair.fd, self._take_completions)
        self._broken: DeviceFailed | None = None

    def write(self, views: list[memoryview]) -> int:
        """As `WritingPath.write`."""
        self._check()
        wanted = sum(len(view) for view in views)
        size = min(wanted, ring.room_bytes(self._offer.terms, self._state))
        if size == 0 and wanted:
            raise BlockingIOError
        if size == 0:
            return 0
        if self._pair.room < 2:
            raise BlockingIOError
        state, pieces, number = ring.write(self._offer.terms, self._state, size)
        self._fill(views, pieces)
        try:
            for piece in pieces:
                self._pair.write(
                    self._region,
                    piece.offset_bytes,
                    piece.size_bytes,
                    address=self._offer.address + piece.offset_bytes,
                    key=self._offer.key,
                    immediate=number if piece is pieces[-1] else None,
                    id=0,
                )
        except DeviceFailed as failed:
            self._break(failed)
            self._check()
        self._state = state
        return size

    def _fill(self, views: list[memoryview], pieces: tuple[ring.Piece, ...]) -> None:
        """Copy the front of the views into the pieces."""
        source = iter(views)
        view = memoryview(b"")
        for piece in pieces:
            at, end = piece.offset_bytes, piece.offset_bytes + piece.size_bytes
            while at < end:
                if not view:
                    view = next(source)
                length = min(len(view), end - at)
                self._view[at : at + length] = view[:length]
                view, at = view[length:], at + length

    async def until_writable(self) -> None:
        """As `WritingPath.until_writable`."""
        self._news.clear()
        await self._news.wait()

    async def hear(self) -> bool:
        """As `WritingPath.hear`: every credit shows that the reader lives."""
        heard = await asyncio.get_running_loop().sock_recv(self._sock, CREDITS_AT_ONCE * CREDIT.size)
        self._check()
        self._word += heard
        whole = len(self._word) - len(self._word) % CREDIT.size
        if whole:  # the last one says all
            word, self._word = self._word[whole - CREDIT.size : whole], self._word[whole:]
            try:
                self._state = ring.hear(self._state, decode_credit(word))
            except ring.Refused as refused:
                raise OSError(str(refused)) from refused
            self._news.set()
        return bool(heard)

    def _take_completions(self) -> None:
        try:
            for done in self._pair.completions():
                _require_well(done)
        except DeviceFailed as failed:
            self._break(failed)
        self._news.set()

    def _break(self, failed: DeviceFailed) -> None:
        """End the path: whoever waits on the connection sees it end."""
        if self._broken is None:
            self._broken = failed
            self._on_failed(failed)
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
        self._news.set()

    def _check(self) -> None:
        if self._broken is not None:
            raise OSError(str(self._broken)) from self._broken

    def close(self) -> None:
        """Give everything up."""
        asyncio.get_running_loop().remove_reader(self._pair.fd)
        self._pair.close()
        self._region.close()
        self._view.release()
        self._memory.close()


class RingReading:
    """The reading end, which owns the ring.  Implements `ReadingPath`."""

    def __init__(self, device: Device, pair: QueuePair, sock: socket.socket, on_failed: OnFailed) -> None:
        """Raises DeviceFailed."""
        self._pair, self._sock, self._on_failed = pair, sock, on_failed
        self._memory = mmap.mmap(-1, RING.size_bytes)
        self._view = memoryview(self._memory)
        self._state = ring.ReceiverState()
        self._news = asyncio.Event()  # more has come, or nothing will any more
        self._ended: str | None = None  # why nothing will; empty: the writer closed the connection
        self._region = device.register(self._view, is_remote=True)
        self.offer = RingOffer(
            contact=pair.contact, address=self._region.address, key=self._region.remote_key, terms=RING
        )

    def begin(self) -> None:
        """Take notes from now on, from a pair that is connected.  Raises DeviceFailed."""
        for _ in range(RING.notes_max):
            self._pair.expect(0)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pair.fd, self._take_notes)
        loop.add_reader(self._sock, self._take_end)

    async def read_into(self, view: memoryview) -> int:
        """As `ReadingPath.read_into`."""
        while (piece := ring.next_piece(RING, self._state, len(view))).size_bytes == 0:
            if self._ended is not None:
                if self._ended:
                    raise OSError(self._ended)
                return 0
            self._news.clear()
            await self._news.wait()
        view[: piece.size_bytes] = self._view[piece.offset_bytes : piece.offset_bytes + piece.size_bytes]
        self._state = ring.take(self._state, piece.size_bytes)
        self._tell()
        return piece.size_bytes

    def answer_ping(self) -> None:
        """As `ReadingPath.answer_ping`: what was taken so far is said again."""
        self._sock.send(encode_credit(self._state.done))

    def _tell(self) -> None:
        self._state, credit = ring.tell(RING, self._state)
        if credit is not None:
            with contextlib.suppress(OSError):  # a writer that is gone is noticed by itself
                self._sock.send(encode_credit(credit))

    def _take_notes(self) -> None:
        try:
            for done in self._pair.completions():
                _require_well(done)
                if done.immediate is not None:
                    self._state = ring.note(RING, self._state, done.immediate)
                    self._pair.expect(0)
        except DeviceFailed as failed:
            self._on_failed(failed)
            self._end(str(failed))
        except ring.Refused as refused:
            self._end(str(refused))
        self._tell()
        self._news.set()

    def _take_end(self) -> None:
        """The writer says nothing on the connection: what can be read of it is its end."""
        try:
            said = self._sock.recv(1)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(str(error))
        else:
            self._end("it spoke beside the ring" if said else "")

    def _end(self, why: str) -> None:
        if self._ended is None:
            self._ended = why
        asyncio.get_running_loop().remove_reader(self._sock)
        self._news.set()

    def close(self) -> None:
        """Give everything up."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pair.fd)
        loop.remove_reader(self._sock)
        self._pair.close()
        self._region.close()
        self._view.release()
        self._memory.close()


def _require_well(done: Completion) -> None:
    if done.failure is not None:
        raise DeviceFailed(done.failure, f"{done.failure.value}.")
