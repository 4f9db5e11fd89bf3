"""Where the parts of a flow map stand: switches of the network as bars, tiles of nodes above and below them.

Tiles on the same switches share their bars, one bar per switch; other switches stand upright on the left.  Inside a
tile, places stand in rows by their distance from the network, so that wires run straight up and down.
"""

from collections import defaultdict
from collections.abc import Sequence

import attrs

from planner.description.svg import Box
from planner.page.flow_map import FlowMap
from specs.cluster import PlaceKind

WIDTH = 1280  # pixels that a row of tiles may take
MARGIN = 14
_CELL, _BOX, _ROW_GAP = 30, 20, 28
_PAD, _TITLE, _LABELS = 10, 24, 40
LANE_HEIGHT = 26  # of the two directions of a link that pass above a shelf of blocks
_GAP, _WIRE = 18, 44
_BAR, _BAR_GAP = 20, 8
_UPRIGHT, _LANE = 66, 26
_NARROWEST, _NARROWEST_GROUP = 104, 220  # a group's name is longer
_STORES = (PlaceKind.HOST, PlaceKind.SSD, PlaceKind.REMOTE)


@attrs.frozen(kw_only=True)
class Layout:
    """Boxes of everything; a network switch has one box per row of tiles that it serves, or one upright."""

    tiles: dict[int, Box]
    flipped: frozenset[int]  # tiles above their bars
    places: dict[int, Box]  # of vertices inside tiles
    row_labels: tuple[tuple[int, int, int, str], ...]  # x, y, tile, text
    bars: dict[int, tuple[Box, ...]]  # of network vertices; the first takes the wires to other switches
    bar_of_tile: dict[tuple[int, int], Box]  # (network vertex, tile)
    upright: frozenset[int]  # network vertices without tiles
    left: int  # where rows of tiles begin
    hidden: tuple[int, ...]  # memories that nothing crosses, holds or wants
    width: int
    height: int


@attrs.frozen(kw_only=True)
class _Shape:
    """The rows of one tile, from the network inwards, and its size."""

    rows: tuple[tuple[int, ...], ...]
    columns: int
    labels: bool
    group: bool

    @property
    def width(self) -> int:
        inner = self.columns * _CELL + 2 * _PAD + (_LABELS if self.labels else 0)
        return max(inner, _NARROWEST_GROUP if self.group else _NARROWEST)

    @property
    def height(self) -> int:
        return max(len(self.rows), 1) * (_BOX + _ROW_GAP) - _ROW_GAP + _TITLE + 2 * _PAD


@attrs.define
class _Placing:
    """What is placed so far."""

    shapes: dict[int, _Shape]
    tiles: dict[int, Box] = attrs.field(factory=dict)
    flipped: set[int] = attrs.field(factory=set)
    bars: dict[int, list[Box]] = attrs.field(factory=lambda: defaultdict(list))
    bar_of_tile: dict[tuple[int, int], Box] = attrs.field(factory=dict)


def lay_out(drawn: FlowMap) -> Layout:
    """Place everything; lengths are whole pixels."""
    hidden = hidden_memories(drawn)
    shapes = {tile: _shape(drawn, tile, frozenset(hidden)) for tile in range(len(drawn.tiles))}
    groups = _attached(drawn)
    barred = {switch for switches in groups for switch in switches}
    upright = [index for index, each in enumerate(drawn.vertices) if each.tile is None and index not in barred]
    left = MARGIN + len(upright) * _UPRIGHT + (_LANE * 2 if len(groups) > 1 or _crowded(groups, shapes) else 0)
    placing = _Placing(shapes=shapes)
    y = MARGIN
    for shelf in _shelves(drawn, groups, shapes):
        x, below = left, []
        y += LANE_HEIGHT * (len(shelf) - 1)
        for switches in shelf:
            below.append(_place_block(switches, groups[switches], (x, y), placing))
            x += _block_width(groups[switches], shapes) + 2 * _GAP
        y = max(below)
    for index, switch in enumerate(upright):
        placing.bars[switch] = [Box(MARGIN + index * _UPRIGHT, MARGIN, _BAR, max(y - 2 * MARGIN, 80))]
    places, labels = _place_inside(drawn, placing)
    right = max((box.right for box in placing.tiles.values()), default=300)
    return Layout(
        tiles=placing.tiles,
        flipped=frozenset(placing.flipped),
        places=places,
        row_labels=tuple(labels),
        bars={switch: tuple(boxes) for switch, boxes in placing.bars.items()},
        bar_of_tile=placing.bar_of_tile,
        upright=frozenset(upright),
        left=left,
        hidden=hidden,
        width=right + MARGIN,
        height=y - MARGIN,
    )


