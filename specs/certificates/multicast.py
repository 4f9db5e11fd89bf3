"""Closed forms for multicast: ticks, time and bytes against capacity.

In all proofs a *memory* is a place that is not a switch; any memory, wanted or not, may pass blobs on.  Routes cross
switches only between their two ends (rule REF), a copy is a transfer of a whole blob from one holder (CAUSE), first
and last links of routes carry one transfer at a time (PORT), no link carries more than its capacity, and latency and
rounding only make transfers longer (LINK).
"""

import attrs

from specs import bounds
from specs.capacity import Capacity, capacities, widest_bytes_per_second
from specs.certificates.formula import ClosedForm, Inapplicable
from specs.cluster import PlaceId, PlaceKind
from specs.plan import Claim, Measure, Plan
from specs.problem import Problem
from specs.units import NANOS_PER_SECOND


@attrs.frozen(kw_only=True)
class _Multicast:
    """Who holds an LLM, who wants it, and how large its blobs are."""

    sources: tuple[PlaceId, ...]
    receivers: tuple[PlaceId, ...]  # targets that do not hold it
    covered: bool  # a target holds it: the targets cover it from the start
    blob_bytes: tuple[int, ...]


def _multicast(problem: Problem, plan: Plan, subject: str) -> _Multicast | Inapplicable:
    holdings = [holding for holding in problem.holdings if holding.llm == subject]
    if not all(holding.whole for holding in holdings):
        return Inapplicable(f"a place holds a part of {subject}; this form counts whole copies")
    sources = tuple(holding.place for holding in holdings)
    targets = tuple(target.place for target in problem.targets if target.llm == subject)
    return _Multicast(
        sources=sources,
        receivers=tuple(place for place in targets if place not in sources),
        covered=any(place in sources for place in targets),
        blob_bytes=tuple(blob.bytes for blob in plan.blobs if blob.llm == subject),
    )


def not_one_port(problem: Problem) -> Inapplicable | None:
    """Find a memory with two ways out or in: it can send or receive two blobs at once."""
    memories = {place.id for place in problem.cluster.places if place.kind is not PlaceKind.SWITCH}
    ways: dict[tuple[str, PlaceId], int] = {}
    for link in problem.cluster.links:
        for direction, place in (("out of", link.source), ("into", link.destination)):
            if place in memories:
                ways[direction, place] = ways.get((direction, place), 0) + 1
                if ways[direction, place] > 1:
                    return Inapplicable(f"more than one link leads {direction} {place}")
    return None


# --- multicast between memories with one port ------------------------------------------------------------------------


def _one_port_multicast_ticks(problem: Problem, plan: Plan, subject: str) -> int | Inapplicable:
    """Bound the depth of the order of transfers by `specs.bounds.multicast_ticks_bound`, whatever the links' rates.

    A transfer's depth is above that of the one before it on each of its ports and of the one that brought its blob.
    So at each depth a memory with one way out and one way in sends one blob and receives one blob at most, of those
    that it holds from smaller depths: depths are ticks.  Memories that pass blobs on beside sources and receivers
    change nothing: after t ticks at most s 2^t memories of any sort are holders, and at most R receivers receive.
    """
    cast = _multicast(problem, plan, subject)
    if isinstance(cast, Inapplicable):
        return cast
    if not cast.receivers or not cast.blob_bytes:
        return 0
    nodes = len(cast.sources) + len(cast.receivers)
    several = not_one_port(problem)
    return several or bounds.multicast_ticks_bound(nodes, len(cast.sources), len(cast.blob_bytes))


def _one_port_cover_ticks(problem: Problem, plan: Plan, subject: str) -> int | Inapplicable:
    """Bound the first cover, in depth, by `specs.bounds.first_cover_ticks_bound`.

    The first copy of each blob leaves a source, at most s at each depth; and at most one blob per receiver and depth
    arrives.  Both hold with memories that pass blobs on.  0 when a target is a source.
    """
    cast = _multicast(problem, plan, subject)
    if isinstance(cast, Inapplicable):
        return cast
    if cast.covered or not cast.receivers or not cast.blob_bytes:
        return 0
    nodes = len(cast.sources) + len(cast.receivers)
    several = not_one_port(problem)
    return several or bounds.first_cover_ticks_bound(nodes, len(cast.sources), len(cast.blob_bytes))


