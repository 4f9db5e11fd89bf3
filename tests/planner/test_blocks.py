"""How an LLM is cut: against every possible cut."""

import itertools
import time

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.blocks import blobs_max, cut, predicted_ns, sizeable_units
from planner.errors import CannotCut
from specs.blobs import packed_bytes
from specs.bounds import multicast_ticks_bound
from specs.units import duration_ns
from tests.builders import an_llm


def uneven(layer_bytes, *, tied=False, ends_bytes=1024):
    """An LLM whose layers have these sizes, and whose embedding and head are of the given one."""
    llm = an_llm(len(layer_bytes), tied=tied)
    sizes = iter(layer_bytes)
    tensors = tuple(
        attrs.evolve(tensor, bytes=size, shape=(size // 4,))
        for tensor in llm.tensors
        for size in [next(sizes) if "layers" in tensor.name else 64 if tensor.name == "norm" else ends_bytes]
    )
    return attrs.evolve(llm, tensors=tensors)


def starts_of(llm):
    firsts = [index for index, tensor in enumerate(llm.tensors) if "layers" in tensor.name]
    return sorted({0, *firsts, firsts[-1] + 1, len(llm.tensors)})


def least_largest(llm, blocks):
    """The size of the largest blob of the best of all cuts."""
    starts = starts_of(llm)
    return min(
        max(packed_bytes(llm, starts[a], starts[b]) for a, b in itertools.pairwise((0, *inner, len(starts) - 1)))
        for inner in itertools.combinations(range(1, len(starts) - 1), blocks - 1)
    )


layer_sizes = st.lists(st.integers(1, 60).map(lambda words: 4 * words), min_size=1, max_size=8)


@given(sizes=layer_sizes, tied=st.booleans(), ends=st.integers(1, 100).map(lambda words: 4 * words), data=st.data())
@settings(max_examples=300, deadline=None)
def test_no_cut_has_a_smaller_largest_blob(sizes, tied, ends, data):
    llm = uneven(sizes, tied=tied, ends_bytes=ends)
    blocks = data.draw(st.integers(1, blobs_max(llm)))
    blobs = cut(llm, blocks)
    assert max(blob.bytes for blob in blobs) == least_largest(llm, blocks)


@given(sizes=layer_sizes, data=st.data())
@settings(deadline=None)
def test_of_all_cuts_with_the_least_largest_blob_no_other_is_more_even(sizes, data):
    llm = uneven(sizes)
    blocks = data.draw(st.integers(1, blobs_max(llm)))
    starts = starts_of(llm)
    cuts = [
        [packed_bytes(llm, starts[a], starts[b]) for a, b in itertools.pairwise((0, *inner, len(starts) - 1))]
        for inner in itertools.combinations(range(1, len(starts) - 1), blocks - 1)
    ]
    best = min((max(sizes), sum(size**2 for size in sizes)) for sizes in cuts)
    found = [blob.bytes for blob in cut(llm, blocks)]
    assert (max(found), sum(size**2 for size in found)) == best


@given(sizes=layer_sizes, tied=st.booleans(), data=st.data())
@settings(deadline=None)
def test_blobs_are_whole_units_in_a_row(sizes, tied, data):
    llm = uneven(sizes, tied=tied)
    blocks = data.draw(st.integers(1, blobs_max(llm)))
    blobs = cut(llm, blocks)
    assert [blob.id for blob in blobs] == [f"llm/{index}" for index in range(blocks)]
    assert (blobs[0].first_tensor, blobs[-1].end_tensor) == (0, len(llm.tensors))
    assert all(left.end_tensor == right.first_tensor for left, right in itertools.pairwise(blobs))
    for blob in blobs:
        assert {blob.first_tensor, blob.end_tensor} <= set(starts_of(llm))
        assert blob.bytes == packed_bytes(llm, blob.first_tensor, blob.end_tensor)


def test_what_is_outside_the_layers_is_alone_when_all_units_are():
    plain, tied = an_llm(4), an_llm(4, tied=True)
    assert (blobs_max(plain), blobs_max(tied)) == (6, 5)
    assert [(blob.first_tensor, blob.end_tensor) for blob in cut(plain, 6)] == [
        (0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 7),
    ]  # fmt: skip
    assert [(blob.first_tensor, blob.end_tensor) for blob in cut(plain, 4)] == [(0, 2), (2, 3), (3, 4), (4, 7)]
    assert [(blob.first_tensor, blob.end_tensor) for blob in cut(tied, 5)] == [(0, 2), (2, 3), (3, 4), (4, 5), (5, 6)]


def test_an_embedding_as_large_as_two_layers_makes_no_blob_larger():
    llm = uneven([100, 100, 100, 100], ends_bytes=200)
    assert max(blob.bytes for blob in cut(llm, 6)) < 300
    assert max(blob.bytes for blob in cut(llm, 4)) < 300


def test_units_of_half_the_mean_count():
    assert sizeable_units(uneven([100] * 4, ends_bytes=200)) == 6
    assert sizeable_units(uneven([400] * 4, ends_bytes=4)) == 4
    assert sizeable_units(uneven([4], ends_bytes=400)) == 2
    assert sizeable_units(an_llm(32)) == 32


@pytest.mark.parametrize("blocks", [-1, 0, 11])
def test_more_blocks_than_units(blocks):
    allowed = "its 8 layers and what lies before and behind them allow 1 to 10 blocks"
    with pytest.raises(CannotCut, match=rf"^llm cannot be cut into {blocks} blocks: {allowed}$"):
        cut(an_llm(8), blocks)


def choose_blocks(llm, nodes, sources, rate, overhead_ns):
    counts = range(1, blobs_max(llm) + 1)
    return min(counts, key=lambda blocks: (predicted_ns(llm, blocks, nodes, sources, rate, overhead_ns), blocks))


@given(
    sizes=layer_sizes,
    receivers=st.integers(1, 40),
    sources=st.integers(1, 5),
    overhead_ns=st.integers(0, 1000),
)
@settings(deadline=None)
def test_the_chosen_number_is_the_best_by_its_formula(sizes, receivers, sources, overhead_ns):
    llm = uneven(sizes)
    rate, nodes = 10**9, receivers + sources

    def completion_ns(blocks):
        sizes = [blob.bytes for blob in cut(llm, blocks)]
        ticks = multicast_ticks_bound(nodes, sources, blocks)
        return duration_ns(-(-ticks * sum(sizes) // blocks), rate) + ticks * overhead_ns

    chosen = choose_blocks(llm, nodes, sources, rate, overhead_ns)
    times = [completion_ns(blocks) for blocks in range(1, blobs_max(llm) + 1)]
    assert times[chosen - 1] == min(times)
    assert chosen == 1 + times.index(min(times))


def test_overhead_makes_blocks_fewer():
    llm = an_llm(32, layer_bytes=2**20)
    counts = [choose_blocks(llm, 9, 1, 10**9, overhead_ns) for overhead_ns in (0, 10**5, 10**6, 10**8, 10**10)]
    assert counts == sorted(counts, reverse=True)
    assert (counts[0], counts[-1]) == (34, 1)


def test_the_largest_llms_are_cut_at_once():
    llm = an_llm(126, layer_bytes=3 * 2**30)
    began = time.process_time()
    choose_blocks(llm, 64, 1, 50 * 10**9, 3_000_000)
    assert time.process_time() - began < 2
