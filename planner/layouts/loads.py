"""What must be loaded: runs of units that devices hold already, and who goes on with which of them.

Devices that hold the same run are alike, so choices count them: y of the pipelines' stages with run s are seated where
run h is held, no more than there are of either, and then  sum of units of stages - sum of kept(s, h) y  are loaded.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from specs.decisions.layout.answer import Replica
from specs.decisions.layout.exhausted import Option
from specs.decisions.layout.question import Question

Devices = tuple[int, ...]


class Run(NamedTuple):
    """Units of a stage, with an equal part of each on so many devices of a group."""

    group: str
    devices: int
    first_unit: int
    end_unit: int

    @property
    def units(self) -> int:
        """What its devices load that hold nothing, all together."""
        return self.devices * (self.end_unit - self.first_unit)

    def kept(self, held: "Run") -> int:
        """What of that need not be loaded where another run is held."""
        if (self.group, self.devices) != (held.group, held.devices):
            return 0
        return self.devices * max(0, min(self.end_unit, held.end_unit) - max(self.first_unit, held.first_unit))


def runs(question: Question, replica: Replica) -> list[Run]:
    """Runs of a pipeline's stages, in order."""
    return [
        Run(question.shape[stage.shape].group, len(stage.devices), stage.first_unit, stage.end_unit)
        for stage in replica.stages
    ]


def held(question: Question) -> dict[Run, list[Devices]]:
    """Devices that hold each run together, on one node."""
    found: dict[Run, list[Devices]] = {}
    for replica in question.running:
        for run, stage in zip(runs(question, replica), replica.stages, strict=True):
            per_node = question.group[run.group].per_node
            here = all(0 <= device < question.group[run.group].devices for device in stage.devices)
            if here and len({device // per_node for device in stage.devices}) == 1:
                found.setdefault(run, []).append(stage.devices)
    return {run: sorted(found[run]) for run in sorted(found)}


def limit(
    question: Question,
    options: Sequence[Option],
    many: Sequence[Any],
    variable: Callable[[int], Any],
    add: Callable[[Any], Any],
) -> tuple[Any, dict[Run, Any]]:
    """Add rows that limit what must be loaded to a model, linear or whole: the row of all, and that of each run held.

    `many` are its variables for the options, `variable` makes one from 0 to a most, and `add` adds a row.
    """
    has = {run: len(devices) for run, devices in held(question).items()}
    wanted: dict[Run, list[Any]] = {}
    loaded = []
    for option, x in zip(options, many, strict=True):
        each = Counter(runs(question, option.replica))
        loaded.append(sum(run.units * count for run, count in each.items()) * x)
        for run, count in each.items():
            wanted.setdefault(run, []).append(count * x)
    seats: dict[Run, list[Any]] = {}
    for run, stages in wanted.items():
        mine = []
        for there, count in has.items():
            if kept := run.kept(there):
                y = variable(count)
                mine.append(y)
                seats.setdefault(there, []).append(y)
                loaded.append(-kept * y)
        if mine:
            add(sum(mine) <= sum(stages))
    rows = {there: add(sum(ys) <= has[there]) for there, ys in seats.items()}
    return add(sum(loaded) <= question.limits.moved_units), rows
