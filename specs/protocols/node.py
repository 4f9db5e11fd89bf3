"""One node from plan to plan: plan switch says which plan is in force, block multicast carries it out.

Each of the two protocols is explored on its own.  What is here is what lies between them: what a node takes from one
plan into the next, and what it makes of messages from peers that are in another life or under another plan.

What is known of pipelines that both plans name goes on (`block_multicast.carry`).  Losses end with their plan.  So what
was dropped because of one has to be made up for: whoever adopts a plan treats each peer that it counted as lost, and
tells it to do the same, as if their connection had broken.

A message says in which life its teller is.  A peer that is met in another life than before, under this plan or an
earlier one, is lost to the plan in force, whatever plan it carries out by now.  One with no stage in a pipeline that
runs is met anew under the next plan: that plan may have been made to take it back in another life, and counts on
nothing that it did in the life before.  Its report counts only when it was made under the plan in force, and so does
silence: a peer that says that it carries out another plan, or none, is not heard.  Either it is about to adopt this
one, which takes less than a silence may last, or it never will: it was started again after it had accepted it, or has
adopted a rival.

A plan that was accepted and may yet be adopted finds some pipelines open.  Those that are led here stay open until it
is adopted, or forgotten: `counted_on` names them, and the plan in force is told (CountedOn) whenever they change.
"""

from collections.abc import Mapping

import attrs

from specs.cluster import NodeId
from specs.protocols import block_multicast, plan_switch
from specs.protocols.events import Action, CountedOn, Event, PeerLost
from specs.protocols.nouns import Carried, LossReason, NodePlan, NodeState
from specs.protocols.plan_switch_nouns import PlanName, SwitchState


@attrs.frozen(kw_only=True, cache_hash=True)
class Met:
    """In which life a peer was met."""

    peer: NodeId
    life: str


@attrs.frozen(kw_only=True, cache_hash=True)
class InForce:
    """The plan that a node carries out, what it knows under it, and in which life it met each peer last."""

    name: PlanName
    plan: NodePlan
    state: NodeState
    met: frozenset[Met] = frozenset()


def adopt(before: InForce | None, name: PlanName, plan: NodePlan) -> tuple[InForce, tuple[Action, ...]]:
    """Put a plan into force in the place of the one before, if there was one; give what is due at once."""
    carried = Carried() if before is None else block_multicast.carry(before.state)
    state, actions = block_multicast.begin(plan, carried)
    needed = {member for part in plan.parts if part.is_running for member in part.members}
    met = frozenset(each for each in (() if before is None else before.met) if each.peer in needed)
    return InForce(name=name, plan=plan, state=state, met=met), actions


def take(now: InForce, event: Event) -> tuple[InForce, tuple[Action, ...]]:
    """Take an event of the plan in force."""
    state, actions = block_multicast.step(now.plan, now.state, event)
    return (now if state == now.state else attrs.evolve(now, state=state)), actions


def meet(now: InForce, peer: NodeId, life: str) -> tuple[InForce, PeerLost | None]:
    """Know in which life a peer is; give the event that it is lost, where it was in another."""
    met = Met(peer=peer, life=life)
    before = next((each for each in now.met if each.peer == peer), None)
    if before == met:
        return now, None
    lost = None if before is None else PeerLost(peer, LossReason.RESTARTED)
    return attrs.evolve(now, met=now.met - {before} | {met}), lost


def counted_on(switch: SwitchState, plans: Mapping[PlanName, NodePlan]) -> CountedOn:
    """Name the pipelines led here that an accepted plan, which may yet be adopted, finds open.

    `plans` holds at least those.
    """
    pending = [plans[offer.name] for offer in plan_switch.pending(switch)]
    led = (part for plan in pending for part in plan.led_by.get(plan.node, ()) if part.is_running)
    return CountedOn(tuple(sorted({part.pipeline for part in led})))
