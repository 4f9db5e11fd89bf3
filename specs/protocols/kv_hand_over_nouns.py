"""The nouns of KV hand-over: what its three roles know and tell.

All are frozen and hashable, as those of block multicast.  The theory of operation is in `specs.protocols.kv_hand_over`,
what happens and what is done in `specs.protocols.kv_hand_over_events`.
A request is named by its front, anew for each submission, so that a name means one run of tokens and no other.
"""

from enum import Enum

import attrs

from specs import fields
from specs.plan import PipelineId

# --- names -----------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True, cache_hash=True)
class HandOverId:
    """One try to hand a pipeline's requests over.  It never repeats, as pipeline ids do not."""

    old: PipelineId = fields.name()
    new: PipelineId = fields.name()
    number: int = fields.positive()  # counts the tries of the old pipeline


@attrs.frozen(kw_only=True, cache_hash=True)
class Path:
    """An old and a new stage that share layers: the KV of these goes from the one to the other."""

    old_stage: int = fields.natural()
    new_stage: int = fields.natural()


# --- what the source leader tells the target leader, and hears of it -------------------------------------------------


@attrs.frozen(kw_only=True, cache_hash=True)
class Fresh:
    """A guest that the target leader may not know yet.  Its first tokens and its sampling travel with this."""

    request: str = fields.name()
    tokens: int = fields.positive()


@attrs.frozen(kw_only=True, cache_hash=True)
class Final:
    """A guest at its last iteration boundary in the old pipeline."""

    request: str = fields.name()
    computed: int = fields.natural()  # tokens whose KV is to be there
    tokens: int = fields.positive()


@attrs.frozen(kw_only=True, cache_hash=True)
class Invitation:
    """All that the source leader has to tell the target leader, each time anew."""

    id: HandOverId
    edition: int = fields.positive()  # what an older one says is over
    is_over: bool = False  # nobody comes
    paths: tuple[Path, ...] = ()
    guests: tuple[str, ...] = ()
    fresh: tuple[Fresh, ...] = ()
    rest: tuple[Final, ...] | None = None  # of all guests, once the last round is under way


@attrs.frozen(kw_only=True, cache_hash=True)
class Row:
    """A guest, as the target leader knows it."""

    request: str = fields.name()
    seat: int | None = None  # its slot, once it is open at every stage
    is_refused: bool = False  # there was no slot
    held: int = fields.natural(0)  # the first so many tokens' KV is in every stage


@attrs.frozen(kw_only=True, cache_hash=True)
class Hosting:
    """All that the target leader has to tell a source leader."""

    id: HandOverId
    is_over: bool = False
    rows: tuple[Row, ...] = ()
    is_whole: bool = False  # the rest was told, and is there


# --- what the target leader tells its stages, and hears of them ------------------------------------------------------


@attrs.frozen(kw_only=True, cache_hash=True)
class OpenSeat:
    """A slot into which the KV of one guest may be written."""

    id: HandOverId
    request: str = fields.name()
    seat: int = fields.natural()


@attrs.frozen(kw_only=True, cache_hash=True)
class Seats:
    """All seats of a pipeline that are open to guests."""

    pipeline: PipelineId = fields.name()
    stage: int = fields.natural()
    edition: int = fields.natural()
    seats: tuple[OpenSeat, ...] = ()


@attrs.frozen(kw_only=True, cache_hash=True)
class Count:
    """How much of a guest's KV a stage has from an old stage: that of its first so many tokens."""

    id: HandOverId
    request: str = fields.name()
    old_stage: int = fields.natural()
    tokens: int = fields.natural()


@attrs.frozen(kw_only=True, cache_hash=True)
class Held:
    """All that a stage has to tell its leader."""

    pipeline: PipelineId = fields.name()
    stage: int = fields.natural()
    edition: int = fields.natural()  # of the seats that it goes by
    counts: tuple[Count, ...] = ()


@attrs.frozen(kw_only=True, cache_hash=True)
class Chunk:
    """KV of tokens [start, end) of a guest, in the layers that the stages of its path share."""

    id: HandOverId
    path: Path
    request: str = fields.name()
    seat: int = fields.natural()
    start: int = fields.natural()
    end: int = fields.positive()


