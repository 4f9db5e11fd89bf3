"""Nodes become places and links: what a byte crosses between two memories.

    GPU --- PCIe switch --- NIC --- leaf switch --- ... the uplinks
     |          |
    NVLink     host --- SSD

A node without GPUs is one device, its processor with its share of host memory, with its NICs and SSD directly on it.
Links come in pairs, one per direction; the id of a link is `source>destination`.
"""

from collections.abc import Iterator

from planner.description.hardware import NodeKind
from specs.cluster import DeviceKindName, Link, LinkId, NodeId, Place, PlaceId, PlaceKind
from specs.units import Bytes, BytesPerSecond, Nanos

# One crossing of a PCIe switch or root, half of what a read with its reply takes (Neugebauer et al., 2018, section 4).
PCIE_LATENCY_NS = Nanos(250)
# Store and load through NVLink's switch, one direction.
NVLINK_LATENCY_NS = Nanos(500)
# From the command to the first byte, NVMe flash.
SSD_LATENCY_NS = Nanos(80_000)
NO_LATENCY = Nanos(0)
_NO_MEMORY = Bytes(0)


def link_pair(
    source: PlaceId, destination: PlaceId, rate: BytesPerSecond, latency_ns: Nanos, back: BytesPerSecond | None = None
) -> tuple[Link, Link]:
    """Join two places in both directions, at the rate `back` on the way back if it differs."""
    return _link(source, destination, rate, latency_ns), _link(destination, source, back or rate, latency_ns)


def node_graph(node: NodeId, kind: NodeKind) -> tuple[tuple[Place, ...], tuple[Link, ...]]:
    """Lay out the places and links of one node, up to the switches that its NICs are on."""
    if kind.kind == "cpu":
        places, links = _cpu_node(node, kind)
    else:
        places, links = _gpu_node(node, kind)
    return tuple(places), tuple(links)


def _link(source: PlaceId, destination: PlaceId, rate: BytesPerSecond, latency_ns: Nanos) -> Link:
    return Link(
        id=LinkId(f"{source}>{destination}"),
        source=source,
        destination=destination,
        bytes_per_second=rate,
        latency_ns=latency_ns,
    )


def _place(
    node: NodeId, name: str, kind: PlaceKind, memory: Bytes = _NO_MEMORY, device: DeviceKindName | None = None
) -> Place:
    return Place(id=PlaceId(f"{node}/{name}"), kind=kind, node=node, memory_bytes=memory, device=device)


def _cpu_node(node: NodeId, kind: NodeKind) -> tuple[list[Place], list[Link]]:
    device = _place(node, "cpu0", PlaceKind.DEVICE, kind.device_bytes, kind.kind)
    places, links = [device], list[Link]()
    for name, wire in _nics(node, kind):
        places.append(_place(node, name, PlaceKind.SWITCH))
        links += link_pair(device.id, places[-1].id, kind.pcie_bytes_per_second, PCIE_LATENCY_NS)
        links += wire
    _add_ssd(node, kind, device.id, places, links)
    return places, links


def _gpu_node(node: NodeId, kind: NodeKind) -> tuple[list[Place], list[Link]]:
    lanes = kind.pcie_bytes_per_second
    roots = kind.pcie_switches or 1
    devices = [
        _place(node, f"gpu{index}", PlaceKind.DEVICE, kind.device_bytes, kind.kind) for index in range(kind.devices)
    ]
    switches = [_place(node, f"pcie{index}", PlaceKind.SWITCH) for index in range(roots)]
    places, links = [*devices, *switches], list[Link]()
    for index, device in enumerate(devices):
        links += link_pair(device.id, switches[index * roots // len(devices)].id, lanes, PCIE_LATENCY_NS)
    wires = list(_nics(node, kind))
    for index, (name, wire) in enumerate(wires):
        places.append(_place(node, name, PlaceKind.SWITCH))
        links += link_pair(switches[index * roots // len(wires)].id, places[-1].id, lanes, PCIE_LATENCY_NS)
        links += wire
    if kind.nvlink_bytes_per_second is not None:
        places.append(_place(node, "nvlink", PlaceKind.SWITCH))
        for device in devices:
            links += link_pair(device.id, places[-1].id, kind.nvlink_bytes_per_second, NVLINK_LATENCY_NS)
    if kind.memory_bytes is not None:
        host = _place(node, "host", PlaceKind.HOST, kind.memory_bytes)
        places.append(host)
        # A PCIe switch has one upstream port; where there is none, every device has lanes of its own to the processor.
        upstream = lanes if kind.pcie_switches else BytesPerSecond(lanes * len(devices))
        for switch in switches:
            links += link_pair(host.id, switch.id, upstream, NO_LATENCY)
        _add_ssd(node, kind, host.id, places, links)
    return places, links


def _nics(node: NodeId, kind: NodeKind) -> Iterator[tuple[str, tuple[Link, Link]]]:
    """Name each NIC and give its wire to its switch."""
    index = 0
    for nics in kind.nics:
        for position in range(nics.count):
            switch = PlaceId(nics.switches[position % len(nics.switches)])
            yield (
                f"nic{index}",
                link_pair(PlaceId(f"{node}/nic{index}"), switch, nics.bytes_per_second, nics.latency_ns),
            )
            index += 1


def _add_ssd(node: NodeId, kind: NodeKind, host: PlaceId, places: list[Place], links: list[Link]) -> None:
    if kind.ssd is None:
        return
    ssd = _place(node, "ssd", PlaceKind.SSD, kind.ssd.size_bytes)
    places.append(ssd)
    links.append(_link(ssd.id, host, kind.ssd.read_bytes_per_second, SSD_LATENCY_NS))
    if kind.ssd.write_bytes_per_second is not None:
        links.append(_link(host, ssd.id, kind.ssd.write_bytes_per_second, SSD_LATENCY_NS))
