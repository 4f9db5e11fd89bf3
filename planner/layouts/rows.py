"""Rows of stages that cost least at any prices of stages, none longer than a limit: one border after another.

For every limit of a ladder at once.  Nothing is proved here: how many devices of a group a row takes, and how long all
its stages take together, is judged afterwards.
"""

from collections.abc import Iterator
from functools import cached_property

import attrs
import numpy as np
from numpy.typing import NDArray

from specs.decisions.layout.answer import Stage
from specs.decisions.layout.question import Pace, Question

Numbers = NDArray[np.float64]


@attrs.frozen(kw_only=True, eq=False)
class Rows:
    """What stages and hops take for so many batches of some size in flight; nothing that memory has no room for."""

    question: Question
    batch: int
    in_flight: int

    @cached_property
    def shapes(self) -> tuple[str, ...]:
        """Shapes that can compute this batch."""
        question = self.question
        return tuple(
            shape.name
            for shape in question.shapes
            if (shape.name, self.batch) in question.pace
            and (question.prompt is None or shape.name in question.prompt_pace)
        )

    @cached_property
    def times(self) -> dict[str, Numbers]:
        """Per shape, first unit and border at the end: ns; infinite where a stage cannot be."""
        return {name: self._times(name) for name in self.shapes}

    def _times(self, name: str) -> Numbers:
        question, pace, shape = self.question, self.question.pace[name, self.batch], self.question.shape[name]
        tokens = self.batch * self.in_flight * question.context_tokens
        needs = np.array(question.weight_sums, float) + np.array(question.kv_sums, float) * tokens
        workspace = pace.workspace_bytes
        if question.prompt is not None:
            workspace = max(workspace, question.prompt_pace[name].workspace_bytes)
        room = (question.group[shape.group].memory_bytes - workspace) * shape.devices
        taken = needs[None, :] - needs[:, None]
        later = np.triu(np.ones(taken.shape, bool), 1)
        return np.where(later & (taken <= room), _run_ns(pace, question.units), np.inf)

    def hop_ns(self, source: str, destination: str) -> float:
        """Time of a hop between two groups; infinite where there is none."""
        hop = self.question.hop.get((source, destination))
        return np.inf if hop is None else float(hop.ns(self.batch))

    def times_ns(self) -> tuple[float, float]:
        """Shortest and longest time that can be a row's longest: of a stage or a hop, at most what TPOT allows."""
        question = self.question
        units = np.arange(question.units)
        least = min((float(each[units, units + 1].min()) for each in self.times.values()), default=np.inf)
        hops = [hop for a in question.group for b in question.group if (hop := self.hop_ns(a, b)) < np.inf]
        stages = [float(each[np.isfinite(each)].max(initial=1.0)) for each in self.times.values()]
        return max(1.0, least), min(max((*stages, *hops), default=0.0), question.limits.tpot_ns / self.in_flight)

    def cheapest(self, costs: dict[str, Numbers], limits: Numbers, per_ns: float) -> Iterator[tuple[Stage, ...]]:
        """Find for each limit, and group at the end, the row that costs least: also so much for each ns of its way."""
        table = _Table(rows=self, limits=limits, per_ns=per_ns)
        for end in range(1, self.question.units + 1):
            for shape in self.shapes:
                table.extend(shape, end, costs[shape])
            table.arrive(end)
        found = dict.fromkeys(
            table.row(column, group) for column in range(len(limits)) for group in range(len(table.groups))
        )
        yield from (row for row in found if row)


def _run_ns(pace: Pace, units: int) -> Numbers:
    if pace.run_ns:
        whole = np.full((units + 1, units + 1), np.inf)
        for first, row in enumerate(pace.run_ns):
            whole[first, first + 1 :] = row
        return whole
    sums = np.array(pace.sums, float)
    return np.asarray((sums[:, None, :] - sums[:, :, None]).max(axis=0), float)


@attrs.define(kw_only=True, eq=False)
class _Table:
    """Least costs per depth, group of the last stage, limit and border, and how each was reached."""

    rows: Rows
    limits: Numbers
    per_ns: float
    groups: list[str] = attrs.field(init=False)
    cost: Numbers = attrs.field(init=False)
    came: NDArray[np.int64] = attrs.field(init=False)  # (shape, first unit) as one number
    arrived: Numbers = attrs.field(init=False)  # with the hop to a stage of a group
    source: NDArray[np.int64] = attrs.field(init=False)  # the group that hop comes from

    def __attrs_post_init__(self) -> None:
        question = self.rows.question
        self.groups = [group.name for group in question.groups]
        depth = min(question.limits.depth, question.units)
        size = (depth + 1, len(self.groups), len(self.limits), question.units + 1)
        self.cost, self.arrived = np.full(size, np.inf), np.full(size, np.inf)
        self.came, self.source = np.zeros(size, np.int64), np.zeros(size, np.int64)
        self.arrived[0, :, :, 0] = 0.0

    def extend(self, shape: str, end: int, costs: Numbers) -> None:
        """Let a stage of a shape end here."""
        question = self.rows.question
        group = self.groups.index(question.shape[shape].group)
        times = self.rows.times[shape][:end, end]
        able = np.flatnonzero(times <= self.limits.max())
        if not able.size:
            return
        begin = int(able[0])
        times = times[None, begin:]
        fits = times <= self.limits[:, None]
        own = np.where(fits, costs[None, begin:end, end] + self.per_ns * np.where(fits, times, 0.0), np.inf)
        total = self.arrived[:-1, group, :, begin:end] + own[None]
        first = total.argmin(axis=-1)
        best = np.take_along_axis(total, first[..., None], axis=-1)[..., 0]
        better = best < self.cost[1:, group, :, end]
        number = self.rows.shapes.index(shape) * (question.units + 1) + begin + first
        self.cost[1:, group, :, end][better] = best[better]
        self.came[1:, group, :, end][better] = number[better]

    def arrive(self, border: int) -> None:
        """Hop from here to every group."""
        for place, group in enumerate(self.groups):
            hops = np.array([self.rows.hop_ns(source, group) for source in self.groups])[None, :, None]
            in_time = hops <= self.limits[None, None, :]
            spent = np.where(in_time, self.per_ns * np.where(in_time, hops, 0.0), np.inf)
            total = self.cost[:, :, :, border] + spent
            source = total.argmin(axis=1)
            self.source[:, place, :, border] = source
            self.arrived[:, place, :, border] = np.take_along_axis(total, source[:, None, :], axis=1)[:, 0, :]

    def row(self, column: int, group: int) -> tuple[Stage, ...]:
        """Read the best row for a limit that ends on a group; empty when there is none."""
        question = self.rows.question
        ends = self.cost[:, group, column, question.units]
        depth = int(ends.argmin())
        if not np.isfinite(ends[depth]):
            return ()
        stages: list[Stage] = []
        end = question.units
        while depth:
            number, first = divmod(int(self.came[depth, group, column, end]), question.units + 1)
            name = self.rows.shapes[number]
            devices = tuple(range(question.shape[name].devices))
            stages.append(Stage(shape=name, devices=devices, first_unit=first, end_unit=end))
            depth, end, group = depth - 1, first, int(self.source[depth - 1, group, column, first])
        return tuple(reversed(stages))
