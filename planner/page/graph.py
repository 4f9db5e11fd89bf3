"""The place graph as an SVG whose parts the page's script can light up: switches as bars, nodes as cards of blobs.

A switch to which nodes are attached is a horizontal bar between two rows of its nodes, repeated where it has more;
other switches of the network are vertical bars on the left.  Each wire is one direction.
"""

from collections.abc import Iterator, Sequence
from html import escape

import attrs

from planner.description.svg import Box
from planner.description.wording import say_names, say_network_rate
from planner.page.selection import Selection
from specs.blobs import BlobId
from specs.cluster import Cluster, LinkId, NodeId, PlaceId
from specs.invariants.facts import Facts

CELLS_MAX = 128  # blobs of one memory that are drawn one by one; more are a bar that fills
_ROW = 8  # nodes beside one another
_GAP, _MARGIN, _WIRE, _BAR = 18, 12, 34, 20
_TITLE, _PAD, _DOTS, _LABEL = 20, 8, 12, 16
_SPINE = 46  # from one vertical bar to the next
_TALL = 560  # pixels that a graph may be high when it is drawn larger
_NAME_MAX = 11  # letters; the whole name is in the card's title


@attrs.frozen(kw_only=True)
class Graph:
    """The drawing, and which of its wires each link is."""

    svg: str
    wires: dict[LinkId, int]


