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

from collections.abc import Callable, Iterator

import attrs

from specs.plan import Continuity, PipelineId, StepId, Switch
from specs.plan import Release as ReleaseStep
from specs.protocols import block_multicast as protocol
from specs.protocols import events as ev
from specs.protocols.explore import Move
from specs.protocols.facts import is_lost, is_settled, lacks
from specs.protocols.nouns import Copy, LossReason, NodePlan, NodeState, Part, Passage, Report


@attrs.frozen(kw_only=True, cache_hash=True)
class Faults:
    """How many of each may still happen."""

    losses: int = 0
    repeats: int = 0
    lates: int = 0
    breaks: int = 0
    corruptions: int = 0
    deaths: int = 0
    suspicions: int = 0  # a node that lives counts as lost
    wrong_tokens: int = 0
    bad_builds: int = 0


@attrs.frozen(kw_only=True, cache_hash=True)
class World:
    nodes: tuple[NodeState, ...]
    dead: frozenset[int] = frozenset()
    network: frozenset[tuple[int, int, Report]] = frozenset()  # the newest report on each way
    strays: frozenset[tuple[int, int, Report]] = frozenset()  # late or repeated ones
    acks: frozenset[tuple[StepId, bool]] = frozenset()  # the receiver has ended, the sender has not heard how
    cut: frozenset[StepId] = frozenset()  # receptions that must end without arrival
    faults: Faults
    # What the ALWAYS properties need to remember.
    arrivals: frozenset[StepId] = frozenset()  # right ones
    right: frozenset[PipelineId] = frozenset()  # pipelines whose canary was right
    ended: frozenset[PipelineId] = frozenset()  # pipelines that their leader closed
    breaches: frozenset[str] = frozenset()  # ids of ALWAYS properties that an action broke


Step = Callable[[NodePlan, NodeState, ev.Event], tuple[NodeState, tuple[ev.Action, ...]]]


