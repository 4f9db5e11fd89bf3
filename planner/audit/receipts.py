"""What has become of each step of a plan, by the journals of the nodes that carried it out."""

from collections.abc import Iterable, Iterator

import attrs

from specs import journal
from specs.invariants.facts import Facts
from specs.journal import Record
from specs.plan import Activate, PipelineId, Release, Resize, StepId, Switch, Transfer
from specs.protocols.nouns import Ending
from specs.units import Nanos


@attrs.frozen(kw_only=True)
class Receipt:
    """One step: what it is, how far it is, and what is known of it."""

    step: StepId
    kind: str  # "transfer", "activate", "resize", "switch" or "release"
    what: str
    state: str  # "done", "under way", "failed", "never" or "to come"
    node: str | None  # that wrote the record
    at_unix_ns: Nanos | None  # of the record, by that node's clock
    detail: str = ""


def receipts(facts: Facts, records: Iterable[Record]) -> tuple[Receipt, ...]:
    """Give a receipt of every step, in the plan's order, from the records of all nodes in any order."""
    mine = [each for each in records if each.generation == facts.plan.generation]
    found = _Found(sorted(mine, key=lambda each: (each.at_unix_ns, each.node, each.sequence)))
    return tuple(_receipts(facts, found))


class _Found:
    """Records by what they speak of; of those of one kind about one thing, the last."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.of_step: dict[tuple[type, StepId], Record] = {}
        self.of_pipeline: dict[tuple[type, PipelineId], Record] = {}
        self.built: dict[PipelineId, set[str]] = {}
        for each in records:
            step, pipeline = getattr(each.what, "step", None), getattr(each.what, "pipeline", None)
            if step is not None:
                self.of_step[type(each.what), step] = each
            if pipeline is not None:
                self.of_pipeline[type(each.what), pipeline] = each
            if isinstance(each.what, journal.StageBuilt):
                self.built.setdefault(each.what.pipeline, set()).add(each.node)


def _receipts(facts: Facts, found: _Found) -> Iterator[Receipt]:
    hops = {hop.transfer.id: hop for hop in facts.hops}
    for step in facts.plan.steps:
        match step:
            case Transfer():
                hop = hops[step.id]
                yield _transfer(step, f"{step.blob} from {hop.source} to {hop.destination}", found)
            case Activate():
                nodes = {facts.places[stage.place].node for stage in facts.pipelines[step.pipeline].stages}
                yield _activation(step, len(nodes), found)
            case Resize():
                what = f"{step.pipeline} has {step.slots:,} slots"
                yield _written("resize", step.id, what, found.of_step.get((journal.Resized, step.id)))
            case Switch():
                yield _switch(step, found)
            case Release():
                what = f"{step.blob} at {step.place} is given up"
                yield _written("release", step.id, what, found.of_step.get((journal.Released, step.id)))


def _written(kind: str, step: StepId, what: str, record: Record | None, detail: str = "") -> Receipt:
    """Tell of a step that is done once there is a record of it."""
    return _receipt(kind, step, what, "to come" if record is None else "done", record, detail)


def _receipt(kind: str, step: StepId, what: str, state: str, record: Record | None, detail: str = "") -> Receipt:
    node, at = (None, None) if record is None else (record.node, record.at_unix_ns)
    return Receipt(step=step, kind=kind, what=what, state=state, node=node, at_unix_ns=at, detail=detail)


def _transfer(step: Transfer, what: str, found: _Found) -> Receipt:
    ended = found.of_step.get((journal.TransferEnded, step.id))
    if ended is not None and isinstance(ended.what, journal.TransferEnded):
        took = f"{ended.what.bytes:,} bytes in {ended.what.elapsed_ns / 1e6:,.1f} ms"
        detoured = found.of_step.get((journal.TransferDetoured, step.id))
        if detoured is not None and isinstance(detoured.what, journal.TransferDetoured):
            took += f"; in the end as a stream: {detoured.what.reason}"
        return _written("transfer", step.id, what, ended, took)
    started = found.of_step.get((journal.TransferStarted, step.id))
    failed = found.of_step.get((journal.TransferFailed, step.id))
    if failed is not None and (started is None or started.at_unix_ns <= failed.at_unix_ns):
        assert isinstance(failed.what, journal.TransferFailed)
        return _receipt("transfer", step.id, what, "failed", failed, failed.what.reason)
    return _receipt("transfer", step.id, what, "to come" if started is None else "under way", started)


def _activation(step: Activate, nodes: int, found: _Found) -> Receipt:
    pipeline, what = step.pipeline, f"{step.pipeline} opens"
    opened = found.of_pipeline.get((journal.Opened, pipeline))
    if opened is not None:
        return _written("activate", step.id, what, opened)
    closed = found.of_pipeline.get((journal.Closed, pipeline))
    failed = found.of_pipeline.get((journal.StageFailed, pipeline))
    if closed is not None and isinstance(closed.what, journal.Closed):
        why = f"closed before: {closed.what.ending.value}"
        if failed is not None and isinstance(failed.what, journal.StageFailed):
            why += f"; {failed.node}: {failed.what.reason}"
        return _receipt("activate", step.id, what, "never", closed, why)
    built = len(found.built.get(pipeline, ()))
    record = found.of_pipeline.get((journal.Proved, pipeline), found.of_pipeline.get((journal.StageBuilt, pipeline)))
    detail = f"built on {built:,} of {nodes:,} nodes" if built else ""
    return _receipt("activate", step.id, what, "under way" if built else "to come", record, detail)


def _switch(step: Switch, found: _Found) -> Receipt:
    what = f"{step.old} gives way to {step.new} ({step.continuity.value})"
    closed = found.of_pipeline.get((journal.Closed, step.old))
    if closed is None or not isinstance(closed.what, journal.Closed):
        return _receipt("switch", step.id, what, "to come", None)
    if closed.what.ending is not Ending.SUPERSEDED:
        return _receipt("switch", step.id, what, "never", closed, f"closed: {closed.what.ending.value}")
    detail = "" if closed.what.successor == step.new else f"to {closed.what.successor}"
    handed = found.of_pipeline.get((journal.HandedOver, step.old))
    if handed is not None and isinstance(handed.what, journal.HandedOver):
        of = handed.what
        detail = (
            f"{of.copied:,} requests with their KV in {of.rounds:,} rounds, {of.bytes:,} bytes, "
            f"{of.recomputed:,} to compute again, halted {of.halted_ns / 1e6:,.1f} ms"
        )
    return _written("switch", step.id, what, closed, detail)
