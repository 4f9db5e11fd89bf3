"""A cluster of nodes that agree on plans and carry them out, with requests, in a world that can go wrong.

Each node runs plan switch and block multicast together, as `specs.protocols.node` puts them together, and a front with
one request that never ends.  Nodes adopt at different moments, so plans of different generations are in force at once.

Network.  Of the words about plans from one node to another the newest is under way, and so of the reports; what a
later life says comes after what an earlier one said.  Ticks come when nothing is under way, and put only that under way
which would teach the hearer something.  A node is missed that is dead, or was started again and listens to nobody, and,
once nothing else can happen, one that lives and carries out another plan.  Plans name no transfers here: which bytes
arrive, block multicast explores by itself.
"""

from collections.abc import Callable, Iterator, Sequence

import attrs

from specs.protocols import block_multicast, plan_switch
from specs.protocols import events as ev
from specs.protocols import plan_switch_nouns as sw
from specs.protocols.explore import Move, explore
from specs.protocols.facts import is_lost
from specs.protocols.node import InForce, Met
from specs.protocols.nouns import Carried, LossReason, NodePlan
from tests.protocols.generations_nodes import Nodes
from tests.protocols.generations_properties import IDS, judged, why_not_good
from tests.protocols.generations_world import Faults, Node, Plans, World, shown


