"""Why there is no plan: memories that are too small, promises that no number of slots keeps.

That no number of slots which was tried keeps a promise does not show that no plan does: others may have more slots,
other weights, pipelines over several devices.  Only what `planner.explain.shown` derives is said to be impossible; the
planner knows no way for the rest.  Promises depend on which memories serve, so that what could give for them is looked
for only where all memories fit.

Each is a condition (`planner.explain.conflicts`), so that the numbers that could give way are found, and how far.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

import attrs

from planner.explain.conflicts import Condition, conflicts
from planner.explain.limits import (
    Limit,
    live_requests_of,
    longest_request_of,
    memory_of,
    more_live_requests_of,
    percentile_of,
    replicas_like,
    requests_of,
    tpot_of,
    ttft_of,
)
from planner.explain.shown import out_of_reach
from planner.outcome import Conflict
from planner.promises import Kept, keep, shortage
from planner.room import Blobs, held_bytes
from planner.stages import Sizes, blob_bytes
from specs.cluster import NodeId, Place, PlaceId
from specs.llm import LlmId
from specs.problem import Problem
from specs.units import Bytes

EXPLAINED_MAX = 4  # conflicts in full; the others are named without what could give
KINDS_MAX = 4  # of device; more machines with one of them are tried


def impossible(problem: Problem, blobs: Blobs, kept: Kept) -> Iterator[Conflict]:
    """Name everything that fails; `kept` are the slots with which memory is counted."""
    held = held_bytes(problem, blobs)
    wanted = _wanted(problem)
    conditions = [
        condition
        for place in problem.cluster.places
        if place.id in held or place.id in wanted
        for condition in (
            _fits(problem, blobs, kept, place.id, wanted.get(place.id, ())),
            _holds(problem, blobs, place.id, held.get(place.id, {})),
        )
        if condition is not None
    ]
    promises = [_promise(problem, blobs, kept, llm) for llm in kept.broken]
    conditions += [attrs.evolve(each, limits=()) for each in promises] if conditions else promises
    yield from conflicts(problem, conditions[:EXPLAINED_MAX])
    yield from conflicts(problem, [attrs.evolve(each, limits=()) for each in conditions[EXPLAINED_MAX:]])


def _wanted(problem: Problem) -> dict[PlaceId, tuple[LlmId, ...]]:
    found: dict[PlaceId, tuple[LlmId, ...]] = {}
    for llm in problem.llms:
        for target in problem.targets:
            if target.llm == llm.id:
                found[target.place] = (*found.get(target.place, ()), llm.id)
    return found


def _fits(problem: Problem, blobs: Blobs, kept: Kept, at: PlaceId, wanted: tuple[LlmId, ...]) -> Condition | None:
    """MEM: what is wanted at a place fits there.  None when it does."""
    promised = {slo.llm for slo in problem.slos}.intersection(wanted)

    def fault(changed: Problem) -> str | None:
        now = kept.problem if changed is problem else changed
        if changed is not problem and promised:
            now = keep(changed, blobs).problem
        return _too_much(_place(changed, at), "needs", _needed(now, blobs, at, wanted))

    if fault(problem) is None:
        return None
    limits = [memory_of(problem, at)]
    for llm in wanted:
        limits += [live_requests_of(problem, llm), longest_request_of(problem, llm)]
    besides = _no_more_broken(problem, blobs, at)
    return Condition(rule="MEM", where=at, fault=fault, limits=tuple(limits), besides=besides)


def _no_more_broken(problem: Problem, blobs: Blobs, at: PlaceId) -> Callable[[Problem], bool]:
    """Whether only those promises are broken that all the memory in the world at a place would not keep."""
    memory = memory_of(problem, at)
    hopeless = set(keep(memory.set_to(problem, memory.loosest), blobs).broken)
    return lambda changed: hopeless.issuperset(keep(changed, blobs).broken)


def _needed(problem: Problem, blobs: Blobs, at: PlaceId, wanted: Iterable[LlmId]) -> Iterator[tuple[str, Bytes]]:
    for llm in wanted:
        sizes = Sizes.of(problem, problem.llm(llm))
        stage = sizes.local(at).stages[0]
        live = f"{sizes.workload.live_requests_max} requests of {sizes.workload.request_tokens_max} tokens"
        yield f"weights of {llm}", blob_bytes(blobs[llm])
        yield f"KV of {live}", stage.kv_bytes
        yield "workspace", stage.workspace_bytes


def _holds(problem: Problem, blobs: Blobs, at: PlaceId, held: Mapping[LlmId, Bytes]) -> Condition | None:
    """MEM: what a place is said to hold fits there.  None when it does."""
    parts = [(f"weights of {llm.id}", held[llm.id]) for llm in problem.llms if llm.id in held]

    def fault(changed: Problem) -> str | None:
        return _too_much(_place(changed, at), "is said to hold", parts)

    if fault(problem) is None:
        return None
    besides = _no_more_broken(problem, blobs, at)
    return Condition(rule="MEM", where=at, fault=fault, limits=(memory_of(problem, at),), besides=besides)


def _too_much(place: Place, does: str, parts: Iterable[tuple[str, Bytes]]) -> str | None:
    items = tuple(parts)
    needed = sum(size for _, size in items)
    if needed <= place.memory_bytes:
        return None
    said = " + ".join(f"{size:,} bytes ({what})" for what, size in items)
    missing = needed - place.memory_bytes
    return f"{does} {said} = {needed:,} bytes, has {place.memory_bytes:,}: {missing:,} bytes are missing"


def _place(problem: Problem, place: PlaceId) -> Place:
    return next(each for each in problem.cluster.places if each.id == place)


def _promise(problem: Problem, blobs: Blobs, kept: Kept, llm: LlmId) -> Condition:
    """SLO: some number of slots keeps the promise of an LLM."""
    reasons = tuple(out_of_reach(problem, llm))

    def fault(changed: Problem) -> str | None:
        if changed is problem:
            return "; ".join(reasons) or shortage(kept, blobs, llm)
        return "it is still broken" if llm in keep(changed, blobs).broken else None

    limits: list[Limit | None] = [
        ttft_of(problem, llm),
        tpot_of(problem, llm),
        *(replicas_like(node) for node in _nodes(problem, llm)),
        requests_of(problem, llm),
        more_live_requests_of(problem, llm),
        longest_request_of(problem, llm),
        percentile_of(problem, llm),
    ]
    found = tuple(limit for limit in limits if limit is not None)
    return Condition(rule="SLO", where=f"LLM {llm}", fault=fault, limits=found, proven=bool(reasons))


def _nodes(problem: Problem, llm: LlmId) -> list[NodeId]:
    """One node for each kind of device that an LLM is wanted on."""
    places = {place.id: place for place in problem.cluster.places}
    first: dict[str | None, NodeId] = {}
    for target in problem.targets:
        place = places[target.place]
        if target.llm == llm and place.node is not None:
            first.setdefault(place.device, place.node)
    return list(first.values())[:KINDS_MAX]
