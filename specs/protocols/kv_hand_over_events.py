"""What happens to the roles of KV hand-over, and what they do."""

import attrs

from specs.plan import PipelineId
from specs.protocols.kv_hand_over_nouns import Chunk, HandOverId, Held, Hosting, Invitation, Live, Seats


@attrs.frozen
class Tick:
    """Some time has passed."""


# --- the source leader -----------------------------------------------------------------------------------------------


@attrs.frozen
class Begin:
    """The successor is open; all requests with a slot that live."""

    new: PipelineId
    live: tuple[Live, ...]


@attrs.frozen
class Boundary:
    """An iteration or a request has ended, or Halt was heeded; all requests with a slot that live."""

    live: tuple[Live, ...]
    is_heeded: bool = False  # since Halt: no iteration is formed any more
    is_quiet: bool = False  # and none is under way


@attrs.frozen
class HostingIs:
    """The target leader has told."""

    hosting: Hosting


@attrs.frozen
class Abort:
    """The successor has closed."""


SourceEvent = Begin | Boundary | HostingIs | Abort | Tick


@attrs.frozen
class Invite:
    """Send it to the target leader; it may get lost."""

    invitation: Invitation


@attrs.frozen
class CopyRow:
    """KV of tokens [start, end) in a slot of the old pipeline is to go to a seat of the new one."""

    request: str
    slot: int
    seat: int
    start: int
    end: int


@attrs.frozen
class Copy:
    """Have every path copy these rows, in this order, and nothing that it was told before.

    An old stage reads a token once it has computed it.
    """

    id: HandOverId
    rows: tuple[CopyRow, ...]


@attrs.frozen
class Halt:
    """Form no more iterations; ends in a Boundary at once, and in one that is quiet."""


@attrs.frozen
class GoOn:
    """Form iterations again."""


@attrs.frozen
class HandOut:
    """Tell each front which of its requests are in the new pipeline; forget all requests; the old pipeline is done."""

    id: HandOverId
    requests: tuple[str, ...]


@attrs.frozen
class Failed:
    """This hand-over has come to nothing; another may begin."""

    id: HandOverId


SourceAction = Invite | Copy | Halt | GoOn | HandOut | Failed

# --- the target leader -----------------------------------------------------------------------------------------------


@attrs.frozen
class Invited:
    """A source leader has told."""

    invitation: Invitation


@attrs.frozen
class Reserved:
    """The answer to Reserve, at once: for each guest a slot to which no iteration under way can write, or None."""

    id: HandOverId
    seats: tuple[tuple[str, int | None], ...]


@attrs.frozen
class HeldIs:
    """A stage has told."""

    held: Held


@attrs.frozen
class Claim:
    """A request of a front, which believes it to be here with its KV."""

    request: str  # its name in the old pipeline
    attempt: str  # its name from now on
    tokens: int


@attrs.frozen
class Resumed:
    """A front submits requests anew; given once for each attempt."""

    id: HandOverId
    claims: tuple[Claim, ...]


TargetEvent = Invited | Reserved | HeldIs | Resumed | Tick


@attrs.frozen
class Answer:
    """Send it to the source leader; it may get lost."""

    hosting: Hosting


@attrs.frozen
class TellSeats:
    """Send it to the stage; it may get lost."""

    seats: Seats


@attrs.frozen
class Reserve:
    """Keep a slot for each of these guests, while there is room; ends in Reserved."""

    id: HandOverId
    requests: tuple[str, ...]


@attrs.frozen
class GiveBack:
    """This slot is free again: no chunk can get into it."""

    seat: int


@attrs.frozen
class TakeOver:
    """Decode this request from the KV in its seat, under its new name."""

    id: HandOverId
    request: str
    attempt: str
    seat: int
    computed: int  # tokens whose KV is there
    tokens: int


@attrs.frozen
class TurnAway:
    """Return this request to its front."""

    attempt: str


TargetAction = Answer | TellSeats | Reserve | GiveBack | TakeOver | TurnAway

# --- a target stage --------------------------------------------------------------------------------------------------


@attrs.frozen
class SeatsAre:
    """The leader has told."""

    seats: Seats


@attrs.frozen
class ChunkCame:
    """A chunk whose digest was right."""

    chunk: Chunk


StageEvent = SeatsAre | ChunkCame


@attrs.frozen
class Write:
    """Write the chunk's KV; where it is there already, this is the same."""

    chunk: Chunk


@attrs.frozen
class TellHeld:
    """Send it to the leader; it may get lost."""

    held: Held


StageAction = Write | TellHeld

# What comes to nothing but a message, or to the next event at once; the rest of what a role does is its deeds.
TELLING = (Invite, Answer, TellSeats, TellHeld, Reserve)
