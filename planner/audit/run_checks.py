"""Checks of the run as a whole: whole journals of this plan, nothing foreign, nobody lost, nothing lacking."""

from collections import defaultdict
from collections.abc import Iterator

from planner.audit.findings import Case, Check, Differs, Note, Remark
from planner.audit.journals import NodeJournal
from planner.audit.trace import Entry, records_of
from specs.cluster import NodeId
from specs.journal import (
    Adopted,
    BlobHeld,
    Closed,
    FirstToken,
    Lacks,
    Opened,
    PeerLost,
    Proved,
    Refused,
    Released,
    StageBuilt,
    StageFailed,
    StageFreed,
    TransferEnded,
    TransferFailed,
    TransferSent,
    TransferStarted,
)
from specs.plan import PipelineId, Release, StepId


def _nodes(case: Case) -> list[NodeId]:
    """Nodes that carry out plans: those with an address; all, where no node has one."""
    nodes = case.facts.problem.cluster.nodes
    return [node.id for node in nodes if node.address is not None] or [node.id for node in nodes]


def _whole_journals(case: Case) -> Iterator[Remark]:
    plan = case.facts.plan
    of_node: dict[NodeId, list[NodeJournal]] = defaultdict(list)
    others: list[NodeJournal] = []
    for journal in case.journals:
        yield from _gaps(journal)
        if any(records_of(journal, case.digest, plan.generation)):
            of_node[journal.node].append(journal)
        else:
            others.append(journal)
    for journal in others:
        if journal.node in of_node:
            yield Note(journal.node, f"{journal.file} is of another run and was passed over")
        else:
            yield Differs(journal.node, f"{journal.file} {_other(journal, case)}")
    for node in _nodes(case):
        if node not in of_node and all(journal.node != node for journal in others):
            yield Differs(node, "there is no journal of this node")
        elif len(of_node.get(node, ())) > 1:
            files = ", ".join(journal.file for journal in of_node[node])
            yield Differs(node, f"it has {len(of_node[node])} journals of this plan: {files}")


def _gaps(journal: NodeJournal) -> Iterator[Remark]:
    for line, record in enumerate(journal.records, start=1):
        if record.sequence != line - 1:
            yield Differs(journal.node, f"{journal.file}: record {line - 1} is missing; {record.sequence} follows")
            return


def _other(journal: NodeJournal, case: Case) -> str:
    plan = case.facts.plan
    adopted = [(record.what.plan, record.generation) for record in journal.records if isinstance(record.what, Adopted)]
    if not adopted:
        return f"never adopted a plan; this one is {case.digest[:12]}, generation {plan.generation}"
    digest, generation = adopted[-1]
    return (
        f"is of plan {digest[:12]}, generation {generation}; "
        f"this one is {case.digest[:12]}, generation {plan.generation}"
    )


def _foreign(case: Case) -> Iterator[Remark]:
    """Everything that was recorded is in the plan, and was done by the node that the plan has do it."""
    ends = {hop.transfer.id: (hop.source_node, hop.destination_node) for hop in case.hops}
    releases = {step.id: step for step in case.facts.plan.steps if isinstance(step, Release)}
    members = {pipeline.id: case.members(pipeline) for pipeline in case.ever_open}
    copies = case.facts.held_at_start | {(hop.transfer.blob, hop.destination) for hop in case.hops}
    for entry in case.trace.entries:
        match entry.what:
            case TransferStarted(step=step) | TransferSent(step=step):
                fits = step in ends and ends[step][0] == entry.node
            case TransferEnded(step=step):
                fits = step in ends and ends[step][1] == entry.node
            case TransferFailed(step=step):
                fits = entry.node in ends.get(step, ())
            case Released(step=step):
                fits = step in releases and case.facts.places[releases[step].place].node == entry.node
            case BlobHeld(blob=blob, place=place) | Lacks(blob=blob, place=place):
                fits = (blob, place) in copies and case.facts.places[place].node == entry.node
            case StageBuilt(pipeline=pipeline) | StageFailed(pipeline=pipeline) | StageFreed(pipeline=pipeline):
                fits = entry.node in members.get(pipeline, ())
            case Proved(pipeline=pipeline) | Opened(pipeline=pipeline) | Closed(pipeline=pipeline):
                fits = pipeline in members and members[pipeline][0] == entry.node
            case FirstToken(pipeline=pipeline):
                fits = pipeline in members
            case _:
                fits = True
        if not fits:
            yield Differs(entry.node, f"record {entry.order}: {_kind(entry)} is not in the plan for this node")


def _kind(entry: Entry) -> str:
    subject: StepId | PipelineId | str = ""
    for name in ("step", "pipeline", "blob"):
        subject = getattr(entry.what, name, subject)
    return f"{type(entry.what).__name__} {subject}"


def _adopted_once(case: Case) -> Iterator[Remark]:
    for journal in case.journals:
        mine = [record for _, record in records_of(journal, case.digest, case.facts.plan.generation)]
        times = sum(isinstance(record.what, Adopted) for record in mine)
        if times > 1:
            yield Differs(journal.node, f"it adopted the plan {times} times")
        for record in mine:
            if isinstance(record.what, Refused):
                yield Note(journal.node, f"it refused another plan meanwhile: {record.what.reason}")


def _lost(case: Case) -> Iterator[Remark]:
    for entry in case.trace.entries:
        if isinstance(entry.what, PeerLost):
            yield Differs(entry.what.node, f"{entry.node} counts it as lost: {entry.what.reason}")


def _lacking(case: Case) -> Iterator[Remark]:
    for entry in case.trace.entries:
        if isinstance(entry.what, Lacks):
            lost = case.lost.get(entry.what.because)
            cause = f"{entry.what.because}{'' if lost is None else f', which was lost ({lost})'}"
            yield Differs(entry.what.place, f"it never gets {entry.what.blob} because of {cause}")


def _count_nodes(case: Case) -> int:
    return len(_nodes(case))


def _count_records(case: Case) -> int:
    return len(case.trace.entries)


def _count_copies(case: Case) -> int:
    return len({(hop.transfer.blob, hop.destination) for hop in case.hops})


FIRST_CHECKS = (
    Check(
        id="JOURNALS",
        sentence="every node has one whole journal of this plan",
        examined=_count_nodes,
        run=_whole_journals,
    ),
    Check(id="ADOPTED", sentence="every node adopted the plan once", examined=_count_nodes, run=_adopted_once),
)
LAST_CHECKS = (
    Check(
        id="NOTHING-ELSE", sentence="nothing happened that is not in the plan", examined=_count_records, run=_foreign
    ),
    Check(id="PEERS", sentence="no node was counted as lost", examined=_count_nodes, run=_lost),
    Check(id="LACKS", sentence="no promised copy is lacking", examined=_count_copies, run=_lacking),
)
