"""Texts of sysfs and procfs, one by one, to values.  Every function raises BadQuantity with what stood there."""

import re
from ipaddress import IPv6Address

from planner.errors import BadQuantity
from planner.this_node.inventory import GidType, LinkLayer, PortState
from specs.units import Bytes, BytesPerSecond

_KIB = 2**10
_MEGABIT_BYTES = 10**6 // 8
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PCI_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_GID = re.compile(r"[0-9a-f]{4}(:[0-9a-f]{4}){7}")
_RATE = re.compile(r"([0-9]{1,5})(\.[0-9])? Gb/sec( \([0-9]{1,2}X[ A-Z0-9]*\))?")
_PROCESSORS = re.compile(r"([0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*)?")
_PHYSICAL_STATES = {
    "1": "Sleep",
    "2": "Polling",
    "3": "Disabled",
    "4": "PortConfigurationTraining",
    "5": "LinkUp",
    "6": "LinkErrorRecovery",
    "7": "Phy Test",
}
_PORT_STATES = dict(zip("012345", PortState, strict=True))
_GID_TYPES = {"IB/RoCE v1": GidType.ROCE_V1, "RoCE v2": GidType.ROCE_V2}
_NET_STATES = ("up", "down", "unknown", "dormant", "lowerlayerdown", "notpresent", "testing")
_PCIE_GENERATIONS = {"2.5": 1, "5": 2, "8": 3, "16": 4, "32": 5, "64": 6}
_LANES = ("1", "2", "4", "8", "12", "16", "32")
# A link without a rate: 32 bits of ones in older kernels.
_NO_SPEED = ("-1", "0", "4294967295")


def parse_device_name(text: str) -> str:
    """Read the name of an RDMA or net device."""
    if _NAME.fullmatch(text) is None:
        raise BadQuantity(f"{text!r:.80} is not the name of a device")
    return text


def parse_pci_address(text: str) -> str:
    """Read a PCI address, such as 0000:18:00.0."""
    if _PCI_ADDRESS.fullmatch(text) is None:
        raise BadQuantity(f"{text!r:.60} is not a PCI address, such as 0000:18:00.0")
    return text


def parse_hexadecimal(text: str) -> int:
    """Read what begins with 0x: classes, vendors, devices, LIDs."""
    if re.fullmatch(r"0x[0-9a-f]{1,8}", text) is None:
        raise BadQuantity(f"{text!r:.60} is not a number such as 0x10de")
    return int(text, 16)


def parse_numa_node(text: str) -> int | None:
    """Read the number of a NUMA node; -1 is the kernel's word for an unknown one."""
    if text == "-1":
        return None
    if re.fullmatch(r"[0-9]{1,4}", text) is None:
        raise BadQuantity(f"{text!r:.60} is not the number of a NUMA node")
    return int(text)


def parse_number(text: str) -> int:
    """Read the number of a port, GID or NUMA node in a name."""
    if re.fullmatch(r"0|[1-9][0-9]{0,4}", text) is None:
        raise BadQuantity(f"{text!r:.60} is not a number such as 1")
    return int(text)


def parse_port_state(text: str) -> PortState:
    """Read a port's logical state."""
    number, _, word = text.partition(": ")
    found = _PORT_STATES.get(number)
    if found is None or found != word:
        raise BadQuantity(f"{text!r:.60} is not a state such as '4: ACTIVE'")
    return found


def parse_physical_state(text: str) -> str:
    """Read a port's physical state."""
    number, _, word = text.partition(": ")
    if _PHYSICAL_STATES.get(number) != word:
        raise BadQuantity(f"{text!r:.60} is not a physical state such as '5: LinkUp'")
    return word


def parse_link_layer(text: str) -> LinkLayer:
    """Read a port's link layer."""
    try:
        return LinkLayer(text)
    except ValueError:
        raise BadQuantity(f"{text!r:.60} is not a link layer: InfiniBand or Ethernet") from None


