"""What is to be done about what a look shows: nothing, wait, or plan anew.  Nothing here asks, plans or waits.

Who is lost is the daemons' verdict, never a guess: a node of the plan is lost when a living node of the plan counts it
as lost, which the plan's own deadline bounds (`specs.timing.detection_ns`).  That a node does not answer whoever asks
here proves nothing.  A daemon that answers without a plan has begun a new life: its part of the plan is gone, by its
own word, and it can be given the next one.
"""

from collections.abc import Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import attrs

from planner.reconciling.looking import AT_REST, Accepted, Look, Said
from planner.remaining import Wishes, without
from specs.cluster import NodeId
from specs.problem import Problem
from specs.protocols.nouns import LossReason
from specs.protocols.plan_switch_nouns import PlanName

_NAMED = 4


@attrs.frozen(kw_only=True)
class AtRest:
    """The cluster is as it is wanted to be."""

    sentence: str


@attrs.frozen(kw_only=True)
class UnderWay:
    """A change goes on.  As long as `mark` is the same, nothing of it has been done; None: that may take any time."""

    sentence: str
    mark: Hashable


@attrs.frozen(kw_only=True)
class Waits:
    """Something ought to be done, or may have to be, and it is not known yet what."""

    sentence: str


@attrs.frozen(kw_only=True)
class Due:
    """A plan is due that these nodes carry out, from what they have; those that are new hold what the wish says."""

    why: tuple[str, ...]
    current: PlanName | None  # None: no node has a plan
    stays: tuple[NodeId, ...]  # nodes of the current plan that go on
    fresh: tuple[NodeId, ...]  # nodes without a plan
    wants: Hashable = attrs.field(repr=False)  # what is wanted of them

    @property
    def sentence(self) -> str:
        """Say why."""
        return "; ".join(self.why)

    @property
    def nodes(self) -> Hashable:
        """Who would do what, whatever the reason and the plan before."""
        return (self.stays, self.fresh, self.wants)


Verdict = AtRest | UnderWay | Waits | Due


def judge(look: Look, carried_out: Problem | None, wish: Problem, *, is_stuck: bool = False) -> Verdict:
    """Judge a look; `carried_out` is the problem of the plan that the look calls current.

    `is_stuck`: the change that is under way has done nothing for too long.
    """
    if not look.said:
        return Waits(sentence="nobody answers")
    if look.current is None or carried_out is None:
        return _first(look, wish, is_stuck=is_stuck)
    members = _Members.of(look, look.current, carried_out, wish)
    going_on = members.going_on(look)
    if going_on is not None and not is_stuck:
        return going_on
    why = [*members.reasons(), *([f"{going_on.sentence}, and gets no further"] if going_on is not None else [])]
    if members.unheard:
        return Waits(sentence="; ".join((members.silence, *why)))
    if not why:
        return AtRest(sentence=f"generation {look.current.generation} is carried out by {members.who(wish)}")
    return Due(why=tuple(why), current=look.current, stays=members.stays, fresh=members.fresh, wants=members.wants)


def left_out(look: Look, carried_out: Problem | None) -> tuple[Said, ...]:
    """Find the daemons that carry out a plan which the others have left behind, and them with it."""
    if look.current is None or carried_out is None:
        return ()
    nodes = {node.id for node in carried_out.cluster.nodes}
    return tuple(
        each for each in look.said if each.plan is not None and each.plan != look.current and each.node not in nodes
    )


def _first(look: Look, wish: Problem, *, is_stuck: bool) -> Verdict:
    """No node has a plan.  The first one needs every node: those that do not answer may have one."""
    nodes = [node.id for node in wish.cluster.nodes]
    if missing := [node for node in nodes if look.of(node) is None]:
        return Waits(sentence=f"no node that answers has a plan; {_some(missing)} may have one and does not answer")
    if look.accepted is not None and not is_stuck:
        return _offered(look, look.accepted)
    return Due(why=("no node has a plan",), current=None, stays=(), fresh=tuple(nodes), wants=_wants(wish, frozenset()))


def _offered(look: Look, coming: Accepted) -> UnderWay:
    stands = look.stands_on(coming.plan)
    awaited = [node for node in coming.nodes if node not in stands]
    then = f", {_some(awaited)} awaited" if awaited else ""
    number = f"{len(coming.nodes) - len(awaited)} of {_count(coming.nodes)}"
    return UnderWay(
        sentence=f"generation {coming.plan.generation} is accepted by {number}{then}", mark=(coming, stands)
    )