# --- the source leader -----------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True, cache_hash=True)
class Terms:
    """What the plan says about a hand-over, and how patient its source is."""

    pipeline: PipelineId  # the old one
    paths: tuple[Path, ...]
    rounds_max: int
    rest_tokens_max: int
    copy_tokens_min: int
    late_max: int = 25  # ticks in a row without progress of a round, after the first: meanwhile nobody waits
    tries_max: int = 5  # and of the last round
    hand_overs_max: int = 3  # then all requests are computed again


@attrs.frozen(kw_only=True, cache_hash=True)
class Live:
    """A request with a slot in the old pipeline, at the end of its latest iteration."""

    request: str
    slot: int
    computed: int  # tokens whose KV is in every stage
    tokens: int
    under_way: int = 0  # tokens that an iteration computes now
    samples: bool = False  # and it ends with another token

    @property
    def final(self) -> "Final":
        """What it comes to once that iteration has ended, unless it ends with it."""
        return Final(request=self.request, computed=self.computed + self.under_way, tokens=self.tokens + self.samples)


@attrs.frozen(kw_only=True, cache_hash=True)
class Guest:
    """A request that is being handed over, as the source leader knows it."""

    request: str
    known: int  # tokens that are told with the invitation
    is_known: bool = False  # the target leader has heard of it
    seat: int | None = None
    held: int = 0
    goal: int = 0  # of this round


class Phase(Enum):
    """How far a hand-over is."""

    ROUNDS = "rounds"  # the old pipeline decodes
    HALTING = "halting"  # no more iterations are to be formed
    REST = "rest"  # none is formed any more; the last round is under way


@attrs.frozen(kw_only=True, cache_hash=True)
class Current:
    """A hand-over under way."""

    id: HandOverId
    phase: Phase = Phase.ROUNDS
    edition: int = 0
    round: int = 0
    stalls: int = 0  # ticks since the last progress
    guests: tuple[Guest, ...] = ()
    again: frozenset[str] = frozenset()  # to be computed again: never invited any more
    is_whole: bool = False


@attrs.frozen(kw_only=True, cache_hash=True)
class SourceState:
    """All that a source leader knows of hand-overs of its pipeline."""

    number: int = 0  # of the latest
    live: tuple[Live, ...] = ()  # at the latest boundary
    is_heeded: bool = False  # no iteration is formed any more
    is_quiet: bool = False  # and none is under way
    current: Current | None = None


# --- the target leader ------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True, cache_hash=True)
class Successor:
    """The new pipeline, as its leader knows it."""

    pipeline: PipelineId
    stages: int
    patience: int = 10  # ticks without an invitation


@attrs.frozen(kw_only=True, cache_hash=True)
class Seated:
    """A guest with a seat, as the target leader knows it."""

    request: str
    seat: int
    since: int  # the edition of the seats with which it was opened
    final: Final | None = None


@attrs.frozen(kw_only=True, cache_hash=True)
class Stay:
    """A hand-over, as the target leader knows it."""

    id: HandOverId
    paths: tuple[Path, ...]
    edition: int = 0  # of the invitation
    quiet: int = 0  # ticks since the last invitation
    guests: tuple[Seated, ...] = ()
    refused: tuple[str, ...] = ()
    is_rest: bool = False  # the rest was told


@attrs.frozen(kw_only=True, cache_hash=True)
class TargetState:
    """All that a target leader knows of hand-overs to its pipeline."""

    edition: int = 0  # of the seats
    stays: tuple[Stay, ...] = ()  # one for each old pipeline at most, the oldest first
    over: tuple[tuple[PipelineId, int], ...] = ()  # for each old pipeline the last number that is over
    closing: tuple[tuple[int, int], ...] = ()  # seats with the edition that closes them
    stages: tuple[Held, ...] = ()  # what each stage has told


# --- the target stage -------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True, cache_hash=True)
class StageState:
    """All that a stage of a new pipeline knows of hand-overs."""

    edition: int = 0
    seats: tuple[OpenSeat, ...] = ()
    counts: tuple[Count, ...] = ()
