"""Blobs on this node: memory that is reserved, filled, viewed as tensors, shared between plans, and released.

A blob lands in host memory, where the transport writes it, and is viewed there by a CPU's stages; a place that is a
host's memory keeps it there too.  For a GPU it is copied to the device once it is whole; the landing memory stays,
because the node may have to send the blob on.  On a node with a GPU all landing memory is pinned.

Names of blobs belong to a plan, so each plan has a store of its own; memory belongs to the node.  The stores of two
plans share the memory of the tensors that both name, and one count: a byte is counted once, and as long as either of
them needs it.
"""

import threading
from collections.abc import Collection, Mapping

import attrs
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


@attrs.define(kw_only=True, eq=False)
class Room:
    """The memory of one copy of a blob: bytes [n], the same tensor twice unless the place is a GPU."""

    place: PlaceId
    landing: torch.Tensor
    own: torch.Tensor
    stores: int = 1  # in which it stands


@attrs.frozen(eq=False)
class Used:
    """How much of each memory is used, by whatever store of the node."""

    bytes: dict[PlaceId, int] = attrs.field(factory=dict)
    lock: threading.Lock = attrs.field(factory=threading.Lock)


class Store:
    """The blobs of one plan in the memory of this node's places.  No place gives more than it has.

    `before` is the store of an earlier plan, with which this one counts together.  Memory is counted from any thread;
    blobs belong to the event loop's.
    """

    def __init__(
        self,
        memory_bytes: Mapping[PlaceId, Bytes],
        devices: Mapping[PlaceId, torch.device],
        before: "Store | None" = None,
    ) -> None:
        self._memory_bytes = dict(memory_bytes)
        self._devices = dict(devices)
        self.used: Used = Used() if before is None else before.used
        self._pins = any(device.type == "cuda" for device in devices.values())
        self._rooms: dict[tuple[BlobId, PlaceId], Room] = {}
        self._resident: set[tuple[BlobId, PlaceId]] = set()

    @property
    def places(self) -> tuple[PlaceId, ...]:
        """Name the memories of this node."""
        return tuple(self._memory_bytes)

    @property
    def is_empty(self) -> bool:
        """Whether no blob has memory here."""
        return not self._rooms

    def used_bytes(self, place: PlaceId) -> int:
        """Give the sum of what is reserved at a place."""
        return self.used.bytes.get(place, 0)

    def take(self, place: PlaceId, size: int, what: str) -> None:
        """Count memory of a place as used; raises OutOfMemory, and takes nothing, when it is not there."""
        with self.used.lock:
            free = self._memory_bytes[place] - self.used_bytes(place)
            if size > free:
                raise OutOfMemory(
                    f"{place}: {what} needs {size:,} bytes, {free:,} of {self._memory_bytes[place]:,} are free"
                )
            self.used.bytes[place] = self.used_bytes(place) + size

    def give_back(self, place: PlaceId, size: int) -> None:
        """Count memory of a place as free again."""
        with self.used.lock:
            self.used.bytes[place] -= size

    def reserve(self, blob: Blob, place: PlaceId) -> memoryview:
        """Give the memory in which the blob lands; the same memory when asked again.  Raises OutOfMemory."""
        room = self._rooms.get((blob.id, place))
        if room is None:
            self.take(place, blob.bytes, f"blob {blob.id}")
            try:
                room = self._make_room(place, blob.bytes)
            except (RuntimeError, MemoryError) as error:  # what torch raises, here and for a GPU
                self.give_back(place, blob.bytes)
                said = " ".join(str(error).split())
                raise OutOfMemory(
                    f"{place}: the machine has no memory for blob {blob.id} of {blob.bytes:,} bytes: {said:.200}"
                ) from error
            self._rooms[blob.id, place] = room
        view: memoryview = room.landing.numpy().data
        return view

    def _make_room(self, place: PlaceId, size: int) -> Room:
        landing = torch.empty(size, dtype=torch.uint8, pin_memory=self._pins)
        device = self._device(place)
        own = landing if device.type == "cpu" else torch.empty_like(landing, device=device)
        return Room(place=place, landing=landing, own=own)

    def _device(self, place: PlaceId) -> torch.device:
        return self._devices.get(place, torch.device("cpu"))

    def hold(self, blob: Blob, place: PlaceId) -> None:
        """Make a blob that has landed whole resident in its place's own memory."""
        room = self._rooms[blob.id, place]
        if room.own is not room.landing:
            room.own.copy_(room.landing)
        self._resident.add((blob.id, place))

    def holds(self, blob: BlobId, place: PlaceId) -> bool:
        """Tell whether the blob is resident."""
        return (blob, place) in self._resident

    def contents(self, blob: BlobId, place: PlaceId) -> memoryview:
        """View the bytes of a resident blob, to send them."""
        view: memoryview = self._rooms[blob, place].landing.numpy().data
        return view

    def tensors(self, llm: Llm, blob: Blob, place: PlaceId, *, on_host: bool = False) -> dict[str, torch.Tensor]:
        """View a resident blob as the tensors that are packed in it, by name; nothing is copied.

        `on_host` is for the CPU's view of a GPU's blob.  Raises BadCheckpoint for a dtype that torch has no view for.
        """
        assert self.holds(blob.id, place), (blob.id, place)
        return views(llm, blob, self._rooms[blob.id, place], on_host=on_host)

    def room(self, blob: BlobId, place: PlaceId) -> Room | None:
        """Give the memory of a blob that is resident."""
        return self._rooms[blob, place] if self.holds(blob, place) else None

    def share(self, before: "Store", old: BlobId, blob: Blob, place: PlaceId) -> None:
        """Hold as `blob` what an earlier plan's store holds as `old`: the same memory, which nobody writes any more."""
        room = before.room(old, place)
        assert room is not None, (old, place)
        assert len(room.landing) == blob.bytes, (old, blob.id)
        room.stores += 1
        self._rooms[blob.id, place] = room
        self._resident.add((blob.id, place))

    def release(self, blob: BlobId, place: PlaceId) -> None:
        """Give up the blob's memory, which other stores may still hold; harmless when it is not there."""
        self._resident.discard((blob, place))
        room = self._rooms.pop((blob, place), None)
        if room is not None:
            room.stores -= 1
            if room.stores == 0:
                self.give_back(place, len(room.landing))

    def clear(self, kept: Collection[tuple[BlobId, PlaceId]] = ()) -> None:
        """Give up everything but these copies."""
        for blob, place in [copy for copy in self._rooms if copy not in kept]:
            self.release(blob, place)


def views(llm: Llm, blob: Blob, room: Room, *, on_host: bool = False) -> dict[str, torch.Tensor]:
    """As `Store.tensors`, of memory that holds the blob."""
    memory = room.landing if on_host else room.own
    found = {}
    for tensor, offset in packed(llm, blob):
        dtype = DTYPES.get(tensor.dtype)
        if dtype is None:
            raise BadCheckpoint(
                f"tensor {tensor.name} of {llm.id} has dtype {tensor.dtype}; known are {', '.join(DTYPES)}"
            )
        found[tensor.name] = memory[offset : offset + tensor.bytes].view(dtype).view(tensor.shape)
    return found


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
