"""Plan switch: when a node that carries out one plan adopts the next one.  No coordinator.

Theory of operation
===================

`step(state, event) -> (state, actions)` is pure; the daemon, the tests' clusters and the explorer run this function.
Like block multicast it works in three movements: *learn* (the event adds facts), *act* (what follows from the facts is
done), *tell* (the `Standing` is a function of the state; who should hear another one than before is told at once, and
on a Tick everyone is told).  A standing says how things are, never what to do, and the facts in it (a node accepted,
adopted or declined a plan) are of the kind that once true stays true: lost, late and repeated ones do no harm.

Accepting.  A plan is offered to a node by a person, or by a peer that has accepted or adopted it and was asked for it.
The daemon verifies it and says whether this node could carry it out (`Offered.unable`).  A node *accepts* a plan that
names it, that it can carry out, whose parent is the plan that it has adopted, and whose generation is above every one
that it ever accepted.  It is binding: what was accepted is never declined.  Any other plan is refused with a reason.
Once a peer stands on it the refusal is told, and binding too: it is *declined*.  A plan that follows one that is
accepted here and not adopted yet is neither: it is asked for again until that is over.

Adopting.  Of the plans that a node has accepted since it last adopted one, those that a node of theirs has declined are
dead.  The one of the highest generation that is not dead is the *foremost*: it supersedes the others, and only for it
does the node stand.  When the foremost dies, the one below it is the foremost again, because another node may have
adopted that one.  A node adopts its foremost plan when every node that the plan names has accepted it, or when one of
them has adopted it.  A node that has no plan adopts at once what has no parent, or what a peer has adopted.

Theorem.  Of two plans with the same parent and no node without a plan, let A have the lower generation or the same.
If Z has adopted A and W has adopted B, then Z is not a node of B.  Proof: somebody adopted B first, by counting the
acceptance of every node of B.  Were Z one of them, it would have accepted B while the parent was its plan, so before
it adopted A.  With the same generation it would have accepted two plans of one generation.  With a lower one A was not
its foremost plan when it adopted it, unless B was dead; but then a node of B had declined B, which accepts it never,
and nobody could count it.  (`specs.proofs.plan_switch` has the induction, for any number of nodes and plans.)
So two parts of a cluster go apart only where the plan of the one leaves out the other.  Generations only rise: what is
adopted follows what was adopted before, and what a node has accepted is above it.

What serves goes on serving through offers, acceptances and declines: the plan in force changes only with `Adopt`.  What
a pending plan counts on is kept open meanwhile, so that switches of the plan in force may wait
(`specs.protocols.node`).

Death.  Loss of a peer is no event here.  A node that dies before it accepted blocks the plan until somebody offers one
without it, of a higher generation; a node that dies after it accepted is lost under the new plan.

Restart.  A node that was started again runs nothing, and counts as lost under the generation that it had.  One number
outlives it: the highest generation that it accepted, adopted or declined (`Record`, on disk before anybody is told;
`settled` at the start).  Plans up to it are neither accepted nor declined by the new life, because it cannot know what
the old one said of them: without the record a node could accept two rivals, and both be adopted.  The new life accepts
plans above it whatever their parent is, if it can carry them out with empty hands.

Return.  A node that was thought dead may live, under a plan that the others have left behind.  It goes on telling them
where it stands; who carries out a later plan without it answers.  So it hears of a plan that a peer has adopted, asks
for it, and declines it because it is not in it.  Unless it stands for a plan that is higher still it then *leaves*: it
is as if it had been started again, with what its disk says of it, and waits for a plan that names it.  What a peer
adopted and this node declined leaves this node out: had the plan named it, nobody could have counted its acceptance.
Leaving therefore asks no more of the proof than that a node may be started again at any moment.
"""

from collections.abc import Callable
from enum import Enum
from typing import Any

import attrs

from specs.cluster import NodeId
from specs.protocols.plan_switch_nouns import (
    Action,
    Adopt,
    AskPlan,
    Declined,
    Event,
    Forget,
    Heard,
    Leave,
    Offer,
    Offered,
    PlanName,
    Record,
    Said,
    Standing,
    SwitchState,
    Tell,
    Tick,
    Word,
)

Outcome = tuple[SwitchState, tuple[Action, ...]]

# --- what follows from a state ---------------------------------------------------------------------------------------


def promised(state: SwitchState) -> int:
    """Give the highest generation that this node ever accepted or adopted: what it accepts next is above it."""
    return max(state.settled, *(each.name.generation for each in state.accepted), 0)


def recorded(state: SwitchState) -> int:
    """Give the highest generation that it ever accepted, adopted or declined: its next life must know it."""
    return max(promised(state), *(each.plan.generation for each in state.declined), 0)


