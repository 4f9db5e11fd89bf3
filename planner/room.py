"""What fits where: what rests in each memory from first to last, and what that leaves for pipelines over nodes."""

from collections.abc import Mapping

import attrs

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


def held_bytes(problem: Problem, blobs: Blobs) -> dict[PlaceId, dict[LlmId, Bytes]]:
    """Size what places hold at the start: all of an LLM, or the blobs in the runs that are named."""
    held: dict[PlaceId, dict[LlmId, Bytes]] = {}
    for holding in problem.holdings:
        size = sum(blob.bytes for blob in blobs[holding.llm] if holding.has(blob))
        here = held.setdefault(holding.place, {})
        here[holding.llm] = Bytes(here.get(holding.llm, 0) + size)
    return held


def rooms(
    problem: Problem, blobs: Blobs, standing: Mapping[PlaceId, set[LlmId]] | None = None, *, serve_held: bool = True
) -> dict[PlaceId, Room]:
    """Work out the room at each place that holds or wants an LLM, if nothing is ever given up.

    `standing` are LLMs that come to stand by at places.  Without `serve_held` only what is wanted has pipelines.
    """
    standing = standing or {}
    held = held_bytes(problem, blobs)
    wanted: dict[PlaceId, set[LlmId]] = {}
    for target in problem.targets:
        wanted.setdefault(target.place, set()).add(target.llm)
    whole = {llm.id: blob_bytes(blobs[llm.id]) for llm in problem.llms}
    found: dict[PlaceId, Room] = {}
    for place in problem.cluster.places:
        here, here_wanted = held.get(place.id, {}), wanted.get(place.id, set())
        coming = here_wanted | standing.get(place.id, set())
        if here or coming:
            rests = {**here, **{llm: whole[llm] for llm in coming}}
            may_serve = here_wanted | {llm for llm, size in here.items() if serve_held and size == whole[llm]}
            found[place.id] = _room(problem, place, rests, here_wanted, may_serve)
    return found


def _room(
    problem: Problem, place: Place, rests: Mapping[LlmId, Bytes], wanted: set[LlmId], may_serve: set[LlmId]
) -> Room:
    here = [llm for llm in problem.llms if llm.id in rests]
    left: int = place.memory_bytes - sum(rests.values())
    serving = []
    for llm in sorted(here, key=lambda llm: llm.id not in wanted):
        if place.kind is not PlaceKind.DEVICE:
            break
        if llm.id not in may_serve:
            continue
        sizes = Sizes.of(problem, llm)
        size = sizes.bytes_of(sizes.local(place.id), place.id)
        if llm.id in wanted or size <= left:
            serving.append(llm.id)
            left -= size
    return Room(place=place.id, llms=tuple(llm.id for llm in here), serving=tuple(serving), left_bytes=left)
