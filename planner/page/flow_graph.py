"""The flow of a plan as an SVG: each direction of a link is a line, wide by its bytes, coloured by its use."""

from collections.abc import Iterator
from html import escape

import attrs

from planner.description.svg import Box
from planner.description.wording import say_names
from planner.flow import WHOLE_PPM, Flow
from planner.page.flow_layout import LANE_HEIGHT, Layout, lay_out
from planner.page.flow_map import Edge, FlowMap, Vertex
from planner.page.flow_words import BUSY_PPM, edge_lines

SHADES = 5  # equal steps of use; the style names them u0 to u4
_THIN, _WIDE = 1.5, 9.0  # pixels of a line that carries nothing and of one that carries the most
_APART = 6  # pixels from the middle of a link to each of its directions
_NAME_LETTERS = 30
_JOINTS = 8  # ways beside one another on which bars of one switch are joined

Points = tuple[tuple[int, int], ...]


@attrs.frozen(kw_only=True)
class _Line:
    """An edge on its way from one box to another."""

    index: int
    edge: Edge
    points: Points
    width: float


def shade(share_ppm: int) -> int:
    """Give the step of colours for a share."""
    return min(share_ppm * SHADES // WHOLE_PPM, SHADES - 1)


def draw_flow(drawn: FlowMap, flow: Flow) -> str:
    """Draw the map; lines that carry something can be pointed at and carry their number."""
    layout = lay_out(drawn)
    heaviest = max((edge.bytes / len(edge.links) for edge in drawn.edges), default=0) or 1
    lines = [
        _Line(index=index, edge=edge, points=points, width=_width(edge, heaviest))
        for index, edge in enumerate(drawn.edges)
        if (points := _path(edge, drawn, layout))
    ]
    parts = [_tile_box(layout.tiles[tile], drawn, tile, layout) for tile in layout.tiles]
    parts += _joints(layout)
    parts += [_line(line) for line in lines if not line.edge.used]
    parts += [
        text for line in sorted(lines, key=lambda each: each.edge.bytes) for text in _used_line(line, drawn, flow)
    ]
    parts += _bars(drawn, layout)
    parts += _places(drawn, layout)
    parts += _tag([line for line in lines if line.edge.binds], layout)
    said = f"Flow of the plan over {len(drawn.tiles)} drawn nodes; the text and the table below say the same"
    return (
        f'<svg id="flow" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {layout.width} {layout.height}" role="group" '
        f'aria-label="{escape(said)}" style="min-width:{min(layout.width, 640)}px;max-width:{_widest(layout)}px">'
        f"{''.join(parts)}</svg>"
    )


def _widest(layout: Layout) -> int:
    """Small drawings are drawn larger, as long as they fit on a screen."""
    return max(layout.width, min(layout.width * 3 // 2, layout.width * 620 // layout.height))


def _width(edge: Edge, heaviest: float) -> float:
    share = edge.bytes / len(edge.links) / heaviest
    return round(_THIN + (_WIDE - _THIN) * share, 1) if edge.used else 1.0


# --- ways ------------------------------------------------------------------------------------------------------------


def _path(edge: Edge, drawn: FlowMap, layout: Layout) -> Points | None:
    """Find the way of an edge; None where one of its ends is not drawn."""
    source, destination = drawn.vertices[edge.source], drawn.vertices[edge.destination]
    if edge.source in layout.hidden or edge.destination in layout.hidden:
        return None
    if source.tile is not None and destination.tile is not None:
        return _straight(layout.places[edge.source], layout.places[edge.destination])
    if source.tile is None and destination.tile is None:
        return _beside(edge, layout)
    if source.tile is not None:
        return _straight(layout.places[edge.source], layout.bar_of_tile[edge.destination, source.tile])
    assert destination.tile is not None
    return _straight(layout.bar_of_tile[edge.source, destination.tile], layout.places[edge.destination])


def _straight(one: Box, other: Box) -> Points:
    """Run up or down between two boxes where they face each other; what goes up keeps to the left."""
    first, last = max(one.x, other.x), min(one.right, other.right)
    down = one.y < other.y
    if one.y == other.y:  # beside each other
        side = -_APART if one.x < other.x else _APART
        ends = (one.right, other.x) if one.x < other.x else (one.x, other.right)
        y = one.y + one.height // 2 + side
        return ((ends[0], y), (ends[1], y))
    y1, y2 = (one.bottom, other.y) if down else (one.y, other.bottom)
    side = _APART if down else -_APART
    if first < last:
        x = (first + last) // 2 + side
        return ((x, y1), (x, y2))
    return ((one.center + side, y1), (other.center + side, y2))


def _beside(edge: Edge, layout: Layout) -> Points:
    """Run on the left from switch to switch, level where one of them stands upright."""
    one, other = layout.bars[edge.source][0], layout.bars[edge.destination][0]
    uprights = edge.source in layout.upright, edge.destination in layout.upright
    side = _APART if edge.source < edge.destination else -_APART
    if all(uprights):
        y = one.y + 20 + 24 * (edge.source + edge.destination) + side
        return ((one.right, y), (other.x, y)) if one.x < other.x else ((one.x, y), (other.right, y))
    if any(uprights):
        upright, bar = (one, other) if uprights[0] else (other, one)
        points = _to_upright(bar, upright, side, layout)
        return points if uprights[1] else tuple(reversed(points))
    y1, y2 = one.y + one.height // 2 + side, other.y + other.height // 2 + side
    x = min(one.x, other.x) - 26 + side
    return ((one.x, y1), (x, y1), (x, y2), (other.x, y2))


def _to_upright(bar: Box, upright: Box, side: int, layout: Layout) -> Points:
    """Run from a bar to a switch on the left: level, or above the bars that stand between them."""
    beside = [box for switch, boxes in layout.bars.items() if switch not in layout.upright for box in boxes]
    between = sum(box.y == bar.y and box.x < bar.x for box in beside)
    if not between:
        y = bar.y + bar.height // 2 + side
        return ((bar.x, y), (upright.right, y))
    x, y = bar.x + 16 + side, bar.y - LANE_HEIGHT * between + LANE_HEIGHT // 2 + side
    return ((x, bar.y), (x, y), (upright.right, y))


# --- parts -----------------------------------------------------------------------------------------------------------


def _route_text(points: Points) -> str:
    return "M" + "L".join(f"{x} {y}" for x, y in points)


def _line(line: _Line) -> str:
    return f'<path d="{_route_text(line.points)}" class="f-idle"/>'


def _used_line(line: _Line, drawn: FlowMap, flow: Flow) -> Iterator[str]:
    """A line that carries something: its seam where it binds, itself, its arrow."""
    if not line.edge.used:
        return
    kind = f"f-line u{shade(line.edge.mean_ppm)}"
    text = escape(edge_lines(line.edge, drawn, flow)[0])
    (x1, y1), (x2, y2) = line.points[-2:]
    long = max(abs(x2 - x1) + abs(y2 - y1), 1)
    size = line.width / 2 + 3.5
    # The line ends at the foot of its arrow.
    dx, dy = (x2 - x1) / long, (y2 - y1) / long
    foot = (round(x2 - dx * 1.6 * size, 1), round(y2 - dy * 1.6 * size, 1))
    body = _route_text(line.points[:-1]) + f"L{foot[0]} {foot[1]}"
    corners = ((foot[0] - dy * size, foot[1] + dx * size), (x2, y2), (foot[0] + dy * size, foot[1] - dx * size))
    arrow = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    bound = " f-binds" if line.edge.binds else ""
    head = f'<g class="{kind}{bound}" data-edge="{line.index}" id="e{line.index}" role="img" tabindex="-1"'
    yield f'{head} aria-label="{text}">'
    tip = f'<polygon points="{arrow}"'
    if line.edge.binds:
        for kind, more in (("f-seam", 10), ("f-gap", 5)):
            yield f'<path d="{body}" class="{kind}" stroke-width="{line.width + more}"/>'
            yield f'{tip} class="{kind}" stroke-width="{more}"/>'
    yield f'<path d="{body}" stroke-width="{line.width}"/>{tip}/></g>'


def _joints(layout: Layout) -> Iterator[str]:
    """Join the bars of one switch, each switch on a way of its own."""
    several = [boxes for boxes in layout.bars.values() if len(boxes) > 1]
    for index, boxes in enumerate(several):
        x = boxes[0].x - 8 - 5 * (index % _JOINTS)
        for box in boxes[1:]:
            y, down = boxes[0].y + boxes[0].height // 2, box.y + box.height // 2
            yield f'<path d="M{boxes[0].x} {y}H{x}V{down}H{box.x}" class="f-joint"/>'


def _bars(drawn: FlowMap, layout: Layout) -> Iterator[str]:
    for switch, boxes in layout.bars.items():
        for box in boxes:
            x, y = box.center, box.y + box.height // 2
            turn = f' transform="rotate(-90 {x} {y})"' if switch in layout.upright else ""
            yield _rectangle(box, "f-switch", 5)
            yield _words(x, y + 4, _counted(drawn.vertices[switch]), "f-small", turn)


def _counted(vertex: Vertex) -> str:
    name = vertex.name if len(vertex.name) <= _NAME_LETTERS else f"{vertex.name[: _NAME_LETTERS - 1]}…"
    return name if len(vertex.places) == 1 else f"{name} ({len(vertex.places):,})"


def _tile_box(box: Box, drawn: FlowMap, tile: int, layout: Layout) -> str:
    nodes = drawn.tiles[tile].nodes
    name = say_names(nodes)
    title = name if len(nodes) == 1 else f"{len(nodes):,} nodes: {name}"
    letters = box.width // 7
    short = title if len(title) <= letters else f"{title[: letters - 1]}…"
    y = box.y + 16 if tile in layout.flipped else box.bottom - 8
    stack = "".join(
        _rectangle(Box(box.x + by, box.y - by, box.width, box.height), "f-behind", 7) for by in (8, 4) if len(nodes) > 1
    )
    return (
        f"<g><title>{escape(title)}</title>{stack}{_rectangle(box, 'f-tile', 7)}"
        f'<text x="{box.x + 10}" y="{y}" class="f-name">{escape(short)}</text></g>'
    )


def _places(drawn: FlowMap, layout: Layout) -> Iterator[str]:
    for index, box in layout.places.items():
        vertex = drawn.vertices[index]
        kind = "f-holds" if vertex.holds else "f-wants" if vertex.wants else f"f-{vertex.kind.value}"
        digits = vertex.name[len(vertex.name.rstrip("0123456789")) :]
        assert vertex.tile is not None
        each = len(vertex.places) // len(drawn.tiles[vertex.tile].nodes)
        name = vertex.name if each == 1 else f"{each} {vertex.name.partition('[')[0]}"
        text = name if len(name) * 6.5 + 6 <= box.width else digits
        yield f"<g><title>{escape(_place_text(vertex))}</title>{_rectangle(box, f'f-place {kind}', 4)}"
        yield f"{_words(box.center, box.y + 14, text, 'f-small')}</g>"
    for x, y, _, text in layout.row_labels:
        yield f'<text x="{x}" y="{y}" class="f-small f-soft">{escape(text)}</text>'


def _place_text(vertex: Vertex) -> str:
    name = vertex.places[0] if len(vertex.places) == 1 else f"{len(vertex.places):,} places: {say_names(vertex.places)}"
    held = f"; {vertex.holds:,} hold an LLM at the start" if vertex.holds else ""
    return f"{name}{held}{f'; {vertex.wants:,} are to hold one' if vertex.wants else ''}"


def _tag(lines: list[_Line], layout: Layout) -> Iterator[str]:
    """Write the word beside the least idle of the lines that bind, on the side away from the other direction."""
    if not lines:
        return
    line = max(lines, key=lambda each: (each.edge.hottest.taken_ppm, each.edge.mean_ppm, -each.index))
    edge = line.edge
    word = "bottleneck" if edge.hottest.taken_ppm >= BUSY_PPM else "least idle"
    if len(edge.links) > 1:
        word += f": {edge.binds:,} of {len(edge.links):,} links"
    (x1, y1), (x2, y2) = line.points[-2:]
    width, away = 7 * len(word) + 14, int(line.width) // 2 + 9
    x, y = (x1 + x2) // 2, (y1 + y2) // 2
    if y1 == y2:  # level: above it, or below where the other direction is above
        before = edge.source < edge.destination
        box = Box(max(x - width // 2, 2), y + away - 3 if before else y - away - 15, width, 18)
    else:
        left = x - away - width
        box = Box(left if y2 < y1 and left > 0 else min(x + away, layout.width - width), y - 9, width, 18)
    yield f"<g>{_rectangle(box, 'f-tag', 9)}{_words(box.center, box.y + 13, word, 'f-tagged')}</g>"


def _rectangle(box: Box, kind: str, radius: int) -> str:
    place = f'x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}"'
    return f'<rect {place} rx="{radius}" class="{kind}"/>'


def _words(x: int, y: int, text: str, kind: str, turn: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="middle" class="{kind}"{turn}>{escape(text)}</text>'
