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


@attrs.frozen(kw_only=True)
class _Label:
    """A row of stages up to some border."""

    counts: Counts
    sum_ns: int
    max_ns: int
    prompt_sum_ns: int
    prompt_max_ns: int
    stages: tuple[Stage, ...]

    @property
    def key(self) -> tuple[int, ...]:
        """What must not be larger for a row to be at least as good, its devices being the same."""
        return (self.sum_ns, self.max_ns, self.prompt_sum_ns, self.prompt_max_ns, len(self.stages))


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
            for label in _rows(question, batch, in_flight):
                replica = Replica(stages=label.stages, batch=batch, in_flight=in_flight, weight=1)
                option = Option(
                    counts=label.counts,
                    rate_millitokens_per_second=values.rate_millitokens_per_second(question, replica),
                    tpot_ns=values.tpot_ns(question, replica),
                    ttft_ns=0 if question.prompt is None else values.ttft_ns(question, replica),
                    replica=replica,
                )
                if _allowed(question, option):
                    _keep(found.setdefault(label.counts, []), option)
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


def _rows(question: Question, batch: int, in_flight: int) -> Iterator[_Label]:
    """Every row of stages that no other with the same devices beats in all times and in depth."""
    empty = _Label(counts=(0,) * len(question.groups), sum_ns=0, max_ns=0, prompt_sum_ns=0, prompt_max_ns=0, stages=())
    open_rows: list[dict[tuple[str, Counts], list[_Label]]] = [{} for _ in range(question.units + 1)]
    open_rows[0]["", empty.counts] = [empty]
    for first in range(question.units):
        for labels in open_rows[first].values():
            for label in labels:
                for longer in _extended(question, label, first, batch, in_flight):
                    end = longer.stages[-1].end_unit
                    group = question.shape[longer.stages[-1].shape].group if end < question.units else ""
                    kept = open_rows[end].setdefault((group, longer.counts), [])
                    if not any(all(a <= b for a, b in zip(k.key, longer.key, strict=True)) for k in kept):
                        kept.append(longer)
    for labels in open_rows[question.units].values():
        yield from labels


def _extended(question: Question, label: _Label, first: int, batch: int, in_flight: int) -> Iterator[_Label]:
    """A row with one more stage from `first` on, of every shape and length that fits."""
    if len(label.stages) == question.limits.depth:
        return
    before = question.shape[label.stages[-1].shape].group if label.stages else None
    for shape in question.shapes:
        pace = question.pace.get((shape.name, batch))
        prompt = question.prompt_pace.get(shape.name)
        hop = None if before is None else question.hop.get((before, shape.group))
        if pace is None or (question.prompt is not None and prompt is None) or (before is not None and hop is None):
            continue
        index = [group.name for group in question.groups].index(shape.group)
        used = label.counts[index] + shape.devices
        if used > question.groups[index].devices:
            continue
        hop_ns = 0 if hop is None else hop.ns(batch)
        prompt_hop_ns = 0 if hop is None or prompt is None else hop.ns(prompt.batch)
        for end in range(first + 1, question.units + 1):
            stage = Stage(shape=shape.name, devices=tuple(range(shape.devices)), first_unit=first, end_unit=end)
            replica = Replica(stages=(stage,), batch=batch, in_flight=in_flight, weight=1)
            if values.stage_bytes(question, replica, stage) > question.groups[index].memory_bytes:
                break
            own, prompt_own = pace.ns(first, end), 0 if prompt is None else prompt.ns(first, end)
            yield _Label(
                counts=(*label.counts[:index], used, *label.counts[index + 1 :]),
                sum_ns=label.sum_ns + hop_ns + own,
                max_ns=max(label.max_ns, hop_ns, own),
                prompt_sum_ns=label.prompt_sum_ns + prompt_hop_ns + prompt_own,
                prompt_max_ns=max(label.prompt_max_ns, prompt_hop_ns, prompt_own),
                stages=(*label.stages, stage),
            )


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
    choices = options(question)
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
