"""Pipelines that load few units: more columns, by prices of devices, of a unit to be loaded, and of runs that are held.

The linear program over the rows met so far gives all three prices (see `loads`), and `rows` finds for batches and
numbers in flight near those that it uses which rows cost least at these prices.  What is found proves no bound: that of
the question without a limit of moves holds all the more.
"""

from collections.abc import Iterable, Sequence

import attrs
import numpy as np

from planner.layouts.candidates import even, option_of
from planner.layouts.choice import Relaxed, promising, relaxed, spend
from planner.layouts.loads import Run, held
from planner.layouts.rows import Numbers, Rows
from planner.search import Search
from specs.decisions.layout.answer import Answer, Replica, Stage
from specs.decisions.layout.exhausted import Option
from specs.decisions.layout.faults import faults
from specs.decisions.layout.question import Question
from specs.decisions.layout.values import MILLI, Objective
from specs.units import NANOS_PER_SECOND

_ROUNDS_MAX = 20
_LADDER = 9  # limits of a stage's time that are tried at once; other ones in each round
_NEAR = 1.6  # by so much these are longer and shorter than the times of pipelines that the linear program uses
_FIRST = 200  # options to begin with
_WORTH_ANOTHER = 2_000  # a round that improves by less than one part in so many is idle
_IDLE_MAX = 3  # rounds in a row
_GOLDEN = (5**0.5 - 1) / 2  # multiples of it are spread evenly over the unit interval
_SHARE_OF_ROUNDS = 0.5  # of the time that is left; the rest is for the choice of whole pipelines


def near(question: Question, objective: Objective, options: list[Option], search: Search) -> list[Option]:
    """Add to options such as are good where moves are limited; where they are not, leave them as they are."""
    if question.limits.moved_units is None:
        return options
    columns = _Columns(question=question, search=search)
    columns.begin(promising(question, options, objective, search, _FIRST))
    demand = max(1, question.limits.demand_millitokens_per_second)
    latency = objective in (Objective.TPOT, Objective.TTFT)  # which asks again and again
    columns.rounds(Objective.GOODPUT, demand if latency else None)
    if objective in (Objective.COST, Objective.DEVICES):
        columns.rounds(objective, None)
    return columns.options