class Generations(Nodes):
    """Nodes that carry out the first plan, and what may happen to them.  `fronts`: those that have a request."""

    def __init__(
        self,
        names: str,
        plans: Plans,
        offers: Sequence[tuple[str, sw.Offer]],
        faults: Faults,
        fronts: str | None = None,
    ) -> None:
        super().__init__(names, plans, fronts, is_harmed=faults != Faults(losses=faults.losses))
        self.offers = frozenset((names.index(node), plan) for node, plan in offers)
        self.faults = faults

    def start(self) -> World:
        """Everybody carries out the first plan, whose pipelines are open, and has met everybody."""
        nodes = []
        for name in self.names:
            state, _ = plan_switch.step(plan_switch.begin(name), sw.Offered(self.plans.first))
            plan = self.plans.of[self.plans.first.name, name]
            core, _ = block_multicast.begin(plan, _all(plan))
            met = frozenset(Met(peer=peer, life="0") for peer in plan.peers)
            now = InForce(name=self.plans.first.name, plan=plan, state=core, met=met)
            nodes.append(Node(switch=state, now=now, listens=True))
        first = self.plans.first.name.generation
        return World(nodes=tuple(nodes), disks=(first,) * len(nodes), offers=self.offers, faults=self.faults)

    # --- what may happen next ---

    def moves(self, world: World) -> Iterator[Move[World]]:
        for move in self._moves(world):
            yield attrs.evolve(move, state=judged(self, move.state))

    def _moves(self, world: World) -> Iterator[Move[World]]:
        yield from self._offers(world)
        yield from self._letters(world)
        for node, name in enumerate(self.names):
            if node in world.dead:
                continue
            here = world.nodes[node]
            if here.listens and not world.words and not world.reports:
                after = self._tick(world, node)
                if after != world:
                    yield Move(f"tick at {name}", after)
            if here.now is not None:
                yield from self._engine(world, node)
                yield from self._silence(world, node)
            yield from self._ends(world, node)

    def _tick(self, world: World, node: int) -> World:
        world = self.switch(world, node, sw.Tick())
        return world if world.nodes[node].now is None else self.core(world, node, ev.Tick())

    def _offers(self, world: World) -> Iterator[Move[World]]:
        ways = [("offers", world.offers, True), ("documents", world.documents, False)]
        for kind, pairs, is_fault in ways:
            for node, offer in sorted(pairs, key=lambda each: (each[0], each[1].name.digest)):
                rest = attrs.evolve(world, **{kind: pairs - {(node, offer)}})
                what = f"plan {offer.name.generation} to {self.names[node]}"
                if node not in world.dead:
                    yield Move(f"{kind}: {what}", self._offer(rest, node, offer), is_fault)
                if not is_fault and world.faults.losses:
                    less = attrs.evolve(world.faults, losses=world.faults.losses - 1)
                    yield Move(f"LOST {what}", attrs.evolve(rest, faults=less), True)

    def _offer(self, world: World, node: int, offer: sw.Offer) -> World:
        offered = self.offered(world, node, offer)
        if offered.unable is None:
            world = self.change(world, node, listens=True)
        return self.switch(world, node, offered)

    def _letters(self, world: World) -> Iterator[Move[World]]:
        for kind in ("words", "reports"):
            ways = getattr(world, kind)
            for letter in sorted(ways, key=lambda each: each[:3]):
                rest = attrs.evolve(world, **{kind: ways - {letter}})
                teller, hearer = self.names[letter[0]], self.names[letter[1]]
                what = f"{kind[:-1]} from {teller} ({letter[2]}) to {hearer}: {shown(letter)}"
                yield Move(f"heard  {what}", self.hear(rest, letter))
                if world.faults.losses:
                    less = attrs.evolve(world.faults, losses=world.faults.losses - 1)
                    yield Move(f"LOST   {what}", attrs.evolve(rest, faults=less), True)

    def _engine(self, world: World, node: int) -> Iterator[Move[World]]:
        name, now = self.names[node], world.nodes[node].now
        state = now.state
        for pipeline in sorted(state.building - state.built):
            yield Move(f"{name} has built {pipeline}", self.core(world, node, ev.StageBuilt(pipeline)))
        for pipeline in sorted(state.proving - state.proved - state.closed):
            members = self.members[pipeline]
            together = all(
                self.computes(world, one, pipeline)
                and not any(self.counts_lost(world.nodes[one].now, other) for other in members if other != one)
                for one in members
            )
            if together:
                yield Move(f"{name} has proved {pipeline}", self.core(world, node, ev.Proved(pipeline, True)))
        for pipeline in sorted(state.draining - state.drained - state.closed):
            if not any(each[1] == pipeline for each in world.taken):
                yield Move(f"{name} has drained {pipeline}", self.core(world, node, ev.Drained(pipeline)))
        for pipeline in sorted({each.pipeline for each in state.handing} - state.handed - state.closed):
            yield Move(f"{name} has handed {pipeline} over", self.core(world, node, ev.HandedOver(pipeline)))
        if node in self.fronts and world.nodes[node].at is None:
            for pipeline in sorted(self.usable(world, node)):
                if world.dead.isdisjoint(self.members[pipeline]):
                    after = self._submit(world, node, pipeline)
                    if after != world:
                        yield Move(f"{name} submits to {pipeline}", after)

    def _silence(self, world: World, node: int) -> Iterator[Move[World]]:
        name, now = self.names[node], world.nodes[node].now
        for peer in now.plan.peers:
            other = self.names.index(peer)
            event = ev.PeerLost(peer, LossReason.SILENT)
            if is_lost(now.state, peer):
                continue
            if not self.speaks(world, other, node):
                if other not in world.dead and world.nodes[other].listens and not self._is_quiet(world):
                    continue  # it may be about to adopt the plan, which takes much less time
                yield Move(f"{name} misses {peer}", self.core(world, node, event))
            elif world.faults.suspicions:
                less = attrs.evolve(world.faults, suspicions=world.faults.suspicions - 1)
                yield Move(f"{name} SUSPECTS {peer}", attrs.evolve(self.core(world, node, event), faults=less), True)

    def _is_quiet(self, world: World) -> bool:
        """Tell whether nothing is under way, nor will be by the next ticks."""
        if world.words or world.reports or world.documents:
            return False
        alive = (node for node, here in enumerate(world.nodes) if here.listens and node not in world.dead)
        return all(self._tick(world, node) == world for node in alive)

    def speaks(self, world: World, teller: int, hearer: int) -> bool:
        """Tell whether a node is heard by another under the plan that this carries out, now or at its next tick."""
        here, there = world.nodes[hearer].now, world.nodes[teller].now
        return teller not in world.dead and there is not None and there.name == here.name

    def _ends(self, world: World, node: int) -> Iterator[Move[World]]:
        name, faults = self.names[node], world.faults
        if faults.deaths:
            less = attrs.evolve(faults, deaths=faults.deaths - 1)
            yield Move(f"{name} DIES", attrs.evolve(self.die(world, node), faults=less), True)
        if faults.restarts:
            less = attrs.evolve(faults, restarts=faults.restarts - 1)
            yield Move(f"{name} STARTS AGAIN", attrs.evolve(self.restart(world, node), faults=less), True)


def _all(plan: NodePlan) -> Carried:
    running = [part for part in plan.parts if part.is_running]
    return Carried(
        built=frozenset(part.pipeline for part in running if plan.node in part.members),
        opened=frozenset(part.pipeline for part in running),
    )


def run(cluster: Generations, sometimes: Sequence[Callable[[World], bool]] = (), states_max: int = 60_000):
    return explore(
        [cluster.start()],
        cluster.moves,
        always={name: (lambda world, name=name: name not in world.breaches) for name in IDS},
        sometimes={each.__qualname__: each for each in sometimes},
        good=lambda world: why_not_good(cluster, world) is None,
        states_max=states_max,
    )
