"""Segments are hashed as their bytes come, whatever the pieces."""

import itertools

import blake3
from hypothesis import given
from hypothesis import strategies as st

from executor.transport.digests import SegmentHasher
from executor.transport.interface import Segment
from specs.units import Bytes


@given(st.binary(max_size=200), st.data())
def test_the_first_corrupt_segment_is_named_whatever_the_pieces(data: bytes, draw: st.DataObject) -> None:
    offsets = st.lists(st.integers(0, len(data)), max_size=8).map(sorted)
    ends = draw.draw(offsets)
    segments = []
    for start, end in zip(ends[::2], ends[1::2], strict=False):  # with gaps between
        digest = blake3.blake3(data[start:end]).hexdigest()
        segments.append(Segment(offset_bytes=Bytes(start), size_bytes=Bytes(end - start), blake3_hex=digest))
    received = bytearray(data)
    wanted = None
    if data and draw.draw(st.booleans()):
        flipped = draw.draw(st.integers(0, len(data) - 1))
        received[flipped] ^= 1
        hit = [
            index
            for index, segment in enumerate(segments)
            if segment.offset_bytes <= flipped < segment.offset_bytes + segment.size_bytes
        ]
        wanted = hit[0] if hit else None
    hasher = SegmentHasher(tuple(segments))
    pieces = [0, *draw.draw(offsets), len(data)]
    for start, end in itertools.pairwise(pieces):
        hasher.update(memoryview(received)[start:end])
    assert hasher.first_corrupt_segment() == wanted
