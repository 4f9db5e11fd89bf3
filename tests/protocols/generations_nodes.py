"""What one node of a cluster that goes from plan to plan does, with its front and the requests that it leads.

Requests.  A front submits its request to a pipeline that is open as far as it knows.  The leader takes it, or gives it
back, or, where it counts the front as lost, drops it.  Messages of traffic arrive at once, because a lost one breaks
the connection, which everybody notices; so a death and a new life give back what was with the node, or through it.
"""

from collections.abc import Sequence

import attrs

from specs.protocols import events as ev
from specs.protocols import node as protocol
from specs.protocols import plan_switch
from specs.protocols import plan_switch_nouns as sw
from specs.protocols.facts import is_lost
from specs.protocols.node import InForce
from specs.protocols.nouns import Part
from tests.protocols.generations_world import Node, Plans, Told, Word, World

KEPT = "where nobody dies, hangs or is started again, what a plan finds running is open when it is adopted"


class Nodes:
    """Nodes with these plans.  `fronts`: those that have a request.  `is_harmed`: any may die, hang or start again."""

    def __init__(self, names: str, plans: Plans, fronts: str | None = None, *, is_harmed: bool = True) -> None:
        self.names, self.plans, self.is_harmed = names, plans, is_harmed
        self.fronts = frozenset(map(names.index, names if fronts is None else fronts))
        self.members = {name: tuple(map(names.index, each)) for name, each in plans.members.items()}
        self._switched: dict[object, tuple[sw.SwitchState, Sequence[sw.Action]]] = {}
        self._taken: dict[object, tuple[InForce, Sequence[ev.Action]]] = {}
        self._known: dict[object, object] = {}

    # --- what one node does ---

    def change(self, world: World, node: int, **changes: object) -> World:
        after = attrs.evolve(world.nodes[node], **changes)
        return attrs.evolve(world, nodes=(*world.nodes[:node], after, *world.nodes[node + 1 :]))

    def _same(self, value):
        return self._known.setdefault(value, value)

    def switch(self, world: World, node: int, event: sw.Event) -> World:
        """Let plan switch take an event at a node."""
        key = (world.nodes[node].switch, event)
        if key not in self._switched:
            after, actions = plan_switch.step(*key)
            self._switched[key] = (self._same(after), actions)
        after, actions = self._switched[key]
        world = self.change(world, node, switch=after)
        for action in actions:
            match action:
                case sw.Record(generation):
                    disks = (*world.disks[:node], generation, *world.disks[node + 1 :])
                    world = attrs.evolve(world, disks=disks)
                case sw.Adopt(name):
                    world = self._adopt(world, node, name)
                case sw.Leave():
                    world = self.restart(world, node)
                case sw.AskPlan(peer, name):
                    world = self._ask(world, node, self.names.index(peer), name)
                case sw.Tell(peer, standing):
                    letter = (node, self.names.index(peer), world.nodes[node].life, standing)
                    world = self._send(world, "words", letter, is_tick=isinstance(event, sw.Tick))
        return self.keep_open(world, node)

    def keep_open(self, world: World, node: int) -> World:
        """The plan in force is told what plans that may be adopted next count on."""
        here = world.nodes[node]
        if here.now is None:
            return world
        name = self.names[node]
        plans = {each.name: self.plans.of[each.name, name] for each in plan_switch.pending(here.switch)}
        counted_on = protocol.counted_on(here.switch, plans)
        if frozenset(counted_on.pipelines) == here.now.state.counted_on:
            return world
        return self.core(world, node, counted_on)

    def core(self, world: World, node: int, event: ev.Event) -> World:
        """Let block multicast take an event at a node."""
        before = world.nodes[node].now
        key = (before, event)
        if key not in self._taken:
            after, actions = protocol.take(before, event)
            self._taken[key] = (self._same(after), actions)
        after, actions = self._taken[key]
        world = self.change(world, node, now=after)
        world = self._tell(world, node, actions, is_tick=isinstance(event, ev.Tick))
        return world if after == before else self._follow(world, node, before)

    def _meet(self, world: World, node: int, teller: int, life: int) -> World:
        now = world.nodes[node].now
        if now is None:
            return world
        now, lost = protocol.meet(now, self.names[teller], str(life))
        world = self.change(world, node, now=now)
        return world if lost is None else self.core(world, node, lost)

    def _adopt(self, world: World, node: int, name: sw.PlanName) -> World:
        here = world.nodes[node]
        plan = self.plans.of[name, self.names[node]]
        if not self.is_harmed and any(part.is_running and not self.takes(here.now, part) for part in plan.parts):
            world = attrs.evolve(world, breaches=world.breaches | {KEPT})
        now, actions = protocol.adopt(here.now, name, plan)
        before = frozenset() if here.now is None else frozenset(here.now.plan.part)
        gone = before - now.plan.part.keys()
        world = self.change(world, node, now=now, shut=here.shut - gone - here.over, over=frozenset())
        world = self._tell(world, node, actions)
        world = self._follow(world, node, here.now)
        return self.make_up(world, node, here.now)

    def takes(self, now: InForce | None, part: Part) -> bool:
        """Tell whether the leader of a pipeline has it open under a plan, for new requests too."""
        return (
            now is None
            or part.leader != now.plan.node
            or part.pipeline in (now.state.opened - now.state.closed - now.state.draining)
        )

    def make_up(self, world: World, node: int, before: InForce | None) -> World:
        """What was dropped between a node and those whom it counted as lost until now is asked for again."""
        for peer in () if before is None else sorted(loss.node for loss in before.state.lost):
            other = self.names.index(peer)
            if self.counts_lost(world.nodes[node].now, other):
                continue
            world = self._disconnected(world, node, other)
            if self._reaches(world, node, other):
                world = self._disconnected(world, other, node)
        return world

    def _ask(self, world: World, node: int, peer: int, name: sw.PlanName) -> World:
        """The document comes if the peer has it and it teaches the asker something."""
        state = world.nodes[peer].switch
        has = {each.name: each for each in (state.adopted, *state.accepted) if each is not None}
        if peer in world.dead or name not in has:
            return world
        offered = self.offered(world, node, has[name])
        if plan_switch.step(world.nodes[node].switch, offered)[0] == world.nodes[node].switch:
            return world
        return attrs.evolve(world, documents=world.documents | {(node, has[name])})

    def offered(self, world: World, node: int, offer: sw.Offer) -> sw.Offered:
        state = world.nodes[node].switch
        if offer in (state.adopted, *state.accepted):
            return sw.Offered(offer)
        return sw.Offered(offer, self.unfit(world, node, offer))

    def unfit(self, world: World, node: int, offer: sw.Offer) -> str | None:
        """Say why a node cannot carry out a plan: what `executor.admission` finds out of what both say of pipelines."""
        name, now = self.names[node], world.nodes[node].now
        plan = self.plans.of.get((offer.name, name))
        if plan is None:
            return "not of its cluster"
        if now is not None and (offer.name.generation <= now.name.generation or offer.parent != now.name.digest):
            return "stale"
        for part in plan.parts:
            if not part.is_running:
                continue
            if now is None:
                if name in part.members:
                    return f"{part.pipeline} does not run here"
            elif part.pipeline not in now.plan.part:
                return f"no pipeline {part.pipeline} before"
            elif part.leader == name and part.pipeline not in now.state.opened:
                return f"{part.pipeline} has not opened"
            elif part.leader == name and self.takes_no_more(now, part.pipeline):
                return f"{part.pipeline} takes no requests any more"
            elif name in part.members and part.pipeline not in now.state.built:
                return f"{part.pipeline} does not compute"
        return None

    def takes_no_more(self, now: InForce, pipeline: str) -> bool:
        return pipeline in now.state.closed | now.state.draining

    def _tell(self, world: World, node: int, actions: tuple[ev.Action, ...], *, is_tick: bool = False) -> World:
        now = world.nodes[node].now
        for action in actions:
            if isinstance(action, ev.Tell):
                letter = (node, self.names.index(action.peer), world.nodes[node].life, now.name, action.report)
                world = self._send(world, "reports", letter, is_tick=is_tick)
        return world

    def _send(self, world: World, kind: str, letter: Word | Told, *, is_tick: bool) -> World:
        """Put a letter under way in the place of older ones, if it can matter."""
        if is_tick and not self._teaches(world, letter):
            return world
        way, life = letter[:2], letter[2]

        def is_newer(each):
            return each[:2] != way or each[2] == life

        words, reports = filter(is_newer, world.words), filter(is_newer, world.reports)
        world = attrs.evolve(world, words=frozenset(words), reports=frozenset(reports))
        ways = frozenset(each for each in getattr(world, kind) if each[:2] != way)
        if self._matters(world, letter):
            ways |= {letter}
        return attrs.evolve(world, **{kind: ways})

    def _matters(self, world: World, letter: Word | Told) -> bool:
        """What teaches nothing now teaches nothing later either, but for a report under a plan yet to be adopted."""
        here = world.nodes[letter[1]]
        if len(letter) == 5 and here.now is not None and letter[3].generation > here.now.name.generation:
            return letter[1] not in world.dead and here.listens
        return self._teaches(world, letter)

    def _teaches(self, world: World, letter: Word | Told) -> bool:
        hearer = letter[1]
        if hearer in world.dead or not world.nodes[hearer].listens:
            return False
        return self._knows(self.hear(world, letter), hearer) != self._knows(world, hearer)

    def _knows(self, world: World, node: int) -> object:
        here = world.nodes[node]
        return here.switch, here.now, world.documents

    def hear(self, world: World, letter: Word | Told) -> World:
        """A letter arrives."""
        teller, hearer, life = letter[:3]
        if self.tells_a_life(world, letter):
            world = self._meet(world, hearer, teller, life)
        if len(letter) == 4:
            return self.switch(world, hearer, sw.Heard(self.names[teller], letter[3]))
        now = world.nodes[hearer].now
        if now is None or now.name != letter[3]:
            return world
        return self.core(world, hearer, ev.Heard(self.names[teller], letter[4]))

    def tells_a_life(self, _world: World, _letter: Word | Told) -> bool:
        """Tell whether the hearer knows by it in which life the teller is."""
        return True

    # --- requests ---

    def usable(self, world: World, node: int) -> frozenset[str]:
        """Name the pipelines to which a front would submit."""
        here = world.nodes[node]
        return frozenset() if here.now is None else here.now.state.opened - here.now.state.closed - here.shut

    def leads(self, world: World, pipeline: str) -> bool:
        """Tell whether the leader of a pipeline has it open, if only for those requests that it has."""
        leader = self.members[pipeline][0]
        now = world.nodes[leader].now
        return leader not in world.dead and now is not None and pipeline in now.state.opened - now.state.closed

    def computes(self, world: World, node: int, pipeline: str) -> bool:
        now = world.nodes[node].now
        return node not in world.dead and now is not None and pipeline in now.state.built - now.state.freed

    def counts_lost(self, now: InForce | None, node: int) -> bool:
        """Tell whether mail to and from a node is dropped."""
        name = self.names[node]
        return now is None or name not in now.plan.peers or is_lost(now.state, name)

    def _follow(self, world: World, node: int, before: InForce | None) -> World:
        """Requests go where a change of a node makes them go; letters that it makes pointless vanish."""
        now = world.nodes[node].now
        for front, pipeline in sorted(world.taken):
            members = self.members[pipeline]
            others = [each for each in members if each != node]
            if members[0] == node and (not self.leads(world, pipeline) or self._has_left(now, front, node)):
                world = self._give_back(world, before, front, pipeline)
            elif members[0] == node and front != node and self.counts_lost(now, front):
                world = attrs.evolve(world, taken=world.taken - {(front, pipeline)})  # its tokens are lost
            elif node in members and (
                not self.computes(world, node, pipeline) or any(self.counts_lost(now, each) for each in others)
            ):
                world = attrs.evolve(world, taken=world.taken - {(front, pipeline)})  # an iteration never ends
        here = world.nodes[node]
        closed = now.state.closed
        world = self.change(world, node, shut=here.shut | closed, over=here.over | closed)
        if here.at is not None and here.at not in now.state.opened - closed:
            world = self._cancel(world, node)
        led = frozenset(name for name, members in self.members.items() if members[0] == node)
        ended = world.ended | {(node, here.life, each) for each in closed & led}
        return attrs.evolve(world, ended=ended)

    def _has_left(self, now: InForce, front: int, node: int) -> bool:
        return front != node and self.names[front] not in now.plan.peers

    def _cancel(self, world: World, front: int) -> World:
        at = world.nodes[front].at
        return attrs.evolve(self.change(world, front, at=None), taken=world.taken - {(front, at)})

    def _give_back(self, world: World, before: InForce | None, front: int, pipeline: str) -> World:
        """The leader gives a request back, by the mail that it had before what happened."""
        leader = self.members[pipeline][0]
        world = attrs.evolve(world, taken=world.taken - {(front, pipeline)})
        here = world.nodes[front]
        if here.at != pipeline:
            return world
        if front != leader and (self.counts_lost(before, front) or self.counts_lost(here.now, leader)):
            return world
        shut = here.shut if self.leads(world, pipeline) else here.shut | {pipeline}
        return self.change(world, front, at=None, shut=shut)

    def _broken(self, world: World, gone: int) -> World:
        """The connections with a node have broken."""
        for node in range(len(self.names)):
            if node not in world.dead | {gone}:
                world = self._disconnected(world, node, gone)
        return attrs.evolve(world, taken=frozenset(each for each in world.taken if each[0] != gone))

    def _disconnected(self, world: World, node: int, peer: int) -> World:
        """Messages between a node and a peer are gone, as far as the node knows."""
        at = world.nodes[node].at
        if at is not None and self.members[at][0] == peer:
            world = self._cancel(world, node)
        for front, pipeline in sorted(world.taken):
            members = self.members[pipeline]
            leader = members[0]
            if leader == node and (peer in members or front == peer):
                world = self._give_back(world, world.nodes[node].now, front, pipeline)
            elif leader not in (node, peer) and {node, peer} <= set(members) and self._reaches(world, node, leader):
                world = self._give_back(world, world.nodes[leader].now, front, pipeline)
        return world

    def _reaches(self, world: World, sender: int, receiver: int) -> bool:
        """Tell whether a message of traffic is sent and taken."""
        there = world.nodes[receiver].now
        return (
            receiver not in world.dead
            and not self.counts_lost(world.nodes[sender].now, receiver)
            and not self.counts_lost(there, sender)
        )

    def _submit(self, world: World, front: int, pipeline: str) -> World:
        leader = self.members[pipeline][0]
        there = world.nodes[leader].now
        if front != leader and self.counts_lost(there, front):
            return self.change(world, front, at=pipeline)  # it is dropped
        if there is None or pipeline not in there.state.opened - there.state.closed - there.state.draining:
            shut = (
                there is None
                or pipeline not in there.plan.part
                or pipeline in there.state.closed | there.state.draining
            )
            here = world.nodes[front]
            return self.change(world, front, shut=here.shut | ({pipeline} if shut else frozenset()))
        taken = world.taken | {(front, pipeline)}
        return attrs.evolve(self.change(world, front, at=pipeline), taken=taken)

    # --- ends of lives ---

    def die(self, world: World, node: int) -> World:
        world = attrs.evolve(self._gone(world, node), dead=world.dead | {node})
        return self.change(self._broken(world, node), node, at=None)

    def restart(self, world: World, node: int) -> World:
        """A new life begins with nothing but the generation on its disk."""
        fresh = plan_switch.begin(self.names[node], world.disks[node])
        world = self._broken(self._gone(world, node), node)
        nodes = (*world.nodes[:node], Node(switch=fresh, life=world.nodes[node].life + 1), *world.nodes[node + 1 :])
        return attrs.evolve(world, nodes=nodes)

    def _gone(self, world: World, node: int) -> World:
        """What is under way to a node is lost with it; what it told is still under way."""
        return attrs.evolve(
            world,
            words=frozenset(each for each in world.words if each[1] != node),
            reports=frozenset(each for each in world.reports if each[1] != node),
            documents=frozenset(each for each in world.documents if each[0] != node),
        )
