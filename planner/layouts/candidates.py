"""Pipelines worth choosing from: rows that the pricing met, with borders evened out and the best number in flight."""

import attrs

from specs.decisions.layout import values
from specs.decisions.layout.answer import Replica, Stage
from specs.decisions.layout.bounds import Found
from specs.decisions.layout.exhausted import Counts, Option
from specs.decisions.layout.question import Question

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

    For times of which a longer run is never shorter.  None when memory does not allow any borders.
    """
    low, high = 0, int(question.limits.tpot_ns)
    best = _borders(question, shapes, batch, in_flight, high)
    if best is None:
        return None
    while low < high:
        middle = (low + high) // 2
        borders = _borders(question, shapes, batch, in_flight, middle)
        if borders is None:
            low = middle + 1
        else:
            best, high = borders, middle
        if high - low <= high >> 10:
            break
    return _replica(question, shapes, best, batch, in_flight)


def _replica(question: Question, shapes: tuple[str, ...], borders: Borders, batch: int, in_flight: int) -> Replica:
    stages = tuple(
        Stage(shape=name, devices=tuple(range(question.shape[name].devices)), first_unit=first, end_unit=end)
        for name, first, end in zip(shapes, (0, *borders), borders, strict=False)
    )
    return Replica(stages=stages, batch=batch, in_flight=in_flight, weight=1)


def _borders(question: Question, shapes: tuple[str, ...], batch: int, in_flight: int, stage_ns: int) -> Borders | None:
    """Give each stage in turn as many units as memory and time allow, and leave at least one for each that follows."""
    borders = []
    first = 0
    tokens = batch * in_flight * question.context_tokens
    for number, shape in enumerate(shapes):
        pace = question.pace.get((shape, batch))
        if pace is None:
            return None
        group = question.group[question.shape[shape].group]
        workspace = pace.workspace_bytes
        if question.prompt is not None:
            workspace = max(workspace, question.prompt_pace[shape].workspace_bytes)
        room = (group.memory_bytes - workspace) * question.shape[shape].devices
        base = question.weight_sums[first] + question.kv_sums[first] * tokens
        low, high = first, question.units - (len(shapes) - 1 - number)
        while low < high:
            end = (low + high + 1) // 2
            needs = question.weight_sums[end] + question.kv_sums[end] * tokens - base
            if needs <= room and pace.ns(first, end) <= stage_ns:
                low = end
            else:
                high = end - 1
        if low == first:
            return None
        borders.append(low)
        first = low
    return tuple(borders) if first == question.units else None


@attrs.define
class Pool:
    """The best pipeline met so far for each count of devices and each batch and number in flight."""

    question: Question
    best: dict[tuple[Counts, int], Option] = attrs.field(factory=dict, init=False)
    _tried: set[tuple[tuple[str, ...], int, int]] = attrs.field(factory=set, init=False)

    def add(self, found: Found) -> None:
        """Even out a row and keep it, with some more and some fewer batches in flight."""
        shapes = tuple(name for name, _, _ in found.row.stages)
        for in_flight in range(max(1, found.in_flight - 1), found.in_flight + 2):
            key = (shapes, found.batch, in_flight)
            if key in self._tried or len(shapes) > self.question.limits.depth:
                continue
            self._tried.add(key)
            replica = even(self.question, shapes, found.batch, in_flight)
            if replica is not None:
                self.keep(replica)

    def keep(self, replica: Replica) -> None:
        """Keep a pipeline if it is the best of its kind."""
        option = option_of(self.question, replica)
        if option is None:
            return
        key = (option.counts, 0)
        known = self.best.get(key)
        if known is None or option.rate_millitokens_per_second > known.rate_millitokens_per_second:
            self.best[key] = option

    @property
    def options(self) -> list[Option]:
        """What to choose from, in a fixed order."""
        return [self.best[key] for key in sorted(self.best)]
