"""What a description says about switches and nodes, still in its own terms: templates applied, ranges not yet drawn."""

import re
from collections.abc import Mapping

import attrs

from planner.description.document import Item, optional
from planner.description.name_ranges import expand
from planner.description.quantities import parse_count, parse_duration, parse_rate, parse_size
from planner.errors import BadQuantity
from specs.cluster import DeviceKind, DeviceKindName
from specs.codec import nearest
from specs.units import Bytes, BytesPerSecond, Nanos

# NIC and wire, one direction; two of them make the two microseconds that InfiniBand and RoCE reach end to end.
DEFAULT_NIC_LATENCY_NS = Nanos(1000)
DEFAULT_PCIE = "PCIe 4 x16"
CPU = DeviceKindName("cpu")

NODE_KEYS = (
    *("gpus", "cpu", "gpu memory", "nics", "pcie", "nvlink", "memory", "ssd"),
    *("rack", "switch", "address"),
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_GPUS = re.compile(r"(?:([0-9]{1,3})\s*[x×]\s*)?(\S.*)")
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*):([0-9]{1,5})")


@attrs.frozen(kw_only=True)
class Nics:
    """Equal NICs of a node; NIC i is on switch i modulo their number."""

    count: int
    bytes_per_second: BytesPerSecond
    latency_ns: Nanos
    switches: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Ssd:
    """The SSDs of a node, together."""

    size_bytes: Bytes
    read_bytes_per_second: BytesPerSecond
    write_bytes_per_second: BytesPerSecond | None  # absent: plans only read from it


@attrs.frozen(kw_only=True)
class NodeKind:
    """What stands in each of some equal nodes."""

    kind: DeviceKindName
    devices: int
    device_bytes: Bytes
    nics: tuple[Nics, ...]
    pcie_bytes_per_second: BytesPerSecond
    pcie_switches: int | None  # absent: all lanes end at the processor
    nvlink_bytes_per_second: BytesPerSecond | None
    memory_bytes: Bytes | None  # of the host; absent: plans do not use it
    ssd: Ssd | None
    rack: str | None


def parse_name(text: str) -> str:
    """Read the name of a node or switch.  Raises BadQuantity."""
    if _NAME.fullmatch(text) is None:
        wanted = "1 to 100 letters, digits and . _ - that begin with a letter or digit"
        raise BadQuantity(f"{text!r:.80} is not a name; a name is {wanted}")
    return text


def parse_names(text: str) -> tuple[str, ...]:
    """Read a name or a range of names.  Raises BadQuantity."""
    return tuple(parse_name(name) for name in expand(text))


def parse_addresses(text: str) -> tuple[str, ...]:
    """Read an address with its port, or a range of them.  Raises BadQuantity."""
    found = expand(text) if re.search(r"\[[0-9]+-[0-9]+\]", text) else (text,)
    for address in found:
        parts = _ADDRESS.fullmatch(address)
        if parts is None or not 1 <= int(parts.group(2)) <= 65535:
            raise BadQuantity(f"{address!r:.80} is not an address; write host:port, for example 10.0.0.1:23100")
    return found


_NO_NICS = (1, BytesPerSecond(1))


def _parse_nics(text: str) -> tuple[int, BytesPerSecond]:
    """Read `8 x 400 Gb/s` as eight NICs, and a rate alone as one."""
    found = re.fullmatch(r"([0-9]{1,3})\s*[x×]\s*(.*)", text)
    count, rate = (int(found.group(1)), found.group(2)) if found else (1, text)
    if not 1 <= count <= 64:
        raise BadQuantity(f"{text!r:.60}: a node has 1 to 64 NICs")
    return count, parse_rate(rate)


