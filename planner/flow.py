"""The flow of a plan: how much each link carries, how busy it is, and what binds the completion of an LLM.

All shares are parts per million, rounded down.  A link at the end of a route is a *port*: it carries one transfer at a
time, so while one runs nothing is left of it, whatever its rate.  Inside a route transfers share a link, and each
takes its own rate.  `taken_ppm` counts both in this way, `mean_ppm` counts bytes alone: a wide port that waits for a
narrow wire is taken but not full.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

import attrs

from specs.cluster import Cluster, LinkId, NodeId, PlaceId
from specs.invariants.facts import Facts
from specs.llm import LlmId
from specs.plan import Claim, Method, StepId
from specs.ports import Hop
from specs.units import NANOS_PER_SECOND, Bytes, BytesPerSecond, Nanos

WHOLE_PPM = 1_000_000
# Links whose taken shares differ by less than this bind alike.
ALIKE_PPM = 5_000


@attrs.frozen(kw_only=True)
class Use:
    """One transfer on one link."""

    start_ns: Nanos
    end_ns: Nanos
    bytes_per_second: BytesPerSecond
    bytes: Bytes
    port: bool  # the link is the first or the last of the route


@attrs.frozen(kw_only=True)
class LinkFlow:
    """What the plan sends over one link, from the plan's start to its last arrival."""

    link: LinkId
    bytes: Bytes
    transfers: int
    busy_ns: Nanos  # some transfer is under way on it
    mean_ppm: int  # bytes, of what the link could carry in the plan's duration
    taken_ppm: int  # of time and capacity, what transfers have to themselves
    peak_ppm: int  # the highest sum of rates, of the capacity


@attrs.frozen(kw_only=True)
class Flow:
    """The flow over every link, in the cluster's order."""

    duration_ns: Nanos  # to the last arrival; 0 when nothing moves
    links: tuple[LinkFlow, ...]


