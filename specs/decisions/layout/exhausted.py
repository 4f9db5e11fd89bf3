"""Small questions searched through: every pipeline that could matter, and every way to share the devices among them.

Devices of a group are counted, not named, and nodes are left out: packing shapes into nodes can only make it worse.
There are two steps, each of which drops only what something kept can stand in for.

Rows.  For each batch and number in flight, rows of stages grow border by border.  Of two rows to the same border with
the same devices and the same last group, all that can follow the one can follow the other, at the same times and in the
same room; so one that is no better in any of the sum and the longest of its times, the same for prompts, and depth is
dropped.  TPOT, TTFT and rate of the whole depend on these alone, and none of them gets better as one gets worse.

Sets.  Of two pipelines with the same devices, one that is no better in rate, TPOT and TTFT is dropped: put the other in
its place, and the answer still keeps every limit and is no worse by any objective.  Most that the others give together
on n devices (a count per group) is the most of r + most(n - d) over those of rate r with d devices; any objective but
the rate is then least over the counts, or over the times, at which that meets the demand.
"""

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import NamedTuple

import attrs

from specs.decisions.layout import values
from specs.decisions.layout.answer import Replica, Stage
from specs.decisions.layout.question import Question
from specs.decisions.layout.values import Objective

COUNTS_MAX = 400  # ways to take devices from the groups
RUNS_MAX = 3_000  # (batch, in flight, shape, run) that are tried
SMALL_UNITS, SMALL_DEVICES, SMALL_RUNS_MAX = 8, 4, 12_000  # few rows are worth keeping, so more are tried

Counts = tuple[int, ...]  # devices per group, in the question's order


class TooLarge(ValueError):
    """The space is too large to be searched through."""


@attrs.frozen(kw_only=True)
class Option:
    """A pipeline that is not beaten by one of the same devices in rate, TPOT and TTFT at once."""

    counts: Counts
    rate_millitokens_per_second: int
    tpot_ns: int
    ttft_ns: int  # 0 when the question does not speak of prompts
    replica: Replica  # its devices are numbered from 0 in every stage: only counts matter here


class _Run(NamedTuple):
    """A stage that fits: what it takes, and how long."""

    group: int
    shape: str
    devices: int
    end: int
    own_ns: int
    prompt_ns: int


class _Label(NamedTuple):
    """A row of stages up to some border: what must not be larger for a row to be as good, and its stages."""

    sum_ns: int
    max_ns: int
    prompt_sum_ns: int
    prompt_max_ns: int
    depth: int
    before: "_Label | None" = None
    run: "_Run | None" = None  # the last stage

    def serves(self, other: "_Label") -> bool:
        """Whether it is as good as another."""
        return (
            self.sum_ns <= other.sum_ns
            and self.max_ns <= other.max_ns
            and self.prompt_sum_ns <= other.prompt_sum_ns
            and self.prompt_max_ns <= other.prompt_max_ns
            and self.depth <= other.depth
        )

    def stages(self) -> tuple[Stage, ...]:
        """Its stages, each on the first devices of its group."""
        if self.before is None or self.run is None:
            return ()
        earlier = self.before.stages()
        first = earlier[-1].end_unit if earlier else 0
        devices = tuple(range(self.run.devices))
        return (*earlier, Stage(shape=self.run.shape, devices=devices, first_unit=first, end_unit=self.run.end))


def space(question: Question) -> int:
    """Count the ways to take devices from the groups.  Raises TooLarge when it is not searched through."""
    size = prod(group.devices + 1 for group in question.groups)
    flying = sum(_in_flight(question, pace.batch) for pace in question.paces)
    runs = flying * question.units * (question.units + 1) // 2
    small = question.units <= SMALL_UNITS and sum(group.devices for group in question.groups) <= SMALL_DEVICES
    allowed = SMALL_RUNS_MAX if small else RUNS_MAX
    if size > COUNTS_MAX or runs > allowed:
        raise TooLarge(f"{size} ways to take devices and {runs} runs: at most {COUNTS_MAX} and {allowed}")
    return size


