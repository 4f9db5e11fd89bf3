"""The bounds against worked examples, exhaustive search on tiny instances, and schedules that are known to be good."""

from fractions import Fraction
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.multicast import multicast_ticks
from specs.bounds import (
    first_cover_ticks_bound,
    first_cover_time_bound_ns,
    multicast_ticks_bound,
    multicast_time_bound_ns,
)

GIGA = 1_000_000_000  # at this rate one byte takes one nanosecond


@pytest.mark.parametrize(
    ("nodes", "sources", "blocks", "ticks"),
    [
        (1, 1, 7, 0),
        (4, 4, 7, 0),
        (2, 1, 7, 7),
        (3, 1, 1, 2),
        (8, 1, 1, 3),
        (8, 1, 16, 18),  # b - 1 + log2 n
        (9, 1, 16, 19),
        (8, 2, 8, 9),  # 6 receivers: ticks of 2, 4, 6, 6, .. arrivals, 48 wanted
        (5, 4, 3, 3),  # one receiver: its own port is the limit
        (1024, 1, 64, 73),
    ],
)
def test_multicast_ticks_by_hand(nodes, sources, blocks, ticks):
    assert multicast_ticks_bound(nodes, sources, blocks) == ticks


@pytest.mark.parametrize(
    ("nodes", "sources", "blocks", "ticks"),
    [(4, 4, 7, 0), (8, 1, 7, 7), (8, 2, 7, 4), (8, 4, 8, 2), (5, 4, 3, 3), (6, 4, 3, 2)],
)
def test_first_cover_ticks_by_hand(nodes, sources, blocks, ticks):
    assert first_cover_ticks_bound(nodes, sources, blocks) == ticks


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 10**4))
def test_multicast_ticks_equal_the_sum_of_fractions_and_the_logarithm(receivers, sources, blocks):
    terms = (1 - Fraction(sources * 2**t, receivers) for t in range(21))
    total = blocks + sum((term for term in terms if term > 0), start=Fraction(0))
    bound = multicast_ticks_bound(receivers + sources, sources, blocks)
    assert bound == -(-total.numerator // total.denominator)
    doublings = (-(-(receivers + sources) // sources) - 1).bit_length()
    assert bound == blocks - 1 + doublings


def after_one_tick(held: tuple[int, ...], sources: int, blocks: int) -> set[tuple[int, ...]]:
    """Everything the receivers can hold one tick later (bit sets, sorted: receivers are interchangeable)."""
    full = 2**blocks - 1
    senders = [full] * sources + list(held)
    partial_choices = [(frozenset[int](), ())]
    for have in held:
        partial_choices = [
            (used | {sender}, (*later, have | 1 << block))
            for used, later in partial_choices
            for sender, sends in enumerate(senders)
            if sender not in used
            for block in range(blocks)
            if sends & ~have & 1 << block
        ] + [(used, (*later, have)) for used, later in partial_choices]
        partial_choices = list(dict.fromkeys(partial_choices))
    return {tuple(sorted(later)) for _, later in partial_choices}


def optimum_in_ticks(nodes: int, sources: int, blocks: int) -> tuple[int, int]:
    """Fewest ticks to completion and, on its own, to first cover; breadth-first over all schedules."""
    full = 2**blocks - 1
    states = {(0,) * (nodes - sources)}
    cover = tick = 0
    while True:
        tick += 1
        states = {later for held in states for later in after_one_tick(held, sources, blocks)}
        if cover == 0 and any(_union(held) == full for held in states):
            cover = tick
        if any(min(held) == full for held in states):
            return tick, cover


def _union(held: tuple[int, ...]) -> int:
    union = 0
    for have in held:
        union |= have
    return union


TINY = [(n, s, b) for n in range(2, 6) for s in range(1, n) for b in range(1, 4) if n < 5 or b < 3 or s > 1]


@pytest.mark.parametrize(("nodes", "sources", "blocks"), TINY)
def test_no_schedule_is_better_and_one_is_as_good(nodes, sources, blocks):
    expected = (multicast_ticks_bound(nodes, sources, blocks), first_cover_ticks_bound(nodes, sources, blocks))
    assert optimum_in_ticks(nodes, sources, blocks) == expected


def optimum_in_bytes(receivers: int, sources: int, sizes: tuple[int, ...]) -> tuple[int, int]:
    """Least completion and, on its own, first cover, over all orders of whole copies that each start when they can."""
    blocks = range(len(sizes))
    horizon = 1 + receivers * sum(sizes)
    best = [horizon, horizon]

    def search(start_min, wanted, sending_until, receiving_until, holds_from):
        ends = [
            holds_from.get((node, block), horizon) for node in range(sources, sources + receivers) for block in blocks
        ]
        first = [min(ends[block :: len(sizes)]) for block in blocks]
        best[1] = min(best[1], max(first))
        if not wanted:
            best[0] = min(best[0], max(ends))
        for node, block in wanted:
            for (sender, sent_block), since in list(holds_from.items()):
                start = max(since, sending_until.get(sender, 0), receiving_until.get(node, 0))
                end = start + sizes[block]
                if sent_block != block or start < start_min or (end >= best[0] and end >= best[1]):
                    continue
                search(
                    start,
                    wanted - {(node, block)},
                    {**sending_until, sender: end},
                    {**receiving_until, node: end},
                    {**holds_from, (node, block): end},
                )

    everything = frozenset((node, block) for node in range(sources, sources + receivers) for block in blocks)
    search(0, everything, {}, {}, {(source, block): 0 for source in range(sources) for block in blocks})
    return best[0], best[1]


UNEQUAL = [
    (1, 1, (5, 2)),
    (1, 2, (5, 2, 2)),
    (2, 1, (4, 4)),
    (2, 1, (5, 2)),
    (2, 1, (9, 1)),
    (2, 2, (5, 2, 2)),
    (3, 1, (7,)),
    (3, 2, (6,)),
    (3, 1, (5, 2)),
    (3, 2, (5, 3)),
    (2, 1, (3, 2, 1)),
    (4, 1, (3,)),
]


@pytest.mark.parametrize(("receivers", "sources", "sizes"), UNEQUAL)
def test_time_bounds_never_exceed_the_optimum(receivers, sources, sizes):
    completion, cover = optimum_in_bytes(receivers, sources, sizes)
    assert multicast_time_bound_ns(receivers, sources, sizes, GIGA) <= completion
    assert first_cover_time_bound_ns(receivers, sources, sizes, GIGA) <= cover
    if len(set(sizes)) == 1:
        assert multicast_time_bound_ns(receivers, sources, sizes, GIGA) == completion
        assert first_cover_time_bound_ns(receivers, sources, sizes, GIGA) == cover


@pytest.mark.parametrize(
    ("receivers", "sources", "sizes", "multicast_ns", "cover_ns"),
    [
        (0, 1, (5, 5), 0, 0),
        (3, 1, (), 0, 0),
        (1, 1, (5, 2), 7, 7),
        (2, 1, (9, 1), 18, 10),  # the largest block is sent twice, one after the other
        (3, 2, (6,), 12, 6),  # whole copies; fluid would need 9
        (3, 1, (5, 2), 10, 7),
        (2, 2, (5, 2, 2), 9, 5),  # one of two sources must carry the 5
        (2, 2, (4, 4, 4), 12, 8),
        (4, 1, (4, 4, 4, 4), 24, 16),
        (4, 1, (3, 3, 3, 2, 2), 17, 13),  # the source is busy for 13, and the last block doubles twice more
    ],
)
def test_time_bounds_by_hand(receivers, sources, sizes, multicast_ns, cover_ns):
    assert multicast_time_bound_ns(receivers, sources, sizes, GIGA) == multicast_ns
    assert first_cover_time_bound_ns(receivers, sources, sizes, GIGA) == cover_ns


def test_times_are_rounded_down():
    assert multicast_time_bound_ns(1, 1, (1,), 3) == 333_333_333
    assert first_cover_time_bound_ns(2, 2, (1, 1, 1), 3) == 666_666_666


def time_of_ticks(receivers: int, sources: int, sizes: list[int]) -> tuple[int, int]:
    """Completion and first cover, in bytes, of the tick schedule when each send starts as early as its order allows."""
    sending_until: dict[int, int] = {}
    receiving_until: dict[int, int] = {}
    holds_from: dict[tuple[int, int], int] = {}
    first: dict[int, int] = {}
    for send in multicast_ticks(receivers + sources, sources, len(sizes)):
        held = 0 if send.source < sources else holds_from[send.source, send.block]
        start = max(held, sending_until.get(send.source, 0), receiving_until.get(send.destination, 0))
        end = start + sizes[send.block]
        sending_until[send.source] = receiving_until[send.destination] = holds_from[send.destination, send.block] = end
        first[send.block] = min(end, first.get(send.block, end))
    return max(holds_from.values(), default=0), max(first.values(), default=0)


counts = st.integers(1, 40)
block_sizes = st.lists(st.integers(0, 1000), min_size=1, max_size=12)


@settings(deadline=None)
@given(counts, st.integers(1, 8), block_sizes)
def test_time_bounds_never_exceed_the_tick_schedule(receivers, sources, sizes):
    completion, cover = time_of_ticks(receivers, sources, sizes)
    assert multicast_time_bound_ns(receivers, sources, sizes, GIGA) <= completion
    assert first_cover_time_bound_ns(receivers, sources, sizes, GIGA) <= cover


@given(counts, st.integers(1, 8), st.integers(1, 30), st.integers(0, 10**12), st.integers(1, 10**12))
def test_equal_blocks_need_exactly_the_ticks(receivers, sources, blocks, size, rate):
    nodes = receivers + sources
    ticks = multicast_ticks_bound(nodes, sources, blocks)
    assert multicast_time_bound_ns(receivers, sources, (size,) * blocks, rate) == ticks * size * 10**9 // rate
    ticks = first_cover_ticks_bound(nodes, sources, blocks)
    assert first_cover_time_bound_ns(receivers, sources, (size,) * blocks, rate) == ticks * size * 10**9 // rate


@given(counts, st.integers(1, 8), st.integers(1, 30))
def test_tick_bounds_are_monotone(receivers, sources, blocks):
    ticks = multicast_ticks_bound(receivers + sources, sources, blocks)
    assert ticks <= multicast_ticks_bound(receivers + 1 + sources, sources, blocks)
    assert ticks <= multicast_ticks_bound(receivers + sources, sources, blocks + 1)
    assert ticks >= multicast_ticks_bound(receivers + sources + 1, sources + 1, blocks)
    cover = first_cover_ticks_bound(receivers + sources, sources, blocks)
    assert cover <= ticks
    assert cover <= first_cover_ticks_bound(receivers + sources, sources, blocks + 1)
    assert cover >= first_cover_ticks_bound(receivers + sources + 1, sources + 1, blocks)


@given(counts, st.integers(1, 8), block_sizes, st.integers(0, 1000), st.integers(1, 10**10))
def test_time_bounds_are_monotone(receivers, sources, sizes, extra, rate):
    bound = partial(multicast_time_bound_ns, receivers, sources)
    assert bound(sizes, rate) <= bound([*sizes, extra], rate)
    assert bound(sizes, rate) <= bound([sizes[0] + extra, *sizes[1:]], rate)
    assert bound(sizes, rate) >= bound(sizes, rate + extra)
    assert bound(sizes, rate) <= multicast_time_bound_ns(receivers + 1, sources, sizes, rate)
    assert first_cover_time_bound_ns(receivers, sources, sizes, rate) <= bound(sizes, rate)


@pytest.mark.parametrize(("nodes", "sources", "blocks"), [(2, 0, 1), (2, 3, 1), (0, 0, 1), (2, 1, 0)])
@pytest.mark.parametrize("bound", [multicast_ticks_bound, first_cover_ticks_bound])
def test_impossible_sizes_are_refused(bound, nodes, sources, blocks):
    with pytest.raises(ValueError, match="needed"):
        bound(nodes, sources, blocks)


@pytest.mark.parametrize(
    ("receivers", "sources", "sizes", "rate"), [(-1, 1, (1,), 1), (1, 0, (1,), 1), (1, 1, (1, -1), 1), (1, 1, (1,), 0)]
)
@pytest.mark.parametrize("bound", [multicast_time_bound_ns, first_cover_time_bound_ns])
def test_impossible_times_are_refused(bound, receivers, sources, sizes, rate):
    with pytest.raises(ValueError, match="needed"):
        bound(receivers, sources, sizes, rate)