def why_dead(state: SwitchState, offer: Offer) -> str | None:
    """Say which node of an accepted plan declined it, and why; None when nobody did."""
    found = (
        f"{each.peer} declines it: {each.reason}"
        for each in sorted(state.said, key=lambda each: each.peer)
        if each.word is Word.DECLINED and each.plan == offer.name and each.peer in offer.nodes
    )
    return next(found, None)


def foremost(state: SwitchState) -> Offer | None:
    """Find the accepted plan for which this node stands."""
    return next(reversed(pending(state)), None)


def pending(state: SwitchState) -> tuple[Offer, ...]:
    """Find the accepted plans that may yet be adopted: all that nobody has declined."""
    return tuple(each for each in state.accepted if why_dead(state, each) is None)


def awaited(state: SwitchState) -> tuple[NodeId, ...]:
    """Name the nodes whose acceptance of the foremost plan has not been heard."""
    offer = foremost(state)
    if offer is None:
        return ()
    heard = {each.peer for each in state.said if each.word is not Word.DECLINED and each.plan == offer.name}
    return tuple(each for each in offer.nodes if each != state.node and each not in heard)


def left_out(state: SwitchState) -> PlanName | None:
    """Find a plan that a peer has adopted without this node; None where this node stands for a higher one."""
    offer = foremost(state)
    least = 0 if offer is None else offer.name.generation
    declined = {each.plan for each in state.declined if each.plan.generation > least}
    gone = (each.plan for each in state.said if each.word is Word.ADOPTED and each.plan in declined)
    return None if state.adopted is None else max(gone, key=_order, default=None)


def standing(state: SwitchState) -> Standing:
    """Say where this node stands."""
    offer = foremost(state)
    return Standing(
        adopted=None if state.adopted is None else state.adopted.name,
        accepted=None if offer is None else offer.name,
        declined=state.declined,
    )


def peers(state: SwitchState) -> tuple[NodeId, ...]:
    """Name those who should know where this node stands: who is in a plan with it, and who spoke to it of a plan."""
    offers = state.accepted if state.adopted is None else (state.adopted, *state.accepted)
    known = {node for offer in offers for node in offer.nodes} | {each.peer for each in state.said}
    return tuple(sorted(known - {state.node}))


def _is_adopted_by_a_peer(state: SwitchState, offer: Offer) -> bool:
    return any(
        each.word is Word.ADOPTED and each.plan == offer.name and each.peer in offer.nodes for each in state.said
    )


# --- step ------------------------------------------------------------------------------------------------------------


def begin(node: NodeId, settled: int = 0) -> SwitchState:
    """Start a node.  `settled` is the generation on its disk (see `Record`), 0 for a new one."""
    return SwitchState(node=node, settled=settled)


def step(state: SwitchState, event: Event) -> Outcome:
    """Take one event.  See the module's text."""
    if isinstance(event, Tick):
        return state, tuple(Tell(peer, standing(state)) for peer in peers(state))
    learnt, due = _LEARN[type(event)](state, event)
    after = state if learnt == state else _act(learnt)
    actions: list[Action] = []
    if recorded(after) > recorded(state):
        actions.append(Record(recorded(after)))
    if after.adopted is not None and after.adopted != state.adopted:
        actions.append(Adopt(after.adopted.name))
    if (gone := left_out(learnt)) is not None:
        actions.append(Leave(gone))
    actions += (Forget(each.name, reason) for each, reason in _forgotten(state, after))
    actions += (each for each in due if not isinstance(each, AskPlan) or _is_wanted(after, each.plan))
    told, now = (peers(state), standing(state)), standing(after)
    actions += (Tell(peer, now) for peer in peers(after) if peer not in told[0] or now != told[1])
    return after, tuple(actions)


def _order(plan: PlanName) -> tuple[int, str]:
    return plan.generation, plan.digest


class _Answer(Enum):
    ADOPT = "adopt"
    ACCEPT = "accept"
    DECLINE = "decline"
    NEITHER = "neither"  # it may be offered again


def _answer(state: SwitchState, offer: Offer, unable: str | None) -> tuple[_Answer, str]:
    """Judge a plan that this node has not judged yet."""
    generation, parent = offer.name.generation, offer.parent
    live = [each.name for each in pending(state)]
    is_newest = generation >= state.settled and all(each.generation < generation for each in live)
    if state.node not in offer.nodes:
        return _Answer.DECLINE, f"{state.node} is not in the plan's cluster"
    is_first = parent is None or _is_adopted_by_a_peer(state, offer)
    if is_first and is_newest and state.adopted is None:
        return (_Answer.ADOPT, "") if unable is None else (_Answer.NEITHER, unable)
    if generation <= state.settled:
        got = f"is not above {state.settled}, as far as {state.node} got; the next can be {state.settled + 1}"
        return _Answer.NEITHER, f"its generation {generation} {got}"
    if parent in {each.digest for each in live}:
        return _Answer.NEITHER, "the plan that it follows is accepted, but not adopted yet"
    if state.adopted is not None and parent != state.adopted.name.digest:
        return _Answer.DECLINE, f"it does not follow {state.adopted.name.digest}, which {state.node} carries out"
    if generation <= promised(state):
        return _Answer.DECLINE, f"{state.node} has accepted a plan of generation {promised(state)}"
    return (_Answer.ACCEPT, "") if unable is None else (_Answer.DECLINE, unable)