@attrs.frozen(kw_only=True)
class Cut:
    """Some places, the links into them, and what must cross: a bound on every plan for the problem."""

    places: tuple[PlaceId, ...]  # in the cluster's order
    links: tuple[LinkId, ...]  # into the places, in the cluster's order
    bytes: Bytes  # of blobs that are wanted inside and held outside only, each once
    bytes_per_second: BytesPerSecond  # of all links together

    @property
    def bound_ns(self) -> Nanos:
        """No plan is over before: the bytes over the rates, rounded down; 0 when nothing must cross."""
        return Nanos(self.bytes * NANOS_PER_SECOND // self.bytes_per_second) if self.bytes_per_second else Nanos(0)


@attrs.frozen(kw_only=True)
class Bottleneck:
    """What binds the completion of one LLM."""

    llm: LlmId
    links: tuple[LinkFlow, ...]  # the least idle first; with a certificate's cut, those into its places
    cut: Cut | None  # the certificate's, or else the tightest of the simple ones
    certified: bool  # the cut is the certificate's
    chain: tuple[StepId, ...]  # transfers that wait one for another; the last is the LLM's last arrival


def uses_of(facts: Facts) -> dict[LinkId, list[Use]]:
    """List what crosses each link, in the plan's order; links that nothing crosses are left out."""
    found: dict[LinkId, list[Use]] = defaultdict(list)
    routes = facts.plan.routes
    for hop in facts.hops:
        step = hop.transfer
        size = facts.blobs[step.blob].bytes
        inside, port = (
            Use(start_ns=step.start_ns, end_ns=step.end_ns, bytes_per_second=step.bytes_per_second, bytes=size, port=at)
            for at in (False, True)
        )
        links = routes[step.route].links
        for index, link in enumerate(links):
            found[link].append(port if index in (0, len(links) - 1) else inside)
    return dict(found)


def flow_of(facts: Facts, uses: Mapping[LinkId, Sequence[Use]] | None = None) -> Flow:
    """Work out the flow of a plan, from `uses_of` where that is known.  The plan must keep rule REF."""
    duration = max((hop.transfer.end_ns for hop in facts.hops), default=Nanos(0))
    uses = uses_of(facts) if uses is None else uses
    return Flow(
        duration_ns=duration,
        links=tuple(
            _link_flow(link.id, link.bytes_per_second, uses.get(link.id, ()), duration)
            for link in facts.problem.cluster.links
        ),
    )


def _link_flow(link: LinkId, capacity: BytesPerSecond, uses: Sequence[Use], duration_ns: Nanos) -> LinkFlow:
    size = sum(use.bytes for use in uses)
    busy = taken = peak = 0
    for length, rate, ports in _spans(uses):
        busy += length
        taken += length * (capacity if ports else min(rate, capacity))
        peak = max(peak, rate)
    room = max(capacity * duration_ns, 1)
    return LinkFlow(
        link=link,
        bytes=Bytes(size),
        transfers=len(uses),
        busy_ns=Nanos(busy),
        mean_ppm=min(size * NANOS_PER_SECOND * WHOLE_PPM // room, WHOLE_PPM),
        taken_ppm=taken * WHOLE_PPM // room,
        peak_ppm=peak * WHOLE_PPM // capacity,
    )


def _spans(uses: Sequence[Use]) -> Iterator[tuple[int, int, int]]:
    """Yield (nanoseconds, sum of rates, number of uses as a port) for every span in which something is under way."""
    events = [(use.start_ns, 1, use) for use in uses] + [(use.end_ns, -1, use) for use in uses]
    events.sort(key=lambda event: event[:2])  # what ends goes before what starts
    running = rate = ports = 0
    before = Nanos(0)
    for at, change, use in events:
        if running and at > before:
            yield at - before, rate, ports
        before = at
        running += change
        rate += change * use.bytes_per_second
        ports += change * use.port


# --- what binds ------------------------------------------------------------------------------------------------------


def bottleneck(facts: Facts, flow: Flow, llm: LlmId, members: Collection[PlaceId] | None = None) -> Bottleneck | None:
    """Say what binds the completion of an LLM; None: nothing of it moves.

    `members` are the places of a certificate's cut.  Without them the links are the least idle ones of all, and among
    equally idle ones the fullest; the cut is the tightest of those around single places, nodes and switches.
    """
    blobs = {blob.id for blob in facts.blobs_of_llm[llm]}
    moved = [hop for hop in facts.hops if hop.transfer.blob in blobs]
    if not moved:
        return None
    if members is None:
        cut = tightest_cut(facts, llm)
        links = _least_idle(flow)
    else:
        cut = cut_around(facts, llm, members)
        into = set(cut.links)
        links = tuple(sorted((each for each in flow.links if each.link in into), key=_fullest))
    return Bottleneck(llm=llm, links=links, cut=cut, certified=members is not None, chain=_chain(moved))


def certified_members(facts: Facts, llm: LlmId) -> tuple[PlaceId, ...] | None:
    """Name the places of the cut that certifies the completion of an LLM; None: no cut does."""
    for each in facts.plan.certificates:
        if each.claim is Claim.COMPLETION and each.subject == llm and each.method is Method.CUT:
            names = {price.name for price in each.witness}
            if found := tuple(place.id for place in facts.problem.cluster.places if place.id in names):
                return found
    return None


def _fullest(each: LinkFlow) -> tuple[int, int]:
    return -each.taken_ppm, -each.mean_ppm


def _least_idle(flow: Flow) -> tuple[LinkFlow, ...]:
    used = [each for each in flow.links if each.transfers]
    most = max(each.taken_ppm for each in used)
    taken = [each for each in used if each.taken_ppm > most - ALIKE_PPM]
    full = max(each.mean_ppm for each in taken)
    return tuple(sorted((each for each in taken if each.mean_ppm > full - ALIKE_PPM), key=_fullest))


def _chain(moved: Sequence[Hop]) -> tuple[StepId, ...]:
    """Follow from the last arrival, at each transfer, the one that it waits for longest."""
    by_step = {hop.transfer.id: hop for hop in moved}
    hop: Hop | None = max(moved, key=lambda each: (each.transfer.end_ns, -each.transfer.id))
    found = []
    while hop is not None:
        found.append(hop.transfer.id)
        before = [by_step[step] for step in hop.predecessors if step in by_step]
        hop = max(before, key=lambda each: (each.transfer.end_ns, -each.transfer.id), default=None)
    return tuple(reversed(found))


def cut_around(facts: Facts, llm: LlmId, members: Collection[PlaceId]) -> Cut:
    """Say what must enter these places, and over which links."""
    inside = frozenset(members)
    cluster = facts.problem.cluster
    links = [link for link in cluster.links if link.destination in inside and link.source not in inside]
    wanted = any(target.place in inside for target in facts.problem.targets if target.llm == llm)
    held = {blob for blob, place in facts.held_at_start if place in inside}
    lacking = [blob.bytes for blob in facts.blobs_of_llm[llm] if wanted and blob.id not in held]
    return Cut(
        places=tuple(place.id for place in cluster.places if place.id in inside),
        links=tuple(link.id for link in links),
        bytes=Bytes(sum(lacking)),
        bytes_per_second=BytesPerSecond(sum(link.bytes_per_second for link in links)),
    )


def tightest_cut(facts: Facts, llm: LlmId) -> Cut | None:
    """Find the cut with the largest bound among simple ones; the first of equals; None: nothing must cross any.

    Simple are single places, nodes, what hangs below a network switch, and everything but one of these.
    """
    cluster = facts.problem.cluster
    every = {place.id for place in cluster.places}
    wanted = {target.place for target in facts.problem.targets if target.llm == llm}
    holders = {place for blob, place in facts.held_at_start if facts.blobs[blob].llm == llm}
    node_of = {place.id: place.node for place in cluster.places}
    interesting = _interesting(cluster, wanted - holders, node_of)
    candidates: list[Collection[PlaceId]] = list(interesting)
    nodes = {node_of[place] for place in holders}
    if None not in nodes:
        candidates += [every - holders, {place for place in every if node_of[place] not in nodes}]
    candidates += [every - below for below in _below_switches(cluster, node_of) if holders <= below]
    best: Cut | None = None
    for members in candidates:
        cut = cut_around(facts, llm, members)
        if cut.bound_ns > (0 if best is None else best.bound_ns):
            best = cut
    return best


def _interesting(
    cluster: Cluster, wanted: set[PlaceId], node_of: dict[PlaceId, NodeId | None]
) -> Iterator[Collection[PlaceId]]:
    """Yield the slowest of the wanted places and of their nodes, and what hangs below each network switch."""
    rate: dict[object, int] = defaultdict(int)
    for link in cluster.links:
        if link.destination in wanted:
            rate[link.destination] += link.bytes_per_second
        node = node_of[link.destination]
        if node is not None and node_of[link.source] != node:
            rate["node", node] += link.bytes_per_second
    places = [place.id for place in cluster.places if place.id in wanted]
    if slowest := min(places, key=lambda place: rate[place], default=None):
        yield (slowest,)
    nodes = dict.fromkeys(node for place in places if (node := node_of[place]) is not None)
    narrow = min(nodes, key=lambda node: rate["node", node], default=None)
    if narrow is not None:
        yield [place.id for place in cluster.places if place.node == narrow]
    yield from _below_switches(cluster, node_of)


def _below_switches(cluster: Cluster, node_of: dict[PlaceId, NodeId | None]) -> list[frozenset[PlaceId]]:
    """List, for each switch of the network to which nodes are attached, the switch with all that is on it alone."""
    attached: dict[NodeId, set[PlaceId]] = defaultdict(set)
    for link in cluster.links:
        node, above = node_of[link.source], node_of[link.destination]
        if node is not None and above is None:
            attached[node].add(link.destination)
    of_node: dict[NodeId, list[PlaceId]] = defaultdict(list)
    for place in cluster.places:
        if place.node is not None:
            of_node[place.node].append(place.id)
    below: dict[PlaceId, set[PlaceId]] = {}
    for node, switches in attached.items():
        if len(switches) == 1:
            (switch,) = switches
            below.setdefault(switch, {switch}).update(of_node[node])
    return [frozenset(members) for members in below.values() if len(below) > 1]
