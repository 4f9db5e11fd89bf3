"""From a plan that stopped half-way to the problem that is left: what has arrived is held, who is lost is gone.

The repaired plan is then the plan of that problem, with the old plan as its parent: it keeps the parent's cut, so that
whatever has arrived is a blob of both, and sends nothing of it again.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from planner.audit.journals import NodeJournal
from planner.errors import BadJournal
from planner.outcome import Infeasible
from planner.remaining import Held, Interrupted, left
from specs import codec
from specs.blobs import BlobId
from specs.cluster import NodeId, PlaceId
from specs.journal import Adopted, BlobHeld, PeerLost, Record, Released
from specs.llm import LlmId
from specs.plan import Plan, Release
from specs.problem import Problem

Records = Mapping[NodeId, Sequence[Record]]  # of each node, since it adopted the plan


def records_of_run(journals: Sequence[NodeJournal], problem: Problem, plan: Plan) -> dict[NodeId, tuple[Record, ...]]:
    """Take from journals what each node wrote since it last adopted this plan.

    Raises BadJournal for a journal of another plan or of an unknown node, and where a node has gone on to another plan
    or was started again: what it holds now is then not known from this one.
    """
    known = {node.id for node in problem.cluster.nodes}
    lives: dict[NodeId, list[NodeJournal]] = {}
    for journal in sorted(journals, key=lambda each: each.records[0].at_unix_ns):
        if journal.node not in known:
            raise BadJournal(f"{journal.file}: of node {journal.node}, which is not in cluster {problem.cluster.name}")
        lives.setdefault(journal.node, []).append(journal)
    return {node: _since_adoption(of_node, plan) for node, of_node in lives.items()}


def _since_adoption(lives: Sequence[NodeJournal], plan: Plan) -> tuple[Record, ...]:
    digest, newest = codec.digest(plan), lives[-1]
    adoptions = [
        (index, record.what.plan) for index, record in enumerate(newest.records) if isinstance(record.what, Adopted)
    ]
    if adoptions and adoptions[-1][1] == digest:
        return newest.records[adoptions[-1][0] :]
    ours = f"{digest[:12]}, generation {plan.generation}"
    if adoptions:
        raise BadJournal(f"{newest.file}: {newest.node} carries out plan {adoptions[-1][1][:12]}, not {ours}")
    started = "was started again and has" if len(lives) > 1 else "has"
    raise BadJournal(
        f"{newest.file}: {newest.node} {started} not adopted plan {ours}; leave its journal out, or name it with --back"
    )


def lost_by(records: Records, lost: AbstractSet[NodeId]) -> dict[NodeId, tuple[NodeId, ...]]:
    """Name the nodes that others count as lost, each with those who do; the word of one in `lost` does not count."""
    found: dict[NodeId, dict[NodeId, None]] = {}
    for node, of_node in records.items():
        for record in of_node if node not in lost else ():
            if isinstance(record.what, PeerLost):
                found.setdefault(record.what.node, {})[node] = None
    return {node: tuple(found[node]) for node in sorted(found)}


def repair(
    problem: Problem,
    plan: Plan,
    records_by_node: Records,
    lost: AbstractSet[NodeId] = frozenset(),
    *,
    back: AbstractSet[NodeId] = frozenset(),
    wanted: Problem | None = None,
) -> Problem | Infeasible:
    """Give the problem that is left when a plan for `problem` stopped with these records; the plan keeps rule REF.

    A place holds what it held at the start and what arrived, less what it released.  Of a node without records only
    what it surely still has is counted.  A node in `lost`, or that another counts as lost, leaves the cluster with its
    places, links and targets.  One in `back` has come back, empty: it holds what `wanted` says.  `wanted` is the
    problem of now, with other nodes or targets perhaps; absent: the same as before.  Infeasible where no copy is left
    of something that is wanted.  Raises BadJournal for records that are not of this plan, BadPlan when an LLM is not
    what it was.
    """
    gone = (lost | lost_by(records_by_node, lost).keys()) - back
    before = Interrupted(problem=problem, plan=plan, held=_held(problem, plan, records_by_node))
    return left(before, wanted or problem, gone=gone, fresh=back)


def _held(problem: Problem, plan: Plan, records_by_node: Records) -> Held:
    """Work out what every place held in the end, lost ones included as far as it is known."""
    blobs = {blob.id: blob for blob in plan.blobs}
    node_of = {place.id: place.node for place in problem.cluster.places}
    releases = {step.id: step for step in plan.steps if isinstance(step, Release)}
    held: dict[tuple[LlmId, PlaceId], set[BlobId]] = {}
    for holding in problem.holdings:
        has = {blob.id for blob in plan.blobs if holding.has(blob)}
        held.setdefault((holding.llm, holding.place), set()).update(has)
    for release in releases.values():
        if node_of[release.place] not in records_by_node:  # it may have been released
            held.get((blobs[release.blob].llm, release.place), set()).discard(release.blob)
    for node, records in records_by_node.items():
        for record in records:
            match record.what:
                case BlobHeld(blob=blob, place=place):
                    if blob not in blobs or node_of.get(place) != node:
                        raise BadJournal(
                            f"journal of {node}: {blob} held at {place}: the plan knows no such thing there"
                        )
                    held.setdefault((blobs[blob].llm, place), set()).add(blob)
                case Released(step=step):
                    if step not in releases or node_of[releases[step].place] != node:
                        raise BadJournal(f"journal of {node}: step {step} of the plan releases nothing there")
                    release = releases[step]
                    held.get((blobs[release.blob].llm, release.place), set()).discard(release.blob)
    return held
