"""Verified plans, carried out by the core in random orders: no memory ever holds more bytes than rule MEM counts."""

import random

import pytest

from specs.checker import VerifiedPlan, verify
from specs.invariants import memory
from specs.invariants.facts import Facts
from specs.plan import PipelineId
from specs.protocols.node_plan import node_plan
from specs.protocols.room import _pending
from specs.timing import stage_kv_bytes
from tests.live_plans import LIVE
from tests.plans import GOOD, certified
from tests.properties.mutations import change_slots
from tests.protocols.node_cluster import Cluster
from tests.protocols.properties import slots_of
from tests.protocols.world import Faults

FAULTS = Faults(losses=2, lates=1, deaths=1, breaks=1)


def drawn(chance):
    """A good plan, into which resizes were drawn as often as not."""
    make = chance.choice([*GOOD.values(), *LIVE.values(), LIVE["squeeze"], LIVE["squeeze"]])
    problem, plan = make()
    for _ in range(chance.randint(0, 6)):
        changed = change_slots(chance, problem, plan)
        try:
            changed = certified(problem, changed)
        except (KeyError, StopIteration):
            continue
        if isinstance(verify(problem, changed), VerifiedPlan):
            plan = changed
    return Facts(problem, plan)


def counted(facts, place):
    """What MEM counts at a place by the order of steps, at most."""
    used, most, closed = 0, 0, memory._closed_by_then(facts, place)
    for step, change in sorted(memory._changes_by_order(facts, place)):
        used += change
        if change > 0:
            most = max(most, used - closed.get(step, 0))
    return most


def held(facts, cluster, world, node):
    """What is in each memory of a node: blobs that are held or come, and what stages set aside."""
    plan, state = cluster.plans[node], world.nodes[node]
    found = {}
    for copy in state.held | {plan.passage[step].destination for step in state.receiving}:
        found[copy.place] = found.get(copy.place, 0) + facts.blob_bytes[copy.blob]
    for name in state.building - state.freed:
        pipeline, slots = facts.pipelines[PipelineId(name)], slots_of(cluster, world, name)
        for stage in pipeline.stages:
            if facts.places[stage.place].node == plan.node:
                kv = stage_kv_bytes(facts.llms[pipeline.llm], pipeline, stage, slots)
                found[stage.place] = found.get(stage.place, 0) + kv + stage.workspace_bytes
    return found


def carried_out(facts, faults, chance):
    """Take random moves until there is none; give the most that was in each memory."""
    nodes = [node.id for node in facts.problem.cluster.nodes]
    cluster = Cluster(tuple(node_plan(facts.problem, facts.plan, node) for node in nodes), faults)
    world, most = cluster.start(), {}
    while True:
        for node in range(len(nodes)):
            if node not in world.dead:
                for place, used in held(facts, cluster, world, node).items():
                    most[place] = max(most.get(place, 0), used)
        moves = list(cluster.moves(world))
        calm = [move for move in moves if not move.is_fault]
        if not calm:
            return cluster, world, most
        world = chance.choice(moves if chance.random() < 0.1 else calm).state


@pytest.mark.parametrize("faults", [Faults(), FAULTS], ids=["no fault", "faults"])
@pytest.mark.parametrize("plans", [20, pytest.param(500, marks=pytest.mark.slow)])
def test_no_memory_holds_more_than_is_counted(plans, faults):
    full, resized = 0, 0
    for seed in range(plans):
        chance = random.Random(seed)
        facts = drawn(chance)
        cluster, world, most = carried_out(facts, faults, chance)
        for place, used in most.items():
            allowed = counted(facts, place)
            assert used <= allowed, (seed, place, facts.plan.steps)
            full += used == allowed
        resized += sum(len(state.resized) for state in world.nodes)
        if faults == Faults():
            pending = _pending(cluster.plans[0], world.nodes[0])
            assert pending == (), (seed, facts.plan.steps)
    assert full > plans
    assert resized > plans
