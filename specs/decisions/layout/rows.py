"""The cheapest row of stages when devices have prices: the one computation behind every bound on pipelines.

`cheapest` is a shortest path over the borders between units.  What it leaves out makes rows cheaper, never dearer, so
the price that it finds is at most the price of any pipeline of the question with the same batch, batches in flight and
time per output token.  Left out are: how many devices there are, which of them share a node, how many stages a pipeline
may have, and of a prompt's time all but what any single stage must keep.
"""

from bisect import bisect_left
from functools import cached_property
from itertools import pairwise
from operator import add

import attrs

from specs.decisions.layout.question import Pace, Question, Shape
from specs.units import Nanos

FINE = 1 << 20  # prices are refined by this factor before times are added to them


@attrs.frozen(kw_only=True)
class Row:
    """A cheapest row: for each stage its shape, first unit and end."""

    dual: int  # at most FINE x price + time_price x time of every row
    stages: tuple[tuple[str, int, int], ...]


@attrs.frozen(kw_only=True)
class Column:
    """What a shape is in one computation."""

    shape: Shape
    group: int
    pace: Pace
    low: tuple[int, ...]  # per end, the first border at which memory and the limit of TTFT let a run begin


@attrs.frozen(kw_only=True)
class Rows:
    """Rows of one question at one batch."""

    question: Question
    batch: int

    @cached_property
    def hops(self) -> list[list[int | None]]:
        """Time of a hop per pair of groups; None where there is none."""
        names = [group.name for group in self.question.groups]
        found = [[self.question.hop.get((one, other)) for other in names] for one in names]
        return [[None if hop is None else hop.ns(self.batch) for hop in line] for line in found]

    def columns(self, in_flight: int) -> list[Column]:
        """The shapes that have a pace, with what they may hold."""
        question = self.question
        place = {group.name: index for index, group in enumerate(question.groups)}
        found = []
        for shape in question.shapes:
            pace = question.pace.get((shape.name, self.batch))
            if pace is None or (question.prompt is not None and shape.name not in question.prompt_pace):
                continue
            low = _low(question, shape, pace, self.batch * in_flight * question.context_tokens)
            found.append(Column(shape=shape, group=place[shape.group], pace=pace, low=tuple(low)))
        return found

    def times_ns(self, row: Row) -> list[Nanos]:
        """Times of a row's stages and hops."""
        groups = [self.question.shape[shape].group for shape, _, _ in row.stages]
        own = [self.question.pace[shape, self.batch].ns(first, end) for shape, first, end in row.stages]
        return own + [self.question.hop[pair].ns(self.batch) for pair in pairwise(groups)]

    def tpot_ns(self, row: Row, in_flight: int) -> Nanos:
        """Time per output token with so many in flight, at least 1 ns."""
        times = self.times_ns(row)
        return Nanos(max(sum(times) + self.question.round_ns, in_flight * max(times), 1))

    def price(self, row: Row, prices: dict[str, int]) -> int:
        """Price of a row's devices."""
        shapes = [self.question.shape[shape] for shape, _, _ in row.stages]
        return sum(prices.get(shape.group, 0) * shape.devices for shape in shapes)

    def cheapest(self, columns: list[Column], stage_ns: int, prices: dict[str, int], time_price: int = 0) -> Row | None:
        """Find the row with the least FINE x price + time_price x (stages + hops), each of these within `stage_ns`.

        None when there is none, whatever the prices.  With several tracks `dual` is a bound below that minimum: a run
        takes at least as long as each track, and the largest of the minima is at most the minimum of the largest.
        """
        return self._paths(columns, stage_ns, prices, time_price).row()

    def beginnings(
        self, columns: list[Column], stage_ns: int, prices: dict[str, int], time_price: int
    ) -> list[list[int]]:
        """Bound beginnings of rows from below: per group of the next stage, and border, with the hop to that stage."""
        return self._paths(columns, stage_ns, prices, time_price).into

    def _paths(self, columns: list[Column], stage_ns: int, prices: dict[str, int], time_price: int) -> "_Paths":
        reaches = [_Reach.of(column, stage_ns, prices, time_price) for column in columns]
        # Above the cost of every row: it has at most as many stages as units, and as many hops, within `stage_ns` each.
        dearest = max((reach.cost for reach in reaches), default=0) + 2 * time_price * stage_ns
        never = 1 + self.question.units * dearest
        for reach in reaches:
            reach.never = never
        paths = _Paths(
            units=self.question.units,
            never=never,
            columns=[reach for reach in reaches if any(low < end for end, low in enumerate(reach.low))],
            hops=[[never if hop is None or hop > stage_ns else time_price * hop for hop in line] for line in self.hops],
        )
        paths.run()
        return paths


