"""Random schedules of larger clusters, under plans that the daemons would get: every run ends as well as it can."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.multicast import multicast_ticks
from specs.blobs import Blob, packed_bytes
from specs.plan import Activate, Continuity, Pipeline, Plan, Provenance, Route, Stage, Switch, Transfer
from specs.protocols.node_plan import node_plan
from tests.builders import GIGABYTE, a_digest, a_problem, an_llm
from tests.protocols.node_cluster import Cluster
from tests.protocols.properties import always, is_complete, is_good
from tests.protocols.world import Faults

MOVES_MAX = 5000


def a_plan(problem, sources, blocks):
    """Optimal multicast, one pipeline over all receivers, and a local one on each, to which the first switches."""
    llm, nodes = problem.llms[0], len(problem.cluster.nodes)
    edges = [index * len(llm.tensors) // blocks for index in range(blocks + 1)]
    blobs = tuple(
        Blob(id=f"b{i}", llm=llm.id, first_tensor=first, end_tensor=end, bytes=packed_bytes(llm, first, end))
        for i, (first, end) in enumerate(itertools.pairwise(edges))
    )
    sends = multicast_ticks(nodes, sources, blocks)
    pairs = list(dict.fromkeys((send.source, send.destination) for send in sends))
    routes = tuple(
        Route(links=(f"n{a}/gpu0>n{a}/nic0", f"n{a}/nic0>leaf", f"leaf>n{b}/nic0", f"n{b}/nic0>n{b}/gpu0"))
        for a, b in pairs
    )
    transfers = [
        Transfer(
            id=step,
            blob=f"b{send.block}",
            route=pairs.index((send.source, send.destination)),
            bytes_per_second=GIGABYTE,
            start_ns=send.tick,
            end_ns=send.tick + 1,
        )
        for step, send in enumerate(sends)
    ]

    def pipeline(name, members):
        cuts = [index * len(llm.units) // len(members) for index in range(len(members) + 1)]
        stages = tuple(
            Stage(place=f"n{node}/gpu0", first_unit=first, end_unit=end, kv_bytes=0, workspace_bytes=0)
            for node, first, end in zip(members, cuts, cuts[1:], strict=False)
        )
        return Pipeline(id=name, llm=llm.id, stages=stages, slots=1, request_tokens_max=8, iteration_tokens_max=8)

    receivers = list(range(sources, nodes))
    pipelines = [pipeline("all", receivers), *(pipeline(f"local{node}", [node]) for node in receivers)]
    activations = [
        Activate(id=len(transfers) + index, pipeline=each.id, at_ns=0) for index, each in enumerate(pipelines)
    ]
    switch = Switch(
        id=len(transfers) + len(pipelines),
        old="all",
        new=f"local{receivers[-1]}",
        continuity=Continuity.RECOMPUTE,
        at_ns=0,
    )
    return Plan(
        format=1,
        problem=a_digest("problem"),
        generation=1,
        provenance=Provenance(planner="by-hand", solvers=(), seed=0),
        blobs=blobs,
        routes=routes,
        pipelines=tuple(pipelines),
        steps=(*transfers, *activations, switch),
        routing=(),
        certificates=(),
    )


def a_cluster(nodes, sources, blocks, faults):
    problem = a_problem(nodes, sources, llm=an_llm(layers=max(4, blocks)))
    plan = a_plan(problem, sources, blocks)
    return Cluster(tuple(node_plan(problem, plan, node.id) for node in problem.cluster.nodes), faults)


def run(cluster, chance):
    """Take random moves until no calm one is left; faults come about once in ten moves, while there are any."""
    world, rules, labels = cluster.start(), always(cluster), []
    for _ in range(MOVES_MAX):
        moves = list(cluster.moves(world))
        calm = [move for move in moves if not move.is_fault]
        if not calm:
            return world, labels
        faults = [move for move in moves if move.is_fault]
        move = chance.choice(faults if faults and chance.random() < 0.1 else calm)
        labels.append(move.label)
        world = move.state
        assert not world.breaches, (world.breaches, labels)
        for about, holds in rules.items():
            assert holds(world), (about, labels)
    pytest.fail(f"not over after {MOVES_MAX} moves")


SHAPES = st.sampled_from([(4, 1, 3), (5, 1, 2), (5, 2, 3), (6, 1, 2), (6, 3, 4)])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(shape=SHAPES, seed=st.integers(0, 2**32), faults=st.fixed_dictionaries({
    "losses": st.integers(0, 3), "repeats": st.integers(0, 2), "lates": st.integers(0, 2)
}))  # fmt: skip
def test_a_bad_network_never_keeps_a_cluster_from_completing(shape, seed, faults):
    cluster = a_cluster(*shape, Faults(**faults, breaks=1, corruptions=1))
    world, labels = run(cluster, random.Random(seed))
    assert is_good(cluster, world), labels
    assert is_complete(cluster, world), labels
    last = f"local{shape[0] - 1}"
    assert all(last in state.opened for state in world.nodes)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(shape=SHAPES, seed=st.integers(0, 2**32), deaths=st.integers(0, 2), suspicions=st.integers(0, 1))
def test_whoever_lives_is_complete_or_names_what_it_lacks_and_whom_to_blame(shape, seed, deaths, suspicions):
    cluster = a_cluster(*shape, Faults(deaths=deaths, suspicions=suspicions, losses=2, breaks=1))
    world, labels = run(cluster, random.Random(seed))
    assert is_good(cluster, world), labels
