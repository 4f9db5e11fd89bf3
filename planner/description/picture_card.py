"""One card of the picture: the inside of a node, drawn once for all nodes of a group.

From top to bottom: NICs, PCIe switches, devices, NVLink; host memory and SSD stand to the right.
"""

from collections.abc import Iterator

import attrs

from planner.description.node_groups import GroupLink, GroupPlace, NodeGroup
from planner.description.svg import Box, path, rectangle, words
from planner.description.wording import say_names, say_network_rate, say_rate, say_size
from specs.cluster import PlaceKind

_LABELS = 86  # room for the rates on the left
_PAD = 12
_CELL, _GAP = 58, 8
_SIDE = 96  # room for host memory and SSD on the right
_TITLE = 44
_NIC_Y, _PCIE_Y, _DEVICE_Y, _NVLINK_Y = _TITLE + 10, _TITLE + 66, _TITLE + 134, _TITLE + 206
_BOX, _DEVICE_BOX, _NVLINK_BOX = 22, 44, 18
_DEEPEST = _NVLINK_Y + _NVLINK_BOX + _PAD


@attrs.frozen(kw_only=True)
class Card:
    """A group with the places of its boxes, relative to its upper left corner."""

    group: NodeGroup
    width: int
    height: int
    boxes: dict[str, Box]


