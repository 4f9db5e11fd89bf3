"""Closed forms where places hold parts of an LLM at the start: what each receiver really lacks, against capacity.

For each blob that some target lacks, its *holders* are the memories that have it at the start and its *receivers* the
targets that do not; blobs that every target has count nowhere.  What `specs.certificates.multicast` says of memories,
routes, ports and rates holds here too.  The fact behind each bound on senders:

EXIT.  Let H be any set of memories, and take the blobs all of whose holders are in H.  The first copy of each is sent
by a member of H.  The forms try for H the holders of each blob, and all holders together.
"""

from collections.abc import Iterator, Sequence

import attrs

from specs.blobs import Blob
from specs.capacity import capacities
from specs.certificates.formula import ClosedForm, Inapplicable
from specs.certificates.multicast import not_one_port
from specs.cluster import PlaceId
from specs.llm import LlmId
from specs.plan import Claim, Measure, Plan
from specs.problem import Problem
from specs.units import NANOS_PER_SECOND, ceil_div


@attrs.frozen(kw_only=True)
class _Lack:
    """A blob that some target lacks."""

    bytes: int
    holders: frozenset[PlaceId]
    receivers: tuple[PlaceId, ...]

    @property
    def doublings(self) -> int:
        """How often the number of holders must double until receivers are among them: ceil(log2((h + w) / h))."""
        return (ceil_div(len(self.holders) + len(self.receivers), len(self.holders)) - 1).bit_length()


def _lacks(problem: Problem, blobs: Sequence[Blob], llm: str) -> list[_Lack] | Inapplicable:
    holdings = [holding for holding in problem.holdings if holding.llm == llm]
    if all(holding.whole for holding in holdings):
        return Inapplicable(f"every holding of {llm} is whole: the forms for multicast say at least as much")
    targets = [target.place for target in problem.targets if target.llm == llm]
    found = []
    for blob in (blob for blob in blobs if blob.llm == llm):
        holders = frozenset(holding.place for holding in holdings if holding.has(blob))
        receivers = tuple(place for place in targets if place not in holders)
        if receivers and not holders:
            return Inapplicable(f"nobody holds {blob.id}")
        if receivers:
            found.append(_Lack(bytes=blob.bytes, holders=holders, receivers=receivers))
    return found


def _exits(lacks: Sequence[_Lack]) -> Iterator[tuple[frozenset[PlaceId], list[_Lack]]]:
    """Give sets H of memories, each with the blobs all of whose holders are in it (EXIT)."""
    sets = dict.fromkeys(lack.holders for lack in lacks)
    sets[frozenset().union(*sets)] = None
    for members in sets:
        yield members, [lack for lack in lacks if lack.holders <= members]


def lacking_time_ns(problem: Problem, blobs: Sequence[Blob], llm: LlmId | str) -> int | Inapplicable:
    """Bound the completion by lacking bytes over capacities, for unequal links and several ports.

    `specs.capacity` bounds what a memory can send to others, and receive from others, per second.  The largest of

    - for each receiver, the bytes that it lacks over what it can receive;
    - for each H of EXIT, the bytes of its blobs over what H can send together;
    - all bytes that receivers lack over what all memories can send together.
    """
    lacks = _lacks(problem, blobs, llm)
    if isinstance(lacks, Inapplicable):
        return lacks
    capacity = capacities(problem.cluster)
    wanted: dict[PlaceId, int] = {}
    for lack in lacks:
        for place in lack.receivers:
            wanted[place] = wanted.get(place, 0) + lack.bytes
    demands = [(size, int(capacity[place].receive)) for place, size in wanted.items()]
    for members, inside in _exits(lacks):
        demands.append((sum(lack.bytes for lack in inside), sum(capacity[place].send for place in members)))
    demands.append((sum(wanted.values()), sum(each.send for each in capacity.values())))
    return _longest_ns(demands)


