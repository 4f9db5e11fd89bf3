"""NVIDIA GPUs: PCI functions by class and vendor, with no need of their driver."""

import functools
import tomllib
from importlib import resources

import attrs

from planner.this_node.inventory import Gpu
from planner.this_node.kernel_words import parse_hexadecimal, parse_model, parse_pci_address
from planner.this_node.pci import PCI_DEVICES, PciReader
from planner.this_node.sysfs import KernelFiles
from specs.cluster import DeviceKindName

_NVIDIA = 0x10DE
# Base class and subclass: VGA and 3D controllers.
_GPU_CLASSES = (0x0300, 0x0302)
_DRIVER = "proc/driver/nvidia/gpus"


@attrs.frozen(kw_only=True)
class _Known:
    """What a PCI device id tells."""

    kind: DeviceKindName
    nvlink: str | None


def read_gpus(files: KernelFiles, pci: PciReader) -> tuple[Gpu, ...]:
    """Read the GPUs, numbered by their PCI addresses."""
    found: list[Gpu] = []
    # A domain of more digits comes after all others, as in numbers.
    for name in sorted(files.names(PCI_DEVICES), key=lambda each: (len(each), each)):
        path = f"{PCI_DEVICES}/{name}"
        address = files.understood(path, name, parse_pci_address)
        if address is None or files.read(f"{path}/vendor", parse_hexadecimal) != _NVIDIA:
            continue
        pci_class = files.read(f"{path}/class", parse_hexadecimal)
        # The lowest byte is the programming interface.
        if pci_class is not None and pci_class >> 8 in _GPU_CLASSES:
            found.append(_gpu(files, pci, f"gpu{len(found)}", address))
    return tuple(found)


def _gpu(files: KernelFiles, pci: PciReader, name: str, address: str) -> Gpu:
    path = f"{PCI_DEVICES}/{address}"
    place = pci.place(path)
    if place is None:
        files.doubt(path, "its place in the PCI tree is not known")
    device = files.read(f"{path}/device", parse_hexadecimal)
    digits = "????" if device is None else f"{device:04x}"
    known = _known().get(digits)
    return Gpu(
        name=name,
        address=address,
        pci=place,
        pcie=pci.link(place),
        pci_id=f"{_NVIDIA:04x}:{digits}",
        kind=known.kind if known else None,
        nvlink=known.nvlink if known else None,
        model=files.read(f"{_DRIVER}/{address}/information", parse_model, may_lack=True),
    )


@functools.cache
def _known() -> dict[str, _Known]:
    """All of gpu_ids.toml, by PCI device id."""
    table = tomllib.loads(resources.files(__package__).joinpath("gpu_ids.toml").read_text("utf-8"))
    return {device: _Known(kind=DeviceKindName(row["kind"]), nvlink=row.get("nvlink")) for device, row in table.items()}
