"""Cutting an LLM into the stages of one pipeline, over places that may each hold only part of it.

Dynamic programming over (units done, places used): f[u, S] is the least possible time of the slowest stage when the
units before u are computed by the places in S, each by one contiguous run of units that it may compute.  Exact for the
places given; 2^places x places x units^2 steps, so callers offer few places.
"""

from collections.abc import Sequence

import attrs

from specs.cluster import PlaceId
from specs.units import Nanos


@attrs.frozen(kw_only=True)
class Member:
    """A place that may compute some of the units."""

    place: PlaceId
    able: tuple[bool, ...]  # per unit: its blobs are held here
    unit_ns: tuple[Nanos, ...]  # per unit: time in one iteration
    units_max: int  # of one run, so that its KV fits in what memory is left


@attrs.frozen(kw_only=True)
class Run:
    """Units [first, end) on one place."""

    place: PlaceId
    first: int
    end: int


def partition(members: Sequence[Member], first: int, end: int) -> tuple[Run, ...] | None:
    """Cut units [first, end) into runs over some of the members; None when they cannot cover them.

    The slowest run is as quick as possible; among those, fewer runs are better.  Ties fall the same way every time.
    """
    best: dict[tuple[int, int], tuple[Nanos, int, tuple[Run, ...]]] = {(first, 0): (Nanos(0), 0, ())}
    for done in range(first, end):
        for used in range(2 ** len(members)):
            state = best.get((done, used))
            if state is None:
                continue
            for index, member in enumerate(members):
                if not used >> index & 1:
                    _extend(best, state, (done, used | 1 << index), member, end)
    finished = [state for (done, _), state in best.items() if done == end]
    if not finished:
        return None
    order = {member.place: index for index, member in enumerate(members)}
    return min(finished, key=lambda state: (state[0], state[1], [order[run.place] for run in state[2]]))[2]


def _extend(
    best: dict[tuple[int, int], tuple[Nanos, int, tuple[Run, ...]]],
    state: tuple[Nanos, int, tuple[Run, ...]],
    start_and_used: tuple[int, int],
    member: Member,
    end: int,
) -> None:
    """Let one member compute a run of every possible length from where the state ends."""
    slowest, stages, runs = state
    start, used = start_and_used
    time = 0
    for unit in range(start, min(end, start + member.units_max)):
        if not member.able[unit]:
            return
        time += member.unit_ns[unit]
        reached = Nanos(max(slowest, time))
        known = best.get((unit + 1, used))
        if known is None or (reached, stages + 1) < known[:2]:
            run = Run(place=member.place, first=start, end=unit + 1)
            best[unit + 1, used] = reached, stages + 1, (*runs, run)