class Cluster:
    """Plans of all nodes, by index, and what may happen to them."""

    def __init__(self, plans: tuple[NodePlan, ...], faults: Faults) -> None:
        self.plans = plans
        self.faults = faults
        self.index = {plan.node: number for number, plan in enumerate(plans)}
        self.passages: dict[StepId, Passage] = {each.step: each for plan in plans for each in plan.passages}
        self.leaders = {part.pipeline: self.index[part.leader] for part in plans[0].parts}
        self._steps: dict[object, tuple[NodeState, tuple[ev.Action, ...]]] = {}
        self._states: dict[NodeState, NodeState] = {}

    # --- running ---

    def start(self) -> World:
        begun = [protocol.begin(plan) for plan in self.plans]
        world = World(nodes=tuple(state for state, _ in begun), faults=self.faults)
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
        world = attrs.evolve(
            world, nodes=(*world.nodes[:node], after, *world.nodes[node + 1 :]), **changes
        )
        if isinstance(event, ev.Tick):
            actions = tuple(each for each in actions if not isinstance(each, ev.Tell) or self._teaches(world, node, each))
        return self._do(world, node, actions, before.nodes[node])

    def _teaches(self, world: World, node: int, tell: ev.Tell) -> bool:
        hearer = self.index[tell.peer]
        if hearer in world.dead:
            return False
        state = world.nodes[hearer]
        return self._step(hearer, state, ev.Heard(self.plans[node].node, tell.report))[0] != state

    def _do(self, world: World, node: int, actions, before: NodeState | None = None) -> World:
        for action in actions:
            world = self._check(world, node, action, before)
            match action:
                case ev.Tell(peer, report):
                    way = (node, self.index[peer])
                    network = frozenset(each for each in world.network if each[:2] != way) | {(*way, report)}
                    if way[1] not in world.dead:
                        world = attrs.evolve(world, network=network)
                case ev.Abandon(step):
                    if self.index[self.passages[step].receiver] == node:
                        world = attrs.evolve(world, cut=world.cut | {step})
                case ev.Close(pipeline, _, continuity, _):
                    if continuity is Continuity.RECOMPUTE or pipeline not in world.nodes[node].draining:
                        world = attrs.evolve(world, ended=world.ended | {pipeline})
        return world

    def _check(self, world: World, node: int, action: ev.Action, before: NodeState | None) -> World:
        plan = self.plans[node]
        breaches = set()
        initial = {copy for each in self.plans for copy in each.held}
        right = initial | {self.passages[step].destination for step in world.arrivals}
        match action:
            case ev.Send(step):
                passage = self.passages[step]
                state, receiver = world.nodes[node], world.nodes[self.index[passage.receiver]]
                on_port = [e for e in plan.passages if e.sender == plan.node and e.send_port == passage.send_port]
                busy = [e for e in on_port if e.step in state.sending and e.step != step]
                if busy or (before is not None and step in before.sending):
                    breaches.add("ONE-SEND")
                if passage.source not in right:
                    breaches.add("CAUSE")
                if any(e.step < step and e.step not in state.sent for e in on_port) and not state.lost | state.refused:
                    breaches.add("ORDER")
                untroubled = world.faults == self.faults
                if untroubled and step not in receiver.receiving | receiver.arrived:
                    breaches.add("GRANT")
            case ev.Receive(step):
                passage = self.passages[step]
                state = world.nodes[node]
                on_port = [e for e in plan.passages if e.receiver == plan.node and e.receive_port == passage.receive_port]
                if any(e.step in state.receiving and e.step != step for e in on_port):
                    breaches.add("ONE-RECEIVE")
                if step in state.arrived:
                    breaches.add("TWICE")
            case ev.BuildStage(pipeline):
                if not right.issuperset(plan.part[pipeline].needs):
                    breaches.add("EARLY")
            case ev.Open(pipeline):
                members = [self.index[name] for name in plan.part[pipeline].members]
                if any(pipeline not in world.nodes[each].built for each in members):
                    breaches.add("EARLY")
                if pipeline not in world.right:
                    breaches.add("PROVED")
                if pipeline in world.ended:
                    breaches.add("NEVER-AGAIN")
            case ev.Release(_, copy):
                busy = {step for state in world.nodes for step in state.sending}
                if any(self.passages[step].source == copy for step in busy):
                    breaches.add("RELEASE")
        return attrs.evolve(world, breaches=world.breaches | breaches) if breaches else world

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
            for each in sorted(ways, key=repr):
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
                    again = self.happen(world, hearer, heard, **rest, strays=lingering, faults=less)
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
            if well:
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

    # --- what should be true ---

    def always(self) -> dict[str, Callable[[World], bool]]:
        ids = (
            "CAUSE", "EARLY", "GRANT", "NEVER-AGAIN", "ONE-RECEIVE", "ONE-SEND", "ORDER", "PROVED", "RELEASE", "TWICE",
        )  # fmt: skip
        rules: dict[str, Callable[[World], bool]] = {
            name: (lambda world, name=name: name not in world.breaches) for name in ids
        }
        rules["a blob is held only from the start or by a right arrival"] = self._held_by_right
        rules["nobody is lost without a death or a suspicion"] = lambda world: (
            world.faults.deaths < self.faults.deaths
            or world.faults.suspicions < self.faults.suspicions
            or not any(state.lost for state in world.nodes)
        )
        rules["lacks are blamed on a node that is lost"] = self._blame_is_due
        return rules

    def _held_by_right(self, world: World) -> bool:
        return all(
            state.held.issubset(
                {*plan.held, *(self.passages[step].destination for step in world.arrivals if step in plan.passage)}
            )
            for plan, state in zip(self.plans, world.nodes, strict=True)
        )

    def _blame_is_due(self, world: World) -> bool:
        troubled = {self.index[loss.node] for state in world.nodes for loss in state.lost}
        return all(
            self.index[lack.because] in troubled
            for plan, state in zip(self.plans, world.nodes, strict=True)
            if not state.failures
            for lack in lacks(plan, state)
        )

    def is_complete(self, world: World) -> bool:
        return not world.dead and all(
            step in world.nodes[self.index[passage.receiver]].arrived for step, passage in self.passages.items()
        )

    def blame(self, world: World, copy: Copy) -> str | None:
        """Who is to blame that a copy is not where it was promised, worked out from all nodes at once; None: arrived."""
        home = next((p for p in self.passages.values() if p.destination == copy), None)
        if home is None or home.step in world.arrivals:
            return None
        sender, receiver = self.index[home.sender], self.index[home.receiver]
        apart = is_lost(world.nodes[sender], home.receiver) or is_lost(world.nodes[receiver], home.sender)
        if sender in world.dead or apart:
            return home.sender
        return self.blame(world, home.source) or "nobody"

    def is_good(self, world: World) -> bool:
        """Nothing is under way, and every node that lives is complete or names exactly what it lacks."""
        if world.network or world.acks:
            return False
        for node, (plan, state) in enumerate(zip(self.plans, world.nodes, strict=True)):
            if node in world.dead:
                continue
            expected = {(copy, self.blame(world, copy)) for copy in plan.arrivals}
            said = {(lack.copy, lack.because) for lack in lacks(plan, state)}
            if not is_settled(plan, state) or said != {each for each in expected if each[1] is not None}:
                return False
            if not all(self._pipeline_is_good(world, node, part) for part in plan.parts):
                return False
        return True

    def _pipeline_is_good(self, world: World, node: int, part: Part) -> bool:
        state, leader = world.nodes[node], world.nodes[self.leaders[part.pipeline]]
        is_known = self.leaders[part.pipeline] not in world.dead and not is_lost(state, part.leader)
        if is_known and (part.pipeline in leader.closed) != (part.pipeline in state.closed):
            return False
        if is_known and (part.pipeline in leader.opened) != (part.pipeline in state.opened):
            return False
        if part.pipeline in state.closed:
            return part.pipeline in state.freed or part.pipeline not in state.building
        return part.pipeline in state.opened and part.pipeline in world.right


