"""Cutting an LLM into blobs: contiguous packs of tensors, at least one unit each, as even as units allow."""

import itertools
from collections.abc import Sequence

from planner.errors import CannotCut
from specs.blobs import Blob, BlobId, packed_bytes, tensor_offsets
from specs.bounds import multicast_ticks_bound
from specs.llm import Llm
from specs.units import Bytes, BytesPerSecond, Nanos, ceil_div, duration_ns


def cut(llm: Llm, blocks: int) -> tuple[Blob, ...]:
    """Cut into this many blobs, 1 to `blobs_max`, the largest as small as possible and all as alike as that allows.

    Raises CannotCut.
    """
    starts = _starts(llm)
    if not 1 <= blocks < len(starts):
        most = f"its {llm.layers} layers and what lies before and behind them allow 1 to {len(starts) - 1} blocks"
        raise CannotCut(f"{llm.id} cannot be cut into {blocks} blocks: {most}")
    offsets = tensor_offsets(llm, 0, len(llm.tensors))
    begins = [offsets[start] for start in starts[:-1]]
    ends = [offsets[end - 1] + llm.tensors[end - 1].bytes for end in starts[1:]]
    borders = _even_borders(begins, ends, blocks)
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
    if not 1 <= blocks <= blobs_max(llm):
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


def predicted_ns(llm: Llm, blocks: int, nodes: int, sources: int, rate: BytesPerSecond, overhead_ns: Nanos) -> Nanos:
    """Predict the completion: ticks of the optimal multicast (`specs.bounds`) times the time of a blob of mean size.

    More blobs fill the multicast sooner but each costs `overhead_ns`.  Where an embedding makes one blob larger than
    the others, its ticks are longer, but not all ticks are its.
    """
    ticks = multicast_ticks_bound(nodes, sources, blocks)
    moved = ceil_div(ticks * sum(blob.bytes for blob in cut(llm, blocks)), blocks)
    return Nanos(duration_ns(Bytes(moved), rate) + ticks * overhead_ns)


def blobs_max(llm: Llm) -> int:
    """Count the shares of the units in the pack: one for each layer, one before them and one behind, if there is any.

    An embedding or a head may be as large as several layers, so that no blob need have it and a layer besides.
    """
    return len(_starts(llm)) - 1


def sizeable_units(llm: Llm) -> int:
    """Count the units' shares of half the mean size or more: a smaller one costs a transfer and is little use alone."""
    sizes = [packed_bytes(llm, first, end) for first, end in itertools.pairwise(_starts(llm))]
    return max(1, sum(2 * size * len(sizes) >= sum(sizes) for size in sizes))


def _starts(llm: Llm) -> list[int]:
    """Index of the first tensor of each unit's share of the pack; and the end of all."""
    layers = llm.units[1:-1]
    behind = max(layers[-1].tensors) + 1
    return sorted({0, *(min(layer.tensors) for layer in layers), behind, len(llm.tensors)})


def _least_largest(begins: Sequence[int], ends: Sequence[int], parts: int) -> int:
    """Find the least size of the largest part of any cut into so many contiguous non-empty parts, by bisection."""
    low, high = max(end - begin for begin, end in zip(begins, ends, strict=True)), ends[-1] - begins[0]
    while low < high:
        middle = (low + high) // 2
        if _parts_needed(begins, ends, middle) <= parts:
            high = middle
        else:
            low = middle + 1
    return low


def _even_borders(begins: Sequence[int], ends: Sequence[int], parts: int) -> list[int]:
    """Cut a row of units into contiguous non-empty parts, the largest as small as possible, the rest most alike.

    Unit i lies at bytes [begins[i], ends[i]), so that a part [i, j) has ends[j - 1] - begins[i] bytes.  Of all cuts
    whose largest part is the least possible, the one with the least sum of squares is found by dynamic programming over
    (parts, units so far); earliest borders win ties.
    """
    largest = _least_largest(begins, ends, parts)
    units = len(begins)
    squares: list[int | None] = [0] + [None] * units  # of the parts so far, by units in them; None: impossible
    rows: list[list[int]] = []  # where the last part begins
    for part in range(parts):
        longer: list[int | None] = [None] * (units + 1)
        first = [0] * (units + 1)
        for end in range(part + 1, units - (parts - part - 1) + 1):
            for start in range(end - 1, part - 1, -1):
                size = ends[end - 1] - begins[start]
                if size > largest:
                    break
                before, known = squares[start], longer[end]
                if before is not None and (known is None or before + size**2 <= known):
                    longer[end], first[end] = before + size**2, start
        squares = longer
        rows.append(first)
    borders = [units]
    for first in reversed(rows):
        borders.append(first[borders[-1]])
    return borders[::-1]


def _parts_needed(begins: Sequence[int], ends: Sequence[int], part_bytes_max: int) -> int:
    """Count the parts of up to this size that it takes, filled from the last unit backwards."""
    parts, end = 1, ends[-1]
    for unit in reversed(range(len(begins))):
        if end - begins[unit] > part_bytes_max:
            parts += 1
            end = ends[unit]
    return parts
