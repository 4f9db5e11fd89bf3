"""The nouns of block multicast: what a node knows of the plan and of the world, and what it tells others.

All are frozen and hashable: a state is a value that can be compared, stored and explored.  What happens to a node and
what it does is in `specs.protocols.events`; how it goes from one to the other, in `specs.protocols.block_multicast`.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property

import attrs

from specs import fields
from specs.blobs import BlobId
from specs.cluster import LinkId, NodeId, PlaceId
from specs.plan import PipelineId, StepId, Switch
from specs.plan import Release as ReleaseStep

# --- the plan, as one node sees it -----------------------------------------------------------------------------------

RUNNING = StepId(-1)  # in the place of an activation, of a pipeline that is open when the plan is adopted


@attrs.frozen(kw_only=True, cache_hash=True)
class Copy:
    """A blob in one memory."""

    blob: BlobId
    place: PlaceId


@attrs.frozen(kw_only=True)
class Passage:
    """A transfer of the plan as the nodes at its ends see it; sender and receiver are the same for a local copy."""

    step: StepId
    source: Copy
    destination: Copy
    sender: NodeId
    receiver: NodeId
    send_port: LinkId
    receive_port: LinkId


@attrs.frozen(kw_only=True)
class Part:
    """A pipeline that the plan activates or finds running, and what this node has to do with it."""

    pipeline: PipelineId
    step: StepId  # of its activation, or RUNNING
    leader: NodeId  # of the first stage: it proves, opens and closes the pipeline
    members: tuple[NodeId, ...]  # each once, in order of their first stages
    needs: tuple[Copy, ...]  # of this node's stages; empty for a node that is no member
    slots: int = 1  # with which it opens, or is said to run

    @property
    def is_running(self) -> bool:
        """Whether it was open before the plan: it is neither built nor proved again."""
        return self.step == RUNNING


@attrs.frozen(kw_only=True)
class Sizing:
    """With how many slots a pipeline goes on, from a step on.

    One that runs has a sizing before the first step of the plan, since it may have other slots than the plan says.
    """

    step: StepId
    pipeline: PipelineId
    slots: int
    is_shrink: bool  # it makes room, or may, where the pipeline has stages; otherwise it needs some


@attrs.frozen(kw_only=True)
class NodePlan:
    """The part of a plan that concerns one node.  Tuples are in the plan's order."""

    node: NodeId
    peers: tuple[NodeId, ...]  # all other nodes with a daemon
    held: tuple[Copy, ...]  # at the start, on this node
    passages: tuple[Passage, ...]  # those that this node sends or receives
    parts: tuple[Part, ...]  # every pipeline: those that run, then those that are activated
    switches: tuple[Switch, ...]  # of all pipelines
    releases: tuple[ReleaseStep, ...]  # of this node's places
    sizings: tuple[Sizing, ...] = ()  # of all pipelines, first those of running ones
    tries_max: int = 5  # a transfer that fails this often counts its other end as lost

    @cached_property
    def passage(self) -> Mapping[StepId, Passage]:
        """Find a passage by its step."""
        return {each.step: each for each in self.passages}

    @cached_property
    def part(self) -> Mapping[PipelineId, Part]:
        """Find a pipeline by its id."""
        return {each.pipeline: each for each in self.parts}

    @cached_property
    def sizing(self) -> Mapping[StepId, Sizing]:
        """Find a sizing by its step."""
        return {each.step: each for each in self.sizings}

    @cached_property
    def places(self) -> Mapping[PipelineId, tuple[PlaceId, ...]]:
        """Name the places of this node at which each pipeline has stages: every stage needs some copy."""
        return {each.pipeline: tuple(dict.fromkeys(copy.place for copy in each.needs)) for each in self.parts}

    @cached_property
    def led_by(self) -> Mapping[NodeId, tuple[Part, ...]]:
        """Find the pipelines that a node leads; nodes that lead none are left out."""
        found: dict[NodeId, list[Part]] = {}
        for each in self.parts:
            found.setdefault(each.leader, []).append(each)
        return {leader: tuple(parts) for leader, parts in found.items()}

    @cached_property
    def sends(self) -> tuple[tuple[Passage, ...], ...]:
        """What this node sends, per send port."""
        ports: dict[LinkId, list[Passage]] = {}
        for each in self.passages:
            if each.sender == self.node:
                ports.setdefault(each.send_port, []).append(each)
        return tuple(tuple(port) for port in ports.values())

    @cached_property
    def receives(self) -> tuple[tuple[Passage, ...], ...]:
        """What this node receives, per receive port."""
        ports: dict[LinkId, list[Passage]] = {}
        for each in self.passages:
            if each.receiver == self.node:
                ports.setdefault(each.receive_port, []).append(each)
        return tuple(tuple(port) for port in ports.values())

    @cached_property
    def arrivals(self) -> Mapping[Copy, tuple[Passage, ...]]:
        """Find the passages that bring a copy to this node."""
        found: dict[Copy, tuple[Passage, ...]] = {}
        for each in self.passages:
            if each.receiver == self.node:
                found[each.destination] = (*found.get(each.destination, ()), each)
        return found


