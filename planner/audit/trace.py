"""The records of a run, indexed by what they speak of."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import attrs

from planner.audit.journals import NodeJournal
from specs.blobs import BlobId
from specs.cluster import NodeId, PlaceId
from specs.journal import (
    Adopted,
    BlobHeld,
    Closed,
    Opened,
    Proved,
    Record,
    Released,
    StageBuilt,
    StageFailed,
    StageFreed,
    TransferEnded,
    TransferFailed,
    TransferSent,
    TransferStarted,
    What,
)
from specs.plan import PipelineId, StepId


@attrs.frozen(kw_only=True)
class Entry:
    """A record with its place in the order of its node's records."""

    node: NodeId
    order: int
    at_unix_ns: int
    what: What


@attrs.frozen
class Trace:
    """Everything that the nodes wrote under one plan.  Entries of one node are in its order."""

    nodes: frozenset[NodeId]  # those with a journal of this plan
    entries: tuple[Entry, ...]
    of_step: dict[tuple[type[What], StepId], list[Entry]]
    of_pipeline: dict[tuple[type[What], PipelineId], list[Entry]]
    held: dict[tuple[BlobId, PlaceId], list[Entry]]

    def steps(self, kind: type[What], step: StepId) -> Sequence[Entry]:
        """Records of this kind about a step."""
        return self.of_step.get((kind, step), ())

    def pipelines(self, kind: type[What], pipeline: PipelineId) -> Sequence[Entry]:
        """Records of this kind about a pipeline."""
        return self.of_pipeline.get((kind, pipeline), ())


def make_trace(journals: Sequence[NodeJournal], plan: str, generation: int) -> Trace:
    """Index the records that were written under the plan of this digest and generation."""
    entries = tuple(
        Entry(node=record.node, order=order, at_unix_ns=record.at_unix_ns, what=record.what)
        for journal in journals
        for order, record in records_of(journal, plan, generation)
    )
    of_step: dict[tuple[type[What], StepId], list[Entry]] = defaultdict(list)
    of_pipeline: dict[tuple[type[What], PipelineId], list[Entry]] = defaultdict(list)
    held: dict[tuple[BlobId, PlaceId], list[Entry]] = defaultdict(list)
    for entry in entries:
        match entry.what:
            case (
                TransferStarted(step=step)
                | TransferSent(step=step)
                | TransferEnded(step=step)
                | TransferFailed(step=step)
                | Released(step=step)
            ):
                of_step[type(entry.what), step].append(entry)
            case (
                StageBuilt(pipeline=pipeline)
                | StageFailed(pipeline=pipeline)
                | StageFreed(pipeline=pipeline)
                | Proved(pipeline=pipeline)
                | Opened(pipeline=pipeline)
                | Closed(pipeline=pipeline)
            ):
                of_pipeline[type(entry.what), pipeline].append(entry)
            case BlobHeld(blob=blob, place=place):
                held[blob, place].append(entry)
    return Trace(
        nodes=frozenset(entry.node for entry in entries),
        entries=entries,
        of_step=dict(of_step),
        of_pipeline=dict(of_pipeline),
        held=dict(held),
    )


def records_of(journal: NodeJournal, plan: str, generation: int) -> Iterator[tuple[int, Record]]:
    """Give the records from the adoption of this plan until the adoption of another."""
    under = False
    for order, record in enumerate(journal.records):
        if isinstance(record.what, Adopted):
            under = record.what.plan == plan and record.generation == generation
        if under and record.generation == generation:
            yield order, record
