"""What must move: for each blob, who holds it at first and who must get it."""

from collections.abc import Mapping, Sequence

import attrs

from specs.blobs import Blob, BlobId
from specs.cluster import PlaceId
from specs.llm import Llm, LlmId
from specs.problem import Problem


@attrs.frozen(kw_only=True)
class Demand:
    """One blob: who holds it at first, and who must get it.  No place is in both."""

    blob: Blob
    holders: tuple[PlaceId, ...]
    wanting: tuple[PlaceId, ...]


Needs = Mapping[LlmId, tuple[Demand, ...]]  # of every blob of every LLM


def demands(problem: Problem, blobs: Sequence[Blob], wanted: Sequence[PlaceId]) -> tuple[Demand, ...]:
    """List what each blob of one LLM needs: holders in the order of the holdings, wanting places in the order given."""
    holders: list[dict[PlaceId, None]] = [{} for _ in blobs]
    for holding in problem.holdings:
        for index, blob in enumerate(blobs):
            if holding.has(blob):
                holders[index][holding.place] = None
    return tuple(
        Demand(blob=blob, holders=tuple(held), wanting=tuple(place for place in wanted if place not in held))
        for blob, held in zip(blobs, holders, strict=True)
    )


def held_borders(problem: Problem, llm: Llm) -> list[int]:
    """List the tensors at which runs that places hold begin or end: no blob may go on across them."""
    found: set[int] = set()
    for holding in problem.holdings:
        if holding.llm == llm.id and not holding.whole:
            found |= {holding.first_tensor, len(llm.tensors) if holding.end_tensor is None else holding.end_tensor}
    return sorted(found)


def whole_holders(needs: Sequence[Demand]) -> tuple[PlaceId, ...]:
    """Name the places that hold every blob, in the order of the holdings."""
    if not needs:
        return ()
    everywhere = set(needs[0].holders).intersection(*(need.holders for need in needs))
    return tuple(place for place in needs[0].holders if place in everywhere)


def held_by_place(needs: Sequence[Demand]) -> dict[PlaceId, list[BlobId]]:
    """Name the blobs that each holder has at first."""
    found: dict[PlaceId, list[BlobId]] = {}
    for need in needs:
        for place in need.holders:
            found.setdefault(place, []).append(need.blob.id)
    return found
