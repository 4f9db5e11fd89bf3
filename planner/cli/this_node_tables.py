"""The tables that `holdfast describe --this-node` prints.  A ? is what is not known; why stands below the tables."""

from collections.abc import Iterator

from rich import box
from rich.table import Table

from planner.description.devices import known_kinds
from planner.description.wording import say_names, say_network_rate, say_size
from planner.this_node.distance import distance
from planner.this_node.inventory import PcieLink, PciPlace, ThisNode
from planner.this_node.wires import nearest_gpus

_UNKNOWN = "?"


def headline(node: ThisNode) -> str:
    """Say in one line what the node has."""
    memory = _UNKNOWN if node.memory_bytes is None else say_size(node.memory_bytes)
    ports = sum(len(device.ports) for device in node.rdma_devices)
    counts = (
        _count(len(node.gpus), "GPU"),
        f"{_count(len(node.rdma_devices), 'RDMA device')} with {_count(ports, 'port')}",
        _count(len(node.net_devices), "net device"),
    )
    return f"{node.name}: {memory} of memory, {', '.join(counts)}"


def node_tables(node: ThisNode) -> Iterator[Table]:
    """Make the tables of all that there is."""
    for table in (_memories(node), _gpus(node), _ports(node), _gids(node), _distances(node), _net_devices(node)):
        if table.row_count:
            yield table


def _memories(node: ThisNode) -> Table:
    table = _table("Memories", "NUMA node", "memory", ">bytes", "processors", "GPUs", "RDMA devices")
    for each in node.numa_nodes:
        gpus = [gpu.name for gpu in node.gpus if _numa_node(gpu.pci) == each.number]
        rdma = [device.name for device in node.rdma_devices if _numa_node(device.pci) == each.number]
        processors = _UNKNOWN if each.processors is None else each.processors
        devices = (say_names(gpus), say_names(rdma))
        table.add_row(str(each.number), *_size(each.memory_bytes), processors, *devices)
    return table


def _gpus(node: ThisNode) -> Table:
    table = _table("GPUs", "name", "PCI address", "PCI id", "kind", "memory of it", "model", "PCIe", ">NUMA node")
    for gpu in node.gpus:
        memory = _UNKNOWN if gpu.kind is None else say_size(known_kinds()[gpu.kind].memory_bytes)
        what = (gpu.kind or _UNKNOWN, memory, gpu.model or _UNKNOWN)
        table.add_row(gpu.name, gpu.address, gpu.pci_id, *what, _pcie(gpu.pcie), _numa_word(gpu.pci))
    return table


def _ports(node: ThisNode) -> Table:
    headings = (
        "device",
        ">port",
        "state",
        "physical",
        "rate",
        "link layer",
        ">LID",
        "net device",
        "PCI address",
        "PCIe",
    )
    table = _table("RDMA ports", *headings, ">NUMA node", "nearest GPUs")
    for device in node.rdma_devices:
        # Software has no place in the PCI tree, and none is missing.
        place = ("", "", "") if device.pci is None else (device.pci.address, _pcie(device.pcie), _numa_word(device.pci))
        name = f"{device.name} (virtual)" if device.virtual else device.name
        near = nearest_gpus(device.pci, node.gpus)
        if not device.ports:
            table.add_row(name, *[_UNKNOWN] * 5, "", "", *place, near)
        for port in device.ports:
            rate = _UNKNOWN if port.bytes_per_second is None else say_network_rate(port.bytes_per_second)
            states = (port.state or _UNKNOWN, port.physical_state or _UNKNOWN)
            lid = "" if port.lid is None else str(port.lid)
            wire = (rate, port.link_layer or _UNKNOWN, lid, ", ".join(port.net_devices))
            table.add_row(name, str(port.number), *states, *wire, *place, near)
    return table


def _gids(node: ThisNode) -> Table:
    table = _table("GIDs", "device", ">port", ">index", "GID", "IPv4", "type", "net device")
    for device in node.rdma_devices:
        for port in device.ports:
            for gid in port.gids:
                ipv4 = "" if gid.ipv4 is None else str(gid.ipv4)
                kind = (gid.type or _UNKNOWN, gid.net_device or "")
                table.add_row(device.name, str(port.number), str(gid.index), gid.value.exploded, ipv4, *kind)
    return table


def _distances(node: ThisNode) -> Table:
    table = _table("GPU distance", "", *(gpu.name for gpu in node.gpus))
    if not node.gpus:
        return table
    for gpu in node.gpus:
        cells = ["X" if other is gpu else distance(gpu.pci, other.pci) or _UNKNOWN for other in node.gpus]
        table.add_row(gpu.name, *cells)
    for device in node.rdma_devices:
        table.add_row(device.name, *(distance(device.pci, gpu.pci) or _UNKNOWN for gpu in node.gpus))
    return table


def _net_devices(node: ThisNode) -> Table:
    table = _table("Net devices", "name", "state", "speed", ">MTU", "PCI address", ">NUMA node", "RDMA device")
    for device in node.net_devices:
        speed = "" if device.bytes_per_second is None else say_network_rate(device.bytes_per_second)
        mtu = _UNKNOWN if device.mtu_bytes is None else str(device.mtu_bytes)
        place = ("", "") if device.pci is None else (device.pci.address, _numa_word(device.pci))
        users = [each.name for each in node.rdma_devices if any(device.name in port.net_devices for port in each.ports)]
        table.add_row(device.name, device.state or _UNKNOWN, speed, mtu, *place, ", ".join(users))
    return table


def _size(size_bytes: int | None) -> tuple[str, str]:
    return (_UNKNOWN, _UNKNOWN) if size_bytes is None else (say_size(size_bytes), f"{size_bytes:,}")


def _pcie(link: PcieLink | None) -> str:
    return _UNKNOWN if link is None else f"PCIe {link.generation} x{link.lanes}"


def _numa_node(place: PciPlace | None) -> int | None:
    return None if place is None else place.numa_node


def _numa_word(place: PciPlace | None) -> str:
    number = _numa_node(place)
    return _UNKNOWN if number is None else str(number)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _table(title: str, *headings: str) -> Table:
    """Make a table; headings that begin with > are of numbers, which stand to the right."""
    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False
    )
    for heading in headings:
        table.add_column(
            heading.removeprefix(">"), justify="right" if heading.startswith(">") else "left", overflow="fold"
        )
    return table
