"""The kernel's files become a `ThisNode`."""

from pathlib import Path

from planner.description.hardware import parse_name
from planner.this_node.gpus import read_gpus
from planner.this_node.inventory import ThisNode
from planner.this_node.memories import read_memory, read_numa_nodes
from planner.this_node.networks import read_net_devices
from planner.this_node.pci import PciReader
from planner.this_node.rdma import read_rdma_devices
from planner.this_node.sysfs import KernelFiles

# What a node is called whose host name is none that descriptions can have.
NO_NAME = "this-node"


def read_this_node(root: Path) -> ThisNode:
    """Read what the kernel tells in /sys and /proc below a root.

    Raises nothing: what is not there, or not what it should be, is None in the result and named in its `unknown`.
    """
    files = KernelFiles(root)
    name = files.read("proc/sys/kernel/hostname", parse_name)
    memory = read_memory(files)
    numa_nodes = read_numa_nodes(files)
    pci = PciReader(files, tuple(each.number for each in numa_nodes))
    rdma_devices = read_rdma_devices(files, pci)
    used = frozenset(name for device in rdma_devices for port in device.ports for name in port.net_devices)
    return ThisNode(
        name=name or NO_NAME,
        memory_bytes=memory,
        numa_nodes=numa_nodes,
        gpus=read_gpus(files, pci),
        rdma_devices=rdma_devices,
        net_devices=read_net_devices(files, pci, used),
        unknown=files.unknown,
    )
