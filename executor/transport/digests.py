"""BLAKE3 over the segments of a blob while its bytes arrive."""

import blake3

from executor.transport.interface import Segment


class SegmentHasher:
    """Takes a blob's bytes in order, in pieces of any size, and finds the first segment with another digest."""

    def __init__(self, segments: tuple[Segment, ...]) -> None:
        self._segments = segments
        self._index = 0  # the segment that the next byte belongs to, or precedes
        self._end_bytes = 0  # where the next piece begins
        self._hash = blake3.blake3(max_threads=1)  # the receiving thread is the one that pays
        self._corrupt_segment: int | None = None

    def update(self, piece: memoryview) -> None:
        """Hash the blob's next bytes; only those inside of a segment count."""
        start_bytes = self._end_bytes
        self._end_bytes += len(piece)
        while self._index < len(self._segments):
            segment = self._segments[self._index]
            segment_end = segment.offset_bytes + segment.size_bytes
            first = max(segment.offset_bytes, start_bytes)
            last = min(segment_end, self._end_bytes)
            if first < last:
                self._hash.update(piece[first - start_bytes : last - start_bytes])
            if segment_end > self._end_bytes:
                return
            if self._corrupt_segment is None and self._hash.hexdigest() != segment.blake3_hex:
                self._corrupt_segment = self._index
            self._index += 1
            self._hash.reset()

    def first_corrupt_segment(self) -> int | None:
        """Name the first segment that is not as promised, once every byte was given; None if all are."""
        self.update(memoryview(b""))  # a blob of no bytes may have segments of none
        assert self._index == len(self._segments), "every byte was given"
        return self._corrupt_segment
