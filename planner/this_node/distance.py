"""How far apart two PCI functions are, in the words of `nvidia-smi topo`.

Said of the PCI tree alone: what NVLink joins is as far apart here as if there were no NVLink.
"""

from enum import StrEnum

from planner.this_node.inventory import PciPlace


class Distance(StrEnum):
    """What bytes cross between two functions, the nearest first."""

    PIX = "PIX"  # at most one PCIe switch
    PXB = "PXB"  # several PCIe switches, but no host bridge
    PHB = "PHB"  # a host bridge
    NODE = "NODE"  # what joins the host bridges of one NUMA node
    SYS = "SYS"  # what joins NUMA nodes


def distance(one: PciPlace | None, other: PciPlace | None) -> Distance | None:
    """Say how far apart two functions are; None if that is not known."""
    if one is None or other is None:
        return None
    if one.host_bridge != other.host_bridge:
        if one.numa_node is None or other.numa_node is None:
            return None
        return Distance.NODE if one.numa_node == other.numa_node else Distance.SYS
    shared = 0
    for mine, theirs in zip(one.bridges, other.bridges, strict=False):
        if mine != theirs:
            break
        shared += 1
    if not shared:
        return Distance.PHB
    # A switch is a bridge above and one bridge below for each of its ports: one switch leaves one bridge on each side.
    return Distance.PIX if max(len(one.bridges), len(other.bridges)) - shared <= 1 else Distance.PXB