# --- what a node knows -----------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Slots:
    """How many slots a pipeline that this node leads has, or may have already."""

    pipeline: PipelineId
    slots: int


@attrs.frozen(kw_only=True)
class Carried:
    """What a node brings from the plan before about the pipelines that run; what other nodes know, they tell it."""

    built: frozenset[PipelineId] = frozenset()  # this node's stage computes
    opened: frozenset[PipelineId] = frozenset()
    draining: frozenset[PipelineId] = frozenset()  # led here, and superseded under the plan before
    closed: frozenset[PipelineId] = frozenset()
    slots: frozenset[Slots] = frozenset()  # of those that are led here


class LossReason(StrEnum):
    """Why a node counts another as lost."""

    SILENT = "silent"  # nothing was heard from it for the node deadline
    STALLED = "stalled"  # a transfer made no progress for its deadline
    CORRUPT = "corrupt"  # it sent wrong bytes as often as a transfer is tried
    FAILING = "failing"  # a transfer with it failed as often as a transfer is tried
    MUTUAL = "mutual"  # it counts this node as lost
    RESTARTED = "restarted"  # its process is another: it knows nothing of what it did under the plan


class Ending(StrEnum):
    """Why a pipeline closed, or will never open."""

    SUPERSEDED = "superseded"  # the plan's switch: its successor is open
    MEMBER_LOST = "member-lost"  # two of its members have lost each other
    UNABLE = "unable"  # a member can never build its stage
    WRONG_TOKEN = "wrong-token"  # noqa: S105 - a token of an LLM, not a secret


@attrs.frozen(kw_only=True)
class Loss:
    """A node that counts as lost, for ever in this generation."""

    node: NodeId = fields.name()
    reason: LossReason


@attrs.frozen(kw_only=True)
class Cannot:
    """A transfer that will never be made, and the node at which the chain of causes begins."""

    step: StepId = fields.natural()
    because: NodeId = fields.name()


@attrs.frozen(kw_only=True)
class Lack:
    """A copy that this node was promised and will not get, and the node at which the chain of causes begins."""

    copy: Copy
    because: NodeId


@attrs.frozen(kw_only=True)
class Rift:
    """One member of a pipeline counts another as lost."""

    reporter: NodeId
    lost: NodeId


@attrs.frozen(kw_only=True)
class Spoilt:
    """A pipeline that this node leads cannot be."""

    pipeline: PipelineId
    ending: Ending


@attrs.frozen(kw_only=True)
class Ready:
    """A member has built its stage of a pipeline."""

    pipeline: PipelineId
    member: NodeId


@attrs.frozen(kw_only=True)
class Roomy:
    """Where a member has stages of a pipeline there is the room that its resize needs."""

    step: StepId
    member: NodeId


