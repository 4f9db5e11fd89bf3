"""The host's memory and its NUMA nodes."""

from planner.this_node.inventory import NumaNode
from planner.this_node.kernel_words import parse_memory, parse_number, parse_processors
from planner.this_node.sysfs import KernelFiles
from specs.units import Bytes

_NODES = "sys/devices/system/node"


def read_memory(files: KernelFiles) -> Bytes | None:
    """Read how much memory the kernel has, in bytes."""
    return files.read("proc/meminfo", parse_memory)


def read_numa_nodes(files: KernelFiles) -> tuple[NumaNode, ...]:
    """Read the NUMA nodes; none where the kernel knows of none."""
    found = []
    for name in files.names(_NODES):
        # Beside the nodes stand files such as `online`, and directories such as `power`.
        if not name.startswith("node"):
            continue
        path = f"{_NODES}/{name}"
        number = files.understood(path, name.removeprefix("node"), parse_number)
        if number is not None:
            memory = files.read(f"{path}/meminfo", parse_memory)
            processors = files.read(f"{path}/cpulist", parse_processors)
            found.append(NumaNode(number=number, memory_bytes=memory, processors=processors))
    return tuple(found)
