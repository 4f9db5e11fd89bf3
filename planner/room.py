"""What fits where: what rests in each memory from first to last, and what that leaves for pipelines over nodes."""

from collections.abc import Iterator, Mapping

import attrs

from planner.outcome import Conflict
from planner.stages import Sizes, blob_bytes
from specs.blobs import Blob
from specs.cluster import Place, PlaceId, PlaceKind
from specs.llm import LlmId
from specs.problem import Problem
from specs.units import Bytes

Blobs = Mapping[LlmId, tuple[Blob, ...]]


@attrs.frozen(kw_only=True)
class Room:
    """One memory, with the LLMs that rest on it."""

    place: PlaceId
    llms: tuple[LlmId, ...]  # held or wanted here
    serving: tuple[LlmId, ...]  # those with a pipeline of their own here: all that are wanted, and held ones that fit
    left_bytes: int  # besides all blobs and these pipelines; negative: so much is missing

    @property
    def share_bytes(self) -> Bytes:
        """What each LLM here may use for pipelines over nodes."""
        return Bytes(max(0, self.left_bytes) // len(self.llms))


def impossible(problem: Problem, blobs: Blobs) -> Iterator[Conflict]:
    """MEM.  What no plan can change: what is wanted at a place, or what is held there at first, exceeds its memory."""
    for place in problem.cluster.places:
        wanted = {target.llm for target in problem.targets if target.place == place.id}
        held = {holding.llm for holding in problem.holdings if holding.place == place.id}
        parts = []
        for llm in (llm for llm in problem.llms if llm.id in wanted):
            sizes = Sizes.of(problem, llm)
            stage = sizes.local(place.id).stages[0]
            live = f"{sizes.workload.live_requests_max} requests of {sizes.workload.request_tokens_max} tokens"
            parts.append((f"weights of {llm.id}", blob_bytes(blobs[llm.id])))
            parts.append((f"KV of {live}", stage.kv_bytes))
            parts.append(("workspace", stage.workspace_bytes))
        yield from _too_much(place, "needs", parts)
        parts = [(f"weights of {llm.id}", blob_bytes(blobs[llm.id])) for llm in problem.llms if llm.id in held]
        yield from _too_much(place, "is said to hold", parts)


def _too_much(place: Place, does: str, parts: list[tuple[str, Bytes]]) -> Iterator[Conflict]:
    needed = sum(size for _, size in parts)
    if needed > place.memory_bytes:
        items = " + ".join(f"{size:,} bytes ({what})" for what, size in parts)
        missing = needed - place.memory_bytes
        sentence = f"{does} {items} = {needed:,} bytes, has {place.memory_bytes:,}: {missing:,} bytes are missing"
        yield Conflict(rule="MEM", where=place.id, sentence=sentence)


def rooms(problem: Problem, blobs: Blobs) -> dict[PlaceId, Room]:
    """Work out the room at each place that holds or wants an LLM, if nothing is ever given up."""
    held: dict[PlaceId, set[LlmId]] = {}
    wanted: dict[PlaceId, set[LlmId]] = {}
    for holding in problem.holdings:
        held.setdefault(holding.place, set()).add(holding.llm)
    for target in problem.targets:
        wanted.setdefault(target.place, set()).add(target.llm)
    none: set[LlmId] = set()
    return {
        place.id: _room(problem, blobs, place, held.get(place.id, none), wanted.get(place.id, none))
        for place in problem.cluster.places
        if place.id in held or place.id in wanted
    }


def _room(problem: Problem, blobs: Blobs, place: Place, held: set[LlmId], wanted: set[LlmId]) -> Room:
    here = [llm for llm in problem.llms if llm.id in held | wanted]
    left: int = place.memory_bytes - sum(blob_bytes(blobs[llm.id]) for llm in here)
    serving = []
    for llm in sorted(here, key=lambda llm: llm.id not in wanted):
        if place.kind is not PlaceKind.DEVICE:
            break
        sizes = Sizes.of(problem, llm)
        size = sizes.bytes_of(sizes.local(place.id), place.id)
        if llm.id in wanted or size <= left:
            serving.append(llm.id)
            left -= size
    return Room(place=place.id, llms=tuple(llm.id for llm in here), serving=tuple(serving), left_bytes=left)