def _in_flight(question: Question, batch: int) -> int:
    """Most batches in flight for which there are slots."""
    limits = question.limits
    return limits.in_flight if limits.slots is None else min(limits.in_flight, limits.slots // batch)


def options(question: Question) -> tuple[Option, ...]:
    """List every pipeline that could be part of a best answer, for any objective.  Raises TooLarge."""
    space(question)
    found: dict[Counts, list[Option]] = {}
    for batch in question.batches:
        for in_flight in range(1, _in_flight(question, batch) + 1):
            for counts, label in _AllRows(question, batch, in_flight).all():
                replica = Replica(stages=label.stages(), batch=batch, in_flight=in_flight, weight=1)
                option = Option(
                    counts=counts,
                    rate_millitokens_per_second=values.rate_millitokens_per_second(question, replica),
                    tpot_ns=values.tpot_ns(question, replica),
                    ttft_ns=0 if question.prompt is None else values.ttft_ns(question, replica),
                    replica=replica,
                )
                if _allowed(question, option):
                    _keep(found.setdefault(counts, []), option)
    return tuple(option for counts in sorted(found) for option in found[counts])


def _allowed(question: Question, option: Option) -> bool:
    limits = question.limits
    return (
        option.rate_millitokens_per_second > 0
        and option.tpot_ns <= limits.tpot_ns
        and (limits.ttft_ns is None or option.ttft_ns <= limits.ttft_ns)
    )


def _keep(kept: list[Option], option: Option) -> None:
    def better(one: Option, other: Option) -> bool:
        return (
            one.rate_millitokens_per_second >= other.rate_millitokens_per_second
            and one.tpot_ns <= other.tpot_ns
            and one.ttft_ns <= other.ttft_ns
        )

    if not any(better(each, option) for each in kept):
        kept[:] = [each for each in kept if not better(option, each)] + [option]


class _AllRows:
    """Every row of stages of one batch and number in flight that no other is as good as, with its devices."""

    def __init__(self, question: Question, batch: int, in_flight: int) -> None:
        self._question, self._batch, self._in_flight = question, batch, in_flight
        names = [group.name for group in question.groups]
        self._hops: list[list[tuple[int, int] | None]] = [[self._hop(a, b) for b in names] for a in names]
        self._most = [group.devices for group in question.groups]
        # A row that is no deeper is better only where something else than units and devices limits depth.
        self._deeper = int(question.limits.depth < min(question.units, sum(self._most)))
        # per border, group of the last stage and devices
        self._open: list[dict[int, dict[Counts, list[_Label]]]] = [{} for _ in range(question.units + 1)]

    def all(self) -> Iterator[tuple[Counts, _Label]]:
        """Go from border to border."""
        question = self._question
        nothing = (0,) * len(question.groups)
        for run in self._runs(0):
            self._extend([_Label(0, 0, 0, 0, 0)], nothing, run, (0, 0))
        for border in range(1, question.units):
            runs = self._runs(border)
            for group, reached in self._open[border].items():
                for counts, labels in _best(reached):
                    for run in runs:
                        hop = self._hops[group][run.group]
                        if hop is not None and counts[run.group] + run.devices <= self._most[run.group]:
                            self._extend(labels, counts, run, hop)
        whole: dict[Counts, list[_Label]] = {}
        for reached in self._open[question.units].values():
            for counts, labels in reached.items():
                whole.setdefault(counts, []).extend(labels)
        for counts, labels in _best(whole):
            yield from ((counts, label) for label in labels)

    def _extend(self, labels: list[_Label], counts: Counts, run: _Run, hop: tuple[int, int]) -> None:
        """Extend rows by a stage."""
        used = (*counts[: run.group], counts[run.group] + run.devices, *counts[run.group + 1 :])
        reached = self._open[run.end].setdefault(run.group, {}).setdefault(used, [])
        longest, prompt_longest = max(hop[0], run.own_ns), max(hop[1], run.prompt_ns)
        more, prompt_more = hop[0] + run.own_ns, hop[1] + run.prompt_ns
        for label in labels:
            if label.depth < self._question.limits.depth:
                longer = _Label(
                    label.sum_ns + more,
                    max(label.max_ns, longest),
                    label.prompt_sum_ns + prompt_more,
                    max(label.prompt_max_ns, prompt_longest),
                    label.depth + self._deeper,
                    label,
                    run,
                )
                reached.append(longer)

    def _hop(self, source: str, destination: str) -> tuple[int, int] | None:
        """Time of a hop for the batch and for a chunk of a prompt."""
        hop, prompt = self._question.hop.get((source, destination)), self._question.prompt
        if hop is None:
            return None
        return hop.ns(self._batch), 0 if prompt is None or not prompt.paces else hop.ns(prompt.paces[0].batch)

    def _runs(self, first: int) -> list[_Run]:
        """Every stage from a border on, of every shape and length that fits."""
        question = self._question
        place = {group.name: index for index, group in enumerate(question.groups)}
        found = []
        for shape in question.shapes:
            pace, prompt = question.pace.get((shape.name, self._batch)), question.prompt_pace.get(shape.name)
            group = place[shape.group]
            if pace is None or (question.prompt is not None and prompt is None) or shape.devices > self._most[group]:
                continue
            for end in range(first + 1, question.units + 1):
                stage = Stage(shape=shape.name, devices=(), first_unit=first, end_unit=end)
                replica = Replica(stages=(stage,), batch=self._batch, in_flight=self._in_flight, weight=1)
                if values.stage_bytes(question, replica, stage) > question.groups[group].memory_bytes:
                    break
                prompt_ns = 0 if prompt is None else prompt.ns(first, end)
                found.append(_Run(group, shape.name, shape.devices, end, pace.ns(first, end), prompt_ns))
        return found


def _best(reached: dict[Counts, list[_Label]]) -> Iterator[tuple[Counts, list[_Label]]]:
    """For each count of devices the rows that no other of no more devices is as good as."""
    fronts: dict[Counts, list[_Label]] = {}
    for counts in sorted(reached):
        # Those with most devices first: they are the quickest, so the first is often as good.
        others = [
            label
            for fewer, known in reversed(fronts.items())
            if all(few <= many for few, many in zip(fewer, counts, strict=True))
            for label in known
        ]
        kept: list[_Label] = []
        for label in sorted(reached[counts], key=lambda label: label[:5]):
            if not any(known.serves(label) for known in kept) and not any(known.serves(label) for known in others):
                kept.append(label)
        fronts[counts] = kept
        yield counts, kept


def most(question: Question, choices: tuple[Option, ...]) -> dict[Counts, int]:
    """Most millitokens/s that these options give together on at most so many devices, for every count of them."""
    best: dict[Counts, int] = {}
    for counts in product(*(range(group.devices + 1) for group in question.groups)):
        best[counts] = max(
            (
                option.rate_millitokens_per_second
                + best[tuple(have - took for have, took in zip(counts, option.counts, strict=True))]
                for option in choices
                if all(took <= have for took, have in zip(option.counts, counts, strict=True))
            ),
            default=0,
        )
    return best


def exhausted(question: Question, objective: Objective) -> int | None:
    """Bound the value of every answer by trying all; None when no answer keeps the limits.  Raises TooLarge.

    Exact but for the packing of shapes into nodes and the limit of moves, which can only make answers worse.
    """
    return best_of(question, objective, options(question))


def best_of(question: Question, objective: Objective, choices: tuple[Option, ...]) -> int | None:
    """Find the best value that these options give together; None when they do not meet the demand."""
    demand = max(1, question.limits.demand_millitokens_per_second)
    everything = tuple(group.devices for group in question.groups)
    best = most(question, choices)
    if best[everything] < demand:
        return None
    match objective:
        case Objective.GOODPUT:
            return best[everything]
        case Objective.COST | Objective.DEVICES:
            spend = [group.cost_per_hour if objective is Objective.COST else 1 for group in question.groups]
            return min(
                sum(each * count for each, count in zip(spend, counts, strict=True))
                for counts, rate in best.items()
                if rate >= demand
            )
        case Objective.TPOT:
            return _least(question, choices, sorted({option.tpot_ns for option in choices}), objective)
        case Objective.TTFT:
            return _least(question, choices, sorted({option.ttft_ns for option in choices}), objective)


def _least(question: Question, choices: tuple[Option, ...], times: list[int], objective: Objective) -> int:
    """Least of these times at which the options that keep it meet the demand; the last one does."""
    demand = max(1, question.limits.demand_millitokens_per_second)
    everything = tuple(group.devices for group in question.groups)
    low, high = 0, len(times) - 1
    while low < high:
        middle = (low + high) // 2
        kept = tuple(o for o in choices if (o.tpot_ns if objective is Objective.TPOT else o.ttft_ns) <= times[middle])
        if most(question, kept)[everything] >= demand:
            high = middle
        else:
            low = middle + 1
    return times[low]
