"""A node's entry in a description, as it stands under `nodes:` of a cluster.

What descriptions have no words for, such as the names of RDMA devices, is comments.
Entries of several nodes can follow one another.  Sizes and rates round down, as the reader of descriptions does.
"""

import io
import itertools
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from planner.description.hardware import DEFAULT_PCIE
from planner.description.wording import say_names
from planner.this_node.inventory import Gpu, PcieLink, ThisNode
from planner.this_node.wires import Wire, Wires, on_switch, pcie_switches, wires
from specs.units import Bytes, BytesPerSecond

_INDENT = "    "  # of the entries under `nodes:`
_COUNT_MAX = 64  # of equal GPUs or NICs, in descriptions
_UNKNOWN_SHOWN = 8
_PORT = 23100  # of holdfastd in all examples
# The links whose rate descriptions know by name.
_GENERATIONS = (3, 4, 5, 6)
_LANES = (1, 2, 4, 8, 16)
_SOME_MEMORY = "1 GiB"


def fragment(node: ThisNode) -> str:
    """Write the entry, comments first; it ends with a line's end."""
    gpus = _described(node.gpus)
    found = wires(node)
    entry = CommentedMap()
    if gpus:
        entry["gpus"] = f"{len(gpus)} x {gpus[0].kind}"
    else:
        entry["cpu"] = _size(node.memory_bytes) or _SOME_MEMORY
    _add_pcie(entry, gpus, found.taken)
    if found.taken:
        entry["nics"] = _nics(found.taken)
    if gpus and (size := _size(node.memory_bytes)):
        entry["memory"] = size
    written = io.StringIO()
    yaml = YAML()
    yaml.width = 4096
    yaml.dump({node.name: entry}, written)
    comments = "".join(f"# {line}\n" for line in _comments(node, gpus, found))
    return textwrap.indent(comments + written.getvalue(), _INDENT)


def _described(gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """Select the GPUs of the known kind that most of them are, for an entry has GPUs of one kind."""
    counts = Counter(gpu.kind for gpu in gpus if gpu.kind is not None)
    most = next((kind for kind, count in counts.most_common() if count <= _COUNT_MAX), None)
    return tuple(gpu for gpu in gpus if gpu.kind is not None and gpu.kind == most)


def _add_pcie(entry: CommentedMap, gpus: Sequence[Gpu], nics: Sequence[Wire]) -> None:
    rate = _pcie_rate(gpus, nics)
    switches = pcie_switches(gpus, nics)
    if switches is not None:
        entry["pcie"] = CommentedMap(rate=rate or DEFAULT_PCIE, switches=switches)
        entry["pcie"].fa.set_flow_style()
    elif rate is not None:
        entry["pcie"] = rate


def _pcie_rate(gpus: Sequence[Gpu], nics: Sequence[Wire]) -> str | None:
    """Name the slowest link of the GPUs, or of the NICs where there are none; None if one is not known."""
    links = [each.pcie for each in gpus or nics]
    known = [link for link in links if link is not None and _has_words(link)]
    if not known or len(known) < len(links):
        return None
    slowest = min(known, key=lambda link: (link.lanes << link.generation, link.generation))
    return f"PCIe {slowest.generation} x{slowest.lanes}"


def _has_words(link: PcieLink) -> bool:
    return link.generation in _GENERATIONS and link.lanes in _LANES


def _nics(taken: Sequence[Wire]) -> str | CommentedSeq:
    """Write the rates in order, equal neighbours together."""
    said = []
    for rate, same in itertools.groupby(taken, key=lambda wire: wire.bytes_per_second):
        left = len(list(same))
        while left:
            count = min(left, _COUNT_MAX)
            said.append(f"{count} x {_rate(rate)}" if count > 1 else _rate(rate))
            left -= count
    if len(said) == 1:
        return said[0]
    together = CommentedSeq(said)
    together.fa.set_flow_style()
    return together


def _rate(bytes_per_second: BytesPerSecond) -> str:
    """Say a rate exactly; the kernel counts in Mb/s or in tenths of Gb/s."""
    whole, rest = divmod(bytes_per_second * 8 // 10**6, 1000)
    return f"{whole * 1000 + rest} Mb/s" if rest % 100 else f"{_decimal(whole, rest // 100)} Gb/s"


def _size(size_bytes: Bytes | None) -> str | None:
    """Say a size, rounded down to a tenth of a GiB, or below one to a MiB."""
    if size_bytes is None or size_bytes < 2**20:
        return None
    whole, tenth = divmod(size_bytes * 10 // 2**30, 10)
    return f"{_decimal(whole, tenth)} GiB" if whole else f"{size_bytes // 2**20} MiB"


def _decimal(whole: int, tenth: int) -> str:
    return f"{whole}.{tenth}" if tenth else f"{whole}"


def _comments(node: ThisNode, gpus: Sequence[Gpu], found: Wires) -> Iterator[str]:
    yield f"{node.name}, by `holdfast describe --this-node`; this stands under `nodes:` of a cluster."
    yield from _gpu_comments(node, gpus)
    for index, wire in enumerate(found.taken):
        yield f"nic{index}: {wire.words}"
    for words in found.left:
        yield f"not a NIC of this entry: {words}"
    if any(map(on_switch, gpus)) and pcie_switches(gpus, found.taken) is None:
        yield "PCIe switches are left out: GPUs and NICs are not on them as descriptions have it."
    if (gpus or found.taken) and _pcie_rate(gpus, found.taken) is None:
        yield f"The PCIe links are not known, or have no name in descriptions; {DEFAULT_PCIE} is what is assumed."
    if _size(node.memory_bytes) is None:
        yield "The host's memory is not known; write it here."
    else:
        yield "The memory is all that the host has; write how much of it plans may use."
    if addresses := [wire.address for wire in found.taken if wire.address is not None]:
        yield f'If the other nodes reach holdfastd there: address: "{addresses[0]}:{_PORT}"'
    for each in node.unknown[:_UNKNOWN_SHOWN]:
        yield f"not known: {each.path}: {each.sentence}"
    if len(node.unknown) > _UNKNOWN_SHOWN:
        yield f"... and {len(node.unknown) - _UNKNOWN_SHOWN:,} more (--json has all)"


def _gpu_comments(node: ThisNode, gpus: Sequence[Gpu]) -> Iterator[str]:
    others: dict[str, list[str]] = {}
    for gpu in node.gpus:
        if gpu not in gpus:
            others.setdefault(gpu.model or gpu.pci_id, []).append(gpu.name)
    for model, names in others.items():
        remedy = "an entry has one kind" if gpus else "write `gpus:` for `cpu:`, and the kind under `device kinds:`"
        yield f"not in this entry: {say_names(names)}, {model}; {remedy}."
    if gpus and gpus[0].nvlink is not None:
        yield f"NVLink is not seen in sysfs; if it joins these GPUs: nvlink: {gpus[0].nvlink}"
