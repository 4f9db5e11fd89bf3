"""What should be true of a cluster whose nodes go from plan to plan: in every state, and in the end."""

import itertools
from collections.abc import Iterator

import attrs

from specs.protocols import plan_switch
from specs.protocols import plan_switch_nouns as sw
from specs.protocols.facts import is_lost
from specs.protocols.node import Met
from tests.protocols.generations_nodes import KEPT, Nodes
from tests.protocols.generations_world import Node, World

CLOSED = "what a leader has closed stays closed"
BUILT = "no leader has a pipeline open whose member it knows to be in a life that did not build it"
SPARED = "where nobody dies, hangs or is started again, whoever carries out a plan is lost to nobody who does"
IDS = (CLOSED, BUILT, SPARED, KEPT)


def judged(cluster: Nodes, world: World) -> World:
    broken = set()
    for name, members in cluster.members.items():
        leader = members[0]
        if not cluster.leads(world, name):
            continue
        here = world.nodes[leader]
        if (leader, here.life, name) in world.ended:
            broken.add(CLOSED)
        for member in members[1:]:
            there = world.nodes[member]
            is_met = Met(peer=cluster.names[member], life=str(there.life)) in here.now.met
            if is_met and there.life and not cluster.computes(world, member, name):
                broken.add(BUILT)
    if not cluster.is_harmed and any(_is_lost(cluster, world, *pair) for pair in _pairs(len(world.nodes))):
        broken.add(SPARED)
    return world if not broken else attrs.evolve(world, breaches=world.breaches | broken)


def _pairs(count: int) -> Iterator[tuple[int, int]]:
    return itertools.permutations(range(count), 2)


def _is_lost(cluster: Nodes, world: World, node: int, peer: int) -> bool:
    here, there = world.nodes[node].now, world.nodes[peer].now
    same = here is not None and there is not None and here.name == there.name
    return same and is_lost(here.state, cluster.names[peer])


def serves(cluster: Nodes, world: World, pipeline: str) -> bool:
    """Tell whether a pipeline takes requests, and computes, for whoever its members count as no loss."""
    members = cluster.members[pipeline]
    return cluster.leads(world, pipeline) and all(
        cluster.computes(world, one, pipeline)
        and not any(cluster.counts_lost(world.nodes[one].now, other) for other in members if other != one)
        for one in members
    )


def why_not_good(cluster: Nodes, world: World) -> str | None:
    """Say what is awaited in vain; None where nothing is under way and all is as it should be."""
    if world.words or world.reports or world.documents:
        return "something is under way"
    alive = [node for node in range(len(cluster.names)) if node not in world.dead]
    for node in alive:
        here, name = world.nodes[node], cluster.names[node]
        if not here.listens:
            continue
        offer = plan_switch.foremost(here.switch)
        if offer is not None and not _is_blocked(cluster, world, offer):
            return f"{name} has accepted plan {offer.name.generation}"
        if here.now is None:
            continue
        if (why := _pipelines(cluster, world, node)) is not None:
            return why
        at = here.at
        if at is not None and ((node, at) not in world.taken or not serves(cluster, world, at)):
            return f"the request of {name} waits for {at}"
        if node in cluster.fronts and at is None and cluster.usable(world, node):
            return f"the request of {name} could be submitted"
    return None


def _pipelines(cluster: Nodes, world: World, node: int) -> str | None:
    here, name = world.nodes[node], cluster.names[node]
    for pipeline in here.now.plan.part:
        leader = cluster.members[pipeline][0]
        there = world.nodes[leader]
        is_open = pipeline in here.now.state.opened - here.now.state.closed
        if not is_open and pipeline not in here.now.state.closed:
            return f"{name} waits for {pipeline}"
        if is_open and not serves(cluster, world, pipeline):
            return f"{name} has {pipeline} open in vain"
        if is_open and leader != node and cluster.counts_lost(there.now, node):
            return f"{name} has {pipeline} open, whose leader takes nothing from it"
        hears = leader not in world.dead and there.now is not None and there.now.name == here.now.name
        hears = hears and leader != node and not cluster.counts_lost(here.now, leader)
        if hears and cluster.leads(world, pipeline) != is_open:
            return f"{name} does not know whether {pipeline} is open"
    return _switches(here, name)


def _switches(here: Node, name: str) -> str | None:
    """Say which pipeline goes on though its successor is open, and no plan to come counts on it."""
    state = here.now.state
    led = {part.pipeline for part in here.now.plan.led_by.get(name, ())}
    for switch in here.now.plan.switches:
        if switch.old in led - state.draining - state.closed and switch.new in state.opened - state.closed:
            if switch.old not in state.counted_on:
                return f"{name} has {switch.old} open, and {switch.new}"
            if not here.switch.accepted:
                return f"{name} has {switch.old} open for a plan that it has not accepted"
    return None


def _blocks(cluster: Nodes, world: World, name: str, offer: sw.Offer) -> bool:
    node = cluster.names.index(name)
    here = world.nodes[node]
    if node in world.dead or not here.listens or here.switch.settled >= offer.name.generation:
        return True
    before = plan_switch.foremost(here.switch)
    return before is not None and before.name.digest == offer.parent and _is_blocked(cluster, world, before)


def _is_blocked(cluster: Nodes, world: World, offer: sw.Offer) -> bool:
    return any(_blocks(cluster, world, each, offer) for each in offer.nodes)
