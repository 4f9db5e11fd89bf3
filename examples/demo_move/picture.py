"""One self-contained page: every request's tokens over time, the changes marked, gaps coloured by their length.

Above, each gap is a dot at the instant at which it ended, as high as it was long.  In the middle, each request is a
line from its first token to its last, on a lane that was free.  Below, each change by itself, and single tokens.
"""

import html
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs

from examples.demo.load import Answer
from examples.demo_move.findings import MACHINE, Changed, Findings, Gap, bound_of
from examples.demo_move.tables import millis

_WIDTH, _LEFT, _RIGHT = 1400, 64, 16
_DOTS = 300  # height of the upper part
_LANE = 14
_ROW = 9
_PANEL = 690
_AROUND_NS = 700_000_000  # shown before and after a change
_MARGIN = 22  # above what is drawn, for names
_NAME = 60  # the width of the longest name
_STYLE = Path(__file__).with_name("picture.css").read_text(encoding="utf-8")

Rows = Callable[[int], float]  # where the line of a request is, from above


@attrs.frozen(kw_only=True)
class _Time:
    """From instants to pixels."""

    begin_ns: int
    end_ns: int
    left: int
    right: int

    def x(self, at_ns: int) -> float:
        """Where an instant is, from the left."""
        part = (at_ns - self.begin_ns) / max(1, self.end_ns - self.begin_ns)
        return round(self.left + min(1.0, max(0.0, part)) * (self.right - self.left), 1)

    def seconds(self) -> range:
        """Whole seconds to mark, not too many."""
        every = next(step for step in (1, 2, 5, 10, 20, 60) if (self.end_ns - self.begin_ns) / 1e9 / step <= 20)
        return range(-(-self.begin_ns // (every * 10**9)) * every, self.end_ns // 10**9 + 1, every)


@attrs.frozen(kw_only=True)
class _Line:
    """One request: when it was asked, and when each token came; ns since the start."""

    number: int
    asked_ns: int
    tokens_ns: tuple[int, ...]


def draw(found: Findings, answers: Sequence[Answer], start_unix_ns: int) -> str:
    """Draw a run.  The page needs nothing but itself."""
    lines = [
        _Line(
            number=number,
            asked_ns=answer.asked_unix_ns - start_unix_ns,
            tokens_ns=tuple(at - start_unix_ns for at in answer.named_unix_ns),
        )
        for number, answer in enumerate(answers)
        if answer.named_unix_ns
    ]
    beyond = frozenset(found.beyond)
    long = [gap for gap in found.gaps if gap.ns > 2 * found.calm.p99_ns or gap in beyond]
    end_ns = max((line.tokens_ns[-1] for line in lines), default=1)
    time = _Time(begin_ns=0, end_ns=end_ns, left=_LEFT, right=_WIDTH - _RIGHT)
    body = [
        "<h1>Three pipelines change shape ten times under constant load</h1>",
        _summary(found),
        _legend(found),
        "<h2>Every gap between two tokens of a request</h2>",
        *_dots(found, time, long, beyond),
        "<h2>Every request, from its first token to its last</h2>",
        *_lanes(found, time, lines, long, beyond),
        "<h2>Each change by itself: a tick is a token</h2>",
        '<div class="panels">',
        *(part for change in found.changes for part in _panel(change, lines, long, beyond)),
        "</div>",
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head = f"<head>{head}<title>Live reconfiguration</title><style>{_STYLE}</style></head>"
    return f'<!doctype html><html lang="en">{head}<body>{"".join(body)}</body></html>'


def _summary(found: Findings) -> str:
    beyond = f"<b class={'bad' if found.beyond else 'good'}>{len(found.beyond)}</b> of {len(found.gaps):,} gaps"
    calm = f"median {millis(found.calm.p50_ns)} ms, largest {millis(found.calm.largest_ns)} ms"
    return (
        f"<p><b>{found.equal}</b> of {found.requests} requests have exactly the oracle's tokens; {beyond} are longer "
        f"than their bound: an iteration, the pause that the plan promises, and {MACHINE} x what this machine adds "
        f"while nothing is changed ({calm}).</p>"
    )


def _legend(found: Findings) -> str:
    entries = (
        ("--token", "token"),
        ("--long", f"gap of more than {millis(2 * found.calm.p99_ns)} ms, twice the 99th percentile of calm times"),
        ("--bad", "gap beyond its bound"),
        ("--close", "a pipeline closes: its requests have gone on"),
        ("--span", "from PUT of a plan until every node has done its part"),
    )
    shown = (f'<span><i style="--c: var({colour})"></i>{words}</span>' for colour, words in entries)
    return f'<p class="legend">{"".join(shown)}</p>'


# --- gaps -----------------------------------------------------------------------------------------------------------


def _dots(found: Findings, time: _Time, long: Sequence[Gap], beyond: frozenset[Gap]) -> Iterator[str]:
    highest = max([gap.ns for gap in found.gaps] + [each.bound_ns for each in found.changes], default=1)
    low, high = math.log10(1e6), math.log10(max(highest, 2e6)) + 0.05
    bottom = _MARGIN + _DOTS

    def y(nanos: int) -> float:
        return round(bottom - (max(low, math.log10(max(1, nanos))) - low) / (high - low) * _DOTS, 1)

    yield _open(_WIDTH, bottom + 20)
    yield from _spans(found.changes, time, bottom)
    for nanos in (10**6, 10**7, 10**8, 10**9, 10**10):
        if math.log10(nanos) < high:
            yield f'<line class="grid" x1="{time.left}" x2="{time.right}" y1="{y(nanos)}" y2="{y(nanos)}"/>'
            yield f'<text x="{time.left - 6}" y="{y(nanos) + 4}" text-anchor="end">{nanos // 10**6:,} ms</text>'
    yield from _seconds(time, bottom)
    long_ones = frozenset(long)
    for name, chosen in (
        ("dot", [gap for gap in found.gaps if gap not in long_ones and gap not in beyond]),
        ("dot long", [gap for gap in long if gap not in beyond]),
        ("dot bad", sorted(beyond, key=lambda gap: gap.end_ns)),
    ):
        yield f'<path class="{name}" d="{"".join(f"M{time.x(gap.end_ns)} {y(gap.ns)}h.01" for gap in chosen)}"/>'
    calm = bound_of(found.calm, 0)
    steps = [f"M{time.left} {y(calm)}"]
    steps += [f"H{time.x(each.begin_ns)}V{y(each.bound_ns)}H{time.x(each.end_ns)}V{y(calm)}" for each in found.changes]
    yield f'<path class="bound" d="{"".join(steps)}H{time.right}"/>'
    yield f'<text x="{time.right}" y="{y(calm) - 4}" text-anchor="end">bound</text></svg>'


# --- requests -------------------------------------------------------------------------------------------------------


def _lanes(
    found: Findings, time: _Time, lines: Sequence[_Line], long: Sequence[Gap], beyond: frozenset[Gap]
) -> Iterator[str]:
    free_ns: list[int] = []
    lane_of: dict[int, int] = {}
    for line in lines:
        lane = next((lane for lane, until in enumerate(free_ns) if until < line.asked_ns), len(free_ns))
        free_ns[lane : lane + 1] = [line.tokens_ns[-1]]
        lane_of[line.number] = lane
    bottom = _MARGIN + len(free_ns) * _LANE

    def y(number: int) -> float:
        return _MARGIN + (lane_of[number] + 0.5) * _LANE

    yield _open(_WIDTH, bottom + 20)
    yield from _spans(found.changes, time, bottom)
    yield from _seconds(time, bottom)
    yield '<g class="far">'
    yield from _requests(lines, time, y, 8)
    yield "</g>"
    yield from _long(long, beyond, time, y)
    yield "</svg>"


def _panel(change: Changed, lines: Sequence[_Line], long: Sequence[Gap], beyond: frozenset[Gap]) -> Iterator[str]:
    begin_ns, end_ns = change.begin_ns - _AROUND_NS, change.end_ns + _AROUND_NS
    shown = [line for line in lines if line.asked_ns <= end_ns and line.tokens_ns[-1] >= begin_ns]
    row_of = {line.number: row for row, line in enumerate(shown)}
    time = _Time(begin_ns=begin_ns, end_ns=end_ns, left=8, right=_PANEL - 8)
    bottom = _MARGIN + max(1, len(shown)) * _ROW
    became = "; ".join((*(f"opens {each}" for each in change.opened), *change.closed)) or "all goes on"
    gaps = f"largest gap {millis(change.during.largest_ns)} ms of {millis(change.bound_ns)} ms allowed"

    def y(number: int) -> float:
        return _MARGIN + (row_of[number] + 0.5) * _ROW

    yield f"<div><h3>{change.number}. {html.escape(change.says)}</h3><p>{html.escape(became)}. {gaps}</p>"
    yield _open(_PANEL, bottom + 20)
    yield from _spans([change], time, bottom)
    yield from _seconds(time, bottom)
    yield from _requests(shown, time, y, _ROW - 3)
    mine = [gap for gap in long if gap.request in row_of and gap.touches(begin_ns, end_ns)]
    yield from _long(mine, beyond, time, y)
    yield "</svg></div>"


def _requests(lines: Sequence[_Line], time: _Time, y: Rows, height: float) -> Iterator[str]:
    """A faint line until the first token, a line to the last, and a tick for each token in the time that is shown."""
    waits, rests, ticks = [], [], []
    for line in lines:
        row = y(line.number)
        first, last = time.x(line.tokens_ns[0]), time.x(line.tokens_ns[-1])
        waits.append(f"M{time.x(line.asked_ns)} {row}H{first}")
        rests.append(f"M{first} {row}H{last}")
        inside = sorted({time.x(at) for at in line.tokens_ns if time.begin_ns <= at <= time.end_ns})
        ticks += [f"M{x} {row - height / 2}v{height}" for x in inside]
    yield f'<path class="wait" d="{"".join(waits)}"/><path class="rest" d="{"".join(rests)}"/>'
    yield f'<path class="token" d="{"".join(ticks)}"/>'


def _long(long: Sequence[Gap], beyond: frozenset[Gap], time: _Time, y: Rows) -> Iterator[str]:
    for gap in long:
        name = "gap bad" if gap in beyond else "gap"
        said = f"request {gap.request}: {millis(gap.ns)} ms without a token"
        line = f"M{time.x(gap.begin_ns)} {y(gap.request)}H{time.x(gap.end_ns)}"
        yield f'<path class="{name}" d="{line}"><title>{said}</title></path>'


# --- what is behind -------------------------------------------------------------------------------------------------


def _open(width: int, height: int) -> str:
    return f'<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">'


def _spans(changes: Sequence[Changed], time: _Time, bottom: int) -> Iterator[str]:
    for each in changes:
        begin, end = time.x(each.begin_ns), time.x(each.end_ns)
        width, height = round(end - begin, 1), bottom - _MARGIN
        yield f'<rect class="span" x="{begin}" y="{_MARGIN}" width="{width}" height="{height}"/>'
        yield f'<line class="put" x1="{begin}" x2="{begin}" y1="{_MARGIN}" y2="{bottom}"/>'
        name = f"{each.number} {html.escape(each.name)}"
        if begin + _NAME < time.right:
            yield f'<text class="number" x="{begin}" y="{_MARGIN - 6}">{name}</text>'
        else:  # it would be cut off
            yield f'<text class="number" x="{time.right}" y="{_MARGIN - 6}" text-anchor="end">{name}</text>'
        for at in map(time.x, each.closes_ns):
            yield f'<line class="close" x1="{at}" x2="{at}" y1="{_MARGIN}" y2="{bottom}"/>'


def _seconds(time: _Time, bottom: int) -> Iterator[str]:
    for second in time.seconds():
        x = time.x(second * 10**9)
        yield f'<line class="grid" x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 4}"/>'
        yield f'<text x="{x}" y="{bottom + 15}" text-anchor="middle">{second} s</text>'
