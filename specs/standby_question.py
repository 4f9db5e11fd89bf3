"""The standbys of a problem as a question of `specs.decisions.placement`: which memory keeps what, to start soon.

A memory of the cluster is a pool of one memory.  Where an LLM starts is left open (rule START asks for a way into some
device), so destinations are pools without room, one for each width of a way into devices.
"""

import heapq
from collections.abc import Collection, Mapping, Sequence

import attrs

from specs.blobs import Blob
from specs.cluster import Cluster, Link, PlaceId, PlaceKind
from specs.decisions.placement.nouns import Item, Memory, Objective, Pool, Question, Tier
from specs.decisions.placement.nouns import Route as PoolRoute
from specs.llm import LlmId
from specs.plan import Route
from specs.problem import Problem
from specs.timing import kv_bytes, workspace_bytes
from specs.units import INTEGER_MAX, Bytes, BytesPerSecond, Nanos
from specs.wishes import Standby

_TIERS = {
    PlaceKind.DEVICE: Tier.DEVICE,
    PlaceKind.HOST: Tier.HOST,
    PlaceKind.SSD: Tier.SSD,
    PlaceKind.REMOTE: Tier.REMOTE,
}


@attrs.frozen(kw_only=True)
class WayIn:
    """A way from a memory into some device; no other one is both as wide and as short."""

    bytes_per_second: BytesPerSecond
    latency_ns: Nanos
    route: Route


@attrs.frozen(kw_only=True)
class StandbyQuestion:
    """The question, and what its memories and pools stand for."""

    question: Question
    place_of: Mapping[str, PlaceId]  # memory of the question that can keep something -> place
    ways: Mapping[PlaceId, tuple[WayIn, ...]]
    requests_per_hour: int  # of all standbys together


def ways_in(cluster: Cluster) -> dict[PlaceId, tuple[WayIn, ...]]:
    """For each memory that is no device, its ways into devices: wider ones first, each shorter than all wider ones.

    For each width, Dijkstra's algorithm from all devices backwards over links that are as wide, through switches.
    """
    kinds = {place.id: place.kind for place in cluster.places}
    found: dict[PlaceId, list[WayIn]] = {}
    for width in sorted({link.bytes_per_second for link in cluster.links}, reverse=True):
        links = [link for link in cluster.links if link.bytes_per_second >= width]
        for place, (latency_ns, route) in _shortest_into_devices(kinds, links).items():
            ways = found.setdefault(place, [])
            if not ways or latency_ns < ways[-1].latency_ns:
                ways.append(WayIn(bytes_per_second=width, latency_ns=Nanos(latency_ns), route=route))
    return {place.id: tuple(found[place.id]) for place in cluster.places if place.id in found}


def _shortest_into_devices(
    kinds: Mapping[PlaceId, PlaceKind], links: Sequence[Link]
) -> dict[PlaceId, tuple[int, Route]]:
    """Least latency, then fewest links, then the links that stand first."""
    into: dict[PlaceId, list[tuple[int, Link]]] = {}
    for order, link in enumerate(links):
        into.setdefault(link.destination, []).append((order, link))
    queue: list[tuple[int, int, int, PlaceId, tuple[Link, ...]]] = [
        (0, 0, -1, place, ()) for place, kind in kinds.items() if kind is PlaceKind.DEVICE
    ]
    heapq.heapify(queue)
    done: set[PlaceId] = set()
    found: dict[PlaceId, tuple[int, Route]] = {}
    while queue:
        latency_ns, count, _, place, path = heapq.heappop(queue)
        if place in done:
            continue
        done.add(place)
        if path and kinds[place] is not PlaceKind.SWITCH:
            found[place] = latency_ns, Route(links=tuple(link.id for link in path))
            continue
        for order, link in into.get(place, ()):
            if link.source not in done:
                heapq.heappush(queue, (latency_ns + link.latency_ns, count + 1, order, link.source, (link, *path)))
    return found


