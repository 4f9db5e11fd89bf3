"""A cluster of nodes that all run the product's own step function, in a world that can go wrong.

The world around the nodes is small: reports under way, the two ends of every blob transfer, and how many faults of each
kind may still happen.  Each thing that may happen next is a `Move`; faults are marked, so that the explorer can ask
whether every state leads to a good one once faults stop.  The random schedules of the tests use the same moves.

Network.  Of the reports from one node to another the newest is under way; a newer one takes its place, which is sound
because reports only grow.  With faults, an old one lingers (late), stays after it is heard (repeat) or vanishes (loss).
Ticks come when no report is under way (their period is long against a report's way), and put only those reports under
way that would teach the hearer something.

Blobs.  A transfer under way has two ends, which end separately, as the transport's contract says: an offer that nobody
waits for is refused; a blob that has arrived is acknowledged without being sent again; a break may hit both ends, the
sender alone before the offer came through, or the acknowledgement.
"""

from collections.abc import Iterator, Mapping

import attrs

from specs.plan import Continuity, StepId
from specs.protocols import block_multicast as protocol
from specs.protocols import events as ev
from specs.protocols.explore import Move
from specs.protocols.facts import is_lost
from specs.protocols.nouns import Carried, LossReason, NodePlan, NodeState, Passage, Report
from tests.protocols.breaches import breaches
from tests.protocols.properties import slots_of
from tests.protocols.world import Faults, Letter, World


