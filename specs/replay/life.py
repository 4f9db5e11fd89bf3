"""One life of one daemon, replayed record by record."""

from collections.abc import Iterator, Mapping

import attrs

from specs import journal
from specs.checker import VerifiedPlan
from specs.cluster import NodeId
from specs.journal import Record, What
from specs.plan import PipelineId
from specs.protocols import block_multicast, plan_switch
from specs.protocols import events as core
from specs.protocols import plan_switch_nouns as switch
from specs.protocols.kv_hand_over_events import ChunkCame
from specs.protocols.node import counted_on
from specs.protocols.node_plan import node_plan
from specs.protocols.nouns import Carried, NodePlan, NodeState, Report
from specs.replay.hand_over import ROLES, Awaited, Breach, HandOverReplay
from specs.replay.hand_over_told import HandOverTold
from specs.replay.rules import AWAITED, COUNTED_ON, ONCE, RULES, done_about_plans, done_under_plan, is_written

_ABOUT_PLANS = (journal.Accepted, journal.Declined, journal.Forgotten, journal.Adopted)

Plans = Mapping[str, VerifiedPlan]  # by digest


@attrs.define
class Told:
    """What nodes have told so far, by their replays; of those whose replay ended early all is believed."""

    reports: set[tuple[NodeId, NodeId, str, Report]] = attrs.field(factory=set)  # teller, hearer, plan
    standings: set[tuple[NodeId, switch.Standing]] = attrs.field(factory=set)
    believed: set[NodeId] = attrs.field(factory=set)
    unknown: set[tuple[NodeId, str]] = attrs.field(factory=set)  # reports under this plan are believed
    hand_overs: HandOverTold = attrs.field(factory=HandOverTold)


@attrs.define
class _Core:
    """This node under the plan that it carries out."""

    digest: str
    generation: int
    plan: NodePlan
    state: NodeState
    due: list[What]
    written: list[What] = attrs.field(factory=list)  # since it began, of what comes from outside


