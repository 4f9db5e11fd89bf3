"""How the bytes of a blob move once its two ends are connected: as a stream, or however else both ends can."""

import contextlib
import socket
import threading
from typing import Protocol

from executor.transport.blob_line import BlobEnd
from executor.transport.blob_stream import receive_stream, send_stream
from executor.transport.framing import Offer, Writing
from executor.transport.interface import ExpectedBlob, OutgoingBlob


class Outgoing(Protocol):
    """One blob to send."""

    writing: Writing | None  # for the offer: what the receiver has to know; None: a stream

    def send(self, sock: socket.socket, answer: str, stop: threading.Event) -> BlobEnd:
        """Move the blob, in a thread, after the receiver has welcomed it with this answer.  `stop` ends it soon."""


class Carrier(Protocol):
    """What moves blobs."""

    def outgoing(self, blob: OutgoingBlob) -> contextlib.AbstractContextManager[Outgoing]:
        """Make ready to send a blob, on the event loop; what was made is given up at the end."""

    def receive(self, sock: socket.socket, blob: ExpectedBlob, offer: Offer, stop: threading.Event) -> BlobEnd:
        """Welcome an offer, and take the blob, in a thread.  `stop`, once set, ends it soon."""

    def close(self) -> None:
        """Give everything up; no blob is on the move any more."""


class StreamCarrier:
    """Moves blobs as streams on their connections."""

    def outgoing(self, blob: OutgoingBlob) -> contextlib.AbstractContextManager[Outgoing]:
        """As `Carrier.outgoing`."""
        return contextlib.nullcontext(_OutgoingStream(blob))

    def receive(self, sock: socket.socket, blob: ExpectedBlob, offer: Offer, stop: threading.Event) -> BlobEnd:
        """As `Carrier.receive`."""
        del offer  # its sender streams when nobody answers otherwise
        return receive_stream(sock, blob, stop)

    def close(self) -> None:
        """As `Carrier.close`."""


class _OutgoingStream:
    def __init__(self, blob: OutgoingBlob) -> None:
        self._blob = blob
        self.writing: Writing | None = None

    def send(self, sock: socket.socket, answer: str, stop: threading.Event) -> BlobEnd:
        del answer  # nothing was asked
        return send_stream(sock, self._blob, stop)