@attrs.define(kw_only=True)
class _Columns:
    """Rows met so far, each with the batch and number in flight that give most."""

    question: Question
    search: Search
    best: dict[tuple[Stage, ...], Option] = attrs.field(factory=dict, init=False)
    _tried: set[tuple[tuple[Stage, ...], int, int]] = attrs.field(factory=set, init=False)
    _tables: dict[tuple[int, int], Rows] = attrs.field(factory=dict, init=False)  # per batch and number in flight
    _number: int = attrs.field(default=0, init=False)  # of the round
    _least_left_s: float = attrs.field(default=0.0, init=False)

    @property
    def options(self) -> list[Option]:
        """What to choose from, in a fixed order."""
        return list(self.best.values())

    def begin(self, options: Iterable[Option]) -> None:
        """Begin with options for other questions, with what runs, and with rows that load little."""
        question, limits = self.question, self.question.limits
        self._least_left_s = (self.search.left_s() or 0.0) * (1 - _SHARE_OF_ROUNDS)
        alone = attrs.evolve(question, limits=attrs.evolve(limits, demand_millitokens_per_second=0, moved_units=None))
        running = [each for each in question.running if not any(faults(alone, Answer(replicas=(each,))))]
        for replica in (*(option.replica for option in options), *running):
            stages = [attrs.evolve(each, devices=tuple(range(len(each.devices)))) for each in replica.stages]
            self._add(stages, replica.batch, replica.in_flight)
        for batch in question.batches:
            most = limits.in_flight if limits.slots is None else min(limits.in_flight, limits.slots // batch)
            for in_flight in range(1, most + 1):
                self._tables[batch, in_flight] = Rows(question=question, batch=batch, in_flight=in_flight)
        self._load_little()

    def _load_little(self) -> None:
        """Add rows that load little, of any devices and of few."""
        units, groups = self.question.units, len(self.question.groups)
        for price in (1.0, float(units**2)):  # of a device, where a unit to be loaded has a price of `units`
            seat = dict.fromkeys(held(self.question), 0.0)
            linear = Relaxed(value=0.0, device=(price,) * groups, demand=0.0, unit=float(units), seat=seat, chosen=())
            costs = self._costs(linear, Objective.GOODPUT)
            for (_, in_flight), rows in self._tables.items():
                if in_flight & (in_flight - 1) == 0 and not self._late():  # a power of two: neighbours come with them
                    self._cheapest(rows, costs, rows.times_ns(), 0.0)

    def rounds(self, objective: Objective, enough: int | None) -> None:
        """Price until that helps no more, or until the linear program is worth enough."""
        before: float | None = None
        idle = 0
        for _ in range(_ROUNDS_MAX):
            linear = relaxed(self.question, self.options, objective, self.search)
            if linear is None or (enough is not None and linear.value >= enough) or self._late():
                break
            better = before is None or abs(linear.value - before) > abs(before) / _WORTH_ANOTHER
            before, idle = linear.value, 0 if better else idle + 1
            if idle > _IDLE_MAX:
                break
            self._price(linear, objective)

    def _late(self) -> bool:
        left_s = self.search.left_s()
        return self.search.over() or (left_s is not None and left_s < self._least_left_s)

    def _price(self, linear: Relaxed, objective: Objective) -> None:
        """Look for rows with batches and numbers in flight that the linear program uses, and their neighbours."""
        self._number += 1
        batches = self.question.batches
        costs = self._costs(linear, objective)
        used = [option for option, many in zip(self.options, linear.chosen, strict=True) if many > 0]
        # A ns more of a whole pass takes from the rate only where the pass is what limits it: counted in turn.
        worth = linear.demand * (self._number % 2)
        for (batch, in_flight), rows in self._tables.items():
            times = [
                option.tpot_ns / option.replica.in_flight
                for option in used
                if abs(batches.index(option.replica.batch) - batches.index(batch)) <= 1
                and abs(option.replica.in_flight - in_flight) <= 1
            ]
            if times and not self._late():
                least, most = rows.times_ns()
                around = max(least, min(times) / _NEAR), min(most, max(times) * _NEAR)
                self._cheapest(rows, costs, around, worth)

    def _cheapest(self, rows: Rows, costs: dict[str, Numbers], times_ns: tuple[float, float], worth: float) -> None:
        """Add the rows that cost least for limits of a stage's time between two, in equal ratios.

        Also with their borders evened out; `worth` is that of a millitoken/s.
        """
        least, most = times_ns
        if not least <= most:
            return
        steps = (np.arange(_LADDER) + (self._number * _GOLDEN) % 1.0) / _LADDER
        limits = most * (least / most) ** np.append(0.0, steps)
        pass_ns = float(np.median(limits)) * rows.in_flight
        per_ns = worth * rows.batch * rows.in_flight * MILLI * NANOS_PER_SECOND / pass_ns**2
        self.search.spend(rows.question.units * limits.size)
        for stages in rows.cheapest(costs, limits, per_ns):
            for in_flight in range(max(1, rows.in_flight - 1), rows.in_flight + 2):
                self._add(stages, rows.batch, in_flight)
            evened = even(self.question, tuple(stage.shape for stage in stages), rows.batch, rows.in_flight)
            if evened is not None:
                self._add(evened.stages, rows.batch, rows.in_flight)

    def _costs(self, linear: Relaxed, objective: Objective) -> dict[str, Numbers]:
        """Per shape, first unit and border at the end: what a stage costs."""
        question = self.question
        spent = [0] * len(question.groups) if objective is Objective.GOODPUT else spend(question, objective)
        price = {g.name: own + each for g, own, each in zip(question.groups, linear.device, spent, strict=True)}
        return {
            shape.name: shape.devices * price[shape.group] + self._load(linear, Run(shape.group, shape.devices, 0, 0))
            for shape in question.shapes
        }

    def _load(self, linear: Relaxed, shape: Run) -> Numbers:
        """`Relaxed.load` for every run of a shape."""
        border = np.arange(self.question.units + 1)
        first, end = border[:, None], border[None, :]
        saved = np.zeros((border.size, border.size))
        for there, seat in linear.seat.items():
            if (there.group, there.devices) == (shape.group, shape.devices):
                both = np.minimum(end, there.end_unit) - np.maximum(first, there.first_unit)
                saved = np.maximum(saved, linear.unit * shape.devices * np.maximum(both, 0) - seat)
        return np.asarray(linear.unit * shape.devices * (end - first) - saved, float)

    def _add(self, stages: Sequence[Stage], batch: int, in_flight: int) -> None:
        """Keep a row, with so many in flight where that gives most."""
        key = tuple(stages), batch, in_flight
        if key in self._tried:
            return
        self._tried.add(key)
        option = option_of(self.question, Replica(stages=key[0], batch=batch, in_flight=in_flight, weight=1))
        known = self.best.get(key[0])
        if option is not None and (
            known is None or option.rate_millitokens_per_second > known.rate_millitokens_per_second
        ):
            self.best[key[0]] = option
