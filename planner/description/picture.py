"""The place graph as one SVG: network switches above, below them racks with a card for each group of equal nodes."""

from collections.abc import Iterator

import attrs

from planner.description.node_groups import NodeGroup, group_nodes, uplinks
from planner.description.picture_card import Card, draw_card, lay_out
from planner.description.svg import Box, document, path, rectangle, words
from planner.description.wording import say_names, say_network_rate, say_size
from specs.cluster import Link, PlaceKind
from specs.problem import Problem

_MARGIN, _BETWEEN = 28, 34
_SWITCH_WIDTH, _SWITCH_HEIGHT, _SWITCH_GAP = 118, 30, 20
_LEVEL = 96  # from one row of switches to the next
_HEADER = 76
_LEGEND_ROW, _LEGEND_LETTERS = 24, 60


@attrs.frozen(kw_only=True)
class _Layout:
    """Where everything stands."""

    cards: tuple[tuple[Card, Box], ...]
    switches: dict[str, Box]
    width: int
    height: int


def draw(problem: Problem) -> str:
    """Draw the place graph; nodes that hold or are to hold an LLM are coloured."""
    cluster = problem.cluster
    # Racks stay together, in the order in which they first stand in the cluster.
    groups = group_nodes(problem)
    racks = list(dict.fromkeys(group.rack for group in groups))
    groups = tuple(sorted(groups, key=lambda group: racks.index(group.rack)))
    up = uplinks(cluster)
    layout = _lay_out(groups, [place.id for place in cluster.places if place.node is None], up)
    height = layout.height + len(_legend_rows(problem)) * _LEGEND_ROW
    elements = [rectangle(Box(0, 0, layout.width, height), "paper", 0)]
    elements += _header(problem)
    elements += _wires(layout, up)
    elements += _racks(layout)
    for card, box in layout.cards:
        elements += draw_card(card, box.x, box.y)
    elements += _switches(layout)
    elements += _legend(problem, layout.height)
    return document(layout.width, height, f"Place graph of {cluster.name}", elements)


def _lay_out(groups: tuple[NodeGroup, ...], switches: list[str], up: tuple[Link, ...]) -> _Layout:
    levels = _levels(switches, up)
    top = _HEADER + (max(levels.values(), default=0) + 1) * _LEVEL
    cards, x = [], _MARGIN
    for index, card in enumerate(map(lay_out, groups)):
        if index and groups[index - 1].rack != card.group.rack:
            x += _BETWEEN
        cards.append((card, Box(x, top, card.width, card.height)))
        x += card.width + _BETWEEN
    wide = max(_row_width(list(levels.values()).count(level)) for level in {0, *levels.values()})
    width = max(x - _BETWEEN + _MARGIN, wide + 2 * _MARGIN, 560)
    shift = (width - (x - _BETWEEN + _MARGIN)) // 2
    placed = tuple((card, attrs.evolve(box, x=box.x + shift)) for card, box in cards)
    height = max((box.bottom for _, box in placed), default=top) + 48
    boxes = _place_switches(levels, placed, up, width)
    return _Layout(cards=placed, switches=boxes, width=width, height=height)


def _levels(switches: list[str], up: tuple[Link, ...]) -> dict[str, int]:
    """Give each switch its height: 0 for one with none below.  Uplinks have no cycle, so this ends."""
    levels = dict.fromkeys(switches, 0)
    for _ in switches:
        for link in up:
            levels[link.destination] = max(levels[link.destination], levels[link.source] + 1)
    return levels


def _row_width(count: int) -> int:
    return count * (_SWITCH_WIDTH + _SWITCH_GAP) - _SWITCH_GAP