def hidden_memories(drawn: FlowMap) -> tuple[int, ...]:
    """List the memories beside the devices that are not drawn: no transfer touches them, and nobody asked for them."""
    touched = {end for edge in drawn.edges if edge.used for end in (edge.source, edge.destination)}
    return tuple(
        index
        for index, each in enumerate(drawn.vertices)
        if each.kind in _STORES and index not in touched and not each.holds and not each.wants
    )


def _shelves(
    drawn: FlowMap, groups: dict[tuple[int, ...], list[int]], shapes: dict[int, _Shape]
) -> list[list[tuple[int, ...]]]:
    """Put blocks beside one another where each is one row on one switch that leads to upright switches alone."""
    ends = [(edge.source, edge.destination) for edge in drawn.edges]
    barred = {switch for switches in groups for switch in switches}
    joined = {one for one, other in ends if one in barred and other in barred}
    shelves: list[list[tuple[int, ...]]] = []
    room = 0
    for switches, tiles in groups.items():
        width = _block_width(tiles, shapes) + 2 * _GAP
        free = len(switches) == 1 and not joined.intersection(switches) and len(tiles) <= _per_row(tiles, shapes)
        if free and shelves and width <= room:
            shelves[-1].append(switches)
            room -= width
        else:
            shelves.append([switches])
            room = WIDTH - width if free else 0
    return shelves


def _block_width(tiles: Sequence[int], shapes: dict[int, _Shape]) -> int:
    return len(tiles) * (max(shapes[tile].width for tile in tiles) + _GAP) - _GAP


def _attached(drawn: FlowMap) -> dict[tuple[int, ...], list[int]]:
    """Group tiles by the network switches that they are on."""
    above: dict[int, set[int]] = {tile: set() for tile in range(len(drawn.tiles))}
    for edge in drawn.edges:
        for near, far in ((edge.source, edge.destination), (edge.destination, edge.source)):
            tile = drawn.vertices[near].tile
            if tile is not None and drawn.vertices[far].tile is None:
                above[tile].add(far)
    groups: dict[tuple[int, ...], list[int]] = {}
    for tile, switches in above.items():
        groups.setdefault(tuple(sorted(switches)), []).append(tile)
    return groups


def _crowded(groups: dict[tuple[int, ...], list[int]], shapes: dict[int, _Shape]) -> bool:
    return any(len(tiles) > 2 * _per_row(tiles, shapes) for tiles in groups.values())


