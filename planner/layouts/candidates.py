"""Pipelines worth choosing from: rows that the pricing met, with borders evened out and the best number in flight."""

from bisect import bisect_right

import attrs

from specs.decisions.layout import values
from specs.decisions.layout.answer import Replica, Stage
from specs.decisions.layout.bounds import Found
from specs.decisions.layout.exhausted import Counts, Option
from specs.decisions.layout.question import Pace, Question

Borders = tuple[int, ...]


def option_of(question: Question, replica: Replica) -> Option | None:
    """Describe a pipeline by what matters for the choice; None when it breaks a limit."""
    limits = question.limits
    if len(replica.stages) > limits.depth or replica.in_flight > limits.in_flight:
        return None
    if limits.slots is not None and replica.slots > limits.slots:
        return None
    for stage in replica.stages:
        memory = question.group[question.shape[stage.shape].group].memory_bytes
        if values.stage_bytes(question, replica, stage) > memory:
            return None
    tpot, rate = values.tpot_ns(question, replica), values.rate_millitokens_per_second(question, replica)
    ttft = 0 if question.prompt is None else values.ttft_ns(question, replica)
    if tpot > limits.tpot_ns or rate == 0 or (limits.ttft_ns is not None and ttft > limits.ttft_ns):
        return None
    index = {group.name: place for place, group in enumerate(question.groups)}
    counts = [0] * len(index)
    for stage in replica.stages:
        counts[index[question.shape[stage.shape].group]] += len(stage.devices)
    if any(count > group.devices for count, group in zip(counts, question.groups, strict=True)):
        return None
    return Option(counts=tuple(counts), rate_millitokens_per_second=rate, tpot_ns=tpot, ttft_ns=ttft, replica=replica)


def even(question: Question, shapes: tuple[str, ...], batch: int, in_flight: int) -> Replica | None:
    """Give this row of shapes the borders with the least longest stage, by bisection over its time.

    For times of which a longer run is never shorter.  None when memory does not allow any borders,
    or TPOT none for so many batches in flight.
    """
    if any((shape, batch) not in question.pace for shape in shapes):
        return None
    tokens = batch * in_flight * question.context_tokens
    needs = [weight + kv * tokens for weight, kv in zip(question.weight_sums, question.kv_sums, strict=True)]
    places = [(question.pace[shape, batch], _room(question, shape, batch)) for shape in shapes]
    low, high = 0, question.limits.tpot_ns // in_flight
    best = _borders(places, needs, high)
    if best is None:
        return None
    while high - low > high >> 10:
        middle = (low + high) // 2
        borders = _borders(places, needs, middle)
        if borders is None:
            low = middle + 1
        else:
            best, high = borders, middle
    return _replica(question, shapes, best, batch, in_flight)


def _room(question: Question, shape: str, batch: int) -> int:
    """Bytes of weights and KV for which the devices of a stage have room."""
    workspace = question.pace[shape, batch].workspace_bytes
    if question.prompt is not None:
        workspace = max(workspace, question.prompt_pace[shape].workspace_bytes)
    form = question.shape[shape]
    return (question.group[form.group].memory_bytes - workspace) * form.devices


def _replica(question: Question, shapes: tuple[str, ...], borders: Borders, batch: int, in_flight: int) -> Replica:
    stages = tuple(
        Stage(shape=name, devices=tuple(range(question.shape[name].devices)), first_unit=first, end_unit=end)
        for name, first, end in zip(shapes, (0, *borders), borders, strict=False)
    )
    return Replica(stages=stages, batch=batch, in_flight=in_flight, weight=1)


def _borders(places: list[tuple[Pace, int]], needs: list[int], stage_ns: int) -> Borders | None:
    """Give each stage in turn as many units as memory and time allow, and leave at least one for each that follows."""
    borders = []
    first, units = 0, len(needs) - 1
    for number, (pace, room) in enumerate(places):
        end = min(
            units - (len(places) - 1 - number),
            bisect_right(needs, needs[first] + room) - 1,
            _furthest(pace, first, stage_ns),
        )
        if end <= first:
            return None
        borders.append(end)
        first = end
    return tuple(borders) if first == units else None


def _furthest(pace: Pace, first: int, stage_ns: int) -> int:
    """Find the last border that a run reaches from here in so much time."""
    if pace.run_ns:
        return first + bisect_right(pace.run_ns[first], stage_ns)
    return min(bisect_right(sums, sums[first] + stage_ns) - 1 for sums in pace.sums)


@attrs.define
class Pool:
    """The best pipeline met so far for each count of devices and each batch and number in flight."""

    question: Question
    best: dict[tuple[Counts, int], Option] = attrs.field(factory=dict, init=False)
    _tried: set[tuple[tuple[str, ...], int, int]] = attrs.field(factory=set, init=False)

    def add(self, found: Found) -> None:
        """Keep a row, and evened out with some more and some fewer batches in flight."""
        shapes = tuple(name for name, _, _ in found.row.stages)
        borders = tuple(end for _, _, end in found.row.stages)
        self.keep(_replica(self.question, shapes, borders, found.batch, found.in_flight))
        for in_flight in range(max(1, found.in_flight - 1), found.in_flight + 2):
            key = (shapes, found.batch, in_flight)
            if key in self._tried or len(shapes) > self.question.limits.depth:
                continue
            self._tried.add(key)
            replica = even(self.question, shapes, found.batch, in_flight)
            if replica is not None:
                self.keep(replica)

    def keep(self, replica: Replica) -> int:
        """Keep a pipeline if it is the best of its kind; say what it gives, or 0 when it breaks a limit."""
        option = option_of(self.question, replica)
        if option is None:
            return 0
        key = (option.counts, 0)
        known = self.best.get(key)
        if known is None or option.rate_millitokens_per_second > known.rate_millitokens_per_second:
            self.best[key] = option
        return option.rate_millitokens_per_second

    @property
    def options(self) -> list[Option]:
        """What to choose from, in a fixed order."""
        return [self.best[key] for key in sorted(self.best)]
