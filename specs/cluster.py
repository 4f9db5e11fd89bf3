"""What we have: a cluster as a place graph, as observed.

A *place* is a memory (of a device, a host, an SSD, a remote store) or a switch without memory (a NIC, a PCIe root,
an NVLink or network switch).  *Links* join places, one per direction, each with its own capacity and latency.  Bytes
cross links and rest in memories; nothing else about the hardware matters to a transfer.
"""

from enum import StrEnum
from typing import NewType

import attrs

from specs import fields
from specs.units import Bytes, BytesPerSecond, FlopsPerSecond, Nanos

NodeId = NewType("NodeId", str)
PlaceId = NewType("PlaceId", str)
LinkId = NewType("LinkId", str)
DeviceKindName = NewType("DeviceKindName", str)


class PlaceKind(StrEnum):
    """What a place is."""

    DEVICE = "device"  # memory with a processor that runs stages: a GPU, or the CPU of a node that has none
    HOST = "host"
    SSD = "ssd"
    REMOTE = "remote"
    SWITCH = "switch"  # no memory: NIC, PCIe root, NVLink switch, leaf, spine


@attrs.frozen(kw_only=True)
class DeviceKind:
    """A kind of device by its data sheet; a profile's measured rates come before these."""

    name: DeviceKindName = fields.name()
    memory_bytes: Bytes = fields.positive()
    memory_bytes_per_second: BytesPerSecond = fields.positive()
    flops_per_second_fp32: FlopsPerSecond = fields.positive()
    flops_per_second_bf16: FlopsPerSecond = fields.positive()  # dense, without sparsity
    source: str  # where the figures are from
    microdollars_per_hour: int = fields.natural(default=0)  # rent of one; 0: not priced


@attrs.frozen(kw_only=True)
class Node:
    """One machine, run by one daemon."""

    id: NodeId = fields.name()
    rack: str | None = None
    address: str | None = None  # "host:port" at which its daemon takes peers; absent: plan only, never executed


@attrs.frozen(kw_only=True)
class Place:
    """A memory or a switch."""

    id: PlaceId = fields.name()
    kind: PlaceKind
    node: NodeId | None = fields.optional_name()  # absent: shared by nodes, as a leaf switch is
    memory_bytes: Bytes = fields.natural()  # what plans may use; 0 for switches
    device: DeviceKindName | None = fields.optional_name()  # present exactly for devices


@attrs.frozen(kw_only=True)
class Link:
    """One direction between two places."""

    id: LinkId = fields.name()
    source: PlaceId = fields.name()
    destination: PlaceId = fields.name()
    bytes_per_second: BytesPerSecond = fields.positive()
    latency_ns: Nanos = fields.natural()


@attrs.frozen(kw_only=True)
class Cluster:
    """Everything that a plan may use, in a fixed order (ids are unique within each tuple)."""

    name: str = fields.name()
    device_kinds: tuple[DeviceKind, ...]
    nodes: tuple[Node, ...]
    places: tuple[Place, ...]
    links: tuple[Link, ...]