def _per_row(tiles: Sequence[int], shapes: dict[int, _Shape]) -> int:
    return max(1, (WIDTH + _GAP) // (max(shapes[tile].width for tile in tiles) + _GAP))


def _shape(drawn: FlowMap, tile: int, hidden: frozenset[int]) -> _Shape:
    """Sort the places of a tile into rows by their distance from the network; memories come last, one row each."""
    mine = [index for index, each in enumerate(drawn.vertices) if each.tile == tile and index not in hidden]
    distance = _distances(drawn, tile)
    rows: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index in mine:
        store = drawn.vertices[index].kind in _STORES
        rows[(1, index) if store else (0, distance.get(index, len(mine)))].append(index)
    ordered = tuple(tuple(rows[key]) for key in sorted(rows))
    columns = max((len(row) for row in ordered), default=1)
    group = len(drawn.tiles[tile].nodes) > 1
    return _Shape(rows=ordered, columns=columns, labels=columns > 1, group=group)


def _distances(drawn: FlowMap, tile: int) -> dict[int, int]:
    near: dict[int, set[int]] = defaultdict(set)
    reached: dict[int, int] = {}
    for edge in drawn.edges:
        tiles = drawn.vertices[edge.source].tile, drawn.vertices[edge.destination].tile
        if tiles == (tile, tile):
            near[edge.source].add(edge.destination)
            near[edge.destination].add(edge.source)
        elif tile in tiles:
            reached[edge.source if tiles[0] == tile else edge.destination] = 0
    front = sorted(reached)
    while front:
        found = {far: reached[each] + 1 for each in front for far in near[each] if far not in reached}
        reached |= found
        front = sorted(found)
    return reached


def _place_block(switches: tuple[int, ...], tiles: list[int], corner: tuple[int, int], placing: _Placing) -> int:
    """Place the tiles on these switches, up to two rows at a time around their bars; give the y below."""
    left, y = corner
    per_row = _per_row(tiles, placing.shapes)
    pitch = max(placing.shapes[tile].width for tile in tiles) + _GAP
    rows = [tiles[first : first + per_row] for first in range(0, len(tiles), per_row)]
    if len(rows) > 1:  # as even as they can be
        size = -(-len(tiles) // len(rows))
        rows = [tiles[first : first + size] for first in range(0, len(tiles), size)]
    chunks = [rows[first : first + 2] for first in range(0, len(rows), 2)]
    for chunk in chunks:
        upper, lower = (chunk[0], chunk[1]) if len(chunk) == 2 else ([], chunk[0])
        if upper:
            tall = max(placing.shapes[tile].height for tile in upper)
            for index, tile in enumerate(upper):
                shape = placing.shapes[tile]
                placing.tiles[tile] = Box(left + index * pitch, y + tall - shape.height, pitch - _GAP, shape.height)
                placing.flipped.add(tile)
            y += tall + (_WIRE if switches else _GAP)
        width = max(len(upper), len(lower)) * pitch - _GAP
        for switch in switches:
            box = Box(left, y, width, _BAR)
            placing.bars[switch].append(box)
            placing.bar_of_tile |= {(switch, tile): box for tile in (*upper, *lower)}
            y += _BAR + _BAR_GAP
        y += _WIRE - _BAR_GAP if switches else 0
        for index, tile in enumerate(lower):
            placing.tiles[tile] = Box(left + index * pitch, y, pitch - _GAP, placing.shapes[tile].height)
        y = max(placing.tiles[tile].bottom for tile in lower) + _GAP + MARGIN
    return y


def _place_inside(drawn: FlowMap, placing: _Placing) -> tuple[dict[int, Box], list[tuple[int, int, int, str]]]:
    """Place the places of each tile: a row's places share its width evenly."""
    places: dict[int, Box] = {}
    labels: list[tuple[int, int, int, str]] = []
    for tile, shape in placing.shapes.items():
        outer = placing.tiles[tile]
        flipped = tile in placing.flipped
        margin = _PAD + (_LABELS if shape.labels else 0)
        width = outer.width - margin - _PAD
        for number, row in enumerate(shape.rows):
            depth = _PAD + number * (_BOX + _ROW_GAP)
            y = outer.bottom - depth - _BOX if flipped else outer.y + depth
            if shape.labels:
                stem = drawn.vertices[row[0]].name.rstrip("0123456789")
                labels.append((outer.x + _PAD, y + _BOX // 2 + 4, tile, stem))
            for index, vertex in enumerate(row):
                first = outer.x + margin + width * index // len(row)
                end = outer.x + margin + width * (index + 1) // len(row)
                places[vertex] = Box(first + 2, y, end - first - 4, _BOX)
    return places, labels
