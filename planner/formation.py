"""Serving while loading: which pipelines open when, over nodes that hold part of the LLM.

Three ages.  Until the receivers together cover the LLM, each source forms a pipeline with receivers that hold some
blobs already: they take over units from it, first when the first blob has arrived, again when half have.  From the
first cover on, receivers form pipelines among themselves.  And each receiver that is complete serves by itself: the
pipelines in which it took part switch to it.  A receiver is in one distributed pipeline at a time, so that a pipeline
always ends by a switch to the next pipeline of one of its members.
"""

import itertools
import operator
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

import attrs

from planner.partition import Member, Run, partition
from planner.stages import Sizes, devices
from specs.blobs import Blob, BlobId, blobs_of_units
from specs.cluster import Place, PlaceId
from specs.plan import Pipeline, Stage
from specs.units import Bytes, Nanos

# Places in one pipeline: more make the hop count, and so the time of a token, grow without need.
MEMBERS_MAX = 4
# Pipelines among receivers: they live for the last ticks only, and each costs KV memory and a partition search.
COVERS_MAX = 16


@attrs.frozen(kw_only=True)
class Opening:
    """A pipeline and the life that the plan predicts for it."""

    pipeline: Pipeline
    open_ns: Nanos
    close_ns: Nanos | None  # absent: it stays open
    successor: str | None  # the pipeline to which its requests switch at close_ns


def form(
    sizes: Sizes,
    blobs: tuple[Blob, ...],
    sources: Sequence[PlaceId],
    arrivals: Mapping[PlaceId, Sequence[tuple[Nanos, BlobId]]],
    spare_bytes: Mapping[PlaceId, Bytes],
) -> tuple[Opening, ...]:
    """List the pipelines of one LLM in the order of their openings.

    `sources` are the devices that hold the LLM from the start and serve it; `arrivals` lists for each receiver when it
    gets what, in order of time; `spare_bytes` is the memory for pipelines over nodes at each of these places.
    """
    return _Formation(sizes, blobs, sources, arrivals, spare_bytes).openings()


@attrs.frozen(kw_only=True)
class _Draft:
    pipeline: Pipeline
    open_ns: Nanos
    receivers: tuple[PlaceId, ...]


