"""Named bytes: how the tensors of an LLM are packed into blobs that travel and rest as one.

A blob is a contiguous run of tensors in pack order, each at an aligned offset, so that every tensor is a view into the
blob's memory.  Two people who know the LLM and the run know every byte: the blob needs no digest beyond its tensors'.
"""

from typing import NewType

import attrs

from specs import fields
from specs.llm import Llm, LlmId
from specs.units import Bytes, align_up

BlobId = NewType("BlobId", str)

# Vector loads of every device that we know are at most 64 bytes wide, and a cache line is 64 bytes.
TENSOR_ALIGNMENT_BYTES = 64


@attrs.frozen(kw_only=True)
class Blob:
    """A block of weights: tensors [first_tensor, end_tensor) of one LLM."""

    id: BlobId = fields.name()
    llm: LlmId = fields.name()
    first_tensor: int = fields.natural()
    end_tensor: int = fields.positive()  # exclusive
    bytes: Bytes = fields.positive()  # with the padding between tensors; re-derived by the checker


def tensor_offsets(llm: Llm, first_tensor: int, end_tensor: int) -> tuple[int, ...]:
    """Give the offset in bytes of each tensor of the run, and after them the size of the whole blob."""
    offsets = []
    end = 0
    for tensor in llm.tensors[first_tensor:end_tensor]:
        start = align_up(end, TENSOR_ALIGNMENT_BYTES)
        offsets.append(start)
        end = start + tensor.bytes
    return (*offsets, end)


def packed_bytes(llm: Llm, first_tensor: int, end_tensor: int) -> Bytes:
    """Size of the blob that holds this run of tensors."""
    return Bytes(tensor_offsets(llm, first_tensor, end_tensor)[-1])


def blobs_of_units(llm: Llm, blobs: tuple[Blob, ...], first_unit: int, end_unit: int) -> tuple[BlobId, ...]:
    """Name the blobs that a stage of units [first_unit, end_unit) needs, in the order of `blobs`."""
    needed = {index for unit in llm.units[first_unit:end_unit] for index in unit.tensors}
    return tuple(
        blob.id
        for blob in blobs
        if blob.llm == llm.id and any(index in needed for index in range(blob.first_tensor, blob.end_tensor))
    )
