"""A cluster of nodes that all run plan switch, in a world that can go wrong, and what should be true of it.

As in `tests.protocols.node_cluster`: of the standings from one node to another the newest is under way, and a newer one
takes its place; ticks come when none is under way, and put only those under way that would teach the hearer something.
A document that was asked for is under way until it comes or is lost.  People offer plans whenever they like: an offer
counts as a fault, so that whatever was offered so far must come to a good end without another offer.
"""

from collections.abc import Iterator

import attrs

from specs.protocols import plan_switch as protocol
from specs.protocols import plan_switch_nouns as sw
from specs.protocols.explore import Move, explore


def a_plan(generation: int, nodes: str, parent: sw.Offer | None = None, tag: int = 0) -> sw.Offer:
    """A plan for nodes of one letter each; `tag` tells plans of one generation apart."""
    name = sw.PlanName(generation=generation, digest=f"{generation:032d}{tag:032d}")
    return sw.Offer(name=name, parent=None if parent is None else parent.name.digest, nodes=tuple(nodes))


@attrs.frozen(kw_only=True, cache_hash=True)
class Faults:
    """How many of each may still happen."""

    losses: int = 0  # of standings or documents
    repeats: int = 0
    lates: int = 0
    deaths: int = 0
    restarts: int = 0


@attrs.frozen(kw_only=True, cache_hash=True)
class World:
    nodes: tuple[sw.SwitchState, ...]
    disks: tuple[int, ...]
    offers: frozenset[tuple[int, sw.Offer]]  # (node, plan): may still be made
    faults: Faults
    dead: frozenset[int] = frozenset()
    restarted: frozenset[int] = frozenset()  # these are able to do everything
    network: frozenset[tuple[int, int, sw.Standing]] = frozenset()
    strays: frozenset[tuple[int, int, sw.Standing]] = frozenset()
    documents: frozenset[tuple[int, sw.Offer]] = frozenset()  # (asker, plan)
    # What the ALWAYS properties need to remember: of every life, but for `adopted`, which is of the present ones.
    adopted: frozenset[tuple[int, sw.Offer]]
    used: frozenset[sw.Offer]  # adopted by any node in any life
    accepted: frozenset[tuple[int, sw.Offer]] = frozenset()
    declined: frozenset[tuple[int, sw.PlanName]] = frozenset()
    highest: tuple[int, ...]  # adopted generations
    breaches: frozenset[str] = frozenset()


