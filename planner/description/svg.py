"""The few SVG elements that pictures are made of; lengths are whole pixels, texts are escaped."""

from collections.abc import Iterable
from html import escape

import attrs

STYLE = """
text { font-family: "DejaVu Sans", Verdana, sans-serif; font-size: 11px; fill: #1c2733; }
.title { font-size: 17px; font-weight: bold; }
.subtitle { fill: #51606f; font-size: 12px; }
.name { font-size: 13px; font-weight: bold; }
.small { font-size: 9px; fill: #3c4a58; }
.rate { font-size: 10px; fill: #51606f; paint-order: stroke; stroke: #ffffff; stroke-width: 8px; }
.on-card { stroke: #f7f9fb; stroke-width: 6px; paint-order: stroke; }
.paper { fill: #ffffff; }
.card { fill: #f7f9fb; stroke: #aab7c4; }
.behind { fill: #eef2f6; stroke: #c4ced8; }
.rack { fill: none; stroke: #8896a5; stroke-dasharray: 5 4; }
.network { fill: #dfe7f7; stroke: #5b76b8; }
.nic { fill: #eef2fb; stroke: #5b76b8; }
.pcie { fill: #ececec; stroke: #8a8a8a; }
.device { fill: #ffffff; stroke: #3c4a58; }
.host { fill: #f3ecfa; stroke: #8d6bb5; }
.ssd { fill: #f3ecfa; stroke: #8d6bb5; }
.nvlink { fill: #e4f3dc; stroke: #6aa04a; }
.held { fill: #bfe5c4; stroke: #2f8a43; stroke-width: 2px; }
.wanted { fill: #fdeccb; stroke: #d08a12; stroke-width: 2px; stroke-dasharray: 4 2; }
.wire { stroke: #5b76b8; fill: none; }
.lane { stroke: #8a8a8a; fill: none; }
.bus { stroke: #8d6bb5; fill: none; }
.bridge { stroke: #6aa04a; fill: none; stroke-width: 2px; }
"""


@attrs.frozen
class Box:
    """A rectangle."""

    x: int
    y: int
    width: int
    height: int

    @property
    def center(self) -> int:
        """Its middle, from the left."""
        return self.x + self.width // 2

    @property
    def bottom(self) -> int:
        """Its lower edge."""
        return self.y + self.height

    @property
    def right(self) -> int:
        """Its right edge."""
        return self.x + self.width


def rectangle(box: Box, kind: str, radius: int = 4) -> str:
    """Draw a box."""
    place = f'x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}"'
    return f'<rect {place} rx="{radius}" class="{kind}"/>'


def path(points: Iterable[tuple[int, int]], kind: str) -> str:
    """Draw straight lines from point to point."""
    return f'<polyline points="{" ".join(f"{x},{y}" for x, y in points)}" class="{kind}"/>'


def words(x: int, y: int, text: str, kind: str = "", anchor: str = "start") -> str:
    """Write a text whose base line is at y."""
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def document(width: int, height: int, title: str, elements: Iterable[str]) -> str:
    """Put elements into one self-contained document."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    body = "\n".join(elements)
    return f"{head}\n<title>{escape(title)}</title>\n<style>{STYLE}</style>\n{body}\n</svg>\n"
