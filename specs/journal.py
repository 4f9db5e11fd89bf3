"""The journal: what happened on one node, one line of canonical JSON per record.

Records say what the node did and learned: enough to compare what ran with what was planned, and to feed the protocols
with it once more (`specs.replay`); `holdfast audit` does both.  What comes with every chunk of KV or every iteration
of a hand-over is written about once a round: events that come to the same are left out.  Times are the node's wall
clock; comparisons across nodes are as good as their clocks.
"""

import attrs

from specs import codec, fields
from specs.blobs import BlobId
from specs.cluster import NodeId, PlaceId
from specs.plan import PipelineId, StepId
from specs.protocols import events as core
from specs.protocols import kv_hand_over_events as hand_over
from specs.protocols import plan_switch_nouns as switch
from specs.protocols.kv_hand_over_nouns import HandOverId, Path
from specs.protocols.nouns import Ending, LossReason
from specs.units import Bytes, Nanos


@attrs.frozen(kw_only=True)
class Started:
    """A life of the daemon begins; `settled` is the generation that the lives before it left on its disk, or 0."""

    settled: int = fields.natural()


@attrs.frozen(kw_only=True)
class LearntOfPlans:
    """Plan switch took an event that told it something new; what it had the node do comes after."""

    event: switch.Event


@attrs.frozen(kw_only=True)
class LearntUnderPlan:
    """Block multicast took an event that told it something new; what it had the node do comes after."""

    event: core.Event


@attrs.frozen(kw_only=True)
class LearntAsSource:
    """The source leader of a KV hand-over, of this pipeline, took an event; `done` is what it did besides telling."""

    pipeline: PipelineId = fields.name()
    event: hand_over.SourceEvent
    times: int = fields.positive(1)  # in a row
    done: tuple[hand_over.SourceAction, ...] = ()


@attrs.frozen(kw_only=True)
class LearntAsTarget:
    """The target leader of KV hand-overs, to this pipeline, took an event; `done` is what it did besides telling."""

    pipeline: PipelineId = fields.name()
    event: hand_over.TargetEvent
    times: int = fields.positive(1)  # in a row
    done: tuple[hand_over.TargetAction, ...] = ()


@attrs.frozen(kw_only=True)
class LearntAsStage:
    """Target stages of this node heard of other seats, or wrote chunks: those that followed one another as one."""

    events: tuple[hand_over.StageEvent, ...]


@attrs.frozen(kw_only=True)
class CopyOrdered:
    """A stage of this node was told to copy these rows along a path."""

    id: HandOverId
    path: Path
    rows: tuple[hand_over.CopyRow, ...]


@attrs.frozen(kw_only=True)
class LearntAsFront:
    """A front heard which of its requests were handed over."""

    id: HandOverId
    requests: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Moved:
    """A front submitted a request under a new name, to go on after the attempt before."""

    attempt: str = fields.name()
    before: str = fields.name()
    pipeline: PipelineId = fields.name()
    tokens: int = fields.positive()
    digest: str = fields.digest()  # of the tokens
    was_left: bool  # nothing is taken of the attempt before any more
    resumes: HandOverId | None = None  # which brought its KV there


@attrs.frozen(kw_only=True)
class TookOver:
    """A leader goes on with a request from the KV in a seat; `digest` is of all its tokens."""

    attempt: str = fields.name()
    digest: str = fields.digest()


@attrs.frozen(kw_only=True)
class Adopted:
    """The node verified the plan and began to carry it out; all times count from here."""

    plan: str = fields.digest()
    problem: str = fields.digest()


@attrs.frozen(kw_only=True)
class Refused:
    """A plan was offered and not adopted."""

    reason: str


@attrs.frozen(kw_only=True)
class Accepted:
    """The node would adopt a plan and waits for the others; `generation` is that plan's.  Nothing changes yet."""

    plan: str = fields.digest()
    generation: int = fields.positive()


@attrs.frozen(kw_only=True)
class Declined:
    """The node has told the others that it will never accept a plan, on which one of them stands."""

    plan: str = fields.digest()
    generation: int = fields.positive()
    reason: str


@attrs.frozen(kw_only=True)
class Forgotten:
    """A plan that the node had accepted will not be adopted: somebody declined it, or another one was adopted."""

    plan: str = fields.digest()
    generation: int = fields.positive()
    reason: str


@attrs.frozen(kw_only=True)
class BlobHeld:
    """The blob is in its memory and its digests were right."""

    blob: BlobId = fields.name()
    place: PlaceId = fields.name()


@attrs.frozen(kw_only=True)
class TransferStarted:
    """The sender offered the blob."""

    step: StepId = fields.natural()


@attrs.frozen(kw_only=True)
class TransferSent:
    """The receiver acknowledged the blob; `elapsed_ns` from its consent."""

    step: StepId = fields.natural()
    elapsed_ns: Nanos = fields.natural()
    bytes: Bytes = fields.natural()


