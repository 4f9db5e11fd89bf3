"""Cutting an LLM into blobs: contiguous packs of tensors, at least one layer each, as even as layers allow."""

import functools
import itertools
from collections.abc import Sequence

from specs.blobs import Blob, BlobId, packed_bytes
from specs.bounds import multicast_ticks_bound
from specs.llm import Llm
from specs.units import BytesPerSecond, Nanos, duration_ns


def cut(llm: Llm, blocks: int) -> tuple[Blob, ...]:
    """Cut into this many blobs, 1 to `llm.layers`, so that the largest is as small as possible.

    Tensors outside the layers go with the layer next to them in pack order.
    """
    if not 1 <= blocks <= llm.layers:
        raise ValueError(f"{llm.id} has {llm.layers} layers; it can be cut into 1 to {llm.layers} blocks, not {blocks}")
    starts = _layer_starts(llm)
    borders = _even_borders([packed_bytes(llm, a, b) for a, b in itertools.pairwise(starts)], blocks)
    return tuple(
        Blob(
            id=BlobId(f"{llm.id}/{index}"),
            llm=llm.id,
            first_tensor=starts[first],
            end_tensor=starts[end],
            bytes=packed_bytes(llm, starts[first], starts[end]),
        )
        for index, (first, end) in enumerate(itertools.pairwise(borders))
    )


def choose_blocks(llm: Llm, nodes: int, sources: int, rate: BytesPerSecond, overhead_ns: Nanos) -> int:
    """Pick the number of blobs with the least predicted completion.

    More blobs fill the multicast sooner but each costs `overhead_ns`; and whole layers do not cut evenly.  Every count
    is tried: ticks of the optimal multicast (`specs.bounds`) times the time of the largest blob.
    """

    def completion_ns(blocks: int) -> int:
        largest = max(blob.bytes for blob in cut(llm, blocks))
        return multicast_ticks_bound(nodes, sources, blocks) * (duration_ns(largest, rate) + overhead_ns)

    return min(range(1, llm.layers + 1), key=lambda blocks: (completion_ns(blocks), blocks))


def _layer_starts(llm: Llm) -> list[int]:
    """Index of the first tensor of each layer's share, the first share beginning at 0; and the end of all."""
    firsts = [min(unit.tensors) for unit in llm.units[1:-1]]
    return [0, *firsts[1:], len(llm.tensors)]


def _even_borders(sizes: Sequence[int], parts: int) -> list[int]:
    """Cut a row into contiguous non-empty parts, the largest sum as small as possible; earliest borders win ties."""
    sums = [0]
    for size in sizes:
        sums.append(sums[-1] + size)

    @functools.cache
    def best(first: int, left: int) -> tuple[int, tuple[int, ...]]:
        if left == 1:
            return sums[-1] - sums[first], ()
        options = []
        for border in range(first + 1, len(sizes) - left + 2):
            largest, rest = best(border, left - 1)
            options.append((max(largest, sums[border] - sums[first]), (border, *rest)))
        return min(options)

    return [0, *best(0, parts)[1], len(sizes)]
