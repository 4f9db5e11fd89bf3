"""What happens to a node, and what it does: the two ends of the step of block multicast."""

import attrs

from specs.cluster import NodeId
from specs.plan import Continuity, PipelineId, StepId
from specs.protocols.nouns import Copy, Ending, LossReason, Report


@attrs.frozen
class Tick:
    """Some time has passed."""


@attrs.frozen
class Heard:
    """A peer's report has come."""

    peer: NodeId
    report: Report


@attrs.frozen
class Arrived:
    """The blob is in its memory and every digest was right."""

    step: StepId


@attrs.frozen
class Corrupt:
    """The blob came with a wrong digest; its memory is free again."""

    step: StepId


@attrs.frozen
class ReceiveFailed:
    """The receiving ended otherwise, or was abandoned; its memory is free again."""

    step: StepId


@attrs.frozen
class SendDone:
    """The receiver has acknowledged the blob."""

    step: StepId


@attrs.frozen
class SendFailed:
    """The sending ended otherwise, or was abandoned."""

    step: StepId


@attrs.frozen
class PeerLost:
    """A peer was silent or stalled for too long."""

    node: NodeId
    reason: LossReason


@attrs.frozen
class StageBuilt:
    """The pipeline's stage on this node computes."""

    pipeline: PipelineId


@attrs.frozen
class StageFailed:
    """The pipeline's stage on this node could not be built."""

    pipeline: PipelineId


@attrs.frozen
class Proved:
    """The canary prompt went through the pipeline, and the token was right or wrong."""

    pipeline: PipelineId
    right: bool


@attrs.frozen
class Drained:
    """The pipeline's last live request is finished."""

    pipeline: PipelineId


@attrs.frozen
class HandedOver:
    """The fronts know that the successor has the KV of the pipeline's live requests, or that it must be recomputed."""

    pipeline: PipelineId


@attrs.frozen
class Resized:
    """The pipeline has as many slots as the step says, and no stage has more KV."""

    step: StepId


@attrs.frozen
class CountedOn:
    """A plan that may be adopted next finds these pipelines, which this node leads, open; of no other is that so now.

    Until another CountedOn, or the next plan, no switch ends them.
    """

    pipelines: tuple[PipelineId, ...]  # sorted


Event = (
    Tick
    | Heard
    | Arrived
    | Corrupt
    | ReceiveFailed
    | SendDone
    | SendFailed
    | PeerLost
    | StageBuilt
    | StageFailed
    | Proved
    | Drained
    | HandedOver
    | Resized
    | CountedOn
)

# --- actions: what a node does ---------------------------------------------------------------------------------------


@attrs.frozen
class Tell:
    """Send the report to the peer; it may get lost."""

    peer: NodeId
    report: Report


@attrs.frozen
class Receive:
    """Expect the blob; ends in exactly one of Arrived, Corrupt and ReceiveFailed."""

    step: StepId


@attrs.frozen
class Send:
    """Send the blob; ends in exactly one of SendDone and SendFailed."""

    step: StepId


@attrs.frozen
class Abandon:
    """End this Receive or Send early; its end is reported as ever."""

    step: StepId


@attrs.frozen
class BuildStage:
    """Make this node's stages of the pipeline ready to compute; ends in StageBuilt or StageFailed."""

    pipeline: PipelineId


@attrs.frozen
class FreeStage:
    """Free what only this pipeline uses: KV cache and workspace."""

    pipeline: PipelineId


@attrs.frozen
class Prove:
    """Lead the canary prompt through the pipeline; ends in Proved."""

    pipeline: PipelineId


@attrs.frozen
class Open:
    """Take requests."""

    pipeline: PipelineId


@attrs.frozen
class Close:
    """Take no new request.

    RECOMPUTE: its live requests go on in the successor at once, or, without one, in any open pipeline of the LLM.
    DRAIN: it finishes those it has; ends in Drained, unless a second Close with RECOMPUTE comes first.
    COPY: they were handed over; those that came since go on as if by RECOMPUTE.
    """

    pipeline: PipelineId
    successor: PipelineId | None
    continuity: Continuity
    ending: Ending


@attrs.frozen
class HandOver:
    """Copy the KV of its live requests to the successor, while it goes on serving and taking new ones.

    Ends in HandedOver, unless AbortHandOver or a Close of the pipeline comes first.
    """

    pipeline: PipelineId
    successor: PipelineId


@attrs.frozen
class AbortHandOver:
    """The successor has closed, or the next plan counts on the pipeline: forget what was copied, and serve on."""

    pipeline: PipelineId


@attrs.frozen
class Resize:
    """Give the pipeline, which this node leads, so many slots; ends in Resized, unless the pipeline closes first.

    It serves on.  Of more requests than that none is thrown out: none is taken until they fit.
    """

    step: StepId
    pipeline: PipelineId
    slots: int


@attrs.frozen
class Release:
    """Give up the copy's memory."""

    step: StepId
    copy: Copy


Action = (
    Tell
    | Receive
    | Send
    | Abandon
    | BuildStage
    | FreeStage
    | Prove
    | Open
    | Close
    | HandOver
    | AbortHandOver
    | Resize
    | Release
)