def _shown(report: Report) -> str:
    said = [
        f"{field.name} {','.join(str(getattr(each, 'step', each)) for each in getattr(report, field.name))}"
        for field in attrs.fields(Report)
        if getattr(report, field.name)
    ]
    return "; ".join(said) or "alive"


# --- clusters --------------------------------------------------------------------------------------------------------


def a_passage(step: int, blob: str, sender: str, receiver: str) -> Passage:
    return Passage(
        step=StepId(step),
        source=Copy(blob=blob, place=sender),
        destination=Copy(blob=blob, place=receiver),
        sender=sender,
        receiver=receiver,
        send_port=f"{sender}/out",
        receive_port=f"{receiver}/in",
    )


def node_plans(
    held: dict[str, str],
    transfers: list[tuple[str, str, str]],
    pipelines: dict[str, list[tuple[str, str]]] | None = None,
    switches: list[tuple[str, str, Continuity]] | None = None,
    releases: list[tuple[str, str]] | None = None,
    tries_max: int = 5,
) -> tuple[NodePlan, ...]:
    """Plans of all nodes from a few words.

    held: node -> its blobs, one letter each; transfers: (blob, sender, receiver) in order; pipelines: id -> stages, each
    a node with the blobs that it needs; releases: (blob, node).
    """
    passages = [a_passage(step, *words) for step, words in enumerate(transfers)]
    parts = []
    at = len(passages)
    for pipeline, stages in (pipelines or {}).items():
        members = tuple(dict.fromkeys(node for node, _ in stages))
        parts.append((pipeline, at, members, stages))
        at += 1
    changes = []
    for old, new, continuity in switches or []:
        changes.append(Switch(id=at, old=old, new=new, continuity=continuity, at_ns=0))
        at += 1
    gone = []
    for blob, node in releases or []:
        gone.append((node, ReleaseStep(id=at, blob=blob, place=node, at_ns=0)))
        at += 1
    return tuple(
        NodePlan(
            node=node,
            peers=tuple(each for each in held if each != node),
            held=tuple(Copy(blob=blob, place=node) for blob in blobs),
            passages=tuple(each for each in passages if node in (each.sender, each.receiver)),
            parts=tuple(
                Part(
                    pipeline=pipeline,
                    step=step,
                    leader=members[0],
                    members=members,
                    needs=tuple(Copy(blob=b, place=node) for home, needed in stages if home == node for b in needed),
                )
                for pipeline, step, members, stages in parts
            ),
            switches=tuple(changes),
            releases=tuple(each for home, each in gone if home == node),
            tries_max=tries_max,
        )
        for node, blobs in held.items()
    )
