"""The nouns, events and actions of plan switch: see `specs.protocols.plan_switch`.

All are frozen and hashable: a state is a value that can be compared, stored and explored.
"""

from enum import StrEnum

import attrs

from specs import fields
from specs.cluster import NodeId

# --- nouns -----------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True, cache_hash=True)
class PlanName:
    """What nodes call a plan."""

    generation: int = fields.positive()
    digest: str = fields.digest()


@attrs.frozen(kw_only=True, cache_hash=True)
class Offer:
    """What the protocol knows of a plan that this node has as a document."""

    name: PlanName
    parent: str | None  # digest of the plan that it follows; absent for the first of a cluster
    nodes: tuple[NodeId, ...]  # of its cluster


@attrs.frozen(kw_only=True, cache_hash=True)
class Declined:
    """A plan that a node will never accept, and why."""

    plan: PlanName
    reason: str


@attrs.frozen(kw_only=True, cache_hash=True)
class Standing:
    """The one message: where a node stands."""

    adopted: PlanName | None = None
    accepted: PlanName | None = None  # its foremost plan
    declined: tuple[Declined, ...] = ()  # those on which a peer stands, above the adopted generation


class Word(StrEnum):
    """What a node can say about a plan."""

    ACCEPTED = "accepted"
    ADOPTED = "adopted"
    DECLINED = "declined"


@attrs.frozen(kw_only=True, cache_hash=True)
class Said:
    """A peer has said something about a plan, which was true then, and so is true for ever."""

    peer: NodeId
    word: Word
    plan: PlanName
    reason: str = ""


@attrs.frozen(kw_only=True, cache_hash=True)
class SwitchState:
    """Everything that one node knows.  Adopting a plan forgets what was accepted, and what that has settled."""

    node: NodeId
    settled: int = 0  # nothing up to this generation is accepted or declined any more
    adopted: Offer | None = None
    accepted: tuple[Offer, ...] = ()  # since then; generations rise
    declined: tuple[Declined, ...] = ()
    said: frozenset[Said] = frozenset()


# --- events ----------------------------------------------------------------------------------------------------------


@attrs.frozen
class Tick:
    """Some time has passed."""


@attrs.frozen
class Offered:
    """A verified plan has come, from a person or a peer, and this node can carry it out, or says why not."""

    offer: Offer
    unable: str | None = None


@attrs.frozen
class Heard:
    """A peer's standing has come."""

    peer: NodeId
    standing: Standing


Event = Tick | Offered | Heard

# --- actions, in the order in which they must be done ----------------------------------------------------------------


@attrs.frozen
class Record:
    """Write on disk, before anything else is done, the generation up to which the next life says nothing."""

    generation: int


@attrs.frozen
class Adopt:
    """Begin to carry out this plan in the place of the one before, from what runs and what is held."""

    plan: PlanName


@attrs.frozen
class Forget:
    """This plan is not accepted, or not any more: its document may go, and who offered it is told why."""

    plan: PlanName
    reason: str


@attrs.frozen
class Leave:
    """Give up the plan that is carried out, and all that serves under it, as if started again: others go on without."""

    plan: PlanName  # which leaves this node out


@attrs.frozen
class AskPlan:
    """Get the document from the peer, unless it is here, verify it and take Offered.  May fail: it is asked again."""

    peer: NodeId
    plan: PlanName


@attrs.frozen
class Tell:
    """Send the standing to the peer; it may get lost."""

    peer: NodeId
    standing: Standing


Action = Record | Adopt | Leave | Forget | AskPlan | Tell