@attrs.frozen(kw_only=True)
class TransferEnded:
    """The receiver has the blob; `elapsed_ns` from the offer."""

    step: StepId = fields.natural()
    elapsed_ns: Nanos = fields.natural()
    bytes: Bytes = fields.natural()


@attrs.frozen(kw_only=True)
class TransferDetoured:
    """This end of a transfer that was to be written into memory went on as a stream."""

    step: StepId = fields.natural()
    reason: str


@attrs.frozen(kw_only=True)
class TransferFailed:
    """This end of a transfer ended without success; it may be tried again."""

    step: StepId = fields.natural()
    reason: str


@attrs.frozen(kw_only=True)
class StageBuilt:
    """This node's stages of the pipeline compute."""

    pipeline: PipelineId = fields.name()


@attrs.frozen(kw_only=True)
class StageFailed:
    """This node's stages of the pipeline could not be built."""

    pipeline: PipelineId = fields.name()
    reason: str


@attrs.frozen(kw_only=True)
class StageFreed:
    """The memory of this node's stages of the pipeline is free again."""

    pipeline: PipelineId = fields.name()


@attrs.frozen(kw_only=True)
class Proved:
    """The leader led the canary through the pipeline."""

    pipeline: PipelineId = fields.name()
    right: bool


@attrs.frozen(kw_only=True)
class Opened:
    """The leader takes requests."""

    pipeline: PipelineId = fields.name()


@attrs.frozen(kw_only=True)
class Closed:
    """The leader takes no more requests."""

    pipeline: PipelineId = fields.name()
    ending: Ending
    successor: PipelineId | None = fields.optional_name()


@attrs.frozen(kw_only=True)
class HandedOver:
    """The leader handed the pipeline's requests over to its successor.

    `bytes` are those of all KV that was to be copied, again too; `halted_ns` from the last iteration that was formed
    to the word to the fronts.
    """

    pipeline: PipelineId = fields.name()
    successor: PipelineId = fields.name()
    copied: int = fields.natural()  # requests that go on from their KV
    recomputed: int = fields.natural()  # requests that are computed again
    rounds: int = fields.natural()
    bytes: Bytes = fields.natural()
    halted_ns: Nanos = fields.natural()


@attrs.frozen(kw_only=True)
class Resized:
    """The pipeline, led here, has as many slots as the step says, no stage more KV; `elapsed_ns` from the order."""

    step: StepId  # negative where the plan says how many one that runs has
    pipeline: PipelineId = fields.name()
    slots_before: int = fields.positive()
    slots: int = fields.positive()
    elapsed_ns: Nanos = fields.natural()


@attrs.frozen(kw_only=True)
class Released:
    """The copy's memory is free again."""

    step: StepId = fields.natural()


@attrs.frozen(kw_only=True)
class PeerLost:
    """This node counts another as lost."""

    node: NodeId = fields.name()
    reason: LossReason


@attrs.frozen(kw_only=True)
class Lacks:
    """This node will never get a copy that it was promised; the chain of causes begins at `because`."""

    blob: BlobId = fields.name()
    place: PlaceId = fields.name()
    because: NodeId = fields.name()


@attrs.frozen(kw_only=True)
class FirstToken:
    """The front of this node gave the first token of a request; `waited_ns` since it came."""

    pipeline: PipelineId = fields.name()
    waited_ns: Nanos = fields.natural()


What = (
    Started
    | LearntOfPlans
    | LearntUnderPlan
    | LearntAsSource
    | LearntAsTarget
    | LearntAsStage
    | CopyOrdered
    | LearntAsFront
    | Moved
    | TookOver
    | Adopted
    | Refused
    | Accepted
    | Declined
    | Forgotten
    | BlobHeld
    | TransferStarted
    | TransferSent
    | TransferEnded
    | TransferDetoured
    | TransferFailed
    | StageBuilt
    | StageFailed
    | StageFreed
    | Proved
    | Opened
    | Closed
    | HandedOver
    | Resized
    | Released
    | PeerLost
    | Lacks
    | FirstToken
)


@attrs.frozen(kw_only=True)
class Record:
    """One line of a journal.  `sequence` counts up from 0 without a gap."""

    sequence: int = fields.natural()
    at_unix_ns: Nanos = fields.positive()
    node: NodeId = fields.name()
    generation: int = fields.natural()  # of the plan; 0 before there is one
    what: What


def write_line(record: Record) -> str:
    """Write a record as one line, without its end."""
    return codec.encode(record).decode()


def read_lines(text: str) -> tuple[Record, ...]:
    """Read a journal.  Raises MalformedDocument for a line that is none."""
    return tuple(codec.decode(Record, line.encode()) for line in text.split("\n") if line)