class _Formation:
    """Everything known while pipelines are formed; `openings` reads as the method."""

    def __init__(
        self,
        sizes: Sizes,
        blobs: tuple[Blob, ...],
        sources: Sequence[PlaceId],
        arrivals: Mapping[PlaceId, Sequence[tuple[Nanos, BlobId]]],
        spare_bytes: Mapping[PlaceId, Bytes],
    ) -> None:
        self.sizes = sizes
        self.blobs = blobs
        self.sources = sources
        self.arrivals = arrivals
        self.spare_bytes = spare_bytes
        self.places = devices(sizes.problem)
        self.units = len(sizes.llm.units)
        self.bit = {blob.id: 1 << index for index, blob in enumerate(blobs)}
        self.all_bits = (1 << len(blobs)) - 1
        self.instants = {place: [at for at, _ in arrived] for place, arrived in arrivals.items()}
        self.complete_ns = {place: instants[-1] for place, instants in self.instants.items()}
        # For each place, what it holds after so many arrivals.
        self.unions = {
            place: list(itertools.accumulate((self.bit[blob] for _, blob in arrived), operator.or_, initial=0))
            for place, arrived in arrivals.items()
        }
        self.needs = [
            sum(self.bit[blob] for blob in blobs_of_units(sizes.llm, blobs, unit, unit + 1))
            for unit in range(self.units)
        ]
        self._unit_ns: dict[str, tuple[Nanos, ...]] = {}
        self._count = 0

    def openings(self) -> tuple[Opening, ...]:
        """Form local and distributed pipelines, then link each distributed one to its successor."""
        local = [self._draft(self.sizes.local(place), Nanos(0), ()) for place in self.sources]
        local += [self._draft(self.sizes.local(place), at, (place,)) for place, at in self.complete_ns.items()]
        drafts = [draft for at in self._ages() for draft in self._assists(at)]
        drafts += self._covers()
        drafts.sort(key=lambda draft: draft.open_ns)
        everything = sorted([*drafts, *local], key=lambda draft: draft.open_ns)
        linked = [self._link(draft, everything) for draft in drafts]
        permanent = [
            Opening(pipeline=draft.pipeline, open_ns=draft.open_ns, close_ns=None, successor=None) for draft in local
        ]
        return tuple(sorted([*permanent, *linked], key=lambda opening: (opening.open_ns, opening.close_ns is not None)))

    def _draft(self, pipeline: Pipeline, open_ns: Nanos, receivers: tuple[PlaceId, ...]) -> _Draft:
        return _Draft(pipeline=pipeline, open_ns=open_ns, receivers=receivers)

    def _link(self, draft: _Draft, everything: Sequence[_Draft]) -> Opening:
        """Close a distributed pipeline when the next pipeline of one of its receivers opens."""
        following = next(
            other
            for other in everything
            if other.open_ns > draft.open_ns and set(other.receivers) & set(draft.receivers)
        )
        return Opening(
            pipeline=draft.pipeline,
            open_ns=draft.open_ns,
            close_ns=following.open_ns,
            successor=following.pipeline.id,
        )

    # --- what is held when ---------------------------------------------------------------------------------------

    def _held(self, place: PlaceId, at: Nanos) -> int:
        return self.unions[place][bisect_right(self.instants[place], at)]

    def _union_reaches(self, count: int) -> Nanos:
        """Find the instant at which the receivers together hold this many blobs."""
        union = 0
        for at, blob in sorted(arrival for arrived in self.arrivals.values() for arrival in arrived):
            union |= self.bit[blob]
            if union.bit_count() >= count:
                return at
        raise AssertionError("every receiver ends with every blob")

    def _ages(self) -> list[Nanos]:
        """Instants at which sources form pipelines with receivers: first blob, half of the blobs; none after cover."""
        if not self.arrivals:
            return []
        cover = self._union_reaches(len(self.blobs))
        counts = (1, (len(self.blobs) + 1) // 2)
        return sorted({at for at in (self._union_reaches(count) for count in counts) if at < cover})

    # --- forming -------------------------------------------------------------------------------------------------

    def _assists(self, at: Nanos) -> Iterable[_Draft]:
        """Let each source share its work with receivers that already hold something."""
        free = [place for place in self.arrivals if self._held(place, at)]
        share = max(1, min(MEMBERS_MAX - 1, len(free) // max(1, len(self.sources))))
        for index, source in enumerate(self.sources):
            chosen = free[index * share : (index + 1) * share]
            draft = self._try(at, [*chosen, source]) if chosen else None
            alone = sum(self._times(self.places[source]))
            if draft is not None and draft.receivers and self._slowest(draft.pipeline) < alone:
                yield draft

    def _covers(self) -> Iterable[_Draft]:
        """From the first cover on, let receivers that together hold everything form pipelines."""
        if len(self.arrivals) < 2:
            return
        cover = self._union_reaches(len(self.blobs))
        instants = sorted({at for arrived in self.arrivals.values() for at, _ in arrived if at >= cover})
        busy: set[PlaceId] = set()
        formed = 0
        for at in instants:
            while formed < COVERS_MAX:
                free = [place for place in self.arrivals if place not in busy and self.complete_ns[place] > at]
                chosen = self._choose(free, at)
                draft = self._try(at, chosen) if chosen else None
                if draft is None:
                    break
                busy |= set(draft.receivers)
                formed += 1
                yield draft

    def _choose(self, free: Sequence[PlaceId], at: Nanos) -> list[PlaceId]:
        """Pick few receivers that together hold every blob: each time the one that adds most; empty if none do."""
        held = {place: self._held(place, at) for place in free}
        chosen: list[PlaceId] = []
        union = 0
        while union != self.all_bits and len(chosen) < min(MEMBERS_MAX, len(free)):
            best = max(free, key=lambda place: (held[place] & ~union).bit_count())
            if not held[best] & ~union:
                return []
            union |= held[best]
            chosen.append(best)
        return chosen if union == self.all_bits else []

    def _try(self, at: Nanos, places: Sequence[PlaceId]) -> _Draft | None:
        """Cut the LLM over these places by what they hold at this instant; None if they cannot, or not for long."""
        members = [self._member(place, at) for place in places]
        runs = self._runs(members)
        if runs is None or len({run.place for run in runs}) < 2:
            return None
        stages = tuple(self.sizes.stage(run.place, run.first, run.end) for run in runs)
        receivers = tuple(place for place in places if place in self.arrivals and any(s.place == place for s in stages))
        if not receivers:
            return None
        pipeline = self.sizes.pipeline(f"{self.sizes.llm.id}/pipe-{self._count}", stages)
        ends = min(self.complete_ns[place] for place in receivers)
        if at + self._token_ns(pipeline) > ends:
            return None
        self._count += 1
        return self._draft(pipeline, at, receivers)

    def _runs(self, members: Sequence[Member]) -> tuple[Run, ...] | None:
        """Cut all units; where no cut has the head in its last run, let another member compute the head alone."""
        whole = partition(members, 0, self.units)
        if whole is not None:
            return whole
        body = partition(members, 0, self.units - 1)
        heads = [member.place for member in members if member.able[-1] and member.units_max > 0]
        if body is None or not heads:
            return None
        used = [run.place for run in body if run.place in heads]
        return (*body, Run(place=(used or heads)[0], first=self.units - 1, end=self.units))

    def _member(self, place: PlaceId, at: Nanos) -> Member:
        held = self._held(place, at) if place in self.arrivals else self.all_bits
        return Member(
            place=place,
            able=tuple(needed & ~held == 0 for needed in self.needs),
            unit_ns=self._times(self.places[place]),
            units_max=self._units_max(self.places[place]),
        )

    def _units_max(self, place: Place) -> int:
        """How many units fit: a place is in three pipelines at most, with up to two runs (one the head) in each.

        Two of them are open at a time by the plan's times, but nothing keeps the third from being built early (MEM).
        """
        each = max(unit.kv_bytes_per_token for unit in self.sizes.llm.units) * self.sizes.kv_tokens
        workspace: Bytes = self.sizes.local(place.id).stages[0].workspace_bytes
        return max(0, self.spare_bytes[place.id] // 3 - 2 * workspace) // max(1, each)

    def _times(self, place: Place) -> tuple[Nanos, ...]:
        kind = str(place.device)
        if kind not in self._unit_ns:
            self._unit_ns[kind] = self.sizes.unit_ns(place)
        return self._unit_ns[kind]

    def _stage_ns(self, stage: Stage) -> int:
        return sum(self._times(self.places[stage.place])[stage.first_unit : stage.end_unit])

    def _slowest(self, pipeline: Pipeline) -> int:
        return max(self._stage_ns(stage) for stage in pipeline.stages)

    def _token_ns(self, pipeline: Pipeline) -> int:
        return sum(self._stage_ns(stage) for stage in pipeline.stages)
