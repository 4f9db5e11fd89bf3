"""The planner's only input, validated as a whole."""

from collections.abc import Iterable, Iterator

import attrs

from specs import fields
from specs.cluster import Cluster, PlaceId, PlaceKind
from specs.errors import InvalidProblem
from specs.llm import Llm, LlmId
from specs.profile import Profile
from specs.workload import Slo, Workload


@attrs.frozen(kw_only=True)
class Holding:
    """At the start, this place holds every tensor of this LLM."""

    llm: LlmId = fields.name()
    place: PlaceId = fields.name()


@attrs.frozen(kw_only=True)
class Target:
    """At the end, this device must hold this LLM and serve it by itself."""

    llm: LlmId = fields.name()
    place: PlaceId = fields.name()


@attrs.frozen(kw_only=True)
class Problem:
    """Cluster, LLMs, workloads, SLOs and profile; what is held now and what is wanted.

    Raises InvalidProblem, with every fault in its message, when the parts contradict each other.
    """

    name: str = fields.name()
    cluster: Cluster
    llms: tuple[Llm, ...]
    workloads: tuple[Workload, ...]  # exactly one per LLM
    slos: tuple[Slo, ...]  # at most one per LLM
    profile: Profile
    holdings: tuple[Holding, ...]
    targets: tuple[Target, ...]

    def __attrs_post_init__(self) -> None:
        faults = (*_cluster_faults(self.cluster), *_llm_faults(self), *_demand_faults(self))
        if faults:
            raise InvalidProblem("; ".join(faults))

    def llm(self, llm_id: LlmId) -> Llm:
        """Find an LLM by its id."""
        return next(llm for llm in self.llms if llm.id == llm_id)

    def workload(self, llm_id: LlmId) -> Workload:
        """Find the workload of an LLM."""
        return next(workload for workload in self.workloads if workload.llm == llm_id)


def _repeated(what: str, ids: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for each in ids:
        if each in seen:
            yield f"{what} {each} is given twice"
        seen.add(each)


def _cluster_faults(cluster: Cluster) -> Iterator[str]:
    kinds = {kind.name for kind in cluster.device_kinds}
    nodes = {node.id for node in cluster.nodes}
    places = {place.id for place in cluster.places}
    yield from _repeated("device kind", (kind.name for kind in cluster.device_kinds))
    yield from _repeated("node", (node.id for node in cluster.nodes))
    yield from _repeated("place", (place.id for place in cluster.places))
    yield from _repeated("link", (link.id for link in cluster.links))
    for place in cluster.places:
        if place.node is not None and place.node not in nodes:
            yield f"place {place.id} is on node {place.node}, which is not in the cluster"
        if (place.kind is PlaceKind.DEVICE) != (place.device is not None):
            yield f"place {place.id} is a {place.kind}: exactly devices have a device kind"
        if place.kind is PlaceKind.DEVICE and place.node is None:
            yield f"device {place.id} is on no node"
        if place.device is not None and place.device not in kinds:
            yield f"place {place.id} has device kind {place.device}, which is not described"
        if (place.kind is PlaceKind.SWITCH) != (place.memory_bytes == 0):
            yield f"place {place.id} is a {place.kind} with {place.memory_bytes} bytes: exactly switches have none"
    for link in cluster.links:
        if link.source == link.destination:
            yield f"link {link.id} leads from {link.source} to itself"
        for end in (link.source, link.destination):
            if end not in places:
                yield f"link {link.id} ends at {end}, which is not a place of the cluster"


def _llm_faults(problem: Problem) -> Iterator[str]:
    yield from _repeated("LLM", (llm.id for llm in problem.llms))
    yield from _repeated("workload of", (workload.llm for workload in problem.workloads))
    yield from _repeated("SLO of", (slo.llm for slo in problem.slos))
    if {llm.id for llm in problem.llms} != {workload.llm for workload in problem.workloads}:
        yield "LLMs and workloads must name the same LLMs"
    for slo in problem.slos:
        if slo.llm not in {llm.id for llm in problem.llms}:
            yield f"an SLO names LLM {slo.llm}, which is not described"
        if not 1 <= slo.percentile <= 99:
            yield f"the SLO of {slo.llm} is at percentile {slo.percentile}; it must be from 1 to 99"
    for llm in problem.llms:
        yield from _repeated(f"tensor of {llm.id}", (tensor.name for tensor in llm.tensors))
        used = {index for unit in llm.units for index in unit.tensors}
        if llm.layers < 1:
            yield f"LLM {llm.id} has no layers"
        if used != set(range(len(llm.tensors))):
            yield f"LLM {llm.id}: its units must need each of its {len(llm.tensors)} tensors, and no other"
    for workload in problem.workloads:
        if workload.request_tokens_max < 2:
            yield f"requests of {workload.llm} have at most 1 token, which leaves none for the answer"
        for llm in problem.llms:
            if llm.id == workload.llm and workload.request_tokens_max > llm.context_tokens:
                found = workload.request_tokens_max
                yield f"requests of {llm.id} have up to {found} tokens, its context holds {llm.context_tokens}"


def _demand_faults(problem: Problem) -> Iterator[str]:
    kinds = {place.id: place.kind for place in problem.cluster.places}
    llms = {llm.id for llm in problem.llms}
    yield from _repeated("holding", (f"of {held.llm} at {held.place}" for held in problem.holdings))
    yield from _repeated("target", (f"of {target.llm} at {target.place}" for target in problem.targets))
    wishes: list[tuple[str, Holding | Target]] = [("holding", held) for held in problem.holdings]
    wishes += [("target", target) for target in problem.targets]
    for what, wish in wishes:
        if wish.llm not in llms:
            yield f"a {what} names LLM {wish.llm}, which is not described"
        if wish.place not in kinds:
            yield f"a {what} names place {wish.place}, which is not in the cluster"
        elif kinds[wish.place] is PlaceKind.SWITCH:
            yield f"a {what} names place {wish.place}, a switch, which has no memory"
        elif what == "target" and kinds[wish.place] is not PlaceKind.DEVICE:
            yield f"a target names place {wish.place}, which computes nothing"
    held = {holding.llm for holding in problem.holdings}
    for llm_id in sorted({target.llm for target in problem.targets} - held):
        yield f"LLM {llm_id} is wanted but held nowhere"
