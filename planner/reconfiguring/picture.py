"""A change as one SVG: for each device its pipelines over time, what arrives, hand-overs, and how full its memory is.

Time runs from left to right.  The upper part of a row has a bar for each stage on the device: what runs at the start is
grey, what opens is green, and a bar is yellow while its KV is handed over; it is as much lower as it has fewer slots.
Below are blobs as they arrive, and the memory in use, with a line where it ends.
"""

from collections.abc import Iterator

import attrs

from planner.description.svg import Box, document, path, rectangle, words
from planner.description.wording import say_duration, say_size
from planner.reconfiguring.differences import Difference, Fullest
from specs.checker import VerifiedPlan
from specs.cluster import PlaceId
from specs.invariants.facts import Facts
from specs.invariants.memory import use_over_time
from specs.plan import Pipeline, Stage

ROWS_MAX = 24  # devices, those with least room left
_LEFT, _WIDTH, _RIGHT = 190, 760, 130
_HEADER, _FOOTER, _GAP = 78, 40, 14
_BAR, _ARRIVALS, _MEMORY = 18, 8, 34
_STYLE = """
.runs { fill: #d5dce3; stroke: #7b8a99; }
.opens { fill: #bfe5c4; stroke: #2f8a43; }
.hands { fill: #fdeccb; stroke: #d08a12; }
.arrives { fill: #5b76b8; stroke: none; }
.use { fill: #e3dcf1; stroke: #8d6bb5; }
.limit { stroke: #b3261e; stroke-dasharray: 4 3; fill: none; }
.grid { stroke: #e1e6eb; fill: none; }
"""


@attrs.frozen(kw_only=True)
class _Scale:
    """From instants to pixels."""

    lasts_ns: int

    def x(self, at_ns: int) -> int:
        """Where an instant is, from the left."""
        return _LEFT + at_ns * _WIDTH // self.lasts_ns


