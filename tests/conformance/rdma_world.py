"""Nodes whose blobs are written through devices, one for each; what they say to each other goes by relays."""

import os
from collections.abc import Callable

from executor.transport.rdma import blob_taker, verbs
from executor.transport.rdma.carrier import RdmaCarrier
from specs.units import Bytes
from tests.conformance.tcp_world import TcpWorld
from tests.conformance.world import NODE_NAMES


def real_device(name: str) -> verbs.Device:
    """Open a node's device: its own in the lab, where one bridge joins all; elsewhere the first of the machine."""
    return verbs.Device(verbs.ports()[NODE_NAMES.index(name) if "RDMA_LAB" in os.environ else 0])


class RdmaWorld(TcpWorld):
    def __init__(self, device: Callable[[str], verbs.Device]) -> None:
        super().__init__()
        self._device = device
        self._check = blob_taker.BlobTaker._check

    def carrier(self, name: str) -> RdmaCarrier:
        return RdmaCarrier(self._device(name))

    def corrupt(self, transfer_id: str, offset_bytes: Bytes) -> None:
        """Flip the byte when its span has arrived, before it is checked: a device checks what it carries by itself."""
        super().corrupt(transfer_id, offset_bytes)
        flips, check = self._harm.flips, self._check

        def flipping(taker, piece):
            offset = flips.get(taker._blob.transfer_id)
            start = taker._course.moved_bytes
            if offset is not None and start <= offset < start + len(piece):
                piece[offset - start] ^= 0xFF
                del flips[taker._blob.transfer_id]
            check(taker, piece)

        blob_taker.BlobTaker._check = flipping

    async def close(self) -> None:
        blob_taker.BlobTaker._check = self._check
        await super().close()
