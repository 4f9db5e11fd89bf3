"""What a run shows: every gap between two tokens of a request, and how long it may be.

A gap is bounded by three terms.  One decode iteration, as clients see it: the median gap while nothing is changed.  The
pause that the plan promises beyond an iteration, for gaps that touch a change.  And what this machine adds, whose few
cores run daemons, clients and the operator's commands: the largest gap of this very run while nothing is changed, times
`MACHINE`, for a change computes and moves besides.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import attrs

from examples.demo.load import Answer
from examples.demo_move.changing import Change
from examples.demo_move.serving import Served
from examples.demo_move.watch import stages_of
from specs.cluster import NodeId
from specs.journal import Closed, HandedOver, Record, What

MACHINE = 2
_FATES = ("copy", "recompute", "drain")


@attrs.frozen(kw_only=True)
class Gap:
    """Between two tokens of one request; instants are ns since the start."""

    request: int
    begin_ns: int
    end_ns: int

    @property
    def ns(self) -> int:
        """How long it is."""
        return self.end_ns - self.begin_ns

    def touches(self, begin_ns: int, end_ns: int) -> bool:
        """Whether some of it is in this time."""
        return self.begin_ns <= end_ns and begin_ns <= self.end_ns


@attrs.frozen(kw_only=True)
class Spread:
    """Of some gaps."""

    p50_ns: int
    p99_ns: int
    largest_ns: int

    @classmethod
    def of(cls, lengths: Sequence[int]) -> "Spread":
        """Sort them; of none, zeros."""
        found = sorted(lengths) or [0]
        return cls(p50_ns=_at(found, 50), p99_ns=_at(found, 99), largest_ns=found[-1])


@attrs.frozen(kw_only=True)
class Changed:
    """One change as it went; instants are ns since the start."""

    number: int
    name: str
    says: str
    generation: int
    begin_ns: int
    end_ns: int
    opened: tuple[str, ...]  # pipelines, by their stages
    closed: tuple[str, ...]  # pipelines, by what became of their requests
    closes_ns: tuple[int, ...]  # when they closed
    moved_bytes: int
    lasts_ns: int  # predicted
    copied: int  # requests that went on from their KV, as the leaders' receipts say
    again: int  # computed again: by the receipts, and where that was planned those that ran when the state was taken
    drained: int  # finished first: those that ran when the state was taken
    halted_ns: int | None  # longest time that a leader formed no iterations for a hand-over; None: there was none
    promised_ns: int  # the pause, beyond an iteration; 0: none
    across_ns: int | None  # largest gap across the close of a pipeline; None: none closed while requests ran
    before: Spread  # of gaps in the calm before
    during: Spread
    bound_ns: int


@attrs.frozen(kw_only=True)
class Findings:
    """All of it."""

    seconds: float
    requests: int
    answered: int
    equal: int  # requests whose tokens are the oracle's
    gaps: tuple[Gap, ...]
    calm: Spread  # of gaps while nothing was changed
    changes: tuple[Changed, ...]
    beyond: tuple[Gap, ...]  # gaps that are longer than their bound

    @property
    def is_good(self) -> bool:
        """Whether every request was answered with the oracle's tokens and no gap was longer than its bound."""
        return self.requests == self.answered == self.equal and not self.beyond


def find(served: Served, expected: Sequence[Sequence[str]]) -> Findings:
    """Put together what happened."""
    start = served.calm_unix_ns
    gaps = tuple(gap for gap in gaps_of(served.answers, start) if gap.begin_ns >= 0)
    spans = [(each.put_unix_ns - start, each.settled_unix_ns - start) for each in served.changes]
    calm_gaps = [gap for gap in gaps if not any(gap.touches(*span) for span in spans)]
    calm = Spread.of([gap.ns for gap in calm_gaps])
    changes = []
    before_ns = 0
    for number, (change, span) in enumerate(zip(served.changes, spans, strict=True), start=1):
        noted = [(record.at_unix_ns - start, record.what) for record in _of(served.journals, change.generation)]
        changes.append(_changed(number, change, span, gaps, noted, calm, before_ns))
        before_ns = span[1]
    bound = {id(gap): _bound_of(gap, changes, calm) for gap in gaps}
    return Findings(
        seconds=max((gap.end_ns for gap in gaps), default=0) / 1e9,
        requests=len(served.answers),
        answered=sum(answer.finish is not None for answer in served.answers),
        equal=sum(answer.equals(expected) for answer in served.answers),
        gaps=gaps,
        calm=calm,
        changes=tuple(changes),
        beyond=tuple(gap for gap in gaps if gap.ns > bound[id(gap)]),
    )