def _place_switches(
    levels: dict[str, int], cards: tuple[tuple[Card, Box], ...], up: tuple[Link, ...], width: int
) -> dict[str, Box]:
    """Put each switch above the middle of what is attached to it, as far as the others of its row leave room."""
    below: dict[str, list[int]] = {name: [] for name in levels}
    for card, box in cards:
        for switch in dict.fromkeys(link.destination for link in card.group.links if link.leaves_node):
            if switch in below:
                below[switch].append(box.center)
    boxes: dict[str, Box] = {}
    highest = max(levels.values(), default=0)
    for level in range(highest + 1):
        row = [name for name in levels if levels[name] == level]
        for link in up:
            if levels[link.destination] == level and link.source in boxes:
                below[link.destination].append(boxes[link.source].center)
        middle = {name: sum(below[name]) // len(below[name]) if below[name] else width // 2 for name in row}
        row.sort(key=lambda name: middle[name])
        y = _HEADER + (highest - level) * _LEVEL
        for name, left in zip(row, _spread([middle[name] for name in row], width), strict=True):
            boxes[name] = Box(left, y, _SWITCH_WIDTH, _SWITCH_HEIGHT)
    return boxes


def _spread(middles: list[int], width: int) -> list[int]:
    """Left edges of boxes near these middles, in order, without overlap and within the picture."""
    pitch = _SWITCH_WIDTH + _SWITCH_GAP
    lefts: list[int] = []
    for middle in middles:
        wanted = max(_MARGIN, middle - _SWITCH_WIDTH // 2)
        lefts.append(max(wanted, lefts[-1] + pitch) if lefts else wanted)
    # Boxes that were pushed to the right by their neighbours share the push with them.
    if lefts:
        pushed = sum(left + _SWITCH_WIDTH // 2 - middle for left, middle in zip(lefts, middles, strict=True)) // len(
            lefts
        )
        overhang = max(0, lefts[-1] + _SWITCH_WIDTH + _MARGIN - width)
        back = min(max(pushed, overhang), lefts[0] - _MARGIN)
        lefts = [left - back for left in lefts]
    return lefts


def _header(problem: Problem) -> Iterator[str]:
    cluster = problem.cluster
    devices = [place for place in cluster.places if place.kind is PlaceKind.DEVICE]
    memory = say_size(sum(place.memory_bytes for place in devices))
    yield words(_MARGIN, 34, cluster.name, "title")
    yield words(
        _MARGIN,
        54,
        f"nodes: {len(cluster.nodes):,} · devices: {len(devices):,} · device memory: {memory}",
        "subtitle",
    )


def _wires(layout: _Layout, up: tuple[Link, ...]) -> Iterator[str]:
    for link in up:
        one, other = layout.switches[link.source], layout.switches[link.destination]
        yield path(((one.center, one.y), (other.center, other.bottom)), "wire")
    for card, box in layout.cards:
        for wire in card.group.links:
            if wire.leaves_node and wire.destination in layout.switches:
                nic, switch = card.boxes[wire.source], layout.switches[wire.destination]
                inside = min(max(box.x + nic.center, switch.x + 8), switch.right - 8)
                points = ((box.x + nic.center, box.y + nic.y), (box.x + nic.center, box.y), (inside, switch.bottom))
                yield path(points, "wire")
    for link in up:
        one, other = layout.switches[link.source], layout.switches[link.destination]
        # Nearer to the lower switch, where the lines of its neighbours are apart.
        x, y = (3 * one.center + other.center) // 4, (3 * one.y + other.bottom) // 4
        yield words(x, y + 4, say_network_rate(link.bytes_per_second), "rate", "middle")


def _racks(layout: _Layout) -> Iterator[str]:
    for rack in dict.fromkeys(card.group.rack for card, _ in layout.cards if card.group.rack):
        boxes = [box for card, box in layout.cards if card.group.rack == rack]
        left, right = boxes[0].x - 14, boxes[-1].right + 20
        bottom = max(box.bottom for box in boxes) + 32
        yield rectangle(Box(left, boxes[0].y - 14, right - left, bottom - boxes[0].y + 14), "rack", 10)
        yield words(left + 12, bottom - 7, f"rack {rack}", "subtitle")


def _switches(layout: _Layout) -> Iterator[str]:
    for name, box in layout.switches.items():
        yield rectangle(box, "network")
        yield words(box.center, box.y + 19, name, "", "middle")


def _legend_rows(problem: Problem) -> list[tuple[str, str]]:
    """What the colours of places mean, one row for each LLM and colour."""
    rows = []
    for llm in problem.llms:
        for kind, said, places in (
            ("held", "holds", [held.place for held in problem.holdings if held.llm == llm.id]),
            ("wanted", "is to hold", [target.place for target in problem.targets if target.llm == llm.id]),
        ):
            if places:
                names = say_names(places)
                shown = names if len(names) <= _LEGEND_LETTERS else f"{len(places):,} places"
                rows.append((kind, f"{said} {llm.id}: {shown}"))
    return rows


def _legend(problem: Problem, top: int) -> Iterator[str]:
    for index, (kind, text) in enumerate(_legend_rows(problem)):
        y = top + index * _LEGEND_ROW
        yield rectangle(Box(_MARGIN, y, 16, 14), kind)
        yield words(_MARGIN + 24, y + 11, text)
