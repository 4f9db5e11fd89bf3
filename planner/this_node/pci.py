"""Where devices stand in the PCI tree: sysfs lays its directories out as that tree."""

import re

from planner.errors import BadQuantity
from planner.this_node.inventory import PcieLink, PciPlace
from planner.this_node.kernel_words import parse_numa_node, parse_pci_address, parse_pcie_generation, parse_pcie_lanes
from planner.this_node.sysfs import KernelFiles

PCI_DEVICES = "sys/bus/pci/devices"
_HOST_BRIDGE = re.compile(r"pci[0-9a-f]{4,8}:[0-9a-f]{2}")


class PciReader:
    """Reads places and links of PCI functions."""

    def __init__(self, files: KernelFiles, numa_nodes: tuple[int, ...]) -> None:
        self._files = files
        self._numa_nodes = numa_nodes

    def place(self, path: str) -> PciPlace | None:
        """Find the PCI function that a link leads to, or the one above what it leads to, such as a virtio device.

        None where there is no link (software), or no PCI function on the way to where it leads.
        """
        if not self._files.has(path):
            return None
        parts = self._files.target(path) or ()
        bridge = next((index for index, part in enumerate(parts) if _HOST_BRIDGE.fullmatch(part)), None)
        functions = [part for part in parts[bridge or 0 :] if _is_address(part)]
        if bridge is None or not functions:
            return None
        return PciPlace(
            address=functions[-1],
            host_bridge=parts[bridge],
            bridges=tuple(functions[:-1]),
            numa_node=self._numa_node(functions[-1]),
        )

    def link(self, place: PciPlace | None) -> PcieLink | None:
        """Read the PCIe link of a function; None where it has none, or the kernel does not know it."""
        if place is None:
            return None
        ends = (place.address, *place.bridges[-1:])
        read = self._files.read
        generations = [
            read(f"{PCI_DEVICES}/{end}/max_link_speed", parse_pcie_generation, may_lack=True) for end in ends
        ]
        lanes = read(f"{PCI_DEVICES}/{place.address}/current_link_width", parse_pcie_lanes, may_lack=True)
        known = [each for each in generations if each is not None]
        if lanes is None or not known:
            return None
        return PcieLink(generation=min(known), lanes=lanes)

    def is_virtual(self, place: PciPlace | None) -> bool:
        """Whether a function is virtual, with its physical one on this machine."""
        return place is not None and self._files.has(f"{PCI_DEVICES}/{place.address}/physfn")

    def _numa_node(self, address: str) -> int | None:
        path = f"{PCI_DEVICES}/{address}/numa_node"
        found = self._files.read(path, parse_numa_node, may_lack=True)
        if found is not None and self._numa_nodes and found not in self._numa_nodes:
            self._files.doubt(path, f"there is no NUMA node {found} on this machine")
            return None
        # Firmware often leaves it out where there is no choice.
        return self._numa_nodes[0] if found is None and len(self._numa_nodes) == 1 else found


def _is_address(text: str) -> bool:
    try:
        parse_pci_address(text)
    except BadQuantity:
        return False
    return True
