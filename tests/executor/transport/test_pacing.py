"""The token bucket never grants more than the rate, and loses nothing that a late wake-up can make up."""

from hypothesis import given
from hypothesis import strategies as st

from executor.transport.pacing import BURST_NS, CHUNK_BYTES_MAX, Pace, chunk_size_bytes
from specs.units import NANOS_PER_SECOND, Bytes, BytesPerSecond, Nanos

rates = st.integers(1, 10**11)


@given(rates, st.lists(st.tuples(st.integers(1, 1 << 20), st.integers(0, 10**9)), min_size=1, max_size=50))
def test_over_any_stretch_of_time_the_rate_and_one_burst_is_kept(rate: int, chunks: list[tuple[int, int]]) -> None:
    start = 10**15
    pace = Pace(bytes_per_second=BytesPerSecond(rate), start_ns=Nanos(start))
    now, sent = start, []
    for size, late_ns in chunks:
        now += pace.wait_ns(Bytes(size), Nanos(now)) + late_ns
        sent.append((now, size))
    for first in range(len(sent)):
        moved = 0
        for at, size in sent[first:]:
            moved += size
            # In whole bytes times nanoseconds; the first chunk itself was paid for before.
            span_ns = at - sent[first][0] + BURST_NS
            assert (moved - sent[first][1]) * NANOS_PER_SECOND <= rate * span_ns
    total = sum(size for size, _ in chunks)
    assert total * NANOS_PER_SECOND <= rate * (now - start)


@given(rates, st.integers(1, 1 << 20), st.integers(1, 100))
def test_a_punctual_sender_gets_the_whole_rate(rate: int, size: int, count: int) -> None:
    pace = Pace(bytes_per_second=BytesPerSecond(rate), start_ns=Nanos(0))
    now = 0
    for _ in range(count):
        now += pace.wait_ns(Bytes(size), Nanos(now))
    assert (now - count) * rate < size * count * NANOS_PER_SECOND  # each grant rounds up by less than 1 ns


def test_lateness_within_a_burst_is_made_up_and_more_is_lost() -> None:
    def end_ns(late_ns: int) -> int:
        pace = Pace(bytes_per_second=BytesPerSecond(1_000_000_000), start_ns=Nanos(0))
        now = pace.wait_ns(Bytes(1_000_000), Nanos(0)) + late_ns
        for _ in range(99):
            now += pace.wait_ns(Bytes(1_000_000), Nanos(now))
        return now

    assert end_ns(0) == end_ns(BURST_NS) == 100_000_000
    assert end_ns(BURST_NS + 1) == 100_000_001


@given(rates, st.integers(1, 10**12))
def test_a_slow_sender_looks_alive(rate: int, deadline_ns: int) -> None:
    size = chunk_size_bytes(BytesPerSecond(rate), Nanos(deadline_ns))
    assert 1 <= size <= CHUNK_BYTES_MAX
    assert size == 1 or size * NANOS_PER_SECOND * 8 <= rate * deadline_ns


def test_without_a_rate_chunks_are_large() -> None:
    assert chunk_size_bytes(None, Nanos(1)) == CHUNK_BYTES_MAX