def _offered(state: SwitchState, event: Offered) -> Outcome:
    offer = event.offer
    if offer == state.adopted:
        return state, ()
    if offer in state.accepted:
        dead = why_dead(state, offer)
        return state, () if dead is None else (Forget(offer.name, dead),)
    before = next((each for each in state.declined if each.plan == offer.name), None)
    if before is not None:
        return state, (Forget(offer.name, before.reason),)
    answer, reason = _answer(state, offer, event.unable)
    if answer is _Answer.ADOPT:
        return _adopted(state, offer), ()
    if answer is _Answer.ACCEPT:
        return attrs.evolve(state, accepted=(*state.accepted, offer)), ()
    if answer is _Answer.DECLINE and any(each.plan == offer.name for each in state.said):
        refusals = (*state.declined, Declined(plan=offer.name, reason=reason))
        state = attrs.evolve(state, declined=tuple(sorted(refusals, key=lambda each: _order(each.plan))))
    return state, (Forget(offer.name, reason),)


def _heard(state: SwitchState, event: Heard) -> Outcome:
    peer, told = event.peer, event.standing
    if peer == state.node:
        return state, ()
    facts = [Said(peer=peer, word=Word.DECLINED, plan=each.plan, reason=each.reason) for each in told.declined]
    asks: list[Action] = []
    for word, plan in ((Word.ADOPTED, told.adopted), (Word.ACCEPTED, told.accepted)):
        if plan is not None:
            facts.append(Said(peer=peer, word=word, plan=plan))
            asks.append(AskPlan(peer, plan))
    if _is_behind(state, peer, told):
        asks.append(Tell(peer, standing(state)))
    new = (each for each in facts if _is_news(state, each))
    return attrs.evolve(state, said=state.said | frozenset(new)), tuple(asks)


def _is_behind(state: SwitchState, peer: NodeId, told: Standing) -> bool:
    """Tell whether a peer carries out an older plan than this node, whose plan leaves it out."""
    ours, its = state.adopted, told.adopted
    return ours is not None and its is not None and peer not in ours.nodes and _order(its) < _order(ours.name)


def _is_news(state: SwitchState, said: Said) -> bool:
    """Tell whether a fact can still matter: a node without a plan may yet adopt the last one of its earlier life."""
    may_repeat = state.adopted is None and said.word is Word.ADOPTED
    return said.plan.generation > state.settled or (may_repeat and said.plan.generation == state.settled)


def _is_wanted(state: SwitchState, plan: PlanName) -> bool:
    """Tell whether the document of a plan on which a peer stands is lacking and can still matter."""
    offers = state.accepted if state.adopted is None else (state.adopted, *state.accepted)
    judged = {each.name for each in offers} | {each.plan for each in state.declined}
    matters = plan.generation > state.settled or foremost(state) is None
    return matters and plan not in judged and any(each.plan == plan for each in state.said)


_LEARN: dict[type[Event], Callable[[SwitchState, Any], Outcome]] = {Offered: _offered, Heard: _heard}


def _act(state: SwitchState) -> SwitchState:
    """Adopt the foremost plan if all have accepted it or one has adopted it; leave where others go on without."""
    if left_out(state) is not None:
        return begin(state.node, recorded(state))
    offer = foremost(state)
    if offer is None or (awaited(state) and not _is_adopted_by_a_peer(state, offer)):
        return state
    return _adopted(state, offer)


def _adopted(state: SwitchState, offer: Offer) -> SwitchState:
    settled = max(promised(state), offer.name.generation)
    return attrs.evolve(
        state,
        settled=settled,
        adopted=offer,
        accepted=(),
        declined=tuple(each for each in state.declined if each.plan.generation > offer.name.generation),
        said=frozenset(each for each in state.said if each.plan.generation > settled),
    )


def _forgotten(before: SwitchState, after: SwitchState) -> list[tuple[Offer, str]]:
    """Find the accepted plans that are dead now and were not before, or that lost against the adopted one."""
    found = []
    for offer in before.accepted:
        if why_dead(before, offer) is None and offer != after.adopted:
            dead = why_dead(after, offer)
            if dead is None and offer not in after.accepted:
                dead = "another plan was adopted"
            if dead is not None:
                found.append((offer, dead))
    return found
