"""The cheapest row that is in time, exactly.

`Rows.cheapest` weighs time against price, so its bound may lie between a row that is cheap and late and one that is
quick and dear, where no row is.  Here both are counted: a shortest path with a limited resource, by labels (Desrochers
and Soumis 1988).  A label is an end of a row, from some border on.  It is dropped

  - when no beginning of a row, by what `Rows.cheapest` knows of beginnings, makes it quick enough, or cheap enough at
    some price of time: a row within the limits has FINE x price + time_price x time within that of the limits;
  - or when another label at its border and group is neither dearer nor slower: whatever goes before the one, goes
    before the other, in the same room.
"""

from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import NamedTuple

import attrs

from specs.decisions.layout.rows import FINE, Column, Row, Rows
from specs.units import Nanos


@attrs.frozen(kw_only=True)
class Within:
    """What a row has to keep."""

    price: int  # at most
    stage_ns: Nanos  # of each stage and hop, at most
    way_ns: Nanos  # of all of them together, at most


class _End(NamedTuple):
    """An end of a row: stages from a border on."""

    price: int
    time_ns: int  # of stages and hops
    stage: tuple[str, int, int] | None = None  # the first of them: shape, first unit and end
    later: "_End | None" = None


def cheapest_in_time(
    rows: Rows, columns: list[Column], prices: dict[str, int], within: Within, time_price: int
) -> Row | None:
    """Find the row with the least price, and of those the quickest; None when no row keeps all of `within`.

    Any `time_price` (FINE x price per ns) is right; one at which cheap rows that are late cost as much as dear ones
    that are not saves most work.
    """
    units, groups = rows.question.units, range(len(rows.question.groups))
    cost_before = rows.beginnings(columns, within.stage_ns, prices, time_price)
    time_before = rows.beginnings(columns, within.stage_ns, {}, 1)
    most = FINE * within.price + time_price * within.way_ns
    ends: list[list[dict[int, _End]]] = [[{} for _ in groups] for _ in range(units + 1)]  # the quickest at each price
    for border in range(units, 0, -1):
        reached = [_best(found.values()) for found in ends[border]]
        for group in groups:
            after = [_End(0, 0)] if border == units else _after_hop(rows, reached, group, within.stage_ns)
            weighed = sorted(((FINE * e.price + time_price * e.time_ns, e) for e in after), key=itemgetter(0))
            for column in columns if weighed else ():
                if column.group != group:
                    continue
                price = prices.get(column.shape.group, 0) * column.shape.devices
                for first, ns in _runs(column, border, within.stage_ns):
                    left = (
                        most - cost_before[group][first] - FINE * price - time_price * ns,
                        within.price - price,
                        within.way_ns - time_before[group][first] - ns,
                    )
                    _extend(ends[first][group], weighed, (column.shape.name, first, border), (price, ns), left)
    best = min((each for found in ends[0] for each in found.values()), default=None, key=lambda each: each[:2])
    return None if best is None else Row(dual=FINE * best.price, stages=tuple(_stages(best)))


def _extend(
    found: dict[int, _End],
    weighed: list[tuple[int, _End]],
    stage: tuple[str, int, int],
    takes: tuple[int, int],
    left: tuple[int, int, int],
) -> None:
    """Put a stage that takes so much price and time before ends, as far as there is enough left for them.

    `weighed` are ends with FINE x price + time_price x time, ascending; left are that, price, and time.
    """
    for weight, end in weighed:
        if weight > left[0]:
            break
        if end.price <= left[1] and end.time_ns <= left[2]:
            price, time_ns = end.price + takes[0], end.time_ns + takes[1]
            if price not in found or time_ns < found[price].time_ns:
                found[price] = _End(price, time_ns, stage, end)


def _after_hop(rows: Rows, reached: list[list[_End]], group: int, stage_ns: int) -> list[_End]:
    """Ends of rows from a border on, with the hop from a stage on a group."""
    return _best(
        each._replace(time_ns=each.time_ns + hop)
        for hop, ends in zip(rows.hops[group], reached, strict=True)
        if hop is not None and hop <= stage_ns
        for each in ends
    )


def _best(ends: Iterable[_End]) -> list[_End]:
    """Those than which no other is neither dearer nor slower."""
    kept: list[_End] = []
    for each in sorted(ends, key=itemgetter(0, 1)):
        if not kept or each.time_ns < kept[-1].time_ns:
            kept.append(each)
    return kept


def _runs(column: Column, end: int, stage_ns: int) -> Iterator[tuple[int, int]]:
    """First units of the runs up to a border that fit into room and time, and their times."""
    pace = column.pace
    for first in range(end - 1, column.low[end] - 1, -1):
        ns = pace.run_ns[first][end - first - 1] if pace.run_ns else max(sums[end] - sums[first] for sums in pace.sums)
        if ns <= stage_ns:
            yield first, ns
        elif not pace.run_ns:
            return  # longer runs take longer


def _stages(end: _End) -> Iterator[tuple[str, int, int]]:
    at: _End | None = end
    while at is not None and at.stage is not None:
        yield at.stage
        at = at.later
