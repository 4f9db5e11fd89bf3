"""A plan is adopted while a pipeline is resized under the one before, by each node at a moment of its own.

What a node's memory holds must fit whatever plan each of them is at.  One pipeline runs on both nodes, led by n0; n1
has room for its blob, the stage with one slot, and for one thing more: another slot or another blob.
"""

import attrs
import pytest

from specs.plan import StepId
from specs.protocols import block_multicast, room
from specs.protocols import events as ev
from specs.protocols.explore import Move, explore
from specs.protocols.nouns import Carried, NodeState, Report, Roomy, Sizing, Slots
from tests.protocols.world import node_plans, reordered

OLD = frozenset({"old"})
HELD, RUNS, ROOM = {"n0": "ab", "n1": "b"}, {"old": [("n0", "a"), ("n1", "b")]}, 4
TRANSFER = [("a", "n0", "n1")]


def said(plans, slots):
    """The plans with the sizing of what runs, as `node_plan` makes it; the pipeline might have two slots."""
    before = Sizing(step=StepId(-2), pipeline="old", slots=slots, is_shrink=slots < 2)
    return tuple(attrs.evolve(plan, sizings=(before, *plan.sizings)) for plan in plans)


# The first plan gives another slot; the second does not know of it, and sends another blob.
GROWN = (
    node_plans(HELD, [], running=RUNS, resizes=[("old", 2)]),
    said(node_plans(HELD, TRANSFER, running=RUNS), 1),
)
# The first plan takes a slot away and sends another blob; the second knows of neither.
SHRUNK = (
    reordered(node_plans(HELD, TRANSFER, running=RUNS, slots={"old": 2}, resizes=[("old", 1)]), 1, 0),
    said(node_plans(HELD, [], running=RUNS, slots={"old": 2}), 2),
)


@attrs.frozen(kw_only=True, cache_hash=True)
class Two:
    """Which plan each node is at, and what it knows; the slots of the pipeline; reports under way, with their plan."""

    at: tuple[int, int] = (0, 0)
    nodes: tuple[NodeState, NodeState]
    slots: int
    network: frozenset[tuple[int, int, Report]] = frozenset()  # teller, plan


class Adoption:
    def __init__(self, plans, slots):
        self.plans, self.slots = plans, slots
        self.names = [plan.node for plan in plans[0]]

    def start(self):
        carried = Carried(built=OLD, opened=OLD, slots=frozenset({Slots(pipeline="old", slots=self.slots)}))
        begun = [block_multicast.begin(plan, carried) for plan in self.plans[0]]
        world = Two(nodes=tuple(state for state, _ in begun), slots=self.slots)
        for node, (_, actions) in enumerate(begun):
            world = self.do(world, node, actions)
        return world

    def do(self, world, node, actions):
        for action in actions:
            match action:
                case ev.Tell(_, report):
                    rest = {each for each in world.network if each[0] != node}
                    world = attrs.evolve(world, network=frozenset(rest | {(node, world.at[node], report)}))
                case ev.Resize(_, _, slots) if slots > world.slots:
                    world = attrs.evolve(world, slots=slots)
        return world

    def put(self, world, node, outcome, **changes):
        state, actions = outcome
        nodes = tuple(state if other == node else each for other, each in enumerate(world.nodes))
        return self.do(attrs.evolve(world, nodes=nodes, **changes), node, actions)

    def happen(self, world, node, event):
        plan = self.plans[world.at[node]][node]
        return self.put(world, node, block_multicast.step(plan, world.nodes[node], event))

    def moves(self, world):
        for letter in sorted(world.network, key=lambda each: each[0]):
            teller, plan, report = letter
            heard = attrs.evolve(world, network=world.network - {letter})
            if world.at[1 - teller] == plan:
                heard = self.happen(heard, 1 - teller, ev.Heard(self.names[teller], report))
            yield Move(f"{self.names[teller]} is heard", heard)
        for node in (0, 1):
            if world.at[node] == 0:
                at = (1, world.at[1]) if node == 0 else (world.at[0], 1)
                begun = block_multicast.begin(self.plans[1][node], block_multicast.carry(world.nodes[node]))
                yield Move(f"{self.names[node]} adopts", self.put(world, node, begun, at=at))
            if not world.network and (told := self.happen(world, node, ev.Tick())) != world:
                yield Move(f"tick at {self.names[node]}", told)
        for step in world.nodes[0].resizing:
            slots = self.plans[world.at[0]][0].sizing[step].slots
            yield Move("resized", self.happen(attrs.evolve(world, slots=slots), 0, ev.Resized(step)))
        if world.at[0] == world.at[1]:
            for step in world.nodes[0].sending & world.nodes[1].receiving:
                arrived = self.happen(world, 1, ev.Arrived(step))
                yield Move("arrived", self.happen(arrived, 0, ev.SendDone(step)))

    def fits(self, world):
        plan, state = self.plans[world.at[1]][1], world.nodes[1]
        copies = state.held | {plan.passage[step].destination for step in state.receiving}
        return len(copies) + sum(1 + world.slots for _ in state.building - state.freed) <= ROOM

    def ends_well(self, world):
        """Both are at the second plan, the pipeline has as many slots as it says, and all that it brings is there."""
        plan, leader, member = self.plans[1][0], *world.nodes
        arrived = {each.step for each in plan.passages} <= member.arrived
        return world.at == (1, 1) and world.slots == plan.part["old"].slots and arrived and leader.resized == {-2}


def found(plans, slots):
    cluster = Adoption(plans, slots)
    return explore(
        [cluster.start()],
        cluster.moves,
        always={"fits": cluster.fits},
        sometimes={
            "the leader adopts first, and what it gave out counts": lambda world: (
                world.at == (1, 0) and world.slots != plans[1][0].part["old"].slots
            ),
        },
        good=cluster.ends_well,
    )


@pytest.mark.parametrize(("plans", "slots", "states"), [(GROWN, 1, 61), (SHRUNK, 2, 77)], ids=["grown", "shrunk"])
def test_whatever_plan_each_node_is_at_everything_fits(plans, slots, states):
    result = found(plans, slots)
    assert (result.broken, result.stuck, result.unwitnessed) == (None, None, ())
    assert result.states == states


def test_more_slots_than_the_plan_says_must_be_taken_back(monkeypatch):
    def first(plan, carried):
        return attrs.evolve(rule(plan, carried), resized=frozenset(each.step for each in plan.sizings if each.step < 0))

    rule = block_multicast._first
    monkeypatch.setattr(block_multicast, "_first", first)
    assert found(GROWN, 1).broken.about == "fits"


def test_fewer_slots_than_the_plan_says_may_not_be_made_up_for_at_once(monkeypatch):
    def may_begin(plan, state, sizing):
        said_so = frozenset({Roomy(step=sizing.step, member="n1")})
        return rule(plan, attrs.evolve(state, roomy=said_so), sizing)

    rule = room.may_begin
    monkeypatch.setattr(block_multicast, "may_begin", may_begin)
    assert found(SHRUNK, 2).broken.about == "fits"
