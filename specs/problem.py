"""The planner's only input, validated as a whole."""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import attrs

from specs import fields
from specs.blobs import Blob
from specs.cluster import Cluster, PlaceId, PlaceKind
from specs.drafting import length_question
from specs.errors import InvalidProblem
from specs.llm import Llm, LlmId
from specs.plan import Pipeline
from specs.profile import Profile
from specs.units import Tokens
from specs.wishes import Objective, Service, Standby
from specs.workload import Slo, Workload


@attrs.frozen(kw_only=True)
class Holding:
    """At the start, this place holds these tensors of this LLM: all of them, unless a run is named."""

    llm: LlmId = fields.name()
    place: PlaceId = fields.name()
    first_tensor: int = fields.natural(default=0)
    end_tensor: int | None = None  # exclusive; absent: to the last

    @property
    def whole(self) -> bool:
        """Whether no run is named: every tensor is there."""
        return self.first_tensor == 0 and self.end_tensor is None

    def has(self, blob: Blob) -> bool:
        """Whether all tensors of a blob are in the run."""
        inside = self.first_tensor <= blob.first_tensor
        return self.llm == blob.llm and inside and (self.end_tensor is None or blob.end_tensor <= self.end_tensor)


@attrs.frozen(kw_only=True)
class Running:
    """A pipeline that is open at the start: it serves until a switch of the plan closes it, or to the end.

    The load is that of the moment at which the state was taken; predictions use it, no rule depends on it.
    """

    pipeline: Pipeline
    live_requests: int = fields.natural()
    live_tokens: Tokens = fields.natural()  # of their contexts, all together
    slots: int | None = fields.optional_positive()  # that it has now; absent: all of the pipeline's

    @property
    def slots_now(self) -> int:
        """How many slots it has now."""
        return self.pipeline.slots if self.slots is None else self.slots


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
    services: tuple[Service, ...] = ()  # at most one per LLM
    standbys: tuple[Standby, ...] = ()  # at most one per LLM
    running: tuple[Running, ...] = ()

    def __attrs_post_init__(self) -> None:
        faults = (
            *_cluster_faults(self.cluster),
            *_llm_faults(self),
            *_demand_faults(self),
            *_wish_faults(self),
            *_running_faults(self),
        )
        if faults:
            raise InvalidProblem("; ".join(faults))

    @property
    def wished(self) -> frozenset[LlmId]:
        """The LLMs that somebody wants at the end: targets, services and standbys."""
        targets = {target.llm for target in self.targets}
        return frozenset(targets | {each.llm for each in self.services} | {each.llm for each in self.standbys})

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
    yield from _repeated("drafting of", (drafting.llm for drafting in problem.profile.draftings))
    yield from _drafting_faults(problem)
    if {llm.id for llm in problem.llms} != {workload.llm for workload in problem.workloads}:
        yield "LLMs and workloads must name the same LLMs"
    yield from _slo_faults(problem)
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


def _slo_faults(problem: Problem) -> Iterator[str]:
    for slo in problem.slos:
        if slo.llm not in {llm.id for llm in problem.llms}:
            yield f"an SLO names LLM {slo.llm}, which is not described"
        if not 1 <= slo.percentile <= 99:
            yield f"the SLO of {slo.llm} is at percentile {slo.percentile}; it must be from 1 to 99"
        if slo.pause_ns_max is not None and slo.pause_ns_max < 1:
            yield f"the SLO of {slo.llm} allows a pause of {slo.pause_ns_max} ns; at least 1 is meant"


def _drafting_faults(problem: Problem) -> Iterator[str]:
    slos = {slo.llm: slo for slo in problem.slos}
    for drafting in problem.profile.draftings:
        if drafting.llm not in {llm.id for llm in problem.llms}:
            yield f"a drafting names LLM {drafting.llm}, which is not described"
        try:
            length_question(drafting, slos.get(drafting.llm))
        except InvalidProblem as error:
            yield f"the drafting of {drafting.llm}: {error}"


def _demand_faults(problem: Problem) -> Iterator[str]:
    kinds = {place.id: place.kind for place in problem.cluster.places}
    llms = {llm.id for llm in problem.llms}
    yield from _holding_faults(problem)
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
    for llm_id in sorted(problem.wished & llms):
        if missing := _held_nowhere(problem, llm_id):
            everything = len(missing) == len(problem.llm(llm_id).tensors)
            part = "" if everything else f" in part: nothing holds its tensor {missing[0]}"
            yield f"LLM {llm_id} is wanted but held nowhere{part}"