def _longest_ns(demands: Sequence[tuple[int, int]]) -> int | Inapplicable:
    """Give the largest quotient of bytes and bytes per second, rounded down."""
    if any(size > 0 and rate == 0 for size, rate in demands):
        return Inapplicable("no route joins the holders and the targets")
    return max((size * NANOS_PER_SECOND // rate for size, rate in demands if size), default=0)


def _lacking_bytes_ns(problem: Problem, plan: Plan, subject: str) -> int | Inapplicable:
    """Bound the completion: `lacking_time_ns` of the plan's blobs."""
    return lacking_time_ns(problem, plan.blobs, subject)


def _lacking_blobs_ticks(problem: Problem, plan: Plan, subject: str) -> int | Inapplicable:
    """Bound the depth of the order of transfers between memories with one port each.

    Depths are ticks, in each of which a memory sends one blob and receives one blob at most
    (`specs.certificates.multicast`).  The largest of

    - the most blobs that one receiver lacks;
    - for each H of EXIT, and the k of its blobs that need most doublings: the last of them to leave H for the first
      time does so in tick F >= ceil(k / |H|), after which it has at most twice its h holders.  Its holders double at
      most in each tick more, and h 2^(T - F + 1) must reach its holders and receivers together.  So
      T >= F - 1 + doublings, each of the k needing at least those of the k-th;
    - L, all copies that receivers lack, against a ramp: with a memories that hold some lacking blob at the start, at
      most a 2^t can send in tick t = 0, 1, .., and at most the receivers can receive.
    """
    lacks = _lacks(problem, plan.blobs, subject)
    if isinstance(lacks, Inapplicable):
        return lacks
    if several := not_one_port(problem):
        return several
    counts: dict[PlaceId, int] = {}
    for lack in lacks:
        for place in lack.receivers:
            counts[place] = counts.get(place, 0) + 1
    if not counts:
        return 0
    least = max(counts.values())
    for members, inside in _exits(lacks):
        falling = sorted((lack.doublings for lack in inside), reverse=True)
        least = max(least, *(ceil_div(k, len(members)) - 1 + doublings for k, doublings in enumerate(falling, start=1)))
    senders = len(frozenset().union(*(lack.holders for lack in lacks)))
    return max(least, _ramp_ticks(sum(counts.values()), len(counts), senders))


def _ramp_ticks(copies: int, receivers: int, senders: int) -> int:
    """Count the ticks until this many copies have arrived, the senders doubling until they are as many as receivers."""
    ticks = 0
    while copies > 0:
        if senders >= receivers:
            return ticks + ceil_div(copies, receivers)
        copies -= senders
        senders *= 2
        ticks += 1
    return ticks


def _uncovered(problem: Problem, plan: Plan, subject: str) -> tuple[list[_Lack], int] | Inapplicable:
    """List the blobs that no target holds, and count the targets."""
    lacks = _lacks(problem, plan.blobs, subject)
    if isinstance(lacks, Inapplicable):
        return lacks
    targets = sum(target.llm == subject for target in problem.targets)
    return [lack for lack in lacks if len(lack.receivers) == targets], targets


def _lacking_cover_ns(problem: Problem, plan: Plan, subject: str) -> int | Inapplicable:
    """Bound the first cover by bytes over capacities: of the blobs that no target holds at the start.

    The first copy of each that reaches a target enters one of them; and by EXIT, as `lacking_time_ns`.
    """
    found = _uncovered(problem, plan, subject)
    if isinstance(found, Inapplicable):
        return found
    lacks, _ = found
    if not lacks:
        return 0
    capacity = capacities(problem.cluster)
    demands = [
        (sum(lack.bytes for lack in inside), sum(capacity[place].send for place in members))
        for members, inside in _exits(lacks)
    ]
    demands.append((sum(lack.bytes for lack in lacks), sum(capacity[place].receive for place in lacks[0].receivers)))
    return _longest_ns(demands)


def _lacking_cover_ticks(problem: Problem, plan: Plan, subject: str) -> int | Inapplicable:
    """Bound the first cover, in depth, between memories with one port each.

    Of the blobs that no target holds at the start, at most |H| leave H for the first time at each depth (EXIT), and at
    most one enters each target.
    """
    found = _uncovered(problem, plan, subject)
    if isinstance(found, Inapplicable):
        return found
    lacks, targets = found
    if not lacks:
        return 0
    if several := not_one_port(problem):
        return several
    exits = [ceil_div(len(inside), len(members)) for members, inside in _exits(lacks)]
    return max(ceil_div(len(lacks), targets), *exits)


LACKING = (
    ClosedForm(name="lacking-blobs-ticks", claim=Claim.COMPLETION, measure=Measure.TICKS, bound=_lacking_blobs_ticks),
    ClosedForm(name="lacking-cover-ticks", claim=Claim.FIRST_COVER, measure=Measure.TICKS, bound=_lacking_cover_ticks),
    ClosedForm(name="lacking-bytes-ns", claim=Claim.COMPLETION, measure=Measure.NANOS, bound=_lacking_bytes_ns),
    ClosedForm(name="lacking-cover-ns", claim=Claim.FIRST_COVER, measure=Measure.NANOS, bound=_lacking_cover_ns),
)