def lay_out(group: NodeGroup) -> Card:
    """Find the size of a card and the places of its boxes."""
    rows = {
        "nic": (_NIC_Y, _BOX, _named(group, "nic")),
        "pcie": (_PCIE_Y, _BOX, _named(group, "pcie")),
        "device": (_DEVICE_Y, _DEVICE_BOX, tuple(place.name for place in group.of_kind(PlaceKind.DEVICE))),
        "nvlink": (_NVLINK_Y, _NVLINK_BOX, _named(group, "nvlink")),
    }
    cells = max(2, *(len(names) for _, _, names in rows.values()))
    inner = cells * (_CELL + _GAP) - _GAP
    boxes = {}
    for y, height, names in rows.values():
        for index, name in enumerate(names):
            room = inner // len(names)
            width = inner if name == "nvlink" else max(_CELL, min(room - _GAP, 2 * _CELL))
            boxes[name] = Box(_LABELS + index * room + (room - width) // 2, y, width, height)
    side = [place for place in group.places if place.kind in (PlaceKind.HOST, PlaceKind.SSD)]
    x = _LABELS + inner + 2 * _PAD
    for place in side:
        boxes[place.name] = Box(
            x, _PCIE_Y - 11 if place.kind is PlaceKind.HOST else _DEVICE_Y, _SIDE - _PAD, _DEVICE_BOX
        )
    title = 9 * len(_title(group)) + 2 * _PAD
    width = max(_LABELS + inner + 2 * _PAD + (_SIDE if side else 0), title)
    height = _DEEPEST if _named(group, "nvlink") else _DEVICE_Y + _DEVICE_BOX + _PAD
    return Card(group=group, width=width, height=height, boxes=boxes)


def draw_card(card: Card, x: int, y: int) -> Iterator[str]:
    """Draw a card with its upper left corner here."""
    if len(card.group.nodes) > 1:
        for shift in (8, 4):
            yield rectangle(Box(x + shift, y + shift, card.width, card.height), "behind", 8)
    yield rectangle(Box(x, y, card.width, card.height), "card", 8)
    boxes = {name: attrs.evolve(box, x=box.x + x, y=box.y + y) for name, box in card.boxes.items()}
    for name in _named(card.group, "nic"):
        yield path(((boxes[name].center, y), (boxes[name].center, boxes[name].y)), "wire")
    yield words(x + _PAD, y + 20, _title(card.group), "name on-card")
    count = len(card.group.nodes)
    yield words(x + _PAD, y + 36, f"each of {count:,} nodes" if count > 1 else "one node", "small on-card")
    yield from _draw_links(card.group, boxes, x + _PAD)
    for place in card.group.places:
        yield from _draw_place(place, boxes[place.name])


def _title(group: NodeGroup) -> str:
    return say_names(group.nodes)


def _named(group: NodeGroup, prefix: str) -> tuple[str, ...]:
    switches = group.of_kind(PlaceKind.SWITCH)
    return tuple(place.name for place in switches if place.name.rstrip("0123456789") == prefix)


def _draw_place(place: GroupPlace, box: Box) -> Iterator[str]:
    kind = place.kind.value if place.kind is not PlaceKind.SWITCH else place.name.rstrip("0123456789")
    if place.role.wanted:
        kind = "wanted"
    if place.role.held:
        kind = "held"
    yield rectangle(box, kind)
    lines = [place.name]
    if place.kind is not PlaceKind.SWITCH:
        lines += [place.device, say_size(place.memory_bytes)] if place.device else [say_size(place.memory_bytes)]
    first = box.y + box.height // 2 + 4 - 6 * (len(lines) - 1)
    for index, line in enumerate(lines):
        yield words(box.center, first + 13 * index, line, "small" if index or box.width < 70 else "", "middle")


def _draw_links(group: NodeGroup, boxes: dict[str, Box], label_x: int) -> Iterator[str]:
    """Draw a line for each pair of directions, and each rate once."""
    said: set[tuple[str, str]] = set()
    drawn: set[tuple[str, str]] = set()
    for link in group.links:
        if link.leaves_node:
            if link.source in boxes and ("up", "nic") not in said:
                said.add(("up", "nic"))
                yield words(label_x, boxes[link.source].y + 14, say_network_rate(link.bytes_per_second), "rate on-card")
            continue
        if (link.destination, link.source) in drawn:
            continue
        drawn.add((link.source, link.destination))
        kinds = (link.source.rstrip("0123456789"), link.destination.rstrip("0123456789"))
        yield from _draw_link(link, boxes, "" if kinds in said else say_rate(link.bytes_per_second), label_x)
        said.add(kinds)


def _draw_link(link: GroupLink, boxes: dict[str, Box], rate: str, label_x: int) -> Iterator[str]:
    one, other = boxes[link.source], boxes[link.destination]
    if "host" in (link.source, link.destination) or "ssd" in (link.source, link.destination):
        yield from _draw_side_link(link, boxes, rate)
        return
    upper, lower = sorted((one, other), key=lambda box: box.y)
    is_bridge = "nvlink" in (link.source, link.destination)
    # NVLink is as wide as the devices together: its lines go straight down.
    x = upper.center if is_bridge else lower.center
    yield path(((upper.center, upper.bottom), (x, lower.y)), "bridge" if is_bridge else "lane")
    if rate:
        yield words(label_x, (upper.bottom + lower.y) // 2 + 4, rate, "rate on-card")


def _draw_side_link(link: GroupLink, boxes: dict[str, Box], rate: str) -> Iterator[str]:
    """Host memory is on every PCIe switch over a line below them; the SSD is below it, or beside the processor."""
    if "ssd" in (link.source, link.destination):
        ssd = boxes["ssd"]
        other = boxes[link.destination if link.source == "ssd" else link.source]
        if "host" in boxes:
            yield path(((ssd.center, ssd.y), (ssd.center, other.bottom)), "bus")
            label_y = (ssd.y + other.bottom) // 2 + 4
        else:
            yield path(((ssd.x, ssd.y + ssd.height // 2), (other.right, ssd.y + ssd.height // 2)), "bus")
            label_y = ssd.y - 6
        if rate:
            yield words(ssd.center, label_y, rate, "rate on-card", "middle")
        return
    host = boxes["host"]
    pcie = boxes[link.destination if link.source == "host" else link.source]
    level = pcie.bottom + 8
    yield path(
        ((pcie.right - 8, pcie.bottom), (pcie.right - 8, level), (host.x + 10, level), (host.x + 10, host.bottom)),
        "bus",
    )
    if rate:
        yield words(host.center, host.y - 6, rate, "rate on-card", "middle")