def _wish_faults(problem: Problem) -> Iterator[str]:
    """Services and standbys name known LLMs once and memories that can do it."""
    kinds = {place.id: place.kind for place in problem.cluster.places}
    llms = {llm.id for llm in problem.llms}
    yield from _repeated("service of", (each.llm for each in problem.services))
    yield from _repeated("standby of", (each.llm for each in problem.standbys))
    wishes: list[tuple[str, Service | Standby]] = [("service", each) for each in problem.services]
    wishes += [("standby", each) for each in problem.standbys]
    for what, wish in wishes:
        if wish.llm not in llms:
            yield f"a {what} names LLM {wish.llm}, which is not described"
        if not wish.places:
            yield f"the {what} of {wish.llm} may use no place"
        yield from _repeated(f"place of the {what} of {wish.llm}", wish.places)
        for place in wish.places:
            if kinds.get(place) in (None, PlaceKind.SWITCH):
                yield f"the {what} of {wish.llm} may use {place}, which is not a memory of the cluster"
            elif what == "service" and kinds[place] is not PlaceKind.DEVICE:
                yield f"the service of {wish.llm} may use {place}, which computes nothing"
    yield from _service_faults(problem)


def _service_faults(problem: Problem) -> Iterator[str]:
    """Devices serve one wish only; an LLM is a service or has targets; what is to cost least has prices."""
    taken = {target.place: f"a target of {target.llm}" for target in problem.targets}
    targets = {target.llm for target in problem.targets}
    unpriced = {kind.name for kind in problem.cluster.device_kinds if kind.microdollars_per_hour == 0}
    kind_of = {place.id: place.device for place in problem.cluster.places}
    for service in problem.services:
        if service.llm in targets:
            yield f"{service.llm} is wanted at targets and as a service; one of the two is meant"
        if service.moves_max is not None and service.moves_max < 0:
            yield f"the service of {service.llm} may load {service.moves_max} units; 0 or more are meant"
        for place in service.places:
            if place in taken:
                yield f"the service of {service.llm} may use {place}, which is {taken[place]}"
            taken.setdefault(place, f"of the service of {service.llm}")
        if service.objective is Objective.COST:
            for kind in sorted({str(kind_of.get(place)) for place in service.places} & unpriced):
                yield f"the service of {service.llm} is to cost least, and {kind} has no price"


def _running_faults(problem: Problem) -> Iterator[str]:
    """What runs at the start has a name of its own, an LLM and devices; rules of plans say whether it can run."""
    kinds = {place.id: place.kind for place in problem.cluster.places}
    llms = {llm.id: llm for llm in problem.llms}
    yield from _repeated("running pipeline", (each.pipeline.id for each in problem.running))
    for running in problem.running:
        pipeline = running.pipeline
        if running.slots_now > pipeline.slots:
            yield f"running pipeline {pipeline.id} has {running.slots} slots, and room for {pipeline.slots} at most"
        if pipeline.llm not in llms:
            yield f"running pipeline {pipeline.id} serves LLM {pipeline.llm}, which is not described"
            continue
        units = len(llms[pipeline.llm].units)
        if not pipeline.stages:
            yield f"running pipeline {pipeline.id} has no stages"
        for stage in pipeline.stages:
            if kinds.get(stage.place) is not PlaceKind.DEVICE:
                yield f"running pipeline {pipeline.id} computes at {stage.place}, which is not a device of the cluster"
            if not stage.first_unit < stage.end_unit <= units:
                yield (
                    f"running pipeline {pipeline.id} computes units {stage.first_unit} to {stage.end_unit} (exclusive) "
                    f"of {pipeline.llm}, which has {units}"
                )


def _holding_faults(problem: Problem) -> Iterator[str]:
    """Runs of one LLM at one place are disjoint and inside the LLM."""
    tensors = {llm.id: len(llm.tensors) for llm in problem.llms}
    runs: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for held in problem.holdings:
        end = tensors.get(held.llm, 0) if held.end_tensor is None else held.end_tensor
        if held.llm in tensors and not held.first_tensor < end <= tensors[held.llm]:
            count = tensors[held.llm]
            yield f"a holding names tensors {held.first_tensor} to {end} (exclusive) of {held.llm}, which has {count}"
        runs.setdefault((held.llm, held.place), []).append((held.first_tensor, end))
    for (llm, place), found in runs.items():
        for (_, end), (first, _) in pairwise(sorted(found)):
            if first < end:
                yield f"holding of {llm} at {place} is given twice"


def _held_nowhere(problem: Problem, llm_id: LlmId) -> list[int]:
    count = len(problem.llm(llm_id).tensors)
    held: set[int] = set()
    for holding in problem.holdings:
        if holding.llm == llm_id:
            held.update(range(holding.first_tensor, count if holding.end_tensor is None else holding.end_tensor))
    return [tensor for tensor in range(count) if tensor not in held]
