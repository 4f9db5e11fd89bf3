"""Cutting an LLM into blobs: contiguous packs of tensors, at least one layer each, as even as layers allow."""

import itertools
from collections.abc import Sequence

from planner.errors import CannotCut
from specs.blobs import Blob, BlobId, packed_bytes, tensor_offsets
from specs.bounds import multicast_ticks_bound
from specs.llm import Llm
from specs.units import BytesPerSecond, Nanos, duration_ns


def cut(llm: Llm, blocks: int) -> tuple[Blob, ...]:
    """Cut into this many blobs, 1 to `llm.layers`, so that the largest is as small as possible.

    Tensors outside the layers go with the layer next to them in pack order.  Raises CannotCut.
    """
    if not 1 <= blocks <= llm.layers:
        raise CannotCut(f"{llm.id} has {llm.layers} layers; it can be cut into 1 to {llm.layers} blocks, not {blocks}")
    starts = _layer_starts(llm)
    offsets = tensor_offsets(llm, 0, len(llm.tensors))
    ends = [offsets[end - 1] + llm.tensors[end - 1].bytes for end in starts[1:]]
    borders = _even_borders([offsets[start] for start in starts[:-1]], ends, blocks)
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


def _even_borders(begins: Sequence[int], ends: Sequence[int], parts: int) -> list[int]:
    """Cut a row of layers into contiguous non-empty parts, the largest as small as possible; earliest borders win ties.

    Layer i lies at bytes [begins[i], ends[i]), so that a part [i, j) has ends[j - 1] - begins[i] bytes.
    """
    layers = len(begins)
    low, high = max(end - begin for begin, end in zip(begins, ends, strict=True)), ends[-1] - begins[0]
    while low < high:
        middle = (low + high) // 2
        if len(_from_the_end(begins, ends, middle)) <= parts:
            high = middle
        else:
            low = middle + 1
    # Each border as early as the parts after it allow, but never before there are layers for the parts before it.
    starts = _from_the_end(begins, ends, low)
    starts += [0] * (parts - len(starts))
    return [max(part, start) for part, start in enumerate(reversed(starts))] + [layers]


def _from_the_end(begins: Sequence[int], ends: Sequence[int], part_bytes_max: int) -> list[int]:
    """Fill parts up to this size from the last layer backwards; give the first layer of each part, the last first."""
    starts = []
    end = ends[-1]
    for layer in reversed(range(len(begins))):
        if end - begins[layer] > part_bytes_max:
            starts.append(layer + 1)
            end = ends[layer]
    return [*starts, 0]
