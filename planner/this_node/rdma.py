"""RDMA devices, their ports and GIDs."""

from planner.this_node.inventory import Gid, GidType, LinkLayer, RdmaDevice, RdmaPort
from planner.this_node.kernel_words import (
    parse_device_name,
    parse_gid,
    parse_gid_type,
    parse_hexadecimal,
    parse_link_layer,
    parse_number,
    parse_physical_state,
    parse_port_rate,
    parse_port_state,
)
from planner.this_node.pci import PciReader
from planner.this_node.sysfs import KernelFiles

_DEVICES = "sys/class/infiniband"


def read_rdma_devices(files: KernelFiles, pci: PciReader) -> tuple[RdmaDevice, ...]:
    """Read all RDMA devices; none where the kernel has no RDMA."""
    found = []
    for entry in files.names(_DEVICES):
        path = f"{_DEVICES}/{entry}"
        name = files.understood(path, entry, parse_device_name)
        if name is None:
            continue
        place = pci.place(f"{path}/device")
        ports = [
            _port(files, f"{path}/ports/{each}", number)
            for each in files.names(f"{path}/ports", may_lack=False)
            if (number := files.understood(f"{path}/ports/{each}", each, parse_number)) is not None
        ]
        device = RdmaDevice(
            name=name, pci=place, pcie=pci.link(place), virtual=pci.is_virtual(place), ports=tuple(ports)
        )
        found.append(device)
    return tuple(found)


def _port(files: KernelFiles, path: str, number: int) -> RdmaPort:
    layer = files.read(f"{path}/link_layer", parse_link_layer)
    lid = files.read(f"{path}/lid", parse_hexadecimal) if layer is LinkLayer.INFINIBAND else None
    return RdmaPort(
        number=number,
        state=files.read(f"{path}/state", parse_port_state),
        physical_state=files.read(f"{path}/phys_state", parse_physical_state),
        bytes_per_second=files.read(f"{path}/rate", parse_port_rate),
        link_layer=layer,
        lid=lid,
        gids=tuple(_gids(files, path, layer)),
    )


def _gids(files: KernelFiles, path: str, layer: LinkLayer | None) -> list[Gid]:
    found = []
    for entry in files.names(f"{path}/gids", may_lack=False):
        index = files.understood(f"{path}/gids/{entry}", entry, parse_number)
        value = files.read(f"{path}/gids/{entry}", parse_gid) if index is not None else None
        if index is None or value is None:
            continue
        attributes = f"{path}/gid_attrs"
        kind = files.read(f"{attributes}/types/{entry}", parse_gid_type, may_lack=layer is LinkLayer.INFINIBAND)
        if layer is LinkLayer.INFINIBAND:
            kind = GidType.INFINIBAND
        net_device = files.read(f"{attributes}/ndevs/{entry}", parse_device_name, may_lack=True)
        found.append(Gid(index=index, value=value, type=kind, net_device=net_device))
    return found