def gaps_of(answers: Sequence[Answer], start_unix_ns: int) -> Iterator[Gap]:
    """Every gap, request by request."""
    for number, answer in enumerate(answers):
        for before, after in pairwise(answer.named_unix_ns):
            yield Gap(request=number, begin_ns=before - start_unix_ns, end_ns=after - start_unix_ns)


def bound_of(calm: Spread, promised_ns: int) -> int:
    """How long a gap may be where this pause is promised."""
    return calm.p50_ns + promised_ns + MACHINE * calm.largest_ns


def _bound_of(gap: Gap, changes: Sequence[Changed], calm: Spread) -> int:
    promised = (each.promised_ns for each in changes if gap.touches(each.begin_ns, each.end_ns))
    return bound_of(calm, max(promised, default=0))


def _changed(
    number: int,
    change: Change,
    span: tuple[int, int],
    gaps: Sequence[Gap],
    noted: Sequence[tuple[int, What]],
    calm: Spread,
    before_ns: int,
) -> Changed:
    begin_ns, end_ns = span
    seen = change.difference["seen"]
    promised_ns = max((each["pause_ns"] for each in seen if each["fate"] in _FATES), default=0)
    closes_ns = sorted({at_ns for at_ns, what in noted if isinstance(what, Closed)})
    across = [gap.ns for gap in gaps if any(gap.touches(at, at) for at in closes_ns)]
    receipts = [what for _, what in noted if isinstance(what, HandedOver)]
    return Changed(
        number=number,
        name=change.wish.name,
        says=change.wish.says,
        generation=change.generation,
        begin_ns=begin_ns,
        end_ns=end_ns,
        opened=tuple(stages_of(pipeline) for pipeline in change.verified.plan.pipelines),
        closed=tuple(f"{each['pipeline']}: {each['fate']}" for each in seen if each["fate"] in _FATES),
        closes_ns=tuple(closes_ns),
        moved_bytes=sum(each["bytes"] for each in change.difference["moved"]),
        lasts_ns=change.difference["lasts_ns"],
        copied=sum(each.copied for each in receipts),
        again=sum(each.recomputed for each in receipts) + _planned(seen, "recompute"),
        drained=_planned(seen, "drain"),
        halted_ns=max((each.halted_ns for each in receipts), default=None),
        promised_ns=promised_ns,
        across_ns=max(across, default=None),
        before=Spread.of([gap.ns for gap in gaps if before_ns <= gap.begin_ns and gap.end_ns <= begin_ns]),
        during=Spread.of([gap.ns for gap in gaps if gap.touches(begin_ns, end_ns)]),
        bound_ns=bound_of(calm, promised_ns),
    )


def _planned(seen: Sequence[Mapping[str, Any]], fate: str) -> int:
    """Count the requests for which this was planned, when the state was taken."""
    return sum(each["requests"] for each in seen if each["fate"] == fate)


def _of(journals: Mapping[NodeId, tuple[Record, ...]], generation: int) -> Iterator[Record]:
    """What the nodes noted under a plan."""
    return (record for records in journals.values() for record in records if record.generation == generation)


def _at(lengths: Sequence[int], percent: int) -> int:
    """Give the percentile of sorted lengths: the least that so many in a hundred do not exceed."""
    return lengths[max(0, -(-len(lengths) * percent // 100) - 1)]
