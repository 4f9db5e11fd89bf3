"""From a plan that stopped half-way to the problem that is left: what has arrived is held, who is lost is gone.

The repaired plan is then the plan of that problem, with the old plan as its parent: it keeps the parent's cut, so that
whatever has arrived is a blob of both, and sends nothing of it again.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise

import attrs

from planner.audit.journals import NodeJournal
from planner.errors import BadJournal, BadPlan
from planner.outcome import Conflict, Infeasible
from specs import codec
from specs.blobs import Blob, BlobId
from specs.cluster import Cluster, NodeId, PlaceId
from specs.journal import Adopted, BlobHeld, PeerLost, Record, Released
from specs.llm import LlmId
from specs.plan import Plan, Release
from specs.problem import Holding, Problem, Target
from specs.wishes import Service, Standby

Records = Mapping[NodeId, Sequence[Record]]  # of each node, since it adopted the plan

_PLACES_NAMED = 4


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
    base = wanted or problem
    _same_llms(problem, base)
    gone = (lost | lost_by(records_by_node, lost).keys()) - back
    cluster = _without(base.cluster, gone)
    places = {place.id for place in cluster.places}
    held = _held(problem, plan, records_by_node)
    fresh = back | ({node.id for node in base.cluster.nodes} - {node.id for node in problem.cluster.nodes})
    parts = attrs.evolve(
        _Wishes.of(base, places),
        holdings=tuple(_holdings(base, cluster, plan, held, fresh)),
    )
    if conflicts := tuple(_no_copies(base, parts, plan, held)):
        return Infeasible(conflicts=conflicts)
    return attrs.evolve(
        base,
        cluster=cluster,
        holdings=parts.holdings,
        targets=parts.targets,
        services=parts.services,
        standbys=parts.standbys,
    )


Held = Mapping[tuple[LlmId, PlaceId], AbstractSet[BlobId]]


@attrs.frozen(kw_only=True)
class _Wishes:
    """What is held and wanted in a part of a cluster."""

    targets: tuple[Target, ...]
    services: tuple[Service, ...]
    standbys: tuple[Standby, ...]
    holdings: tuple[Holding, ...] = ()

    @classmethod
    def of(cls, problem: Problem, places: AbstractSet[PlaceId]) -> "_Wishes":
        """Keep what is wanted at these places; a wish that may use none of them goes."""
        services = [
            attrs.evolve(each, places=tuple(filter(places.__contains__, each.places))) for each in problem.services
        ]
        standbys = [
            attrs.evolve(each, places=tuple(filter(places.__contains__, each.places))) for each in problem.standbys
        ]
        return cls(
            targets=tuple(target for target in problem.targets if target.place in places),
            services=tuple(each for each in services if each.places),
            standbys=tuple(each for each in standbys if each.places),
        )

    @property
    def llms(self) -> set[LlmId]:
        """Name the LLMs that are wanted."""
        named = [target.llm for target in self.targets] + [service.llm for service in self.services]
        return {*named, *(standby.llm for standby in self.standbys)}


def _same_llms(problem: Problem, wanted: Problem) -> None:
    old = {llm.id: llm for llm in problem.llms}
    for llm in wanted.llms:
        if old.get(llm.id, llm) != llm:
            raise BadPlan(f"LLM {llm.id} is not what it was under the plan; what has arrived of it is of no use")


def _without(cluster: Cluster, gone: AbstractSet[NodeId]) -> Cluster:
    """Take nodes out, with their places and the links to these."""
    places = tuple(place for place in cluster.places if place.node not in gone)
    names = {place.id for place in places}
    return attrs.evolve(
        cluster,
        nodes=tuple(node for node in cluster.nodes if node.id not in gone),
        places=places,
        links=tuple(link for link in cluster.links if link.source in names and link.destination in names),
    )


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


def _holdings(
    wanted: Problem, cluster: Cluster, plan: Plan, held: Held, fresh: AbstractSet[NodeId]
) -> Iterator[Holding]:
    """Write what is held as runs of tensors, place by place; neighbouring blobs are one run."""
    described: dict[PlaceId, list[Holding]] = {}
    for holding in wanted.holdings:
        described.setdefault(holding.place, []).append(holding)
    known = {llm for llm, _ in held} | {blob.llm for blob in plan.blobs}
    for place in cluster.places:
        here = described.get(place.id, [])
        if place.node in fresh:
            yield from here
            continue
        for llm in wanted.llms:
            if llm.id in known:
                mine = held.get((llm.id, place.id), frozenset())
                runs = _runs([blob for blob in plan.blobs if blob.id in mine]) if mine else ()
                for first, end in runs:
                    whole = end == len(llm.tensors)
                    yield Holding(llm=llm.id, place=place.id, first_tensor=first, end_tensor=None if whole else end)
            else:
                yield from (holding for holding in here if holding.llm == llm.id)


def _runs(blobs: Sequence[Blob]) -> list[tuple[int, int]]:
    """Join blobs to runs of tensors, first and (exclusive) end."""
    runs: list[tuple[int, int]] = []
    for blob in sorted(blobs, key=lambda blob: blob.first_tensor):
        if runs and runs[-1][1] == blob.first_tensor:
            runs[-1] = runs[-1][0], blob.end_tensor
        else:
            runs.append((blob.first_tensor, blob.end_tensor))
    return runs


def _no_copies(wanted: Problem, parts: _Wishes, plan: Plan, held: Held) -> Iterator[Conflict]:
    """LAST.  Say of what is wanted which tensors nobody holds any more, and where they were."""
    for llm in wanted.llms:
        if llm.id not in parts.llms:
            continue
        count = len(llm.tensors)
        covered = [False] * count
        for holding in parts.holdings:
            if holding.llm == llm.id:
                end = count if holding.end_tensor is None else holding.end_tensor
                covered[holding.first_tensor : end] = [True] * (end - holding.first_tensor)
        borders = [index for index in range(count) if index == 0 or covered[index] != covered[index - 1]]
        for first, end in pairwise([*borders, count]):
            if not covered[first]:
                yield _no_copy(llm.id, first, end, plan, held)


def _no_copy(llm: LlmId, first: int, end: int, plan: Plan, held: Held) -> Conflict:
    gone = {blob.id for blob in plan.blobs if blob.llm == llm and first <= blob.first_tensor < end}
    places = [place for (of, place), has in held.items() if of == llm and has & gone]
    named = ", ".join(places[:_PLACES_NAMED]) + (
        f" and {len(places) - _PLACES_NAMED} others" * (len(places) > _PLACES_NAMED)
    )
    sentence = f"no copy of its tensors {first} to {end} (exclusive) is left; " + (
        f"they were at {named}" if places else "nobody is known to have held them"
    )
    return Conflict(rule="LAST", where=llm, sentence=sentence)
