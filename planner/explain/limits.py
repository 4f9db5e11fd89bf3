"""The numbers of a problem that a person could change: memory, demand, promises, machines."""

from collections.abc import Callable
from typing import Any

import attrs

from planner.description.wording import say_duration
from specs.cluster import LinkId, NodeId, PlaceId
from specs.llm import LlmId
from specs.problem import Problem
from specs.units import Bytes
from specs.wishes import Service
from specs.workload import Slo, Workload

Set = Callable[[Problem, int], Problem]


@attrs.frozen(kw_only=True)
class Limit:
    """One number of one problem, and which way it loosens."""

    name: str
    allowed: int
    loosest: int  # above `allowed` where more is looser, below it where less is looser
    set_to: Set
    say: Callable[[int], str]


def memory_of(problem: Problem, place: PlaceId) -> Limit:
    """The memory of one place, in bytes."""
    allowed = next(each.memory_bytes for each in problem.cluster.places if each.id == place)

    def set_to(problem: Problem, amount: int) -> Problem:
        places = tuple(
            attrs.evolve(each, memory_bytes=Bytes(amount)) if each.id == place else each
            for each in problem.cluster.places
        )
        return attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, places=places))

    loosest = 1000 * max(allowed, sum(tensor.bytes for llm in problem.llms for tensor in llm.tensors))
    return Limit(name=f"memory of {place}", allowed=allowed, loosest=loosest, set_to=set_to, say=_bytes)


def live_requests_of(problem: Problem, llm: LlmId) -> Limit:
    """The requests that one pipeline of an LLM serves at once."""
    allowed = problem.workload(llm).live_requests_max
    return Limit(
        name=f"live requests of {llm}", allowed=allowed, loosest=1, set_to=_workload(llm, "live_requests_max"), say=str
    )


def longest_request_of(problem: Problem, llm: LlmId) -> Limit:
    """The tokens of the longest request of an LLM."""
    workload = problem.workload(llm)
    return Limit(
        name=f"longest request of {llm}",
        allowed=workload.request_tokens_max,
        loosest=min(workload.request_tokens_max, workload.prompt_tokens_mean + workload.output_tokens_mean),
        set_to=_workload(llm, "request_tokens_max"),
        say=lambda tokens: f"{tokens:,} tokens",
    )


def more_live_requests_of(problem: Problem, llm: LlmId, *, most: int = 64) -> Limit:
    """The requests that one pipeline of an LLM may serve at once, where more help; up to `most` times as many."""
    allowed = problem.workload(llm).live_requests_max
    return attrs.evolve(live_requests_of(problem, llm), loosest=most * allowed)


def percentile_of(problem: Problem, llm: LlmId) -> Limit | None:
    """The percentile at which an LLM's promises hold; None without a promise."""
    limit = _promise(problem, llm, "percentile", "percentile")
    return None if limit is None else attrs.evolve(limit, loosest=min(50, limit.allowed), say=str)


def requests_of(problem: Problem, llm: LlmId) -> Limit:
    """The requests that an LLM gets, per hour."""
    allowed = problem.workload(llm).requests_per_hour
    return Limit(
        name=f"requests of {llm}",
        allowed=allowed,
        loosest=min(1, allowed),
        set_to=_workload(llm, "requests_per_hour"),
        say=lambda requests: f"{requests:,} per hour",
    )


def ttft_of(problem: Problem, llm: LlmId) -> Limit | None:
    """The promised time to the first token of an LLM, in nanoseconds; None without a promise."""
    return _promise(problem, llm, "ttft_ns_max", "TTFT")


def tpot_of(problem: Problem, llm: LlmId) -> Limit | None:
    """The promised time per output token of an LLM, in nanoseconds; None without a promise."""
    return _promise(problem, llm, "tpot_ns_max", "TPOT")


def machines_like(node: NodeId, *, most: int = 1024) -> Limit:
    """How many machines like this one there are, itself counted; `most` more are tried."""
    return Limit(
        name=f"machines like {node}",
        allowed=1,
        loosest=1 + most,
        set_to=lambda problem, amount: with_copies(problem, node, amount - 1),
        say=str,
    )


def replicas_like(node: NodeId, *, most: int = 64) -> Limit:
    """How many machines like this one there are, itself counted, that serve what is wanted on it; `most` more."""

    def set_to(problem: Problem, amount: int) -> Problem:
        mine = {place.id for place in problem.cluster.places if place.node == node}
        more = [
            attrs.evolve(target, place=PlaceId(target.place.replace(f"{node}/", f"{node}+{copy}/", 1)))
            for copy in _copies(problem, node, amount - 1)
            for target in problem.targets
            if target.place in mine
        ]
        return attrs.evolve(with_copies(problem, node, amount - 1), targets=(*problem.targets, *more))

    limit = machines_like(node, most=most)
    return attrs.evolve(limit, name=f"machines like {node} that serve the same", set_to=set_to)