def parse_port_rate(text: str) -> BytesPerSecond:
    """Read a port's rate, such as 400 Gb/sec (4X NDR)."""
    found = _RATE.fullmatch(text)
    tenths = int(found.group(1)) * 10 + int((found.group(2) or ".0")[1:]) if found else 0
    if tenths == 0:
        raise BadQuantity(f"{text!r:.60} is not a rate such as '400 Gb/sec (4X NDR)'")
    return BytesPerSecond(tenths * 100 * _MEGABIT_BYTES)


def parse_gid(text: str) -> IPv6Address | None:
    """Read a GID; one of zeros only is not set, None."""
    if _GID.fullmatch(text) is None:
        raise BadQuantity(f"{text!r:.60} is not a GID: eight groups of four hexadecimal digits")
    value = IPv6Address(text)
    return None if value.is_unspecified else value


def parse_gid_type(text: str) -> GidType:
    """Read the type of a GID; the kernel has one word for InfiniBand and RoCE v1, which the link layer tells apart."""
    if text not in _GID_TYPES:
        raise BadQuantity(f"{text!r:.60} is not a type of GIDs: {' or '.join(_GID_TYPES)}")
    return _GID_TYPES[text]


def parse_net_state(text: str) -> str:
    """Read a net device's operstate."""
    if text not in _NET_STATES:
        raise BadQuantity(f"{text!r:.60} is not a state such as up or down")
    return text


def parse_net_rate(text: str) -> BytesPerSecond | None:
    """Read a net device's speed in Mb/s; None if it has none."""
    if text in _NO_SPEED:
        return None
    if re.fullmatch(r"[1-9][0-9]{0,7}", text) is None:
        raise BadQuantity(f"{text!r:.60} is not a speed in Mb/s")
    return BytesPerSecond(int(text) * _MEGABIT_BYTES)


def parse_mtu(text: str) -> Bytes:
    """Read an MTU in bytes."""
    if re.fullmatch(r"[0-9]{1,10}", text) is None:
        raise BadQuantity(f"{text!r:.60} is not an MTU in bytes")
    return Bytes(int(text))


def parse_pcie_generation(text: str) -> int | None:
    """Read a link's speed, such as 32.0 GT/s PCIe, as the generation; None where the kernel does not know it."""
    found = re.fullmatch(r"([0-9]{1,3}(?:\.5)?)(?:\.0)? GT/s(?: PCIe)?", text)
    if text.startswith("Unknown"):
        return None
    if found is None or found.group(1) not in _PCIE_GENERATIONS:
        raise BadQuantity(f"{text!r:.60} is not the speed of a PCIe link, such as '32.0 GT/s PCIe'")
    return _PCIE_GENERATIONS[found.group(1)]


def parse_pcie_lanes(text: str) -> int | None:
    """Read a link's width; 0, 63 and 255 are what functions without a link of their own have, None."""
    if text in ("0", "63", "255", "Unknown"):
        return None
    if text not in _LANES:
        raise BadQuantity(f"{text!r:.60} is not the number of lanes of a PCIe link, such as 16")
    return int(text)


def parse_memory(text: str) -> Bytes:
    """Read MemTotal of /proc/meminfo or of a NUMA node's meminfo."""
    found = re.search(r"^(?:Node [0-9]{1,4} )?MemTotal: +([0-9]{1,13}) kB$", text, re.MULTILINE)
    if found is None:
        raise BadQuantity("there is no line such as 'MemTotal:  4009152 kB'")
    return Bytes(int(found.group(1)) * _KIB)


def parse_processors(text: str) -> str:
    """Read a list of processors, such as 0-55,112-167, as it is; a NUMA node may have none."""
    if len(text) > 500 or _PROCESSORS.fullmatch(text) is None:
        raise BadQuantity(f"{text!r:.60} is not a list of processors such as 0-55,112-167")
    return text


def parse_model(text: str) -> str:
    """Read a GPU's model in what the NVIDIA driver tells of it in /proc."""
    found = re.search(r"^Model:[ \t]+(\S[ -~]{0,79})$", text, re.MULTILINE)
    if found is None:
        raise BadQuantity("there is no line such as 'Model:  NVIDIA L4'")
    return found.group(1).rstrip()