def draw(verified: VerifiedPlan, found: Difference) -> str:
    """Draw what a plan changes; memories that it leaves alone are left out."""
    facts = Facts(verified.problem, verified.plan)
    scale = _Scale(lasts_ns=max(1, found.lasts_ns * 21 // 20))  # a little of what is afterwards
    shown = found.fullest[:ROWS_MAX]
    rows, y = [], _HEADER
    for each in sorted(shown, key=lambda each: each.place):
        height = _height(facts, each.place)
        rows.append((each, y))
        y += height + _GAP
    width, height = _LEFT + _WIDTH + _RIGHT, y + _FOOTER
    elements = [f"<style>{_STYLE}</style>", rectangle(Box(0, 0, width, height), "paper", 0)]
    elements += _header(verified, found, len(found.fullest) - len(shown))
    elements += _axis(scale, y)
    for each, top in rows:
        elements += _row(facts, scale, each, top)
    elements += _legend(y + 24)
    return document(width, height, f"What plan {verified.plan.generation} changes", elements)


def _header(verified: VerifiedPlan, found: Difference, hidden: int) -> Iterator[str]:
    yield words(20, 30, f"{verified.problem.name}: generation {verified.plan.generation}", "title")
    fates: dict[str, int] = {}
    for each in found.seen:
        fates[each.fate] = fates.get(each.fate, 0) + 1
    said = [f"{count} of the running pipelines: {fate}" for fate, count in fates.items()]
    said += [f"{len(found.opened)} open", f"all is done after {say_duration(found.lasts_ns)}"]
    if hidden > 0:
        said.append(f"{hidden} memories with more room are left out")
    yield words(20, 50, "; ".join(said), "subtitle")


def _axis(scale: _Scale, bottom: int) -> Iterator[str]:
    for part in range(5):
        at = scale.lasts_ns * part // 4
        x = scale.x(at)
        yield path([(x, _HEADER - 6), (x, bottom)], "grid")
        yield words(x, _HEADER - 10, say_duration(at), "small", "middle")


def _stages(facts: Facts, place: PlaceId) -> list[tuple[Pipeline, Stage]]:
    return [pair for pair in facts.stages_at.get(place, ()) if pair[0].id in facts.opened_ns]


def _height(facts: Facts, place: PlaceId) -> int:
    return len(_stages(facts, place)) * (_BAR + 2) + _ARRIVALS + _MEMORY + 6


def _row(facts: Facts, scale: _Scale, each: Fullest, top: int) -> Iterator[str]:
    yield words(_LEFT - 12, top + 13, each.place, "name", "end")
    y = top
    for pipeline, stage in _stages(facts, each.place):
        yield from _bar(facts, scale, pipeline, y)
        yield _label(facts, scale, pipeline, stage, y)
        y += _BAR + 2
    for blob_at in facts.arrivals.get(each.place, {}).values():
        x = scale.x(blob_at.start_ns)
        yield rectangle(Box(x, y + 1, max(1, scale.x(blob_at.end_ns) - x), _ARRIVALS - 3), "arrives", 1)
    yield from _memory(facts, scale, each, y + _ARRIVALS)


def _bar(facts: Facts, scale: _Scale, pipeline: Pipeline, y: int) -> Iterator[str]:
    """Draw a part for each number of slots, and the hand-over at the end."""
    kind = "runs" if pipeline.id in facts.running else "opens"
    spans = facts.slots_over_time(pipeline.id)
    ends = [at_ns for at_ns, _ in spans[1:]] + [_end_ns(facts, scale, pipeline)]
    for (from_ns, slots), until_ns in zip(spans, ends, strict=True):
        yield rectangle(_part(scale, pipeline, (from_ns, until_ns), slots, y), kind, 3)
    closed_by = facts.closed_by.get(pipeline.id)
    if closed_by is not None and closed_by.hand_over is not None:
        during = closed_by.hand_over.start_ns, closed_by.at_ns
        yield rectangle(_part(scale, pipeline, during, spans[-1][1], y), "hands", 3)


def _part(scale: _Scale, pipeline: Pipeline, during: tuple[int, int], slots: int, y: int) -> Box:
    first, end = (scale.x(at_ns) for at_ns in during)
    height = max(3, _BAR * slots // pipeline.slots)
    return Box(first, y + _BAR - height, max(2, end - first), height)


def _end_ns(facts: Facts, scale: _Scale, pipeline: Pipeline) -> int:
    closed_by = facts.closed_by.get(pipeline.id)
    return scale.lasts_ns if closed_by is None else closed_by.at_ns


def _label(facts: Facts, scale: _Scale, pipeline: Pipeline, stage: Stage, y: int) -> str:
    """Name a bar: in it or above its lower parts, after it or before it, wherever there is room."""
    lower = any(slots < pipeline.slots for _, slots in facts.slots_over_time(pipeline.id))
    y += 9 if lower else 13
    first, end = scale.x(facts.opened_ns[pipeline.id]), scale.x(_end_ns(facts, scale, pipeline))
    label = f"{pipeline.id}  units {stage.first_unit}-{stage.end_unit - 1}"
    if end - first > 7 * len(label):
        return words(first + 5, y, label, "small")
    if end + 6 * len(label) < _LEFT + _WIDTH + _RIGHT:
        return words(end + 5, y, label, "small")
    return words(first - 5, y, label, "small", "end")


def _memory(facts: Facts, scale: _Scale, each: Fullest, top: int) -> Iterator[str]:
    """The memory in use as a polygon of steps, with the most that there is as a line."""
    bottom = top + _MEMORY

    def level(used: int) -> int:
        return bottom - used * (_MEMORY - 4) // max(1, each.memory_bytes)

    points, now = [(_LEFT, bottom)], 0
    for at_ns, used in use_over_time(facts, each.place):
        x = scale.x(min(at_ns, scale.lasts_ns))
        points += [(x, level(now)), (x, level(used))]
        now = used
    points += [(_LEFT + _WIDTH, level(now)), (_LEFT + _WIDTH, bottom)]
    yield f'<polygon points="{" ".join(f"{x},{y}" for x, y in points)}" class="use"/>'
    yield path([(_LEFT, level(each.memory_bytes)), (_LEFT + _WIDTH, level(each.memory_bytes))], "limit")
    yield words(_LEFT + _WIDTH + 8, top + 12, f"most {say_size(each.used_bytes)}", "small")
    yield words(_LEFT + _WIDTH + 8, top + 24, f"of {say_size(each.memory_bytes)}", "small")


def _legend(y: int) -> Iterator[str]:
    rows = (
        ("runs", "runs at the start"),
        ("hands", "hands KV over"),
        ("opens", "opens"),
        ("arrives", "a blob arrives"),
        ("use", "memory in use"),
    )
    x = _LEFT
    for kind, said in rows:
        yield rectangle(Box(x, y - 9, 14, 10), kind, 2)
        yield words(x + 20, y, said, "small")
        x += 150
    yield words(x, y, "a lower bar: fewer slots", "small")