@attrs.frozen(kw_only=True)
class Handing:
    """The KV of a pipeline that this node leads is being copied to its successor."""

    pipeline: PipelineId
    successor: PipelineId


@attrs.frozen(kw_only=True, cache_hash=True)
class NodeState:
    """Everything that one node knows.

    Each set only grows, except `held`, `receiving`, `granted`, `sending`, `handing`, `counted_on`, `resizing` and
    `slots`.
    """

    held: frozenset[Copy]
    # Receiving: a step is in `receiving` from its Receive until Arrived, Corrupt or ReceiveFailed.
    receiving: frozenset[StepId] = frozenset()
    arrived: frozenset[StepId] = frozenset()
    refused: frozenset[Cannot] = frozenset()  # said by the senders
    # Sending: a step is in `sending` from its Send until SendDone or SendFailed.
    granted: frozenset[StepId] = frozenset()  # the receiver's buffer is ready
    sending: frozenset[StepId] = frozenset()
    sent: frozenset[StepId] = frozenset()
    # Both ends.
    abandoned: frozenset[StepId] = frozenset()  # under way when the other end was lost; its end is awaited
    failures: tuple[StepId, ...] = ()  # sorted; a step stands in it once per failure
    lost: frozenset[Loss] = frozenset()
    # This node's stages.
    building: frozenset[PipelineId] = frozenset()  # BuildStage was given
    built: frozenset[PipelineId] = frozenset()
    unbuildable: frozenset[PipelineId] = frozenset()  # BuildStage failed
    freed: frozenset[PipelineId] = frozenset()
    # Pipelines that this node leads.
    ready: frozenset[Ready] = frozenset()
    rifts: frozenset[Rift] = frozenset()
    spoilt: frozenset[Spoilt] = frozenset()
    proving: frozenset[PipelineId] = frozenset()  # Prove was given
    proved: frozenset[PipelineId] = frozenset()
    draining: frozenset[PipelineId] = frozenset()
    drained: frozenset[PipelineId] = frozenset()
    handing: frozenset[Handing] = frozenset()  # HandOver was given, and AbortHandOver was not; one per pipeline
    handed: frozenset[PipelineId] = frozenset()
    counted_on: frozenset[PipelineId] = frozenset()  # by a plan that may be adopted next
    resizing: frozenset[StepId] = frozenset()  # Resize was given; until Resized
    roomy: frozenset[Roomy] = frozenset()
    slots: frozenset[Slots] = frozenset()  # one per pipeline that is open
    # All pipelines, as far as heard: open are those that opened and have not closed.
    opened: frozenset[PipelineId] = frozenset()
    closed: frozenset[PipelineId] = frozenset()
    resized: frozenset[StepId] = frozenset()
    # Releases done.
    released: frozenset[StepId] = frozenset()


# --- what nodes tell each other --------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True, cache_hash=True)
class Report:
    """All that one node has to tell one peer, each time anew.  Every tuple is sorted."""

    ready: tuple[StepId, ...] = ()  # transfers from the peer: their buffers wait
    over: tuple[StepId, ...] = ()  # transfers from the peer that have arrived
    cannot: tuple[Cannot, ...] = ()  # transfers to the peer that will never be made
    built: tuple[PipelineId, ...] = ()  # pipelines led by the peer: this member's stage is built
    unable: tuple[PipelineId, ...] = ()  # pipelines led by the peer: this member's stage will never be
    opened: tuple[PipelineId, ...] = ()  # pipelines led by the teller that have ever opened
    closed: tuple[PipelineId, ...] = ()  # pipelines led by the teller that will never take requests again
    resized: tuple[StepId, ...] = ()  # resizes of pipelines led by the teller that are done
    roomy: tuple[StepId, ...] = ()  # resizes of pipelines led by the peer: this member has the room that they need
    lost: tuple[NodeId, ...] = ()  # whom the teller counts as lost