class HardwareReader:
    """Reads what nodes are made of, with the device kinds and switches of one description."""

    def __init__(self, kinds: Mapping[DeviceKindName, DeviceKind], switches: tuple[str, ...]) -> None:
        self._kinds = kinds
        self._switches = switches

    def node_kind(self, fields: Mapping[str, Item], item: Item) -> NodeKind:
        """Read the fields of a node, those of its template included; `item` is the node's own place."""
        if ("gpus" in fields) == ("cpu" in fields):
            item.fault("a node has either gpus, for example `gpus: 8 x H100`, or cpu, for example `cpu: 64 GiB`")
        count, kind, memory = self._devices(fields)
        pcie, pcie_switches = self._pcie(fields, count)
        nics = tuple(self._nics(each, fields) for each in fields["nics"].members()) if "nics" in fields else ()
        return NodeKind(
            kind=kind,
            devices=count,
            device_bytes=memory,
            nics=nics,
            pcie_bytes_per_second=pcie,
            pcie_switches=pcie_switches,
            nvlink_bytes_per_second=optional(fields, "nvlink", parse_rate),
            memory_bytes=optional(fields, "memory", parse_size),
            ssd=self._ssd(fields),
            rack=optional(fields, "rack", parse_name),
        )

    def _devices(self, fields: Mapping[str, Item]) -> tuple[int, DeviceKindName, Bytes]:
        if "cpu" in fields:
            for key in ("gpu memory", "nvlink", "memory"):
                if key in fields:
                    fields[key].fault(f"{key} is for nodes with gpus; a node's cpu has the memory that `cpu:` states")
            return 1, CPU, fields["cpu"].read(parse_size, Bytes(1))
        if "gpus" not in fields:
            return 1, CPU, Bytes(1)
        count, kind = fields["gpus"].read(self._parse_gpus, (1, CPU))
        whole = self._kinds[kind].memory_bytes
        usable = optional(fields, "gpu memory", parse_size)
        if usable is not None and usable > whole and "gpus" in fields:
            fields["gpu memory"].fault(f"plans may use {usable} bytes of each GPU, but a {kind} has {whole}")
        return count, kind, usable or whole

    def _parse_gpus(self, text: str) -> tuple[int, DeviceKindName]:
        found = _GPUS.fullmatch(text)
        kind = DeviceKindName(found.group(2)) if found else CPU
        count = int(found.group(1) or 1) if found else 0
        if kind not in self._kinds:
            others = [name for name in self._kinds if name != CPU]
            inline = "or describe it under `device kinds:` with memory, memory rate, fp32, bf16 and source"
            raise BadQuantity(f"the GPU {kind!r:.40} is not known; {nearest(kind, others)} {inline}")
        if not 1 <= count <= 64:
            raise BadQuantity(f"{text!r:.60}: a node has 1 to 64 GPUs")
        return count, kind

    def _pcie(self, fields: Mapping[str, Item], devices: int) -> tuple[BytesPerSecond, int | None]:
        if "pcie" not in fields:
            return parse_rate(DEFAULT_PCIE), None
        item = fields["pcie"]
        if not item.is_mapping:
            return item.read(parse_rate, BytesPerSecond(1)), None
        parts = item.fields(required=("rate",), optional=("switches",))
        rate = parts["rate"].read(parse_rate, BytesPerSecond(1)) if "rate" in parts else BytesPerSecond(1)
        switches = optional(parts, "switches", parse_count)
        if switches is not None and devices % switches:
            parts["switches"].fault(f"{devices} devices cannot be spread evenly over {switches} PCIe switches")
            return rate, 1
        return rate, switches

    def _nics(self, item: Item, node: Mapping[str, Item]) -> Nics:
        latency = DEFAULT_NIC_LATENCY_NS
        switch = node.get("switch")
        if item.is_mapping:
            parts = item.fields(required=("rate",), optional=("latency", "switch"))
            count, rate = parts["rate"].read(_parse_nics, _NO_NICS) if "rate" in parts else _NO_NICS
            latency = parts["latency"].read(parse_duration, latency) if "latency" in parts else latency
            switch = parts.get("switch", switch)
        else:
            count, rate = item.read(_parse_nics, _NO_NICS)
        switches = self._attached(item, switch)
        if len(switches) > count:
            item.fault(f"{count} NICs cannot be on {len(switches)} switches")
        return Nics(count=count, bytes_per_second=rate, latency_ns=latency, switches=switches)

    def _attached(self, item: Item, switch: Item | None) -> tuple[str, ...]:
        if switch is None:
            if len(self._switches) != 1:
                item.fault(f"`switch:` is missing: say which of {', '.join(self._switches[:8])} the NIC is on")
            return self._switches[:1]
        names: tuple[str, ...] = ()
        for each in switch.members():
            names += each.read(parse_names, self._switches[:1])
        for name in names:
            if name not in self._switches:
                switch.fault(f"the switch {name} is not described under `switches:`; {nearest(name, self._switches)}")
        return names

    def _ssd(self, fields: Mapping[str, Item]) -> Ssd | None:
        if "ssd" not in fields:
            return None
        parts = fields["ssd"].fields(required=("size", "read"), optional=("write",))
        if "memory" not in fields and "cpu" not in fields:
            fields["ssd"].fault("an SSD is read through host memory; say with `memory:` how much of it plans may use")
        return Ssd(
            size_bytes=optional(parts, "size", parse_size) or Bytes(1),
            read_bytes_per_second=optional(parts, "read", parse_rate) or BytesPerSecond(1),
            write_bytes_per_second=optional(parts, "write", parse_rate),
        )
