"""How a blob that is written is cut into spans."""

from executor.transport import pacing
from executor.transport.interface import OutgoingBlob
from specs.protocols.remote_writes import Terms
from specs.units import Bytes, ceil_div

# Open at once: enough that making keys, writing and checking go on side by side; each is up to a MiB of pinned memory.
OPEN_MAX = 8


def span_bytes_of(blob: OutgoingBlob) -> Bytes:
    """How much to write at a time: what would be sent at a time."""
    return pacing.chunk_size_bytes(blob.bytes_per_second, blob.progress_deadline_ns)


def terms_of(size_bytes: Bytes, span_bytes: Bytes) -> Terms:
    """Give the terms of a blob."""
    return Terms(spans=ceil_div(size_bytes, span_bytes), open_max=OPEN_MAX)
