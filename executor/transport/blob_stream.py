"""A blob as a stream of bytes on its connection: the blocking half of the TCP transport.

These functions run in threads of their own, so that neither the pacing nor the copying delays the event loop.  They
never raise for what a peer or a network can do: they return how it ended.
"""

import contextlib
import socket
import threading
import time

from executor.transport import framing, handshake, pacing
from executor.transport.blob_line import BlobEnd, Course, Halt, Line, require_intact
from executor.transport.digests import SegmentHasher
from executor.transport.framing import Verdict
from executor.transport.interface import ExpectedBlob, OutgoingBlob
from specs.units import Bytes, Nanos

# What is hashed right after it has been received must still be in the processor's second-level cache.
RECEIVE_BYTES = Bytes(256 << 10)


def send_stream(sock: socket.socket, blob: OutgoingBlob, stop: threading.Event) -> BlobEnd:
    """Send the blob at its rate and wait for the receipt.  `stop`, once set, ends it soon."""
    course = Course(f"transfer {blob.transfer_id!r} to {blob.peer!r}", Bytes(len(blob.buffer)))
    line = Line(sock, blob.progress_deadline_ns, stop)
    try:
        stream_out(line, blob, course)
        require_intact(line.receive_receipt())
    except Halt as halt:
        return course.ended(halt)
    return course.ended()


def stream_out(line: Line, blob: OutgoingBlob, course: Course) -> None:
    """Send what has not moved yet, at the blob's rate.  Raises Halt."""
    total = len(blob.buffer)
    chunk = pacing.chunk_size_bytes(blob.bytes_per_second, blob.progress_deadline_ns)
    rate = blob.bytes_per_second
    pace = None if rate is None else pacing.Pace(bytes_per_second=rate, start_ns=Nanos(time.monotonic_ns()))
    while course.moved_bytes < total:
        chunk_end = min(course.moved_bytes + chunk, total)
        if pace is not None:
            line.sleep(pace.wait_ns(Bytes(chunk_end - course.moved_bytes), Nanos(time.monotonic_ns())))
        while course.moved_bytes < chunk_end:
            course.moved(line.send(blob.buffer[course.moved_bytes : chunk_end]))


def receive_stream(sock: socket.socket, blob: ExpectedBlob, stop: threading.Event) -> BlobEnd:
    """Take the blob into its destination, check it and send the receipt.  `stop`, once set, ends it soon."""
    handshake.answer(sock, Verdict.WELCOME)
    course = Course(f"transfer {blob.transfer_id!r} from {blob.peer!r}", Bytes(len(blob.destination)))
    line = Line(sock, blob.progress_deadline_ns, stop)
    hasher = SegmentHasher(blob.segments)
    try:
        stream_in(line, blob.destination, hasher, course)
        give_receipt(line, hasher)
    except Halt as halt:
        return course.ended(halt)
    return course.ended()


def stream_in(line: Line, destination: memoryview, hasher: SegmentHasher, course: Course) -> None:
    """Take what has not moved yet, and hash it.  Raises Halt."""
    total = len(destination)
    while course.moved_bytes < total:
        piece = destination[course.moved_bytes : course.moved_bytes + RECEIVE_BYTES]
        received = line.receive_into(piece)
        hasher.update(piece[:received])
        course.moved(received)


def give_receipt(line: Line, hasher: SegmentHasher) -> None:
    """Tell the sender whether all digests are right.  Raises Halt where one is not."""
    segment = hasher.first_corrupt_segment()
    # A sender that is gone by now changes nothing about the blob; if it comes back, it is told that we have it.
    with contextlib.suppress(Halt):
        line.send(memoryview(framing.encode_receipt(segment)))
    require_intact(segment)
