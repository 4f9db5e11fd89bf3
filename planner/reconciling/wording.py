"""A plan in one line: what it changes in what runs."""

from collections import Counter

from planner.description.wording import say_duration, say_size
from planner.reconfiguring.differences import difference
from specs.checker import VerifiedPlan
from specs.units import Nanos

_NAMED = 3
_MS = 10**6


def in_one_line(verified: VerifiedPlan) -> str:
    """Say who carries it out, what opens, what moves, what requests see, and how long it takes."""
    found = difference(verified)
    nodes = len(verified.problem.cluster.nodes)
    parts = [f"{nodes:,} node{'s' * (nodes != 1)}"]
    opened = [each.id for each in found.opened]
    if opened:
        more = f" and {len(opened) - _NAMED:,} more" * (len(opened) > _NAMED)
        parts.append(f"opens {', '.join(opened[:_NAMED])}{more}")
    for each in found.moved:
        if each.transfers:
            parts.append(f"sends {each.transfers:,} blobs of {each.llm}, {say_size(each.bytes)}")
        if each.released:
            parts.append(f"gives up {each.released:,} copies, {say_size(each.released_bytes)}")
    fates = Counter(each.fate for each in found.seen)
    words = {"kept": "kept", "copy": "moved with their KV", "recompute": "moved by computing again", "drain": "drained"}
    parts += [
        f"{count:,} pipeline{'s' * (count != 1)} {words[fate]}"
        for fate, count in sorted(fates.items())
        if fate in words
    ]
    lasts = say_duration(Nanos(-(-found.lasts_ns // _MS) * _MS)) if found.lasts_ns else ""
    return ", ".join(parts) + (f"; all is done after {lasts}" if lasts else "; nothing has to be done")