class SwitchCluster:
    """Nodes that have all adopted `first`, but for the `new` ones, and what may happen to them."""

    def __init__(
        self,
        nodes: str,
        first: sw.Offer,
        offers: list[tuple[str, sw.Offer]],
        faults: Faults,
        unable: dict[tuple[str, sw.Offer], str] | None = None,
        new: str = "",
    ) -> None:
        self.names, self.first, self.faults, self.new = nodes, first, faults, new
        self.offers = frozenset((nodes.index(node), plan) for node, plan in offers)
        self.plans = sorted({plan for _, plan in offers} | {first}, key=lambda plan: plan.name.digest)
        self.unable = unable or {}
        self._steps: dict[object, protocol.Outcome] = {}
        self._states: dict[sw.SwitchState, sw.SwitchState] = {}

    def start(self) -> World:
        states, disks = [], []
        for name in self.names:
            state, actions = protocol.begin(name), ()
            if name not in self.new:
                state, actions = protocol.step(state, sw.Offered(self.first))
                assert actions[:2] == (sw.Record(self.first.name.generation), sw.Adopt(self.first.name))
            states.append(state)
            disks.append(0 if name in self.new else self.first.name.generation)
        return World(
            nodes=tuple(states),
            disks=tuple(disks),
            offers=self.offers,
            faults=self.faults,
            adopted=frozenset((node, self.first) for node, name in enumerate(self.names) if name not in self.new),
            used=frozenset({self.first}),
            highest=tuple(disks),
        )

    # --- running ---

    def _step(self, state: sw.SwitchState, event: sw.Event) -> protocol.Outcome:
        key = (state, event)
        if key not in self._steps:
            after, actions = protocol.step(state, event)
            self._steps[key] = (self._states.setdefault(after, after), actions)
        return self._steps[key]

    def happen(self, world: World, node: int, event: sw.Event, **changes: object) -> World:
        before = world.nodes[node]
        after, actions = self._step(before, event)
        world = attrs.evolve(world, nodes=(*world.nodes[:node], after, *world.nodes[node + 1 :]), **changes)
        for action in actions:
            world = self._do(world, node, action, is_tick=isinstance(event, sw.Tick))
        return self._judge(world, node, before, after)

    def _do(self, world: World, node: int, action: sw.Action, *, is_tick: bool) -> World:
        match action:
            case sw.Record(generation):
                disks = (*world.disks[:node], generation, *world.disks[node + 1 :])
                broken = {"RECORD"} if generation <= world.disks[node] else set()
                return attrs.evolve(world, disks=disks, breaches=world.breaches | broken)
            case sw.AskPlan(peer, name):
                asked = self.names.index(peer)
                state = world.nodes[asked]
                has = {each.name: each for each in (state.adopted, *state.accepted) if each is not None}
                if asked not in world.dead and name in has:
                    return attrs.evolve(world, documents=world.documents | {(node, has[name])})
            case sw.Tell(peer, standing):
                letter = (node, self.names.index(peer), standing)
                if is_tick and not self._matters(world, letter):
                    return world
                network = frozenset(each for each in world.network if each[:2] != letter[:2])
                if self._matters(world, letter):
                    network |= {letter}
                return attrs.evolve(world, network=network)
        return world

    def _matters(self, world: World, letter: tuple[int, int, sw.Standing]) -> bool:
        """A standing that teaches nothing now, and has the hearer ask and answer nothing, never will do either."""
        teller, hearer, standing = letter
        if hearer in world.dead:
            return False
        state = world.nodes[hearer]
        after, actions = self._step(state, sw.Heard(self.names[teller], standing))
        if after != state:
            return True
        answers = (each for each in actions if isinstance(each, sw.AskPlan | sw.Tell))
        return any(self._do(world, hearer, each, is_tick=False) != world for each in answers)

    def _judge(self, world: World, node: int, before: sw.SwitchState, after: sw.SwitchState) -> World:
        """Remember what was accepted, declined and adopted, and which properties that breaks."""
        broken = set()
        accepted = world.accepted | {(node, each) for each in after.accepted}
        declined = world.declined | {(node, each.plan) for each in after.declined}
        adopted, highest = world.adopted, world.highest
        if after.adopted is None:  # as if it had been started again
            adopted = frozenset(each for each in adopted if each[0] != node)
        if after.adopted != before.adopted and after.adopted is not None:
            offer = after.adopted
            generation = offer.name.generation
            adopted |= {(node, offer)}
            accepted |= {(node, offer)} if offer.parent is not None else set()  # perhaps within this very step
            if generation < highest[node] or (before.adopted is not None and generation == highest[node]):
                broken.add("RISE")
            if before.adopted is not None and offer.parent != before.adopted.name.digest:
                broken.add("FOLLOW")
            if self.names[node] not in offer.nodes:
                broken.add("MINE")
            if offer.parent is not None and any(
                (self.names.index(each), offer) not in accepted for each in offer.nodes
            ):
                broken.add("ALL")
            highest = (*highest[:node], generation, *highest[node + 1 :])
        generations = [(each, offer.name.generation) for each, offer in accepted]
        if len(generations) != len(set(generations)):
            broken.add("ONCE")
        if declined & {(each, offer.name) for each, offer in accepted}:
            broken.add("WORD")
        followers = [offer for _, offer in adopted if offer.parent is not None]
        if any((self.names.index(each), offer.name) in declined for offer in followers for each in offer.nodes):
            broken.add("DEAD")
        if any(not _are_apart(self.names, first, second) for first in adopted for second in adopted):
            broken.add("THEOREM")
        return attrs.evolve(
            world,
            accepted=accepted,
            declined=declined,
            adopted=adopted,
            used=world.used | {offer for _, offer in adopted},
            highest=highest,
            breaches=world.breaches | broken,
        )

    # --- what may happen next ---

    def moves(self, world: World) -> Iterator[Move[World]]:
        yield from self._offers(world)
        yield from self._standings(world)
        yield from self._documents(world)
        for node, name in enumerate(self.names):
            if node in world.dead:
                continue
            if not world.network:
                after = self.happen(world, node, sw.Tick())
                if after != world:
                    yield Move(f"tick at {name}", after)
            if world.faults.deaths:
                less = attrs.evolve(world.faults, deaths=world.faults.deaths - 1)
                yield Move(f"{name} DIES", self._gone(world, node, dead=world.dead | {node}, faults=less), True)
            if world.faults.restarts:
                less = attrs.evolve(world.faults, restarts=world.faults.restarts - 1)
                fresh = protocol.begin(name, world.disks[node])
                nodes = (*world.nodes[:node], fresh, *world.nodes[node + 1 :])
                lives = frozenset(each for each in world.adopted if each[0] != node)
                after = self._gone(
                    world, node, nodes=nodes, adopted=lives, faults=less, restarted=world.restarted | {node}
                )
                yield Move(f"{name} STARTS AGAIN", after, True)

    def _gone(self, world: World, node: int, **changes: object) -> World:
        """What is under way to a node is lost with it; what it told is still under way."""
        return attrs.evolve(
            world,
            network=frozenset(each for each in world.network if each[1] != node),
            strays=frozenset(each for each in world.strays if each[1] != node),
            documents=frozenset(each for each in world.documents if each[0] != node),
            **changes,
        )

    def _offers(self, world: World) -> Iterator[Move[World]]:
        for node, plan in sorted(world.offers, key=lambda each: (each[0], each[1].name.digest)):
            rest = world.offers - {(node, plan)}
            if node not in world.dead:
                after = self.happen(world, node, self._offered(world, node, plan), offers=rest)
                yield Move(f"{plan.name.generation} OFFERED to {self.names[node]}", after, True)

    def _offered(self, world: World, node: int, plan: sw.Offer) -> sw.Offered:
        unable = None if node in world.restarted else self.unable.get((self.names[node], plan))
        return sw.Offered(plan, unable)

    def _standings(self, world: World) -> Iterator[Move[World]]:
        for name in ("network", "strays"):
            ways = getattr(world, name)
            for each in sorted(ways, key=lambda letter: (letter[:2], repr(letter) if name == "strays" else "")):
                teller, hearer, standing = each
                rest = {name: ways - {each}}
                what = f"{self.names[teller]} to {self.names[hearer]}: {_shown(standing)}"
                heard = sw.Heard(self.names[teller], standing)
                yield Move(f"heard  {what}", self.happen(world, hearer, heard, **rest))
                if world.faults.losses:
                    less = attrs.evolve(world.faults, losses=world.faults.losses - 1)
                    yield Move(f"LOST   {what}", attrs.evolve(world, faults=less, **rest), True)
                if name == "network" and world.faults.repeats:
                    less = attrs.evolve(world.faults, repeats=world.faults.repeats - 1)
                    again = self.happen(world, hearer, heard, **rest, faults=less)
                    yield Move(f"REPEAT {what}", attrs.evolve(again, strays=again.strays | {each}), True)
                if name == "network" and world.faults.lates:
                    less = attrs.evolve(world.faults, lates=world.faults.lates - 1)
                    late = attrs.evolve(world, **rest, strays=world.strays | {each}, faults=less)
                    yield Move(f"LATE   {what}", late, True)

    def _documents(self, world: World) -> Iterator[Move[World]]:
        for each in sorted(world.documents, key=lambda each: (each[0], each[1].name.digest)):
            asker, plan = each
            rest = world.documents - {each}
            what = f"the plan of generation {plan.name.generation} for {self.names[asker]}"
            yield Move(f"got    {what}", self.happen(world, asker, self._offered(world, asker, plan), documents=rest))
            if world.faults.losses:
                less = attrs.evolve(world.faults, losses=world.faults.losses - 1)
                yield Move(f"LOST   {what}", attrs.evolve(world, faults=less, documents=rest), True)

    # --- what should be true ---

    def is_good(self, world: World) -> bool:
        """Nothing is under way, and each node that lives has what its peers have, or is blocked by one that is gone."""
        if world.network or world.strays or world.documents:
            return False
        alive = [node for node in range(len(self.names)) if node not in world.dead]
        for node in alive:
            state = world.nodes[node]
            offer = protocol.foremost(state)
            if offer is not None:
                if not any(self._blocks(world, each, offer) for each in offer.nodes):
                    return False
                continue
            if state.adopted is not None and any(self._leaves_out(world, each, node) for each in alive):
                return False
            ahead = (world.nodes[each].adopted for each in alive)
            if any(
                each is not None
                and self.names[node] in each.nodes
                and (self.names[node], each) not in self.unable
                and state.settled < each.name.generation
                for each in ahead
            ):
                return False
        return True

    def _leaves_out(self, world: World, node: int, other: int) -> bool:
        """Tell whether a node carries out a later plan without another, from which it is still heard."""
        ours, its = world.nodes[node].adopted, world.nodes[other].adopted
        assert its is not None
        is_later = ours is not None and ours.name.generation > its.name.generation
        return is_later and self.names[other] not in ours.nodes and self.names[node] in its.nodes

    def _blocks(self, world: World, name: str, offer: sw.Offer) -> bool:
        node = self.names.index(name)
        return node in world.dead or world.nodes[node].settled >= offer.name.generation


IDS = ("DEAD", "RISE", "ONCE", "WORD", "FOLLOW", "MINE", "ALL", "RECORD", "THEOREM")


def _are_apart(names: str, first: tuple[int, sw.Offer], second: tuple[int, sw.Offer]) -> bool:
    """The theorem, for two adoptions."""
    (node, plan), (_, other) = first, second
    is_rival = plan != other and plan.parent is not None and plan.parent == other.parent
    return not (is_rival and plan.name.generation <= other.name.generation and names[node] in other.nodes)


def run(cluster: SwitchCluster, sometimes=(), states_max: int = 60_000):
    return explore(
        [cluster.start()],
        cluster.moves,
        always={name: (lambda world, name=name: name not in world.breaches) for name in IDS},
        sometimes={each.__qualname__: each for each in sometimes},
        good=cluster.is_good,
        states_max=states_max,
    )


def _shown(standing: sw.Standing) -> str:
    said = [
        f"{word} {getattr(standing, word).generation}" for word in ("adopted", "accepted") if getattr(standing, word)
    ]
    said += [f"declined {each.plan.generation}" for each in standing.declined]
    return ", ".join(said) or "nothing"
