"""What a machine has, as plain values; None means that the kernel does not say, or that it was not understood.

Words: an *RDMA device* has ports; a *net device* is what `ip link` lists; a *NUMA node* is a part of this node.
"""

from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address

import attrs

from specs.cluster import DeviceKindName
from specs.units import Bytes, BytesPerSecond


class PortState(StrEnum):
    """The logical state of an RDMA port, in the kernel's words; only an active one moves data."""

    NOP = "NOP"
    DOWN = "DOWN"
    INIT = "INIT"
    ARMED = "ARMED"
    ACTIVE = "ACTIVE"
    ACTIVE_DEFER = "ACTIVE_DEFER"


class LinkLayer(StrEnum):
    """What an RDMA port speaks on its wire."""

    INFINIBAND = "InfiniBand"
    ETHERNET = "Ethernet"


class GidType(StrEnum):
    """What packets a GID stands for."""

    INFINIBAND = "InfiniBand"
    ROCE_V1 = "RoCE v1"
    ROCE_V2 = "RoCE v2"


@attrs.frozen(kw_only=True)
class Unknown:
    """What could not be read or understood."""

    path: str  # below the root that was read
    sentence: str


@attrs.frozen(kw_only=True)
class PciPlace:
    """Where a PCI function stands."""

    address: str  # domain:bus:device.function
    host_bridge: str  # such as pci0000:00
    bridges: tuple[str, ...]  # addresses of the bridges above it, the root port first
    numa_node: int | None


@attrs.frozen(kw_only=True)
class PcieLink:
    """The PCIe link of a function: the generation that both of its ends can do, and the lanes that are in use.

    The generation in use is not told, for GPUs lower it while they are idle.
    """

    generation: int
    lanes: int


@attrs.frozen(kw_only=True)
class NumaNode:
    """Memory and the processors that are near it."""

    number: int
    memory_bytes: Bytes | None
    processors: str | None  # as the kernel writes lists: 0-55,112-167; empty if it has none


@attrs.frozen(kw_only=True)
class Gpu:
    """An NVIDIA GPU; they are numbered in the order of their PCI addresses, as `nvidia-smi` does."""

    name: str
    address: str
    pci: PciPlace | None
    pcie: PcieLink | None
    pci_id: str  # vendor:device in hexadecimal digits; the device is ???? if it is not known
    kind: DeviceKindName | None  # of the known kinds
    nvlink: str | None  # what GPUs of this kind are joined by where they are joined; sysfs does not tell whether
    model: str | None  # as its driver calls it


@attrs.frozen(kw_only=True)
class Gid:
    """One address of an RDMA port."""

    index: int
    value: IPv6Address
    type: GidType | None
    net_device: str | None  # InfiniBand has none

    @property
    def ipv4(self) -> IPv4Address | None:
        """The IPv4 address that it stands for, if it does."""
        return self.value.ipv4_mapped


@attrs.frozen(kw_only=True)
class RdmaPort:
    """One port of an RDMA device."""

    number: int
    state: PortState | None
    physical_state: str | None
    bytes_per_second: BytesPerSecond | None
    link_layer: LinkLayer | None
    lid: int | None  # InfiniBand only
    gids: tuple[Gid, ...]  # those that are set, by index

    @property
    def net_devices(self) -> tuple[str, ...]:
        """The net devices of its GIDs."""
        return tuple(dict.fromkeys(gid.net_device for gid in self.gids if gid.net_device is not None))


@attrs.frozen(kw_only=True)
class RdmaDevice:
    """An RDMA device."""

    name: str
    pci: PciPlace | None  # absent where software is the device, as with Soft-RoCE
    pcie: PcieLink | None
    virtual: bool  # a virtual function, which shares the wire of a physical one on this machine
    ports: tuple[RdmaPort, ...]


@attrs.frozen(kw_only=True)
class NetDevice:
    """A net device with hardware below it, or one that an RDMA port uses."""

    name: str
    state: str | None  # operstate in the kernel's words
    bytes_per_second: BytesPerSecond | None
    mtu_bytes: Bytes | None
    pci: PciPlace | None
    pcie: PcieLink | None
    virtual: bool  # as of RDMA devices


@attrs.frozen(kw_only=True)
class ThisNode:
    """Everything that was found."""

    name: str
    memory_bytes: Bytes | None
    numa_nodes: tuple[NumaNode, ...]
    gpus: tuple[Gpu, ...]
    rdma_devices: tuple[RdmaDevice, ...]
    net_devices: tuple[NetDevice, ...]
    unknown: tuple[Unknown, ...]
