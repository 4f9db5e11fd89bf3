"""What a plan has to move, as a question of `specs.decisions.flow`: for bounds on plans, and for making them."""

from collections.abc import Collection, Iterable, Mapping

import attrs

from specs.blobs import Blob, BlobId
from specs.cluster import Cluster, PlaceId, PlaceKind
from specs.decisions.flow.question import Item, Movement, movement_in
from specs.invariants.facts import BlobAt, Facts
from specs.llm import LlmId
from specs.plan import Transfer
from specs.timing import route_ends


def movement_of(
    cluster: Cluster,
    blobs: Iterable[Blob],
    held: Mapping[BlobId, Collection[PlaceId]],
    wanted: Mapping[BlobId, Collection[PlaceId]],
    relays: Iterable[PlaceId] | None = None,
) -> Movement:
    """Ask for blobs to be brought from where they are held to where they are wanted: one item per blob, in order.

    Blobs move whole, and latency holds ports, as rule PORT has it.  Without `relays` every memory may take any blob
    and pass it on, which no rule of plans forbids.  What is said of places that are no memories counts for nothing.
    """
    memories = {place.id: None for place in cluster.places if place.kind is not PlaceKind.SWITCH}
    ordered: dict[frozenset[PlaceId], tuple[PlaceId, ...]] = {}  # blobs at the same places share one tuple

    def in_order(places: Collection[PlaceId]) -> tuple[PlaceId, ...]:
        key = frozenset(places)
        if key not in ordered:
            ordered[key] = tuple(sorted(place for place in key if place in memories))
        return ordered[key]

    items = [
        Item(
            name=blob.id,
            bytes=blob.bytes,
            holders=in_order(held.get(blob.id, ())),
            wanters=in_order(wanted.get(blob.id, ())),
        )
        for blob in blobs
    ]
    return movement_in(cluster, items, memories if relays is None else relays)


def by_blob(pairs: Iterable[BlobAt]) -> dict[BlobId, set[PlaceId]]:
    """Gather the places of each blob."""
    found: dict[BlobId, set[PlaceId]] = {}
    for blob, place in pairs:
        found.setdefault(blob, set()).add(place)
    return found


def promised_movement(facts: Facts, llm: LlmId | None = None) -> Movement:
    """Ask for what a plan promises of one LLM, or of all: targets, residents and open stages hold blobs at the end.

    Memories in which the plan puts nothing stay out of it: idle devices beside a target could pass blobs on to it, and
    whoever does not want them used for that wants to know how quick it is without them.  Other LLMs' transfers only
    take ports and links away.  So what no schedule of this movement beats, no plan beats that has the same promises
    and puts blobs nowhere else.
    """
    blobs = facts.plan.blobs if llm is None else facts.blobs_of_llm[llm]
    received = _received(facts)
    return involved(movement_of(facts.problem.cluster, blobs, by_blob(facts.held_at_start), facts.promised, received))


def _received(facts: Facts) -> tuple[PlaceId, ...]:
    """Memories in which the plan puts something, in ascending order."""
    used = {step.route for step in facts.plan.steps if isinstance(step, Transfer)}
    return tuple(sorted({route_ends(facts.links, facts.plan.routes[route])[1] for route in used}))


def covering_movement(facts: Facts, llm: LlmId) -> Movement:
    """Ask for every blob of one LLM at each of its targets: the first cover is about these alone."""
    blobs = facts.blobs_of_llm[llm]
    targets = frozenset(target.place for target in facts.problem.targets if target.llm == llm)
    wanted = {blob.id: targets for blob in blobs}
    received = _received(facts)
    return involved(movement_of(facts.problem.cluster, blobs, by_blob(facts.held_at_start), wanted, received))


def involved(movement: Movement) -> Movement:
    """Leave out memories that neither hold, want nor relay anything, with their links."""
    named = {place for item in movement.items for place in (*item.holders, *item.wanters)} | set(movement.relays)
    gone = set(movement.memories) - named
    return attrs.evolve(
        movement,
        memories=tuple(place for place in movement.memories if place in named),
        links=tuple(link for link in movement.links if link.source not in gone and link.destination not in gone),
    )
