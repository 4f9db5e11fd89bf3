"""What a machine has, as plain JSON values: exact integers, with units in the names; null is what is not known."""

from collections.abc import Sequence

from planner.this_node.distance import distance
from planner.this_node.inventory import Gpu, NetDevice, PcieLink, PciPlace, RdmaDevice, RdmaPort, ThisNode


def summarise(node: ThisNode) -> dict[str, object]:
    """Summarise a node; distances are those of the PCI tree, and a device has none to itself."""
    return {
        "name": node.name,
        "memory_bytes": node.memory_bytes,
        "numa_nodes": [
            {"number": each.number, "memory_bytes": each.memory_bytes, "processors": each.processors}
            for each in node.numa_nodes
        ],
        "gpus": [_gpu(gpu, node.gpus) for gpu in node.gpus],
        "rdma_devices": [_rdma_device(device, node.gpus) for device in node.rdma_devices],
        "net_devices": [_net_device(device) for device in node.net_devices],
        "unknown": [{"path": each.path, "sentence": each.sentence} for each in node.unknown],
    }


def _gpu(gpu: Gpu, gpus: Sequence[Gpu]) -> dict[str, object]:
    return {
        "name": gpu.name,
        "address": gpu.address,
        "pci": _pci(gpu.pci),
        "pcie": _pcie(gpu.pcie),
        "pci_id": gpu.pci_id,
        "kind": gpu.kind,
        "model": gpu.model,
        "gpu_distances": _distances(gpu.pci, [other for other in gpus if other is not gpu]),
    }


def _rdma_device(device: RdmaDevice, gpus: Sequence[Gpu]) -> dict[str, object]:
    return {
        "name": device.name,
        "pci": _pci(device.pci),
        "pcie": _pcie(device.pcie),
        "virtual": device.virtual,
        "ports": [_port(port) for port in device.ports],
        "gpu_distances": _distances(device.pci, gpus),
    }


def _port(port: RdmaPort) -> dict[str, object]:
    return {
        "number": port.number,
        "state": port.state,
        "physical_state": port.physical_state,
        "bytes_per_second": port.bytes_per_second,
        "link_layer": port.link_layer,
        "lid": port.lid,
        "gids": [
            {
                "index": gid.index,
                "gid": gid.value.exploded,
                "ipv4": None if gid.ipv4 is None else str(gid.ipv4),
                "type": gid.type,
                "net_device": gid.net_device,
            }
            for gid in port.gids
        ],
    }


def _net_device(device: NetDevice) -> dict[str, object]:
    return {
        "name": device.name,
        "state": device.state,
        "bytes_per_second": device.bytes_per_second,
        "mtu_bytes": device.mtu_bytes,
        "pci": _pci(device.pci),
        "pcie": _pcie(device.pcie),
        "virtual": device.virtual,
    }


def _pci(place: PciPlace | None) -> dict[str, object] | None:
    if place is None:
        return None
    return {
        "address": place.address,
        "host_bridge": place.host_bridge,
        "bridges": list(place.bridges),
        "numa_node": place.numa_node,
    }


def _pcie(link: PcieLink | None) -> dict[str, object] | None:
    return None if link is None else {"generation": link.generation, "lanes": link.lanes}


def _distances(place: PciPlace | None, gpus: Sequence[Gpu]) -> dict[str, object]:
    return {gpu.name: distance(place, gpu.pci) for gpu in gpus}
