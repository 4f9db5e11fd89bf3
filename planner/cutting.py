"""Into how many blobs LLMs are cut for a problem, and where.

The number is that with which the optimal multicast over equal links would end first (`planner.blocks`), at the rate of
the slowest way that copies take.  On unequal links this is a guess, and a fair one: what the slowest receiver waits for
is still the blobs on its way and the blobs before its first.  Small units, as the norm behind the layers, are no blobs
of their own unless somebody asks for so many.
"""

import contextlib
import itertools
from collections.abc import Sequence

import attrs

from planner.blocks import blobs_max, cut_at, fits, predicted_ns, sizeable_units
from planner.demands import demands, held_borders, whole_holders
from planner.held_units import stage_borders
from planner.routes import NoRoute, Routes
from specs.blobs import Blob
from specs.cluster import PlaceId
from specs.llm import Llm, LlmId
from specs.plan import Pipeline, Plan
from specs.problem import Problem
from specs.units import BytesPerSecond, Nanos

# What a transfer costs beyond its bytes: a receipt, a grant, a connection and wake-ups on the way.  About what
# benchmarks/multicast.py showed per round on two shared cores (benchmarks/README.md); it only guides the choice of the
# number of blocks.
TRANSFER_OVERHEAD_NS = Nanos(10_000_000)

# Blobs of an LLM whose devices each get a part: enough to keep ports busy where several want the same part, and to move
# borders of stages by a few layers while pipelines run.
SERVICE_BLOCKS = 32


def cut_for(
    problem: Problem, llm: Llm, routes: Routes, blocks: int | None, parent: Plan | None, serving: Sequence[Pipeline]
) -> tuple[Blob, ...]:
    """Cut as asked, or as the parent did: what has arrived under it is known by its blobs.  Raises CannotCut.

    Where pipelines run, the parent's cut stays whatever is asked: they compute with its blobs.  A stage whose border is
    inside a blob needs all of it.
    """
    borders = sorted({*held_borders(problem, llm), *stage_borders(llm, serving)})
    if problem.running and parent is not None:
        blobs = tuple(blob for blob in parent.blobs if blob.llm == llm.id)
        if fits(llm, blobs, held_borders(problem, llm)):
            return blobs
    if blocks is not None:
        return cut_at(llm, blocks, borders)
    if parent is not None:
        blobs = tuple(blob for blob in parent.blobs if blob.llm == llm.id)
        if fits(llm, blobs, borders):
            return blobs
    if serving:
        return cut_at(llm, min(SERVICE_BLOCKS, blobs_max(llm)), borders)
    found = forecast(problem, llm, routes)
    return cut_at(llm, 1 if found is None else found.by_time[0][1], borders)


@attrs.frozen(kw_only=True)
class Forecast:
    """For each number of blobs the time in which all receivers would have an LLM, over links of one rate."""

    rate: BytesPerSecond
    by_time: tuple[tuple[Nanos, int], ...]  # times with the numbers of blobs, the least time first


def forecast(problem: Problem, llm: Llm, routes: Routes) -> Forecast | None:
    """Predict for the slowest way that copies take; None where nothing moves.

    Copies go from a holder to each receiver, and from each to the next.  Links that nobody who takes part can use, of
    disks and of other nodes, do not count.
    """
    needs = demands(problem, cut_at(llm, 1, held_borders(problem, llm)), receivers_of(problem, llm.id, routes))
    wanting = tuple(dict.fromkeys(place for each in needs for place in each.wanting))
    holders = tuple(dict.fromkeys(place for each in needs for place in each.holders))
    rates = []
    for source, destination in (*((holders[0], place) for place in wanting if holders), *itertools.pairwise(wanting)):
        with contextlib.suppress(NoRoute):
            rates.append(routes.rate(routes.route(source, destination)))
    if not rates:
        return None
    sources, rate = max(1, len(whole_holders(needs))), min(rates)
    counts = range(1, sizeable_units(llm) + 1)
    times = (predicted_ns(llm, n, sources + len(wanting), sources, rate, TRANSFER_OVERHEAD_NS) for n in counts)
    return Forecast(rate=rate, by_time=tuple(sorted(zip(times, counts, strict=True))))


def receivers_of(problem: Problem, llm: LlmId, routes: Routes) -> list[PlaceId]:
    """Order the places that are to hold the LLM: fast ports first, neighbours in a rack together."""
    wanted = [target.place for target in problem.targets if target.llm == llm]
    rack_of = {node.id: node.rack or "" for node in problem.cluster.nodes}
    node_of = {place.id: place.node for place in problem.cluster.places}
    fastest = dict.fromkeys(wanted, 0)
    for link in routes.links.values():
        if link.destination in fastest:
            fastest[link.destination] = max(fastest[link.destination], link.bytes_per_second)
    position = {place: index for index, place in enumerate(wanted)}

    def key(place: PlaceId) -> tuple[int, str, int]:
        node = node_of[place]
        return -fastest[place], rack_of[node] if node is not None else "", position[place]

    return sorted(wanted, key=key)
