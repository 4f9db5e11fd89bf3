"""From ticks to transfers: the optimal multicast laid on real routes, rates and blob sizes.

Equal ports and equal blobs: every transfer of one tick takes the same time, so the tick schedule's optimality carries
over.  Otherwise the same order is kept and each transfer starts as soon as its ports, its blob and the links inside
its route allow; the plan is correct, and its certificates state the gap.
"""

import heapq
from collections.abc import Iterable, Sequence

import attrs

from planner.multicast import Send, multicast_ticks
from planner.routes import Routes
from specs.blobs import Blob, BlobId
from specs.cluster import LinkId, PlaceId
from specs.plan import Route, StepId, Transfer
from specs.timing import transfer_ns
from specs.units import Nanos


@attrs.frozen(kw_only=True)
class Move:
    """A transfer before its times are known: a blob, and the memories between which it moves."""

    blob: Blob
    source: PlaceId
    destination: PlaceId


@attrs.frozen(kw_only=True)
class Schedule:
    """Transfers in the order of their starts (ids number them from 0) and the routes that they use."""

    transfers: tuple[Transfer, ...]
    routes: tuple[Route, ...]
    pause_ns: Nanos = Nanos(0)  # when all but the late moves are over; none of those has begun

    def arrivals(self, routes: Routes) -> dict[PlaceId, list[tuple[Nanos, BlobId]]]:
        """List when which blob is held at each destination, in order of time."""
        found: dict[PlaceId, list[tuple[Nanos, BlobId]]] = {}
        for transfer in self.transfers:
            place = routes.links[self.routes[transfer.route].links[-1]].destination
            found.setdefault(place, []).append((transfer.end_ns, transfer.blob))
        return {place: sorted(arrivals) for place, arrivals in found.items()}


# Blobs stay in their order as long as they are less larger than this part of the smallest.
_SIZE_STEPS = 8


def multicast_moves(blobs: Sequence[Blob], sources: Sequence[PlaceId], receivers: Sequence[PlaceId]) -> list[Move]:
    """Order the moves that bring every blob from the sources to every receiver, much larger blobs last.

    While holders are few, what moves keeps all others waiting; later nobody waits for one blob.
    """
    if not receivers:
        return []
    least = max(1, min((blob.bytes for blob in blobs), default=1))
    blobs = sorted(blobs, key=lambda blob: _SIZE_STEPS * blob.bytes // least)
    places = [*sources, *receivers]
    sends = multicast_ticks(len(places), len(sources), len(blobs))
    chunks = min(len(sources), len(receivers))
    label = _contiguous_chunks(len(blobs), chunks)
    return [
        Move(blob=blobs[label[send.block]], source=places[send.source], destination=places[send.destination])
        for send in sorted(sends, key=_in_time)
    ]


def _in_time(send: Send) -> tuple[int, int, int]:
    return send.tick, send.source, send.destination


def _contiguous_chunks(blocks: int, chunks: int) -> list[int]:
    """Rename the blocks so that each group's own chunk is a contiguous run.

    The schedule deals blocks to groups in turn (chunk c is every block i with i mod chunks = c).  Blocks are alike to
    it, but not to a pipeline: a group that holds neighbouring layers forms one stage where scattered layers form many.
    """
    by_chunk = sorted(range(blocks), key=lambda block: (block % chunks, block))
    renamed = [0] * blocks
    for position, block in enumerate(by_chunk):
        renamed[block] = position
    return renamed


def schedule(routes: Routes, moves: Iterable[Move], late_moves: Iterable[Move] = ()) -> Schedule:
    """Give every move a route, a rate and times: in the given order, each as early as its links and its blob allow.

    Late moves begin when all others are over, and memory has been given up for them.

    Raises NoRoute when two memories are not connected.
    """
    return followed_by(_laid(routes, list(moves)), routes, late_moves)


def followed_by(first: Schedule, routes: Routes, late_moves: Iterable[Move]) -> Schedule:
    """Lay more moves after all of a schedule.  Raises NoRoute when two memories are not connected."""
    late = _laid(routes, list(late_moves))
    if not late.transfers:
        return first
    known = {route: index for index, route in enumerate(first.routes)}
    number = [known.setdefault(route, len(known)) for route in late.routes]
    begin = first.pause_ns + 1
    after = tuple(
        attrs.evolve(
            each,
            id=StepId(each.id + len(first.transfers)),
            route=number[each.route],
            start_ns=Nanos(each.start_ns + begin),
            end_ns=Nanos(each.end_ns + begin),
        )
        for each in late.transfers
    )
    return attrs.evolve(first, transfers=(*first.transfers, *after), routes=tuple(known))


def _laid(routes: Routes, moves: Sequence[Move]) -> Schedule:
    paths = [routes.route(move.source, move.destination) for move in moves]
    lanes = _Lanes(routes, paths)
    held: dict[tuple[BlobId, PlaceId], Nanos] = {}
    index_of = {path: index for index, path in enumerate(dict.fromkeys(paths))}
    rates = [routes.rate(path) for path in index_of]
    latencies = [routes.latency_ns(path) for path in index_of]
    timed: list[tuple[Nanos, int, BlobId, int, Nanos]] = []
    for order, (move, path) in enumerate(zip(moves, paths, strict=True)):
        index = index_of[path]
        duration = transfer_ns(move.blob.bytes, rates[index], latencies[index])
        start = lanes.book(path, held.get((move.blob.id, move.source), Nanos(0)), duration)
        held[move.blob.id, move.destination] = end = Nanos(start + duration)
        timed.append((start, order, move.blob.id, index, end))
    transfers = tuple(
        Transfer(
            id=StepId(number),
            blob=blob,
            route=route,
            bytes_per_second=rates[route],
            start_ns=start,
            end_ns=end,
        )
        for number, (start, _, blob, route, end) in enumerate(sorted(timed))
    )
    pause = max((end for *_, end in timed), default=Nanos(0))
    return Schedule(transfers=transfers, routes=tuple(index_of), pause_ns=pause)


class _Lanes:
    """Books links.  The ends of a route carry one transfer at a time; a link inside carries as many as surely fit.

    A link inside a route is cut into lanes as wide as the fastest transfer that ever crosses it, so any choice of
    lanes keeps the sum of rates within the capacity.
    """

    def __init__(self, routes: Routes, paths: Iterable[Route]) -> None:
        fastest: dict[LinkId, int] = {}
        ports: set[LinkId] = set()
        for path in set(paths):
            rate = routes.rate(path)
            ports |= {path.links[0], path.links[-1]}
            for link in path.links:
                fastest[link] = max(fastest.get(link, 0), rate)
        self._free: dict[LinkId, list[Nanos]] = {}
        for link, fastest_rate in fastest.items():
            lanes = 1 if link in ports else min(int(routes.links[link].bytes_per_second) // fastest_rate, _LANES_MAX)
            self._free[link] = [Nanos(0)] * lanes

    def book(self, path: Route, earliest: Nanos, duration: Nanos) -> Nanos:
        """Take one lane of each link of the path for the duration; return the start."""
        start = max(earliest, *(self._free[link][0] for link in path.links))
        for link in path.links:
            heapq.heapreplace(self._free[link], Nanos(start + duration))
        return start


# More lanes than any plan has concurrent transfers on one link change nothing but the memory they take.
_LANES_MAX = 4096
