"""Which ports of a node are the NICs of its description, and which PCIe switches may be stated."""

from collections.abc import Iterator, Sequence

import attrs

from planner.description.wording import say_names
from planner.this_node.distance import Distance, distance
from planner.this_node.inventory import (
    GidType,
    Gpu,
    LinkLayer,
    NetDevice,
    PcieLink,
    PciPlace,
    PortState,
    RdmaDevice,
    RdmaPort,
    ThisNode,
)
from specs.units import BytesPerSecond

# A port on a switch has at least a root port, the switch's upstream port and one of its downstream ports above it.
_BRIDGES_OF_SWITCH = 3


@attrs.frozen(kw_only=True)
class Wire:
    """A NIC as descriptions have them: one active port."""

    bytes_per_second: BytesPerSecond
    pci: PciPlace | None
    pcie: PcieLink | None
    words: str  # which port it is, in one line
    address: str | None  # IPv4, of RoCE v2


@attrs.frozen(kw_only=True)
class Wires:
    """The NICs of a node, and which ports are none, each with its reason in one line."""

    taken: tuple[Wire, ...]
    left: tuple[str, ...]


def wires(node: ThisNode) -> Wires:
    """Take the active RDMA ports, in the order of their PCI addresses; without any, the net devices that are up."""
    ports = [_rdma_wire(node, device, port) for device in node.rdma_devices for port in device.ports]
    taken = [wire for wire in ports if isinstance(wire, Wire)]
    left = [words for words in ports if isinstance(words, str)]
    if taken:
        others = [_net_wire(node, device) for device in node.net_devices if not _is_of_rdma(node, device)]
        left += [f"{wire.words} (no RDMA)" if isinstance(wire, Wire) else wire for wire in others]
    else:
        # Where RDMA is down, the net device of the same card may be up.
        found = [_net_wire(node, device) for device in node.net_devices]
        taken = [wire for wire in found if isinstance(wire, Wire)]
        left += [words for words in found if isinstance(words, str)]
    return Wires(taken=tuple(sorted(taken, key=_order)), left=tuple(left))


def nearest_gpus(place: PciPlace | None, gpus: Sequence[Gpu]) -> str:
    """Name the GPUs that are nearest to a function, with how near: `PIX to gpu[0-1]`; empty if that is not known."""
    distances = {gpu.name: distance(place, gpu.pci) for gpu in gpus}
    for each in Distance:
        if near := [name for name, found in distances.items() if found is each]:
            return f"{each} to {say_names(near)}"
    return ""


def on_switch(gpu: Gpu) -> bool:
    """Whether a GPU is known to be on a PCIe switch."""
    return _switch(gpu.pci) is not None


def pcie_switches(gpus: Sequence[Gpu], nics: Sequence[Wire]) -> int | None:
    """Count the PCIe switches if the GPUs and NICs stand on them as descriptions have it: in order, spread evenly.

    None if not: on no switches, otherwise than that, or where it is not known.
    """
    behind = [_switch(gpu.pci) for gpu in gpus]
    switches = list(dict.fromkeys(behind))
    if None in behind or not switches or len(behind) % len(switches):
        return None

    def in_order(places: list[tuple[str, str] | None]) -> bool:
        return places == [switches[index * len(switches) // len(places)] for index in range(len(places))]

    return len(switches) if in_order(behind) and in_order([_switch(nic.pci) for nic in nics]) else None


def _switch(place: PciPlace | None) -> tuple[str, str] | None:
    """Name the outermost switch above a function by its root port."""
    if place is None or len(place.bridges) < _BRIDGES_OF_SWITCH:
        return None
    return place.host_bridge, place.bridges[0]


def _rdma_wire(node: ThisNode, device: RdmaDevice, port: RdmaPort) -> Wire | str:
    name = f"{device.name} port {port.number}"
    if device.virtual:
        return f"{name} (a virtual function, on the wire of another port here)"
    if port.state is not PortState.ACTIVE:
        return f"{name} (state {port.state or 'not known'}, {port.physical_state or 'not known'})"
    if port.bytes_per_second is None:
        return f"{name} (its rate is not known)"
    known = next((gid for gid in port.gids if gid.type is GidType.ROCE_V2 and gid.ipv4 is not None), None)
    parts = [name, port.link_layer or "", *port.net_devices]
    if port.link_layer is LinkLayer.INFINIBAND and port.lid is not None:
        parts.append(f"LID {port.lid}")
    if known is not None:
        parts.append(f"{known.ipv4} (GID {known.index}, {known.type})")
    return Wire(
        bytes_per_second=port.bytes_per_second,
        pci=device.pci,
        pcie=device.pcie,
        words=_joined([*parts, *_where(device.pci, node.gpus)]),
        address=None if known is None else str(known.ipv4),
    )


def _net_wire(node: ThisNode, device: NetDevice) -> Wire | str:
    if device.virtual:
        return f"{device.name} (a virtual function, on the wire of another device here)"
    if device.state != "up":
        return f"{device.name} (state {device.state or 'not known'})"
    if device.bytes_per_second is None:
        return f"{device.name} (its speed is not known)"
    return Wire(
        bytes_per_second=device.bytes_per_second,
        pci=device.pci,
        pcie=device.pcie,
        words=_joined([device.name, *_where(device.pci, node.gpus)]),
        address=None,
    )


def _where(place: PciPlace | None, gpus: Sequence[Gpu]) -> Iterator[str]:
    if place is not None:
        yield place.address
        if place.numa_node is not None:
            yield f"NUMA node {place.numa_node}"
        yield nearest_gpus(place, gpus)


def _joined(parts: Sequence[str]) -> str:
    return ", ".join(part for part in parts if part)


def _is_of_rdma(node: ThisNode, device: NetDevice) -> bool:
    """Whether a net device is one face of an RDMA device."""
    for each in node.rdma_devices:
        same = each.pci is not None and device.pci is not None and each.pci.address == device.pci.address
        if same or any(device.name in port.net_devices for port in each.ports):
            return True
    return False


def _order(wire: Wire) -> tuple[int, str]:
    return (0, "") if wire.pci is None else (len(wire.pci.address), wire.pci.address)
