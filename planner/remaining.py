"""From a plan that is under way to the problem that is left: what is resident is held, who is gone is gone.

A place holds what it holds now of every LLM that the plan knew, and what the description says of other LLMs and of
nodes that are new.  Runs of neighbouring blobs are one holding, so that the next plan, which keeps the cut, has each
blob held just where it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise

import attrs

from planner.errors import BadPlan
from planner.outcome import Conflict, Infeasible
from specs.blobs import Blob, BlobId
from specs.cluster import Cluster, NodeId, PlaceId
from specs.llm import Llm, LlmId
from specs.plan import Plan
from specs.problem import Holding, Problem, Target
from specs.wishes import Service, Standby

_PLACES_NAMED = 4


Held = Mapping[tuple[LlmId, PlaceId], AbstractSet[BlobId]]


@attrs.frozen(kw_only=True)
class Interrupted:
    """A plan, its problem, and what places hold of its blobs now."""

    problem: Problem
    plan: Plan
    held: Held


def left(
    before: Interrupted, wanted: Problem, *, gone: AbstractSet[NodeId], fresh: AbstractSet[NodeId]
) -> Problem | Infeasible:
    """Give the problem that is left of what is wanted; nodes in `fresh` hold what it says, those in `gone` are no more.

    Nodes that the plan did not know are fresh as well.  Infeasible where no copy is left of something that is wanted.
    Raises BadPlan when an LLM is not what it was.
    """
    _same_llms(before.problem, wanted)
    cluster = without(wanted.cluster, gone)
    places = {place.id for place in cluster.places}
    new = fresh | ({node.id for node in wanted.cluster.nodes} - {node.id for node in before.problem.cluster.nodes})
    parts = attrs.evolve(Wishes.of(wanted, places), holdings=tuple(_holdings(wanted, cluster, before, new)))
    if conflicts := tuple(_no_copies(wanted, parts, before)):
        return Infeasible(conflicts=conflicts)
    return attrs.evolve(
        wanted,
        cluster=cluster,
        holdings=parts.holdings,
        targets=parts.targets,
        services=parts.services,
        standbys=parts.standbys,
    )


@attrs.frozen(kw_only=True)
class Wishes:
    """What is held and wanted in a part of a cluster."""

    targets: tuple[Target, ...]
    services: tuple[Service, ...]
    standbys: tuple[Standby, ...]
    holdings: tuple[Holding, ...] = ()

    @classmethod
    def of(cls, problem: Problem, places: AbstractSet[PlaceId]) -> "Wishes":
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


def without(cluster: Cluster, gone: AbstractSet[NodeId]) -> Cluster:
    """Take nodes out, with their places and the links to these."""
    places = tuple(place for place in cluster.places if place.node not in gone)
    names = {place.id for place in places}
    return attrs.evolve(
        cluster,
        nodes=tuple(node for node in cluster.nodes if node.id not in gone),
        places=places,
        links=tuple(link for link in cluster.links if link.source in names and link.destination in names),
    )


def _holdings(wanted: Problem, cluster: Cluster, before: Interrupted, fresh: AbstractSet[NodeId]) -> Iterator[Holding]:
    """Write what is held as runs of tensors, place by place; neighbouring blobs are one run."""
    described: dict[PlaceId, list[Holding]] = {}
    for holding in wanted.holdings:
        described.setdefault(holding.place, []).append(holding)
    known = {llm for llm, _ in before.held} | {blob.llm for blob in before.plan.blobs}
    for place in cluster.places:
        here = described.get(place.id, [])
        if place.node in fresh:
            yield from here
            continue
        for llm in wanted.llms:
            if llm.id in known:
                mine = before.held.get((llm.id, place.id), frozenset())
                yield from runs_of(llm, place.id, [blob for blob in before.plan.blobs if blob.id in mine])
            else:
                yield from (holding for holding in here if holding.llm == llm.id)


def runs_of(llm: Llm, place: PlaceId, blobs: Sequence[Blob]) -> Iterator[Holding]:
    """Write blobs of one LLM at one place as holdings: neighbours are one run."""
    runs: list[tuple[int, int]] = []
    for blob in sorted(blobs, key=lambda blob: blob.first_tensor):
        if runs and runs[-1][1] == blob.first_tensor:
            runs[-1] = runs[-1][0], blob.end_tensor
        else:
            runs.append((blob.first_tensor, blob.end_tensor))
    for first, end in runs:
        yield Holding(llm=llm.id, place=place, first_tensor=first, end_tensor=None if end == len(llm.tensors) else end)


def _no_copies(wanted: Problem, parts: Wishes, before: Interrupted) -> Iterator[Conflict]:
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
                yield _no_copy(llm.id, first, end, before)


def _no_copy(llm: LlmId, first: int, end: int, before: Interrupted) -> Conflict:
    gone = {blob.id for blob in before.plan.blobs if blob.llm == llm and first <= blob.first_tensor < end}
    places = [place for (of, place), has in before.held.items() if of == llm and has & gone]
    named = ", ".join(places[:_PLACES_NAMED]) + (
        f" and {len(places) - _PLACES_NAMED} others" * (len(places) > _PLACES_NAMED)
    )
    sentence = f"no copy of its tensors {first} to {end} (exclusive) is left; " + (
        f"they were at {named}" if places else "nobody is known to have held them"
    )
    return Conflict(rule="LAST", where=llm, sentence=sentence)
