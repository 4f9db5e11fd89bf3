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


def cut_at(llm: Llm, blocks: int, borders: Sequence[int]) -> tuple[Blob, ...]:
    """Cut into this many blobs, or as few more or less as it takes to have a border at each of these tensors.

    An even cut is made, finer borders are added to it; of the even cuts the finest is taken that gives no more than
    `blocks` blobs in all, or else the coarsest.  Raises CannotCut.
    """
    if not borders:
        return cut(llm, blocks)
    if not 1 <= blocks <= llm.layers:
        cut(llm, blocks)  # says why not
    for fewer in range(blocks, 0, -1):
        ends = sorted({blob.end_tensor for blob in cut(llm, fewer)} | (set(borders) - {0}))
        if len(ends) <= blocks or fewer == 1:
            break
    return tuple(
        Blob(
            id=BlobId(f"{llm.id}/{index}"),
            llm=llm.id,
            first_tensor=first,
            end_tensor=end,
            bytes=packed_bytes(llm, first, end),
        )
        for index, (first, end) in enumerate(itertools.pairwise([0, *ends]))
    )


def fits(llm: Llm, blobs: Sequence[Blob], borders: Sequence[int]) -> bool:
    """Say whether these blobs are a cut of just this LLM that has a border at each of these tensors."""
    ends = [0, *(blob.end_tensor for blob in sorted(blobs, key=lambda blob: blob.first_tensor))]
    firsts = sorted(blob.first_tensor for blob in blobs)
    return (
        firsts == ends[:-1]
        and ends[-1] == len(llm.tensors)
        and set(borders) <= set(ends)
        and all(
            blob.first_tensor < blob.end_tensor and blob.bytes == packed_bytes(llm, blob.first_tensor, blob.end_tensor)
            for blob in blobs
        )
    )


def choose_blocks(llm: Llm, nodes: int, sources: int, rate: BytesPerSecond, overhead_ns: Nanos) -> int:
    """Pick the number of blobs with the least predicted completion.

    More blobs fill the multicast sooner but each costs `overhead_ns`; and whole layers do not cut evenly.  Every count
    is tried.
    """
    counts = range(1, llm.layers + 1)
    return min(counts, key=lambda blocks: (predicted_ns(llm, blocks, nodes, sources, rate, overhead_ns), blocks))


def predicted_ns(llm: Llm, blocks: int, nodes: int, sources: int, rate: BytesPerSecond, overhead_ns: Nanos) -> Nanos:
    """Predict the completion: ticks of the optimal multicast (`specs.bounds`) times the time of the largest blob."""
    largest = max(blob.bytes for blob in cut(llm, blocks))
    return Nanos(multicast_ticks_bound(nodes, sources, blocks) * (duration_ns(largest, rate) + overhead_ns))


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