@attrs.define
class _Reach:
    """What a column costs and reaches in one shortest path."""

    name: str
    group: int
    low: list[int]  # per end, the first border from which a run takes at most the time allowed
    cost: int  # of a stage, without its time
    spent: list[list[int]]  # per track, what time costs from the start up to each border
    run_cost: list[list[int | None]] | None  # instead, per first border and length, where times are measured per run
    lines: list[list[int]]  # per track, cost of arriving at a border less what is spent up to there
    never: int = 0  # dearer than every row

    @staticmethod
    def of(column: Column, stage_ns: int, prices: dict[str, int], time_price: int) -> "_Reach":
        low = list(column.low)
        for sums in column.pace.sums:
            low = [
                first if total - sums[first] <= stage_ns else bisect_left(sums, total - stage_ns, first)
                for first, total in zip(low, sums, strict=True)
            ]
        measured = None
        if column.pace.run_ns:
            measured = [[time_price * ns if ns <= stage_ns else None for ns in row] for row in column.pace.run_ns]
        spent = [[time_price * total for total in sums] for sums in column.pace.sums[: None if time_price else 1]]
        return _Reach(
            column.shape.name,
            column.group,
            low,
            FINE * prices.get(column.shape.group, 0) * column.shape.devices,
            spent,
            measured,
            [[] for _ in spent],
        )

    def least(self, arrivals: list[int], end: int) -> int:
        """Least cost of the units before `end` when this column computes the last of them."""
        start = self.low[end]
        if start >= end:
            return self.never
        if self.run_cost is not None:
            return self.cost + min(self._measured(arrivals, start, end))
        tracks = zip(self.lines, self.spent, strict=True)
        return self.cost + max(min(line[start:end]) + spent[end] for line, spent in tracks)

    def first(self, arrivals: list[int], end: int, cost: int) -> int:
        """Find where the last run begins when the units before `end` cost so much."""
        start = self.low[end]
        if self.run_cost is not None:
            return start + self._measured(arrivals, start, end).index(cost - self.cost)
        for line, spent in zip(self.lines, self.spent, strict=True):
            wanted = cost - self.cost - spent[end]
            if wanted in line[start:end]:
                return line.index(wanted, start)
        raise AssertionError("a cost comes from some border")

    def _measured(self, arrivals: list[int], start: int, end: int) -> list[int]:
        assert self.run_cost is not None
        runs = [self.run_cost[first][end - first - 1] for first in range(start, end)]
        return [self.never if run is None else come + run for come, run in zip(arrivals[start:end], runs, strict=True)]


@attrs.define(kw_only=True)
class _Paths:
    """One shortest path: `into[g][u]` is the least cost of the units before u when a stage on group g comes next."""

    units: int
    never: int
    columns: list[_Reach]
    hops: list[list[int]]  # cost of a hop per pair of groups
    into: list[list[int]] = attrs.field(factory=list, init=False)
    ended: list[list[int]] = attrs.field(factory=list, init=False)  # per border and group of the stage that ends there

    def run(self) -> None:
        """Go from border to border."""
        groups = range(len(self.hops))
        self.into = [[0] for _ in groups]
        self.ended = [[self.never] * len(self.hops)]
        # The inner loop of every bound: each line with what it needs, so that a pass costs little more than a minimum.
        simple = [(c.group, c.low, c.cost, c.spent[0], c.lines[0]) for c in self.columns if len(c.lines) == 1]
        others = [column for column in self.columns if len(column.lines) != 1]
        before = [list(line) for line in zip(*self.hops, strict=True)]
        for end in range(1, self.units + 1):
            last = [self.never] * len(self.hops)
            arrived = [line[-1] for line in self.into]
            for group, low, cost, spent, line in simple:
                line.append(arrived[group] - spent[end - 1])
                if low[end] < end:
                    reached = min(line[low[end] : end]) + spent[end] + cost
                    if reached < last[group]:  # noqa: PLR1730 - twice as quick as a call of min
                        last[group] = reached
            for column in others:
                for line, spent in zip(column.lines, column.spent, strict=True):
                    line.append(arrived[column.group] - spent[end - 1])
                last[column.group] = min(last[column.group], column.least(self.into[column.group], end))
            for group in groups:
                self.into[group].append(min(map(add, last, before[group])))
            self.ended.append(last)

    def row(self) -> Row | None:
        """Read the cheapest row; None when there is none."""
        cost = min(self.ended[-1], default=self.never)
        return None if cost >= self.never else Row(dual=cost, stages=self._trace())

    def _trace(self) -> tuple[tuple[str, int, int], ...]:
        """Walk back along stages that explain the costs."""
        stages: list[tuple[str, int, int]] = []
        end, group = self.units, self.ended[-1].index(min(self.ended[-1]))
        while True:
            cost, arrivals = self.ended[end][group], self.into[group]
            column = next(c for c in self.columns if c.group == group and c.least(arrivals, end) == cost)
            first = column.first(arrivals, end, cost)
            stages.append((column.name, first, end))
            if first == 0:
                return tuple(reversed(stages))
            earlier = [cost + hops[group] for cost, hops in zip(self.ended[first], self.hops, strict=True)]
            end, group = first, earlier.index(arrivals[first])


def _low(question: Question, shape: Shape, pace: Pace, tokens: int) -> list[int]:
    """Per end, the first border from which weights and KV fit, and all chunks of a prompt pass in time."""
    workspace = pace.workspace_bytes
    prompt = question.prompt_pace.get(shape.name)
    if prompt is not None:
        workspace = max(workspace, prompt.workspace_bytes)
    room = (question.group[shape.group].memory_bytes - workspace) * shape.devices
    if room < 0:
        return list(range(question.units + 1))
    needs = [weight + kv * tokens for weight, kv in zip(question.weight_sums, question.kv_sums, strict=True)]
    low = [bisect_left(needs, total - room) if total > room else 0 for total in needs]
    if question.prompt is not None and question.limits.ttft_ns is not None and prompt is not None:
        allowed = question.limits.ttft_ns // question.prompt.chunks
        for sums in prompt.sums:
            low = [max(one, bisect_left(sums, total - allowed)) for one, total in zip(low, sums, strict=True)]
    return [min(first, end) for end, first in enumerate(low)]