def asked(
    problem: Problem,
    blobs: Sequence[Blob],
    room_bytes: Mapping[PlaceId, int],
    places: Mapping[LlmId, Sequence[PlaceId]],
    there: Collection[tuple[LlmId, PlaceId]],
) -> StandbyQuestion:
    """Ask for the least waiting: requests of an hour times time to start, each standby within its limit.

    `room_bytes` is what each memory has for copies that may or may not be in it, `places` says which may keep what, and
    the copies of `there` are in it anyway and take none of that room.  An LLM without requests counts as if it had one
    an hour, so that the sooner start is the better one for it too.
    """
    used = {place for of_llm in places.values() for place in of_llm} | {place for _, place in there}
    kinds = {place.id: place for place in problem.cluster.places if place.id in used}
    ways = {place: found for place, found in ways_in(problem.cluster).items() if place in kinds}
    extra = _unused_prefix(problem.cluster)
    memories: list[tuple[str, PlaceId, int]] = [(place, place, room_bytes.get(place, 0)) for place in kinds]
    items = []
    for standby in problem.standbys:
        llm, size = standby.llm, llm_bytes(blobs, standby.llm)
        own = [place for place in kinds if (llm, place) in there]
        names = [f"{extra}m{len(memories) + index}" for index in range(len(own))]
        memories += [(name, place, size) for name, place in zip(names, own, strict=True)]
        keepers = [*names, *(place for place in places[llm] if place not in own)]
        items.append(_item(problem, standby, size, keepers))
    pools = [_pool(name, _TIERS[kinds[place].kind], max(0, size), kinds[place].node) for name, place, size in memories]
    widths = sorted({way.bytes_per_second for found in ways.values() for way in found})
    pools += [_pool(f"{extra}w{width}", Tier.DEVICE, 0, None) for width in widths]
    routes = [_way(name, way, extra) for name, place, _ in memories for way in ways.get(place, ())]
    return StandbyQuestion(
        question=Question(objective=Objective.START_TIME, pools=tuple(pools), routes=tuple(routes), items=tuple(items)),
        place_of={name: place for name, place, _ in memories},
        ways=ways,
        requests_per_hour=sum(item.requests_per_hour for item in items),
    )


def _item(problem: Problem, standby: Standby, size: Bytes, keepers: Sequence[str]) -> Item:
    requests = max(1, problem.workload(standby.llm).requests_per_hour)
    return Item(
        id=standby.llm,
        base=None,
        bytes=size,
        devices=1,
        requests_per_hour=requests,
        requests_per_hour_per_copy=requests,
        start_ns_max=standby.start_ns_max,
        copies_min=0,
        memories=tuple(keepers),
    )


def _way(source: str, way: WayIn, extra: str) -> PoolRoute:
    return PoolRoute(
        source=source,
        destination=f"{extra}w{way.bytes_per_second}",
        bytes_per_second=way.bytes_per_second,
        bytes_per_second_all=way.bytes_per_second,
        latency_ns=way.latency_ns,
    )


def at_the_best(problem: Problem, blobs: Sequence[Blob]) -> StandbyQuestion:
    """Ask under nothing but what holds in every plan for the problem that cuts its LLMs into these blobs.

    At the end each target's place has its LLM, and KV and workspace of one request of the largest size at the least
    (rules FULL, SERVE, REF and MEM); what else the memories have may all be free for standbys.  So the residents of
    every plan are an answer: no bound on this question is above the waiting that they leave.
    """
    room: dict[PlaceId, int] = {place.id: place.memory_bytes for place in problem.cluster.places}
    for target in problem.targets:
        llm = problem.llm(target.llm)
        tokens = problem.workload(target.llm).request_tokens_max
        units = len(llm.units)
        room[target.place] -= llm_bytes(blobs, target.llm)
        room[target.place] -= kv_bytes(llm, 0, units, tokens) + workspace_bytes(llm, units, 1, 1)
    places = {standby.llm: standby.places for standby in problem.standbys}
    there = {(target.llm, target.place) for target in problem.targets if target.place in places.get(target.llm, ())}
    return asked(problem, blobs, room, places, there)


def llm_bytes(blobs: Sequence[Blob], llm: LlmId) -> Bytes:
    """Bytes of all blobs of an LLM, with their padding."""
    return Bytes(sum(blob.bytes for blob in blobs if blob.llm == llm))


def _pool(name: str, tier: Tier, size: int, node: str | None) -> Pool:
    landing = INTEGER_MAX if tier is Tier.DEVICE else 0
    memory = Memory(id=name, bytes=Bytes(size))
    return Pool(id=name, node=node, tier=tier, memories=(memory,), landing_bytes=Bytes(landing))


def _unused_prefix(cluster: Cluster) -> str:
    """Begin the names of what is no place so that no place's name begins alike."""
    prefix = "x"
    while any(place.id.startswith(prefix) for place in cluster.places):
        prefix += "x"
    return prefix