@attrs.frozen(kw_only=True)
class _Members:
    """The nodes of the current plan, and those that could come to them."""

    plan: PlanName
    living: tuple[Said, ...]  # they carry out the plan
    stays: tuple[NodeId, ...]  # of the living, those that hear each other
    adopting: tuple[NodeId, ...]  # they carry out the plan before
    unheard: tuple[NodeId, ...]  # they do not answer, and nobody counts them as lost
    lost: Mapping[NodeId, str]  # they are not what the plan counts on, and why
    fresh: tuple[NodeId, ...]  # wanted nodes that have no plan, in the wish's order
    come: tuple[NodeId, ...]  # of these, those that the plan does not name
    healed: tuple[NodeId, ...]  # they count as lost, and are heard again by all who say so
    wants: Hashable
    is_wish_another: bool

    @classmethod
    def of(cls, look: Look, plan: PlanName, carried_out: Problem, wish: Problem) -> "_Members":
        """Sort out who is who."""
        said = {node.id: look.of(node.id) for node in carried_out.cluster.nodes}
        living = tuple(each for each in said.values() if each is not None and each.plan == plan)
        torn, healed = _rifts(living)
        apart = _dropped([each.node for each in living], torn)
        stays = tuple(each.node for each in living if each.node not in apart)
        lost: dict[NodeId, str] = {}
        for node, each in said.items():
            accusers = [f"{one.node} ({dict(one.lost)[node]})" for one in living if node in dict(one.lost)]
            if each is not None and each.plan is None:
                lost[node] = f"{node} has begun a new life"
            elif (each is None and accusers) or node in apart:
                lost[node] = f"{node} is lost: so {'says' if len(accusers) == 1 else 'say'} {_some(accusers)}"
        fresh = tuple(
            node.id for node in wish.cluster.nodes if (one := look.of(node.id)) is not None and one.plan is None
        )
        adopting = tuple(node for node, each in said.items() if each is not None and each.plan not in (plan, None))
        unheard = tuple(node for node, each in said.items() if each is None and node not in lost)
        wants = _wants(wish, {node.id for node in wish.cluster.nodes} - {*stays, *fresh, *adopting, *unheard})
        return cls(
            plan=plan,
            living=living,
            stays=stays,
            adopting=adopting,
            unheard=unheard,
            lost=lost,
            fresh=fresh,
            come=tuple(node for node in fresh if node not in said),
            healed=healed,
            wants=wants,
            is_wish_another=wants != _wants(carried_out, frozenset()),
        )

    def going_on(self, look: Look) -> UnderWay | None:
        """Find the change that is under way; one that a loss has overtaken is none."""
        coming = look.accepted
        if coming is not None and not self._is_overtaken(look, coming):
            return _offered(look, coming)
        if coming is None and self.adopting:
            nodes = len(self.living) + len(self.adopting)
            sentence = f"generation {self.plan.generation} is adopted by {len(self.living)} of {nodes:,} nodes"
            return UnderWay(sentence=sentence, mark=(self.plan, self.adopting))
        phases = [each.phase for each in self.living]
        if AT_REST.issuperset(phases) or self.lost:
            return None
        said = ", ".join(f"{phases.count(phase)} {phase}" for phase in dict.fromkeys(phases))
        mark = tuple((each.node, each.phase, repr(each.document["steps"])) for each in self.living)
        return UnderWay(
            sentence=f"generation {self.plan.generation} is carried out: {said}",
            mark=None if any(each.draining for each in self.living) else (self.plan, mark),
        )

    def _is_overtaken(self, look: Look, coming: Accepted) -> bool:
        """Tell whether somebody will never accept what others have accepted.

        New nodes are offered a plan first: one that does not stand where others do was started again since.
        """
        stands = set(look.stands_on(coming.plan))
        gone = {node for node in self.lost if node not in self.fresh}
        late = set(self.fresh) - stands if stands - set(self.fresh) else set()
        return bool((gone | late).intersection(coming.nodes))

    @property
    def silence(self) -> str:
        """Say that nodes are silent."""
        does, them = ("does", "it") if len(self.unheard) == 1 else ("do", "them")
        return f"{_some(self.unheard)} {does} not answer, and nobody counts {them} as lost"

    def reasons(self) -> list[str]:
        """Say why a plan is due."""
        found = list(self.lost.values())
        if self.come:
            found.append(f"{_some(self.come)} {'has' if len(self.come) == 1 else 'have'} come")
        if self.healed:
            found.append(f"{_some(self.healed)} {'is' if len(self.healed) == 1 else 'are'} heard again")
        if not found and self.is_wish_another:
            found.append("what is wanted has changed")
        ended = [each.node for each in self.living if each.phase == "incomplete"]
        if not found and ended:
            found.append(f"generation {self.plan.generation} ended incomplete at {_some(ended)}")
        return found

    def who(self, wish: Problem) -> str:
        """Count those who carry the plan out, and name the wanted ones who do not."""
        there = {each.node for each in self.living}
        missing = [node.id for node in wish.cluster.nodes if node.id not in there]
        return _count(self.living) + (f", without {_some(missing)}" if missing else "")


def _rifts(living: Sequence[Said]) -> tuple[set[frozenset[NodeId]], tuple[NodeId, ...]]:
    """Find the pairs of living nodes of which one counts the other as lost, and those who are heard again."""
    here = {each.node for each in living}
    torn: set[frozenset[NodeId]] = set()
    again: set[NodeId] = set()
    deaf: set[NodeId] = set()
    for each in living:
        for other, reason in each.lost:
            if other in here and other not in each.heard_again:
                torn.add(frozenset((each.node, other)))
                deaf |= {each.node, other}
            elif other in here and reason != LossReason.MUTUAL:  # which says nothing about the other
                again.add(other)
    return torn, tuple(each.node for each in living if each.node in again - deaf)


def _dropped(nodes: Sequence[NodeId], torn: AbstractSet[frozenset[NodeId]]) -> tuple[NodeId, ...]:
    """Leave nodes out until those left hear each other: those with most rifts first, of equals the last."""
    left, rifts = list(nodes), set(torn)
    while rifts:
        most = max(left, key=lambda node: (sum(node in pair for pair in rifts), left.index(node)))
        left.remove(most)
        rifts = {pair for pair in rifts if most not in pair}
    return tuple(node for node in nodes if node not in left)


def _wants(problem: Problem, gone: AbstractSet[NodeId]) -> Hashable:
    """Give all that a problem says is wanted, without these nodes; what is held and what runs is another matter."""
    cluster = without(problem.cluster, gone)
    wishes = Wishes.of(problem, {place.id for place in cluster.places})
    asked = (problem.name, problem.llms, problem.workloads, problem.slos, problem.profile)
    return (cluster, wishes.targets, wishes.services, wishes.standbys, asked)


def _count(nodes: Sequence[object]) -> str:
    return f"{len(nodes):,} node{'s' * (len(nodes) != 1)}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} others" * (len(names) > _NAMED)
    return ", ".join(names[:_NAMED]) + more