def _one_port_multicast_ns(problem: Problem, plan: Plan, subject: str) -> int | Inapplicable:
    """Bound the completion in time by `specs.bounds.multicast_time_bound_ns` at the widest route's rate.

    No transfer in the cluster is faster than the widest route between two memories, so this rate stands for all ports.
    Memories that pass blobs on change nothing: capacity and ticks as in `_one_port_multicast_ticks`; and let F be when
    the last block leaves the sources for the first time, to whatever memory.  The first copies of all blocks pass
    through s ports out of the sources, so F is at least the first cover when s <= R, it then has at most 2 s holders,
    and the rest follows.  When s > R no doubling is counted, and the first cover alone is a bound.
    """
    cast = _multicast(problem, plan, subject)
    if isinstance(cast, Inapplicable):
        return cast
    if not cast.receivers or not cast.blob_bytes:
        return 0
    rate = widest_bytes_per_second(problem.cluster)
    if rate == 0:
        return Inapplicable("no route joins two memories")
    several = not_one_port(problem)
    return several or bounds.multicast_time_bound_ns(len(cast.receivers), len(cast.sources), cast.blob_bytes, rate)


def _one_port_cover_ns(problem: Problem, plan: Plan, subject: str) -> int | Inapplicable:
    """Bound the first cover in time by `specs.bounds.first_cover_time_bound_ns` at the widest route's rate.

    The first copy of each blob out of a source passes a source's port, the first one into a receiver a receiver's.
    0 when a target is a source.
    """
    cast = _multicast(problem, plan, subject)
    if isinstance(cast, Inapplicable):
        return cast
    if cast.covered or not cast.receivers or not cast.blob_bytes:
        return 0
    rate = widest_bytes_per_second(problem.cluster)
    if rate == 0:
        return Inapplicable("no route joins two memories")
    several = not_one_port(problem)
    return several or bounds.first_cover_time_bound_ns(len(cast.receivers), len(cast.sources), cast.blob_bytes, rate)


# --- bytes against capacity: any links and any number of ports -------------------------------------------------------


def _port_bytes_ns(problem: Problem, plan: Plan, subject: str) -> int | Inapplicable:
    """Bound the completion by bytes over capacities, for unequal links and several ports.

    `specs.capacity` bounds what a memory can send to others, and receive from others, per second.  With S the bytes of
    all blobs, the largest of

    - S over what the slowest receiver can receive: it receives all blobs;
    - S over what the sources can send together: each blob leaves a source at least once;
    - R S over what all memories can send together: that many bytes arrive at the R receivers.
    """
    cast = _multicast(problem, plan, subject)
    if isinstance(cast, Inapplicable):
        return cast
    if not cast.receivers or not cast.blob_bytes:
        return 0
    capacity = capacities(problem.cluster)
    total = sum(cast.blob_bytes)
    least = _cover_bytes_ns(cast, capacity)
    slowest = min(capacity[place].receive for place in cast.receivers)
    if isinstance(least, Inapplicable) or slowest == 0:
        return Inapplicable("no route joins the holders and the targets")
    everything = sum(each.send for each in capacity.values())
    return max(
        least,
        total * NANOS_PER_SECOND // slowest,
        len(cast.receivers) * total * NANOS_PER_SECOND // everything,
    )


def _port_bytes_cover_ns(problem: Problem, plan: Plan, subject: str) -> int | Inapplicable:
    """Bound the first cover by bytes over capacities, for unequal links and several ports.

    With S the bytes of all blobs, the larger of S over what the sources can send together (each blob leaves a source
    at least once) and S over what the receivers can receive together (each enters at least one).  0 when a target is a
    source.
    """
    cast = _multicast(problem, plan, subject)
    if isinstance(cast, Inapplicable):
        return cast
    if cast.covered or not cast.receivers or not cast.blob_bytes:
        return 0
    return _cover_bytes_ns(cast, capacities(problem.cluster))


def _cover_bytes_ns(cast: _Multicast, capacity: dict[PlaceId, Capacity]) -> int | Inapplicable:
    sent = sum(capacity[place].send for place in cast.sources)
    received = sum(capacity[place].receive for place in cast.receivers)
    if min(sent, received) == 0:
        return Inapplicable("no route joins the holders and the targets")
    return sum(cast.blob_bytes) * NANOS_PER_SECOND // min(sent, received)


MULTICAST = (
    ClosedForm(
        name="one-port-multicast-ticks",
        claim=Claim.COMPLETION,
        measure=Measure.TICKS,
        bound=_one_port_multicast_ticks,
    ),
    ClosedForm(
        name="one-port-cover-ticks", claim=Claim.FIRST_COVER, measure=Measure.TICKS, bound=_one_port_cover_ticks
    ),
    ClosedForm(
        name="one-port-multicast-ns", claim=Claim.COMPLETION, measure=Measure.NANOS, bound=_one_port_multicast_ns
    ),
    ClosedForm(name="one-port-cover-ns", claim=Claim.FIRST_COVER, measure=Measure.NANOS, bound=_one_port_cover_ns),
    ClosedForm(name="port-bytes-ns", claim=Claim.COMPLETION, measure=Measure.NANOS, bound=_port_bytes_ns),
    ClosedForm(name="port-bytes-cover-ns", claim=Claim.FIRST_COVER, measure=Measure.NANOS, bound=_port_bytes_cover_ns),
)
