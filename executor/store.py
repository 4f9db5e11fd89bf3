"""Blobs on this node: memory that is reserved, filled, viewed as tensors, and released.

A blob lands in host memory, where the transport writes it, and is viewed there by a CPU's stages.  For a GPU it is
copied to the device once it is whole; the landing memory stays, because the node may have to send the blob on.
"""

import threading
from collections.abc import Mapping

import blake3
import torch

from executor.errors import BadCheckpoint, OutOfMemory
from executor.transport.interface import Segment
from specs.blobs import Blob, BlobId, tensor_offsets
from specs.cluster import PlaceId
from specs.llm import Llm, Tensor
from specs.units import Bytes

DTYPES: Mapping[str, torch.dtype] = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F64": torch.float64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class Store:
    """The memory of this node's places, blob by blob.  No place gives more than it has.

    Memory is counted from any thread; blobs belong to the event loop's.
    """

    def __init__(self, memory_bytes: Mapping[PlaceId, Bytes], devices: Mapping[PlaceId, torch.device]) -> None:
        self._memory_bytes = dict(memory_bytes)
        self._devices = dict(devices)
        self._used: dict[PlaceId, int] = dict.fromkeys(memory_bytes, 0)
        self._counting = threading.Lock()
        self._landing: dict[tuple[BlobId, PlaceId], torch.Tensor] = {}
        self._resident: dict[tuple[BlobId, PlaceId], torch.Tensor] = {}

    @property
    def places(self) -> tuple[PlaceId, ...]:
        """Name the memories of this node."""
        return tuple(self._memory_bytes)

    def used_bytes(self, place: PlaceId) -> int:
        """Give the sum of what is reserved at a place."""
        return self._used[place]

    def take(self, place: PlaceId, size: int, what: str) -> None:
        """Count memory of a place as used; raises OutOfMemory, and takes nothing, when it is not there."""
        with self._counting:
            free = self._memory_bytes[place] - self._used[place]
            if size > free:
                raise OutOfMemory(
                    f"{place}: {what} needs {size:,} bytes, {free:,} of {self._memory_bytes[place]:,} are free"
                )
            self._used[place] += size

    def give_back(self, place: PlaceId, size: int) -> None:
        """Count memory of a place as free again."""
        with self._counting:
            self._used[place] -= size

    def reserve(self, blob: Blob, place: PlaceId) -> memoryview:
        """Give the memory in which the blob lands; the same memory when asked again.  Raises OutOfMemory."""
        landing = self._landing.get((blob.id, place))
        if landing is None:
            self.take(place, blob.bytes, f"blob {blob.id}")
            pinned = self._devices.get(place, torch.device("cpu")).type == "cuda"
            landing = self._landing[blob.id, place] = torch.empty(blob.bytes, dtype=torch.uint8, pin_memory=pinned)
        return landing.numpy().data

    def hold(self, blob: Blob, place: PlaceId) -> None:
        """Make a blob that has landed whole resident in its place's own memory."""
        self._resident[blob.id, place] = self._landing[blob.id, place].to(self._devices.get(place, "cpu"))

    def holds(self, blob: BlobId, place: PlaceId) -> bool:
        """Tell whether the blob is resident."""
        return (blob, place) in self._resident

    def contents(self, blob: BlobId, place: PlaceId) -> memoryview:
        """View the bytes of a resident blob, to send them."""
        return self._landing[blob, place].numpy().data

    def tensors(self, llm: Llm, blob: Blob, place: PlaceId) -> dict[str, torch.Tensor]:
        """View a resident blob as the tensors that are packed in it, by name; nothing is copied.

        Raises BadCheckpoint for a dtype that torch has no view for here.
        """
        memory = self._resident[blob.id, place]
        views = {}
        for tensor, offset in packed(llm, blob):
            dtype = DTYPES.get(tensor.dtype)
            if dtype is None:
                raise BadCheckpoint(
                    f"tensor {tensor.name} of {llm.id} has dtype {tensor.dtype}; known are {', '.join(DTYPES)}"
                )
            views[tensor.name] = memory[offset : offset + tensor.bytes].view(dtype).view(tensor.shape)
        return views

    def copy_to(self, blob: Blob, place: PlaceId, wanted: tuple[Segment, ...], destination: memoryview) -> bool:
        """Copy a resident blob into memory of a later plan; False when it is not here, or its bytes are others."""
        if not self.holds(blob.id, place) or len(self.contents(blob.id, place)) != len(destination):
            return False
        destination[:] = self.contents(blob.id, place)
        return all(
            blake3.blake3(destination[each.offset_bytes : each.offset_bytes + each.size_bytes]).hexdigest()
            == each.blake3_hex
            for each in wanted
        )

    def release(self, blob: Blob, place: PlaceId) -> None:
        """Give up the blob's memory; harmless when it is not there."""
        self._resident.pop((blob.id, place), None)
        if self._landing.pop((blob.id, place), None) is not None:
            self.give_back(place, blob.bytes)


def packed(llm: Llm, blob: Blob) -> tuple[tuple[Tensor, int], ...]:
    """List the tensors of a blob with their offsets in it."""
    offsets = tensor_offsets(llm, blob.first_tensor, blob.end_tensor)
    return tuple(zip(llm.tensors[blob.first_tensor : blob.end_tensor], offsets[:-1], strict=True))


def segments(llm: Llm, blob: Blob) -> tuple[Segment, ...]:
    """List the runs of bytes whose digests are checked when the blob arrives: its tensors."""
    return tuple(
        Segment(offset_bytes=Bytes(offset), size_bytes=tensor.bytes, blake3_hex=tensor.digest)
        for tensor, offset in packed(llm, blob)
    )
