"""How bytes move once two ends are connected: as a stream, or however else both ends can."""

import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

from executor.transport import handshake
from executor.transport.blob_line import BlobEnd
from executor.transport.blob_stream import receive_stream, send_stream
from executor.transport.framing import Offer, Verdict, Writing
from executor.transport.interface import ExpectedBlob, OutgoingBlob
from executor.transport.message_path import ReadingPath, SocketReading, SocketWriting, WritingPath
from executor.transport.rdma.contact import Contact


class Outgoing(Protocol):
    """One blob to send."""

    writing: Writing | None  # for the offer: what the receiver has to know; None: a stream

    def send(self, sock: socket.socket, answer: str, stop: threading.Event) -> BlobEnd:
        """Move the blob, in a thread, after the receiver has welcomed it with this answer.  `stop` ends it soon."""


class OutgoingMessages(Protocol):
    """A path for messages to a peer, to be."""

    contact: Contact | None  # for the hello: what the reader has to know; None: a stream

    def path(self, sock: socket.socket, answer: str) -> contextlib.AbstractAsyncContextManager[WritingPath]:
        """Make the path, after the reader has welcomed it with this answer.  Raises OSError."""


class Carrier(Protocol):
    """What moves blobs and messages."""

    def outgoing(self, blob: OutgoingBlob) -> contextlib.AbstractContextManager[Outgoing]:
        """Make ready to send a blob, on the event loop; what was made is given up at the end."""

    def receive(self, sock: socket.socket, blob: ExpectedBlob, offer: Offer, stop: threading.Event) -> BlobEnd:
        """Welcome an offer, and take the blob, in a thread.  `stop`, once set, ends it soon."""

    def outgoing_messages(self, peer: str) -> contextlib.AbstractContextManager[OutgoingMessages]:
        """Make ready for messages to a peer; what was made is given up at the end."""

    def incoming_messages(
        self, sock: socket.socket, peer: str, contact: Contact | None
    ) -> contextlib.AbstractAsyncContextManager[ReadingPath]:
        """Welcome a peer that has messages, and make the path on which they come."""

    def close(self) -> None:
        """Give everything up; nothing is on the move any more."""


class StreamCarrier:
    """Moves blobs as streams on their connections."""

    def outgoing(self, blob: OutgoingBlob) -> contextlib.AbstractContextManager[Outgoing]:
        """As `Carrier.outgoing`."""
        return contextlib.nullcontext(_OutgoingStream(blob))

    def receive(self, sock: socket.socket, blob: ExpectedBlob, offer: Offer, stop: threading.Event) -> BlobEnd:
        """As `Carrier.receive`."""
        del offer  # its sender streams when nobody answers otherwise
        return receive_stream(sock, blob, stop)

    @contextlib.contextmanager
    def outgoing_messages(self, peer: str) -> Iterator[OutgoingMessages]:
        """As `Carrier.outgoing_messages`."""
        del peer
        yield MessageStream()

    @contextlib.asynccontextmanager
    async def incoming_messages(
        self, sock: socket.socket, peer: str, contact: Contact | None
    ) -> AsyncIterator[ReadingPath]:
        """As `Carrier.incoming_messages`."""
        del peer, contact
        handshake.answer(sock, Verdict.WELCOME)
        yield SocketReading(sock)

    def close(self) -> None:
        """As `Carrier.close`."""


class MessageStream:
    """Messages as a stream on their connection."""

    def __init__(self) -> None:
        self.contact: Contact | None = None

    def path(self, sock: socket.socket, answer: str) -> contextlib.AbstractAsyncContextManager[WritingPath]:
        """As `OutgoingMessages.path`."""
        del answer  # nothing was asked
        return contextlib.nullcontext(SocketWriting(sock))


class _OutgoingStream:
    def __init__(self, blob: OutgoingBlob) -> None:
        self._blob = blob
        self.writing: Writing | None = None

    def send(self, sock: socket.socket, answer: str, stop: threading.Event) -> BlobEnd:
        del answer  # nothing was asked
        return send_stream(sock, self._blob, stop)
