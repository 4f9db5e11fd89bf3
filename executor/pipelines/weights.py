"""The weights of an LLM on one device: which tensors its stages see there, and in which memory."""

from collections.abc import Iterable

import attrs

from executor.engine.skeleton import Skeleton
from executor.store import Room, views
from specs.blobs import Blob
from specs.llm import Llm


@attrs.define(eq=False)
class Weights:
    """The weights of an LLM on one device, as all its stages there see them.  Only the device's thread uses it."""

    llm: Llm
    skeleton: Skeleton
    rooms: dict[int, Room] = attrs.field(factory=dict)  # by the index of the tensor: the memory that is attached

    def attach(self, blob: Blob, room: Room) -> None:
        """Use the tensors of a blob where they lie in this memory; nothing happens when they are used already."""
        tensors = range(blob.first_tensor, blob.end_tensor)
        if any(self.rooms.get(index) is not room for index in tensors):
            self.skeleton.attach(views(self.llm, blob, room))
            self.rooms.update(dict.fromkeys(tensors, room))

    def detach(self, tensors: Iterable[int]) -> None:
        """Let go of these tensors; those that are not attached are left out."""
        gone = [index for index in tensors if self.rooms.pop(index, None) is not None]
        self.skeleton.detach(self.llm.tensors[index].name for index in gone)