class Cluster:
    """Plans of all nodes, by index, and what may happen to them.

    Each node carries over all that can be known of the running pipelines, unless `carried` says what it knows.
    """

    def __init__(
        self, plans: tuple[NodePlan, ...], faults: Faults, carried: Mapping[str, Carried] | None = None
    ) -> None:
        self.plans = plans
        self.faults = faults
        self.carried = {plan.node: _all_carried(plan) for plan in plans} | dict(carried or {})
        self.carried_slots = [each for carried in self.carried.values() for each in carried.slots]
        self.index = {plan.node: number for number, plan in enumerate(plans)}
        self.passages: dict[StepId, Passage] = {each.step: each for plan in plans for each in plan.passages}
        self.leaders = {part.pipeline: self.index[part.leader] for part in plans[0].parts}
        self._steps: dict[object, tuple[NodeState, tuple[ev.Action, ...]]] = {}
        self._states: dict[NodeState, NodeState] = {}

    # --- running ---

    def start(self) -> World:
        begun = [protocol.begin(plan, self.carried[plan.node]) for plan in self.plans]
        running = frozenset(part.pipeline for part in self.plans[0].parts if part.is_running)
        sizes = frozenset((each.pipeline, each.slots) for each in self.carried_slots)
        world = World(nodes=tuple(state for state, _ in begun), faults=self.faults, right=running, sizes=sizes)
        for node, (_, actions) in enumerate(begun):
            world = self._do(world, node, actions)
        return world

    def _step(self, node: int, state: NodeState, event: ev.Event) -> tuple[NodeState, tuple[ev.Action, ...]]:
        key = (node, state, event)
        if key not in self._steps:
            after, actions = protocol.step(self.plans[node], state, event)
            self._steps[key] = (self._states.setdefault(after, after), actions)
        return self._steps[key]

    def happen(self, world: World, node: int, event: ev.Event, **changes: object) -> World:
        """One event at one node, with the other changes that it brings."""
        before = world
        after, actions = self._step(node, world.nodes[node], event)
        world = attrs.evolve(world, nodes=(*world.nodes[:node], after, *world.nodes[node + 1 :]), **changes)
        if isinstance(event, ev.Tick):
            actions = tuple(
                each
                for each in actions
                if not isinstance(each, ev.Tell) or self._teaches(world, (node, self.index[each.peer], each.report))
            )
        return self._do(world, node, actions, before.nodes[node])

    def _teaches(self, world: World, letter: Letter) -> bool:
        source, hearer, report = letter
        state = world.nodes[hearer]
        heard = ev.Heard(self.plans[source].node, report)
        return hearer not in world.dead and self._step(hearer, state, heard)[0] != state

    def _matters(self, world: World, letter: Letter) -> bool:
        """A report that teaches nothing now never will, unless it says `ready` for a transfer that may be sent again.

        (What it says else stays known.)  Leaving such reports out makes the explored space several times smaller.
        """
        _, hearer, report = letter
        if hearer in world.dead:
            return False
        return self._teaches(world, letter) or not world.nodes[hearer].sent.issuperset(report.ready)

    def _do(self, world: World, node: int, actions, before: NodeState | None = None) -> World:
        for action in actions:
            broken = breaches(self, world, node, action, before)
            if broken:
                world = attrs.evolve(world, breaches=world.breaches | broken)
            match action:
                case ev.Tell(peer, report):
                    way = (node, self.index[peer])
                    network = frozenset(each for each in world.network if each[:2] != way)
                    if self._matters(world, (*way, report)):
                        network |= {(*way, report)}
                    world = attrs.evolve(world, network=network)
                case ev.Abandon(step):
                    if self.index[self.passages[step].receiver] == node:
                        world = attrs.evolve(world, cut=world.cut | {step})
                case ev.Close(pipeline, _, continuity, _):
                    if continuity is Continuity.RECOMPUTE or pipeline not in world.nodes[node].draining:
                        world = attrs.evolve(world, ended=world.ended | {pipeline})
                case ev.Resize(_, pipeline, slots) if slots > slots_of(self, world, pipeline):
                    world = _resized(world, pipeline, slots)
                case ev.AbortHandOver(pipeline):
                    world = attrs.evolve(world, aborted=world.aborted | {pipeline})
        return world

    # --- what may happen next ---

    def moves(self, world: World) -> Iterator[Move[World]]:
        yield from self._reports(world)
        for step in sorted(set().union(*(state.sending for state in self._alive(world)))):
            yield from self._sender_end(world, step)
        for step in sorted(world.cut):
            yield from self._cut_end(world, step)
        for node in range(len(self.plans)):
            if node not in world.dead:
                yield from self._engine(world, node)
                yield from self._clock(world, node)
        yield from self._deaths(world)

    def _alive(self, world: World) -> list[NodeState]:
        return [state for node, state in enumerate(world.nodes) if node not in world.dead] or [world.nodes[0]]

    def _reports(self, world: World) -> Iterator[Move[World]]:
        faults = world.faults
        for name in ("network", "strays"):
            ways = getattr(world, name)
            for each in sorted(ways, key=lambda letter: (letter[:2], repr(letter) if name == "strays" else "")):
                source, hearer, report = each
                rest = {name: ways - {each}}
                what = f"{self.plans[source].node} to {self.plans[hearer].node}: {_shown(report)}"
                heard = ev.Heard(self.plans[source].node, report)
                yield Move(f"heard  {what}", self.happen(world, hearer, heard, **rest))
                if faults.losses:
                    less = attrs.evolve(faults, losses=faults.losses - 1)
                    yield Move(f"LOST   {what}", attrs.evolve(world, faults=less, **rest), is_fault=True)
                if name == "strays":
                    continue
                lingering = world.strays | {each}
                if faults.repeats:
                    less = attrs.evolve(faults, repeats=faults.repeats - 1)
                    again = self.happen(world, hearer, heard, **rest, faults=less)
                    if self._matters(again, each):
                        again = attrs.evolve(again, strays=again.strays | {each})
                    yield Move(f"REPEAT {what}", again, is_fault=True)
                if faults.lates:
                    less = attrs.evolve(faults, lates=faults.lates - 1)
                    late = attrs.evolve(world, **rest, strays=lingering, faults=less)
                    yield Move(f"LATE   {what}", late, is_fault=True)

    def _sender_end(self, world: World, step: StepId) -> Iterator[Move[World]]:
        passage = self.passages[step]
        sender, receiver = self.index[passage.sender], self.index[passage.receiver]
        if sender in world.dead or step not in world.nodes[sender].sending:
            return
        far = world.nodes[receiver]
        what = f"{step} ({passage.source.blob} {passage.sender} to {passage.receiver})"
        less = attrs.evolve(world.faults, breaks=world.faults.breaks - 1)
        may_break = world.faults.breaks > 0
        verdicts = [ack for ack in world.acks if ack[0] == step]
        if verdicts:
            rest = world.acks - set(verdicts)
            if verdicts[0][1]:
                yield Move(f"acknowledged {what}", self.happen(world, sender, ev.SendDone(step), acks=rest))
                if may_break:
                    worse = self.happen(world, sender, ev.SendFailed(step), acks=rest, faults=less)
                    yield Move(f"ACK LOST {what}", worse, is_fault=True)
            else:
                yield Move(f"sender notes failure {what}", self.happen(world, sender, ev.SendFailed(step), acks=rest))
        elif receiver in world.dead or step in world.nodes[sender].abandoned:
            cut = world.cut | ({step} & far.receiving)
            yield Move(f"send ends {what}", self.happen(world, sender, ev.SendFailed(step), cut=cut))
        elif step in far.receiving:
            right = world.arrivals | {step}
            yes, no, cut = world.acks | {(step, True)}, world.acks | {(step, False)}, world.cut - {step}
            arrived = self.happen(world, receiver, ev.Arrived(step), acks=yes, cut=cut, arrivals=right)
            yield Move(f"arrived {what}", arrived)
            if may_break:
                broken = self.happen(world, receiver, ev.ReceiveFailed(step), acks=no, cut=cut, faults=less)
                yield Move(f"BROKEN {what}", broken, is_fault=True)
                unreached = self.happen(world, sender, ev.SendFailed(step), faults=less)
                yield Move(f"UNREACHED {what}", unreached, is_fault=True)
            if world.faults.corruptions:
                less = attrs.evolve(world.faults, corruptions=world.faults.corruptions - 1)
                corrupt = self.happen(world, receiver, ev.Corrupt(step), acks=no, cut=cut, faults=less)
                yield Move(f"CORRUPT {what}", corrupt, is_fault=True)
        elif step in far.arrived:
            yield Move(f"acknowledged unsent {what}", self.happen(world, sender, ev.SendDone(step)))
        else:
            yield Move(f"refused {what}", self.happen(world, sender, ev.SendFailed(step)))

    def _cut_end(self, world: World, step: StepId) -> Iterator[Move[World]]:
        receiver = self.index[self.passages[step].receiver]
        rest = world.cut - {step}
        if receiver in world.dead or step not in world.nodes[receiver].receiving:
            return
        yield Move(f"receive ends {step}", self.happen(world, receiver, ev.ReceiveFailed(step), cut=rest))

    def _engine(self, world: World, node: int) -> Iterator[Move[World]]:
        state, name, faults = world.nodes[node], self.plans[node].node, world.faults
        for pipeline in sorted(state.building - state.built):
            yield Move(f"{name} has built {pipeline}", self.happen(world, node, ev.StageBuilt(pipeline)))
            if faults.bad_builds:
                less = attrs.evolve(faults, bad_builds=faults.bad_builds - 1)
                worse = self.happen(world, node, ev.StageFailed(pipeline), faults=less)
                yield Move(f"{name} CANNOT BUILD {pipeline}", worse, is_fault=True)
        judged = {each.pipeline for each in state.spoilt}
        for pipeline in sorted(state.proving - state.proved - judged):
            members = [self.index[member] for member in self.plans[node].part[pipeline].members]
            well = all(each not in world.dead and pipeline not in world.nodes[each].freed for each in members)
            # The answer may have been given before a member died or freed its stage.
            right = world.right | {pipeline}
            proved = self.happen(world, node, ev.Proved(pipeline, True), right=right)
            yield Move(f"{name} has proved {pipeline}", proved)
            if not well or faults.wrong_tokens:
                less = faults if not well else attrs.evolve(faults, wrong_tokens=faults.wrong_tokens - 1)
                wrong = self.happen(world, node, ev.Proved(pipeline, False), faults=less)
                yield Move(f"{name} finds {pipeline} WRONG", wrong, is_fault=well)
        for pipeline in sorted(state.draining - state.drained - state.closed):
            ended = world.ended | {pipeline}
            yield Move(f"{name} has drained {pipeline}", self.happen(world, node, ev.Drained(pipeline), ended=ended))
        for pipeline in sorted({each.pipeline for each in state.handing} - state.handed - state.closed):
            handed = world.handed | {pipeline}
            over = self.happen(world, node, ev.HandedOver(pipeline), handed=handed)
            yield Move(f"{name} has handed {pipeline} over", over)

        for step in sorted(state.resizing):
            sizing = self.plans[node].sizing[step]
            done = self.happen(_resized(world, sizing.pipeline, sizing.slots), node, ev.Resized(step))
            if sizing.pipeline not in state.closed:
                yield Move(f"{name} has resized {sizing.pipeline} to {sizing.slots}", done)

    def _clock(self, world: World, node: int) -> Iterator[Move[World]]:
        name = self.plans[node].node
        if not world.network:
            after = self.happen(world, node, ev.Tick())
            if after != world:
                yield Move(f"tick at {name}", after)
        for other, plan in enumerate(self.plans):
            if other == node or is_lost(world.nodes[node], plan.node):
                continue
            event = ev.PeerLost(plan.node, LossReason.SILENT)
            if other in world.dead:
                yield Move(f"{name} misses {plan.node}", self.happen(world, node, event))
            elif world.faults.suspicions:
                less = attrs.evolve(world.faults, suspicions=world.faults.suspicions - 1)
                suspects = self.happen(world, node, event, faults=less)
                yield Move(f"{name} SUSPECTS {plan.node}", suspects, is_fault=True)

    def _deaths(self, world: World) -> Iterator[Move[World]]:
        if not world.faults.deaths:
            return
        less = attrs.evolve(world.faults, deaths=world.faults.deaths - 1)
        for node, plan in enumerate(self.plans):
            if node in world.dead:
                continue
            running = world.nodes[node].sending & frozenset().union(*(state.receiving for state in world.nodes))
            after = attrs.evolve(
                world,
                dead=world.dead | {node},
                network=frozenset(each for each in world.network if each[1] != node),
                strays=frozenset(each for each in world.strays if each[1] != node),
                cut=world.cut | running,
                acks=frozenset(ack for ack in world.acks if self.index[self.passages[ack[0]].sender] != node),
                faults=less,
            )
            yield Move(f"{plan.node} DIES", after, is_fault=True)


def _resized(world: World, pipeline: str, slots: int) -> World:
    others = {each for each in world.sizes if each[0] != pipeline}
    return attrs.evolve(world, sizes=frozenset(others | {(pipeline, slots)}))


def _all_carried(plan: NodePlan) -> Carried:
    running = [part for part in plan.parts if part.is_running]
    return Carried(
        built=frozenset(part.pipeline for part in running if plan.node in part.members),
        opened=frozenset(part.pipeline for part in running),
    )


def _shown(report: Report) -> str:
    said = [
        f"{field.name} {','.join(str(getattr(each, 'step', each)) for each in getattr(report, field.name))}"
        for field in attrs.fields(Report)
        if getattr(report, field.name)
    ]
    return "; ".join(said) or "alive"