def machines_serving(problem: Problem, service: Service, node: NodeId, kind: str, *, most: int = 64) -> Limit:
    """How many machines like this one there are, itself counted, that a service may use; `most` more are tried."""
    kinds = {place.id: place.device for place in problem.cluster.places if place.node == node}
    mine = [place for place in service.places if place in kinds]
    count = sum(kinds[place] == kind for place in mine)

    def set_to(problem: Problem, amount: int) -> Problem:
        more = tuple(
            PlaceId(place.replace(f"{node}/", f"{node}+{copy}/", 1))
            for copy in _copies(problem, node, amount - 1)
            for place in mine
        )
        services = tuple(
            attrs.evolve(each, places=(*each.places, *more)) if each.llm == service.llm else each
            for each in problem.services
        )
        return attrs.evolve(with_copies(problem, node, amount - 1), services=services)

    return attrs.evolve(
        machines_like(node, most=most),
        name=f"machines like {node} that serve {service.llm}",
        set_to=set_to,
        say=lambda machines: f"{machines}, {(machines - 1) * count} {kind} more," if machines > 1 else "1",
    )


def memory_of_kind(problem: Problem, service: Service, kind: str) -> Limit:
    """The memory that each device of one kind has that a service may use: at least so many bytes."""
    mine = {place.id for place in problem.cluster.places if place.id in service.places and place.device == kind}
    sizes = [place.memory_bytes for place in problem.cluster.places if place.id in mine]

    def set_to(problem: Problem, amount: int) -> Problem:
        places = tuple(
            attrs.evolve(each, memory_bytes=Bytes(max(each.memory_bytes, amount))) if each.id in mine else each
            for each in problem.cluster.places
        )
        return attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, places=places))

    loosest = 1000 * max(*sizes, sum(tensor.bytes for llm in problem.llms for tensor in llm.tensors))
    name = f"memory of each {kind} of {service.llm}"
    return Limit(name=name, allowed=min(sizes), loosest=loosest, set_to=set_to, say=_bytes)


def depth_of(service: Service) -> Limit:
    """The stages that a pipeline of a service may have."""

    def set_to(problem: Problem, amount: int) -> Problem:
        services = tuple(
            attrs.evolve(each, depth_max=amount) if each.llm == service.llm else each for each in problem.services
        )
        return attrs.evolve(problem, services=services)

    return Limit(
        name=f"depth of {service.llm}",
        allowed=service.depth_max,
        loosest=max(service.depth_max, len(service.places)),
        set_to=set_to,
        say=lambda stages: f"{stages} stages",
    )


def with_copies(problem: Problem, node: NodeId, count: int) -> Problem:
    """Add `count` machines with the same places and links as this one."""
    cluster = problem.cluster
    (like,) = (each for each in cluster.nodes if each.id == node)
    mine = [place for place in cluster.places if place.node == node]
    names = {place.id for place in mine}
    links = [link for link in cluster.links if link.source in names or link.destination in names]

    def renamed(name: str, copy: int) -> str:
        return name.replace(f"{node}/", f"{node}+{copy}/")

    def named(place: PlaceId, copy: int) -> PlaceId:
        return PlaceId(renamed(place, copy)) if place in names else place

    copies = _copies(problem, node, count)
    return attrs.evolve(
        problem,
        cluster=attrs.evolve(
            cluster,
            nodes=(*cluster.nodes, *(attrs.evolve(like, id=NodeId(f"{node}+{copy}"), address=None) for copy in copies)),
            places=(
                *cluster.places,
                *(
                    attrs.evolve(place, id=named(place.id, copy), node=NodeId(f"{node}+{copy}"))
                    for copy in copies
                    for place in mine
                ),
            ),
            links=(
                *cluster.links,
                *(
                    attrs.evolve(
                        link,
                        id=LinkId(f"{link.id}+{copy}"),
                        source=named(link.source, copy),
                        destination=named(link.destination, copy),
                    )
                    for copy in copies
                    for link in links
                ),
            ),
        ),
    )


def _copies(problem: Problem, node: NodeId, count: int) -> range:
    """Number copies of a machine after those that are there."""
    names = {each.id for each in problem.cluster.nodes}
    first = 1
    while NodeId(f"{node}+{first}") in names:
        first += 1
    return range(first, first + count)


def _bytes(size: int) -> str:
    return f"{size:,} bytes"


def _promise(problem: Problem, llm: LlmId, attribute: str, name: str) -> Limit | None:
    found: list[Slo] = [slo for slo in problem.slos if slo.llm == llm]
    if not found:
        return None
    allowed: int = getattr(found[0], attribute)

    def set_to(problem: Problem, amount: int) -> Problem:
        change: dict[str, Any] = {attribute: amount}
        slos = tuple(attrs.evolve(slo, **change) if slo.llm == llm else slo for slo in problem.slos)
        return attrs.evolve(problem, slos=slos)

    return Limit(name=f"{name} of {llm}", allowed=allowed, loosest=10**6 * allowed, set_to=set_to, say=say_duration)


def _workload(llm: LlmId, attribute: str) -> Set:
    def set_to(problem: Problem, amount: int) -> Problem:
        change: dict[str, Any] = {attribute: amount}
        workloads: tuple[Workload, ...] = tuple(
            attrs.evolve(each, **change) if each.llm == llm else each for each in problem.workloads
        )
        return attrs.evolve(problem, workloads=workloads)

    return set_to
