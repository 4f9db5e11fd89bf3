"""When the next chunk of a blob may leave: a token bucket in integer nanoseconds, without a clock of its own."""

from specs.units import NANOS_PER_SECOND, Bytes, BytesPerSecond, Nanos, duration_ns

# How much lost time a sender may make up at once: longer than a late wake-up on a busy machine, far shorter than a
# round of any schedule, so that a neighbour's share of the link is never taken for long.
BURST_NS = Nanos(20_000_000)

CHUNK_BYTES_MAX = Bytes(1 << 20)  # beyond this a system call's cost no longer shows
CHUNK_BYTES_MIN = Bytes(1 << 16)
CHUNK_NS = Nanos(4_000_000)  # a paced chunk's share of time: a few hundred wake-ups a second cost nothing
CHUNKS_PER_DEADLINE = 8  # a slow sender must still look alive


def chunk_size_bytes(bytes_per_second: BytesPerSecond | None, progress_deadline_ns: Nanos) -> Bytes:
    """How many bytes to send at a time: at least 1, at most CHUNK_BYTES_MAX."""
    if bytes_per_second is None:
        return CHUNK_BYTES_MAX
    paced = bytes_per_second * CHUNK_NS // NANOS_PER_SECOND
    lively = bytes_per_second * progress_deadline_ns // (NANOS_PER_SECOND * CHUNKS_PER_DEADLINE)
    return Bytes(max(1, min(max(paced, CHUNK_BYTES_MIN), CHUNK_BYTES_MAX, lively)))


class Pace:
    """The bucket.  It starts empty: a chunk may leave once the time for all of it has passed.

    Between any two instants it grants at most rate * time + rate * BURST_NS bytes, and from the start to any instant at
    most rate * time.
    """

    def __init__(self, *, bytes_per_second: BytesPerSecond, start_ns: Nanos) -> None:
        assert bytes_per_second > 0
        self._bytes_per_second = bytes_per_second
        self._start_ns = start_ns
        self._paid_ns = Nanos(0)  # from the start: when the bytes granted so far are paid for

    def wait_ns(self, size_bytes: Bytes, now_ns: Nanos) -> Nanos:
        """Grant that many bytes; say how long from now they must wait."""
        elapsed_ns = now_ns - self._start_ns
        paid_from_ns = max(self._paid_ns, elapsed_ns - BURST_NS)
        self._paid_ns = Nanos(paid_from_ns + duration_ns(size_bytes, self._bytes_per_second))
        return Nanos(max(0, self._paid_ns - elapsed_ns))
