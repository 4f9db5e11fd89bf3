"""What no plan can do while all goes on, whatever its layouts, its order and its slots."""

from collections.abc import Iterator
from fractions import Fraction

from planner.outcome import Conflict
from specs.cluster import PlaceId, PlaceKind
from specs.llm import Llm, LlmId
from specs.plan import Pipeline
from specs.problem import Problem
from specs.timing import kv_bytes, unit_bytes
from specs.units import Bytes, ceil_div

_PLACES_NAMED = 4


def never_live(problem: Problem) -> Iterator[Conflict]:
    """Say what stands in the way of every plan from these running pipelines.

    Pipelines that take shorter requests than are wanted break rule REF as long as they run, which is from the start.
    For memory see `_union`.
    """
    for each in problem.running:
        wanted = problem.workload(each.pipeline.llm).request_tokens_max
        if each.pipeline.request_tokens_max < wanted:
            sentence = f"it takes requests of {each.pipeline.request_tokens_max} tokens; {wanted} are wanted"
            yield Conflict(rule="REF", where=f"pipeline {each.pipeline.id}", sentence=sentence)
    for llm, places in _confined(problem):
        needed, has = _union(problem, problem.llm(llm), places)
        if needed > has:
            sentence = (
                f"while a pipeline of {llm} that runs goes on, the first one there needs {needed:,} bytes beside it, "
                f"even if each has a single slot and most of the other is elsewhere; there are {has:,}"
            )
            yield Conflict(rule="MEM", where=_named(places), sentence=sentence)


def _confined(problem: Problem) -> Iterator[tuple[LlmId, tuple[PlaceId, ...]]]:
    """For each wish for an LLM that runs: the places in which a pipeline of it must be at the end and none is."""
    wishes: list[tuple[LlmId, tuple[PlaceId, ...]]] = [(each.llm, (each.place,)) for each in problem.targets]
    wishes += [(service.llm, service.places) for service in problem.services]
    for llm, places in wishes:
        running = [each.pipeline for each in problem.running if each.pipeline.llm == llm]
        if running and not any(set(places).issuperset(_places(pipeline)) for pipeline in running):
            yield llm, places


def _places(pipeline: Pipeline) -> set[PlaceId]:
    return {stage.place for stage in pipeline.stages}


def _union(problem: Problem, llm: Llm, places: tuple[PlaceId, ...]) -> tuple[int, int]:
    """Bound from below what the devices of a wish need at one instant of every plan; and say what they have.

    At the end a pipeline lies within them, and none does at the start.  When the first one opens, another of the LLM is
    open, since by rule SERVE there always is one and it closes only by a switch to an open one; rule MEM counts it up
    to that very instant.  It does not lie within these devices.  So they then hold every tensor of the LLM, the KV of
    at least one request in the new pipeline, and that of one in the other for all units that it computes there.  Those
    that it computes elsewhere have their tensors and the KV of a request in the other devices of the cluster: the KV
    of units with most KV for their bytes, cut wherever these are full, is no less than what is there.
    """
    tokens_of = [each.pipeline.request_tokens_max for each in problem.running if each.pipeline.llm == llm.id]
    new = problem.workload(llm.id).request_tokens_max
    old = min([new, *tokens_of])
    count = len(llm.units)
    devices = [place for place in problem.cluster.places if place.kind is PlaceKind.DEVICE]
    has = sum(place.memory_bytes for place in devices if place.id in places)
    elsewhere = sum(place.memory_bytes for place in devices if place.id not in places)
    kv = [int(kv_bytes(llm, unit, unit + 1, old)) for unit in range(count)]
    needed = unit_bytes(llm, 0, count) + kv_bytes(llm, 0, count, new) + sum(kv)
    return needed - most_elsewhere(kv, _own_bytes(llm), elsewhere), has


def _own_bytes(llm: Llm) -> list[Bytes]:
    """Bytes of the tensors of each unit that no other unit reads."""
    readers: dict[int, int] = {}
    for tensor in (tensor for unit in llm.units for tensor in unit.tensors):
        readers[tensor] = readers.get(tensor, 0) + 1
    return [
        Bytes(sum(llm.tensors[tensor].bytes for tensor in unit.tensors if readers[tensor] == 1)) for unit in llm.units
    ]


def most_elsewhere(kv: list[int], weights: list[Bytes], room: int) -> int:
    """The most KV of some units that fits with their weights into so much room, were units divisible; rounded up."""
    total = 0
    pairs = [(own, own + weight) for own, weight in zip(kv, weights, strict=True) if own]
    for own, size in sorted(pairs, key=lambda pair: Fraction(pair[1], pair[0])):
        total += own if size <= room else ceil_div(own * room, size)
        room -= min(room, size)
    return total


def _named(places: tuple[PlaceId, ...]) -> str:
    more = len(places) - _PLACES_NAMED
    return ", ".join(places[:_PLACES_NAMED]) + (f" and {more} more" if more > 0 else "")