class LifeReplay:
    """The state that a node must have had, as far as its journal was read."""

    def __init__(self, node: NodeId, plans: Plans, told: Told) -> None:
        self.node = node
        self._plans = plans
        self._node_plans: dict[str, NodePlan] = {}  # of those that mattered, by digest
        self._told = told
        self._switch: switch.SwitchState | None = None
        self._due: list[What] = []  # about plans
        self._core: _Core | None = None
        self._hand_overs = HandOverReplay(told.hand_overs)
        self._wrote: list[Record] = []  # of stages
        self.unknown: list[tuple[str, int]] = []  # plans that were adopted and are not at hand, and their generations
        self.settled = 0  # by this life, when it heard something for the last time, or the beginning

    def awaits(self, record: Record) -> Awaited | None:
        """Name who has not told yet what the node hears in this record."""
        match record.what:
            case journal.LearntOfPlans(event=switch.Heard(peer=peer, standing=standing)):
                return None if {(peer, standing)} <= self._told.standings or self._is_believed(peer) else Awaited(peer)
            case journal.LearntUnderPlan(event=core.Heard(peer=peer, report=report)) if self._core is not None:
                said = (peer, self.node, self._core.digest, report)
                is_told = said in self._told.reports or self._is_believed(peer, self._core.digest)
                return None if is_told else Awaited(peer)
            case what if isinstance(what, ROLES) and self._core is not None:
                return self._unless_believed(self._hand_overs.awaits(what))
        return None

    def lacks(self) -> Iterator[tuple[Record, Awaited]]:
        """When all journals are read: name who has never told what this life did by what others told it."""
        for record in self._wrote:
            assert isinstance(record.what, journal.LearntAsStage)
            chunks = (event.chunk for event in record.what.events if isinstance(event, ChunkCame))
            for awaited in map(self._unless_believed, map(self._hand_overs.lacks, chunks)):
                if awaited is not None:
                    yield record, awaited

    def _unless_believed(self, awaited: Awaited | None) -> Awaited | None:
        unknown = {node for node, _ in self._told.unknown}
        return None if awaited is None or awaited.node in self._told.believed | unknown else awaited

    def _is_believed(self, peer: NodeId, plan: str = "") -> bool:
        return peer in self._told.believed or (peer, plan) in self._told.unknown

    def take(self, record: Record) -> None:
        """Take a record.  Raises Breach."""
        what = record.what
        match what:
            case journal.Started(settled=settled):
                self._switch = plan_switch.begin(self.node, settled)
            case journal.LearntOfPlans(event=about_plans):
                self._learn_of_plans(about_plans)
            case journal.LearntUnderPlan(event=under_plan):
                self._learn_under_plan(under_plan, record.generation)
            case _ if isinstance(what, ROLES):
                self._take_in_hand_over(record)
            case _ if isinstance(what, _ABOUT_PLANS):
                self._do(_named(what), self._due)
                if isinstance(what, journal.Adopted):
                    self._adopt(what, record.generation)
            case _ if self._core is not None and record.generation == self._core.generation:
                fits = AWAITED.get(type(what))
                if fits is not None and (
                    what in self._core.written or not fits(self._core.plan, self._core.state, what)
                ):
                    raise Breach(RULES[type(what)])
                if isinstance(what, journal.HandedOver):
                    self._hand_overs.check_receipt(what)
                if isinstance(what, ONCE):
                    self._core.written.append(what)
                if fits is None and type(what) in RULES:
                    self._do(what, self._core.due)

    def _take_in_hand_over(self, record: Record) -> None:
        if self._core is None:
            return
        self._hand_overs.take(record.what, self._core.state)
        if isinstance(record.what, journal.LearntAsStage):
            self._wrote.append(record)

    def _do(self, what: What, due: list[What]) -> None:
        if what not in due:
            raise Breach(f"{RULES[type(what)]}{self._awaited(what)}")
        due.remove(what)

    def _awaited(self, what: What) -> str:
        """Say whose acceptance is lacking: the end of a sentence."""
        assert self._switch is not None
        offer = plan_switch.foremost(self._switch)
        awaited = plan_switch.awaited(self._switch)
        if not isinstance(what, journal.Adopted) or offer is None or offer.name.digest != what.plan or not awaited:
            return ""
        return f"; nothing of the kind was heard of {', '.join(awaited)}"

    def _nothing_is_due(self, due: list[What]) -> None:
        if due:
            raise Breach(f"{describe(due[0])} was due before it, and was not done; {RULES[type(due[0])]}")

    def _learn_of_plans(self, event: switch.Event) -> None:
        self._nothing_is_due(self._due)
        self._nothing_new_is_counted_on()
        before = self._switch
        assert before is not None, "a life that is replayed begins with Started"
        self._switch, actions = plan_switch.step(before, event)
        if self._switch == before:
            raise Breach("it tells the node nothing new")
        self.settled = plan_switch.recorded(before)
        self._due += done_about_plans(before, self._switch, actions)
        self._told.standings.add((self.node, plan_switch.standing(self._switch)))

    def _adopt(self, adopted: journal.Adopted, generation: int) -> None:
        carried = Carried()
        if self._core is not None:
            self._nothing_is_due(self._core.due)
            carried = block_multicast.carry(self._core.state)
        verified = self._plans.get(adopted.plan)
        if verified is None or self.unknown:  # what is carried over from an unknown plan is unknown
            self.unknown += [(adopted.plan, generation)] if verified is None else []
            self._told.unknown.add((self.node, adopted.plan))
            self._core = None
            return
        self._hand_overs.adopt(verified)
        plan = self._node_plan(adopted.plan)
        state, actions = block_multicast.begin(plan, carried)
        self._core = _Core(digest=adopted.plan, generation=generation, plan=plan, state=state, due=[])
        self._act(self._core, actions)

    def _nothing_new_is_counted_on(self) -> None:
        if self._core is not None and self._what_is_counted_on() not in (None, self._core.state.counted_on):
            raise Breach(f"what plans that it has accepted count on has changed before it; {COUNTED_ON}")

    def _what_is_counted_on(self) -> frozenset[PipelineId] | None:
        """Name what accepted plans that may yet be adopted count on; None where one of them is not at hand."""
        assert self._switch is not None
        pending = [offer.name for offer in plan_switch.pending(self._switch)]
        if any(name.digest not in self._plans for name in pending):
            return None
        return frozenset(counted_on(self._switch, {name: self._node_plan(name.digest) for name in pending}).pipelines)

    def _node_plan(self, digest: str) -> NodePlan:
        if digest not in self._node_plans:
            verified = self._plans[digest]
            self._node_plans[digest] = node_plan(verified.problem, verified.plan, self.node)
        return self._node_plans[digest]

    def _learn_under_plan(self, event: core.Event, generation: int) -> None:
        now = self._core
        if now is None:
            return
        if generation != now.generation:
            raise Breach(f"the plan of generation {now.generation} is carried out, and nothing is learnt under another")
        # Draining may end within the step that begins it; whatever else comes finds everything done.
        if not isinstance(event, core.Drained):
            self._nothing_is_due(now.due)
        if isinstance(event, core.CountedOn):
            if self._what_is_counted_on() not in (None, frozenset(event.pipelines)):
                raise Breach(f"plans that it has accepted count on others; {COUNTED_ON}")
        elif not isinstance(event, core.HandedOver):  # receipts are taken first
            self._nothing_new_is_counted_on()
        if not is_written(event, now.written):
            raise Breach("its node has not written that this happened")
        before = now.state
        now.state, actions = block_multicast.step(now.plan, before, event)
        if now.state == before:
            raise Breach("it tells the node nothing that it awaits")
        self._act(now, actions)

    def _act(self, now: _Core, actions: tuple[core.Action, ...]) -> None:
        now.due += done_under_plan(actions)
        for action in actions:
            if isinstance(action, core.Tell):
                self._told.reports.add((self.node, action.peer, now.digest, action.report))


def _named(what: What) -> What:
    """Name the plan's own digest for its problem in Adopted, as `done_about_plans` does."""
    return attrs.evolve(what, problem=what.plan) if isinstance(what, journal.Adopted) else what


def describe(what: What) -> str:
    """Name a record and what it is about."""
    if isinstance(what, journal.LearntAsSource | journal.LearntAsTarget):
        return f"{type(what).__name__} {type(what.event).__name__} {what.pipeline}"
    if isinstance(what, journal.LearntAsStage):
        return f"{type(what).__name__} {type(what.events[0]).__name__}"
    if isinstance(what, journal.CopyOrdered | journal.LearntAsFront):
        return f"{type(what).__name__} {what.id.old} to {what.id.new}"
    if isinstance(what, journal.LearntOfPlans | journal.LearntUnderPlan):
        event = what.event
        subject = getattr(event, "pipeline", getattr(event, "step", getattr(event, "peer", "")))
        return f"{type(what).__name__} {type(event).__name__} {subject}".rstrip()
    for name in ("attempt", "pipeline", "step", "blob", "generation", "plan", "node"):
        if hasattr(what, name):
            return f"{type(what).__name__} {str(getattr(what, name))[:60]}"
    return type(what).__name__
