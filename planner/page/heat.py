"""The nodes that a page has no lanes for: how full they are over time, in groups, as one strip of levels."""

from bisect import bisect_right
from collections import defaultdict

import attrs

from planner.audit.instants import Timeline
from planner.description.wording import say_names
from planner.page.selection import Selection
from specs.cluster import NodeId
from specs.invariants.facts import Facts
from specs.units import ceil_div

COLUMNS = 120  # instants
ROWS_MAX = 120  # groups of nodes
LEVELS = "0123456789abcdefghijklmnopqrstuvwxyz"  # nothing ... everything


@attrs.frozen(kw_only=True)
class _Arrivals:
    """Instants of arrivals of each node, in order, and how many copies it is to get."""

    at: dict[NodeId, list[int]]
    wanted: dict[NodeId, int]


def heat_strip(
    facts: Facts, selection: Selection, planned: Timeline, measured: Timeline | None, horizon: int
) -> dict[str, object] | None:
    """Give the share of its copies that each group of hidden nodes holds at each of 120 instants; None: none hidden."""
    nodes = selection.hidden
    if not nodes:
        return None
    size = ceil_div(len(nodes), ROWS_MAX)
    groups = [nodes[first : first + size] for first in range(0, len(nodes), size)]
    return {
        "groups": [say_names(group) for group in groups],
        "nodes": len(nodes),
        "planned": _levels(_arrivals(facts, planned), groups, horizon),
        "measured": None if measured is None else _levels(_arrivals(facts, measured), groups, horizon),
    }


def _arrivals(facts: Facts, line: Timeline) -> _Arrivals:
    end_of = {each.step: each.end_ns for each in line.transfers}
    at: dict[NodeId, list[int]] = defaultdict(list)
    wanted: dict[NodeId, int] = defaultdict(int)
    for hop in facts.hops:
        if hop.destination_node is None:
            continue
        wanted[hop.destination_node] += 1
        end = end_of[hop.transfer.id]
        if end is not None:
            at[hop.destination_node].append(end)
    return _Arrivals(at={node: sorted(ends) for node, ends in at.items()}, wanted=dict(wanted))


def _levels(arrivals: _Arrivals, groups: list[tuple[NodeId, ...]], horizon: int) -> list[str]:
    rows = []
    for group in groups:
        wanted = sum(arrivals.wanted.get(node, 0) for node in group)
        ends = sorted(end for node in group for end in arrivals.at.get(node, ()))
        levels = []
        for column in range(COLUMNS):
            held = bisect_right(ends, horizon * (column + 1) // COLUMNS)
            levels.append(LEVELS[(len(LEVELS) - 1) * held // wanted] if wanted else LEVELS[0])
        rows.append("".join(levels))
    return rows