@attrs.frozen(kw_only=True)
class _Sizes:
    columns: int  # cells beside one another
    cell: int
    width: int  # of a card

    def height(self, blobs: Sequence[int], *, named: bool) -> int:
        """Height of a card whose memories have so many blobs each, with a name above each memory or not."""
        return _TITLE + sum(self.cells(each) + (_LABEL if named else 0) for each in blobs or (1,)) + 2 * _DOTS

    def cells(self, blobs: int) -> int:
        """Height of the cells of so many blobs, or of their bar."""
        return self.cell * (1 if blobs > CELLS_MAX else max(1, -(-blobs // self.columns)))


@attrs.define
class _Canvas:
    """What is placed and drawn so far."""

    memories: dict[NodeId, list[int]]  # of each node, how many blobs each of its memories ever has

    cards: dict[NodeId, Box] = attrs.field(factory=dict)
    bar_of_node: dict[NodeId, Box] = attrs.field(factory=dict)
    bar_of_switch: dict[str, Box] = attrs.field(factory=dict)  # the first bar of several
    parts: list[str] = attrs.field(factory=list)


def draw_graph(facts: Facts, selection: Selection) -> Graph:
    """Draw the shown nodes and the network's switches."""
    cluster = facts.problem.cluster
    groups = _attach(cluster, selection.nodes)
    sizes = _sizes(selection)
    barred = {switch for switches, _ in groups for switch in switches}
    ends = {end for link in cluster.links for end in (link.source, link.destination)}
    uppers = [place.id for place in cluster.places if place.node is None and place.id in ends - barred]
    aside = len(groups) > 1 or any(len(nodes) > 2 * _ROW for _, nodes in groups)  # bars are joined on their left
    left = _MARGIN + len(uppers) * _SPINE + (_SPINE // 2 if aside else 0)
    canvas = _Canvas({})
    for memory in selection.memories:
        if memory.node is not None:
            canvas.memories.setdefault(memory.node, []).append(len(memory.ever))
    y = _MARGIN
    for switches, nodes in groups:
        first = None
        for chunk in range(0, len(nodes), 2 * _ROW):
            bar, y = _rows(nodes[chunk : chunk + 2 * _ROW], switches, sizes, (left, y), canvas)
            first = first or bar
            if switches and bar is not first:
                canvas.parts.append(_joint(first, bar))
    for index, name in enumerate(uppers):
        box = Box(_MARGIN + index * _SPINE, _MARGIN, _BAR, max(y - 3 * _MARGIN, 60))
        canvas.bar_of_switch[name] = box
        canvas.parts.append(_bar(box, name, upright=True))
    wires, drawn = _draw_wires(cluster, groups, canvas)
    for index, node in enumerate(selection.nodes):
        canvas.parts += _card(index, canvas.cards[node], selection, [blob.id for blob in facts.plan.blobs], sizes)
    width = max([box.right for box in canvas.cards.values()], default=300) + _MARGIN
    # Small graphs are drawn larger, as long as they fit on a screen.
    widest = max(width, min(width * 3 // 2, width * _TALL // y))
    said = f"Place graph of {cluster.name}: {len(selection.nodes)} nodes; the text below says what happens"
    svg = (
        f'<svg id="graph" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" role="img" '
        f'aria-label="{escape(said)}" style="min-width:{min(width, 640)}px;max-width:{widest}px">'
        f"{''.join(drawn)}{''.join(canvas.parts)}</svg>"
    )
    return Graph(svg=svg, wires=wires)


def _attach(cluster: Cluster, nodes: tuple[NodeId, ...]) -> list[tuple[tuple[PlaceId, ...], tuple[NodeId, ...]]]:
    """Group nodes by the switches that they are attached to; nodes with the same switches share a bar."""
    node_of = {place.id: place.node for place in cluster.places}
    attached: dict[NodeId, dict[PlaceId, None]] = {node: {} for node in nodes}
    for link in cluster.links:
        for near, far in ((link.source, link.destination), (link.destination, link.source)):
            node = node_of[near]
            if node in attached and node_of[far] is None:
                attached[node][far] = None
    groups: dict[tuple[PlaceId, ...], list[NodeId]] = {}
    for node, switches in attached.items():
        groups.setdefault(tuple(sorted(switches)), []).append(node)
    return [(switches, tuple(members)) for switches, members in groups.items()]


def _sizes(selection: Selection) -> _Sizes:
    count = min(max((len(memory.ever) for memory in selection.memories), default=0), CELLS_MAX)
    columns = next((each for each in (4, 8, 16) if count <= each * each // 2), 16)
    cell = {4: 18, 8: 10, 16: 6}[columns]
    return _Sizes(columns=columns, cell=cell, width=max(columns * cell + 2 * _PAD, 108))


def _rows(
    nodes: tuple[NodeId, ...],
    switches: tuple[PlaceId, ...],
    sizes: _Sizes,
    corner: tuple[int, int],
    canvas: _Canvas,
) -> tuple[Box, int]:
    """Place up to two rows of nodes with their switches' bar between them; give the bar and the y below."""
    left, y = corner
    half = len(nodes) if len(nodes) <= _ROW else -(-len(nodes) // 2)
    pitch = sizes.width + _GAP
    heights = []
    for members in (nodes[:half], nodes[half:]):
        shown = [canvas.memories.get(node, []) for node in members]
        heights.append(
            max((sizes.height(each, named=len(each) > 1) for each in shown), default=sizes.height((), named=False))
        )
    bar = Box(left, y + heights[0] + _WIRE, half * pitch - _GAP, _BAR)
    for index, node in enumerate(nodes):
        row, column = divmod(index, half)
        top = bar.bottom + _WIRE if row else y
        canvas.cards[node] = Box(left + column * pitch, top, sizes.width, heights[row])
        canvas.bar_of_node[node] = bar
    if switches:
        for switch in switches:
            canvas.bar_of_switch.setdefault(switch, bar)
        canvas.parts.append(_bar(bar, say_names(switches), upright=False))
    bottom = max(canvas.cards[node].bottom for node in nodes)
    return bar, max(bottom, bar.bottom if switches else bottom) + _GAP + _MARGIN


def _joint(one: Box, other: Box) -> str:
    """Join two bars of one switch."""
    x, y = one.x - 10, one.y + one.height // 2
    down = other.y + other.height // 2
    return f'<path d="M{one.x} {y}H{x}V{down}H{other.x}" class="g-joint"/>'


def _bar(box: Box, name: str, *, upright: bool) -> str:
    x, y = box.center, box.y + box.height // 2
    turn = f' transform="rotate(-90 {x} {y})"' if upright else ""
    return (
        f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="5" class="g-switch"/>'
        f'<text x="{x}" y="{y + 4}" text-anchor="middle" class="g-small"{turn}>{escape(name)}</text>'
    )


def _draw_wires(
    cluster: Cluster, groups: list[tuple[tuple[PlaceId, ...], tuple[NodeId, ...]]], canvas: _Canvas
) -> tuple[dict[LinkId, int], list[str]]:
    """Draw every direction between a card and its bar, and between switches, once."""
    node_of = {place.id: place.node for place in cluster.places}
    bar_name = {switch: say_names(switches) for switches, _ in groups for switch in switches}
    index: dict[tuple[str, str], int] = {}
    links: dict[LinkId, int] = {}
    parts: list[str] = []
    for link in cluster.links:
        nodes = (node_of[link.source], node_of[link.destination])
        places = (link.source, link.destination)
        boxes = [
            canvas.bar_of_switch.get(place) if node is None else canvas.cards.get(node)
            for node, place in zip(nodes, places, strict=True)
        ]
        if boxes[0] is None or boxes[1] is None or nodes[0] == nodes[1] is not None:
            continue
        near = nodes[0] or nodes[1]
        if near is not None:
            boxes = [box if node else canvas.bar_of_node[near] for box, node in zip(boxes, nodes, strict=True)]
        key = (nodes[0] or bar_name.get(places[0], places[0]), nodes[1] or bar_name.get(places[1], places[1]))
        if key not in index:
            index[key] = len(index)
            title = f"{key[0]} to {key[1]}: {say_network_rate(link.bytes_per_second)}"
            outward = nodes[0] is not None or (nodes[1] is None and key[0] < key[1])
            source, destination = boxes
            assert source is not None
            assert destination is not None
            parts.append(_wire(index[key], source, destination, title, outward=outward))
        links[link.id] = index[key]
    return links, parts


def _wire(index: int, source: Box, destination: Box, title: str, *, outward: bool) -> str:
    side = -9 if outward else 9
    upright = source.height > 2 * source.width and source.width == _BAR
    upright = upright or (destination.height > 2 * destination.width and destination.width == _BAR)
    points: tuple[tuple[int, int], ...]
    if source.height == destination.height == _BAR:
        x, y1, y2 = source.x - 14 + side // 2, source.y + _BAR // 2 + side // 2, destination.y + _BAR // 2 + side // 2
        points = ((source.x, y1), (x, y1), (x, y2), (destination.x, y2))
    elif upright:
        near, far = (source, destination) if source.x > destination.x else (destination, source)
        y = near.y + near.height // 2 + side // 2
        points = ((near.x, y), (far.right, y))
        if source.x < destination.x:
            points = (points[1], points[0])
    else:
        card = source if source.height > _BAR else destination
        x = card.center + side
        above = source.y < destination.y
        points = ((x, source.bottom), (x, destination.y)) if above else ((x, source.y), (x, destination.bottom))
    way = "L".join(f"{x} {y}" for x, y in points)
    return f'<path d="M{way}" class="g-wire" id="w{index}"><title>{escape(title)}</title></path>'


def _card(index: int, box: Box, selection: Selection, blobs: list[BlobId], sizes: _Sizes) -> Iterator[str]:
    node = selection.nodes[index]
    name = node if len(node) <= _NAME_MAX else f"{node[: _NAME_MAX - 1]}…"
    yield (
        f'<g><title>{escape(node)}</title><rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" '
        f'rx="6" class="g-card" id="n{index}"/><text x="{box.x + _PAD}" y="{box.y + 15}" class="g-name">{escape(name)}'
        f'</text><text x="{box.right - _PAD}" y="{box.y + 15}" text-anchor="end" class="g-small" id="c{index}"></text>'
    )
    y = box.y + _TITLE
    memories = [(number, each) for number, each in enumerate(selection.memories) if each.node == node]
    for number, memory in memories:
        if len(memories) > 1:
            short = memory.place.removeprefix(f"{node}/")
            yield f'<text x="{box.x + _PAD}" y="{y + 12}" class="g-small">{escape(short)}</text>'
            y += _LABEL
        yield from _cells(number, (box.x + _PAD, y), sizes, [n for n, blob in enumerate(blobs) if blob in memory.ever])
        y += sizes.cells(len(memory.ever))
    yield f'<g id="d{index}" transform="translate({box.x + _PAD},{box.bottom - _DOTS})"></g></g>'


def _cells(memory: int, corner: tuple[int, int], sizes: _Sizes, blobs: Sequence[int]) -> Iterator[str]:
    """Draw a cell for each of these blobs, by their indices in the plan."""
    x, y = corner
    if len(blobs) > CELLS_MAX:
        yield f'<rect x="{x}" y="{y}" width="{sizes.columns * sizes.cell}" height="{sizes.cell}" class="g-cell"/>'
        yield f'<rect x="{x}" y="{y}" width="0" height="{sizes.cell}" class="g-full" id="f{memory}"/>'
        return
    for position, index in enumerate(blobs):
        row, column = divmod(position, sizes.columns)
        yield (
            f'<rect x="{x + column * sizes.cell}" y="{y + row * sizes.cell}" width="{sizes.cell - 1}" '
            f'height="{sizes.cell - 1}" class="g-cell" id="b{memory}-{index}"/>'
        )
