"""Net devices with hardware below them, and those that RDMA ports use."""

from planner.this_node.inventory import NetDevice
from planner.this_node.kernel_words import parse_device_name, parse_mtu, parse_net_rate, parse_net_state
from planner.this_node.pci import PciReader
from planner.this_node.sysfs import KernelFiles

_DEVICES = "sys/class/net"


def read_net_devices(files: KernelFiles, pci: PciReader, used: frozenset[str]) -> tuple[NetDevice, ...]:
    """Read the net devices; of those that are software alone, only the ones that RDMA ports use."""
    found = []
    for entry in files.names(_DEVICES):
        path = f"{_DEVICES}/{entry}"
        if entry not in used and not files.has(f"{path}/device"):
            continue
        name = files.understood(path, entry, parse_device_name)
        if name is None:
            continue
        place = pci.place(f"{path}/device")
        device = NetDevice(
            name=name,
            state=files.read(f"{path}/operstate", parse_net_state),
            # What is down has no speed, and says so with an error.
            bytes_per_second=files.read(f"{path}/speed", parse_net_rate, may_lack=True),
            mtu_bytes=files.read(f"{path}/mtu", parse_mtu),
            pci=place,
            pcie=pci.link(place),
            virtual=pci.is_virtual(place),
        )
        found.append(device)
    return tuple(found)
