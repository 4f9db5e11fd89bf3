"""Steady states: of least latency; and where the linear solver fails, schedules are still made and bounds stay true."""

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ortools.linear_solver import pywraplp

from benchmarks.collectives import allgather, ndv2
from planner.blocks import cut
from planner.packing.laying import RULES, jobs_of, lay
from planner.packing.move import Moved, move
from planner.packing.network import network
from planner.packing.rounding import planted
from planner.packing.steady import classes_of, steady_state
from planner.search import Search
from specs.decisions.flow.bounds import cut_bound_ns
from specs.decisions.flow.faults import faults
from specs.decisions.flow.values import Objective, value
from specs.movement import movement_of
from specs.witness import Price
from tests.builders import GIGABYTE, an_llm
from tests.movements import item, mesh
from tests.place_graphs import star


def test_a_solver_that_loses_its_way_costs_quality_alone(monkeypatch):
    blobs = cut(an_llm(4, layer_bytes=2**20), 4)
    cluster = star(4, (GIGABYTE, 2 * GIGABYTE))
    held = {blob.id: ("n0/gpu0",) for blob in blobs}
    wanted = {blob.id: tuple(f"n{node}/gpu0" for node in (1, 2, 3)) for blob in blobs}
    movement = movement_of(cluster, blobs, held, wanted, ())
    usual = move(movement, Search(steps_max=5_000))
    monkeypatch.setattr(pywraplp.Solver, "Solve", lambda *_: pywraplp.Solver.ABNORMAL)
    without = move(movement, Search(steps_max=5_000))
    assert isinstance(usual, Moved)
    assert isinstance(without, Moved)
    assert not list(faults(movement, without.delivery))
    assert max(usual.bound.bound, without.bound.bound) <= min(usual.value, without.value)


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 6), st.data())
def test_trees_of_least_latency_bring_items_as_soon_as_the_graph_allows(nodes, data):
    pairs = [(a, b) for a in range(nodes) for b in range(nodes) if a != b]
    ring = [(a, (a + 1) % nodes) for a in range(nodes)]
    chosen = sorted({*ring, *data.draw(st.lists(st.sampled_from(pairs)))})
    edges = [(a, b, data.draw(st.integers(1, 3)), data.draw(st.integers(0, 3))) for a, b in chosen]
    holders = sorted(data.draw(st.sets(st.integers(0, nodes - 1), min_size=1, max_size=nodes - 1)))
    wanters = [f"m{place}" for place in range(nodes) if place not in holders]
    movement = mesh(edges, [item("a", [f"m{place}" for place in holders], wanters, 100, pieces_max=10)], held=False)
    net = network(movement)
    found = steady_state(net, classes_of(movement, net), Search(), 50, least_latency=True)
    graph = nx.DiGraph()
    graph.add_weighted_edges_from((a, b, latency) for a, b, _, latency in edges)
    least = nx.multi_source_dijkstra_path_length(graph, set(holders))
    for column in found.columns:
        at = dict.fromkeys(holders, 0)
        for way in (net.ways[index] for index in column.ways):
            at[way.destination] = at[way.source] + way.latency_ns
        assert at == least


def test_where_latency_counts_trees_of_least_latency_come_near_the_cut():
    graph = ndv2(2).finer(1000)
    movement = graph.movement(allgather(graph, 1_000_000 * graph.scale))
    chassis = tuple(Price(name=f"g{index}", amount=1) for index in range(8))
    net = network(movement)
    classes = classes_of(movement, net)
    ends = {}
    for least_latency in (False, True):
        steady = steady_state(net, classes, Search(), 50, least_latency=least_latency)
        trees = planted(net, steady, 4)
        jobs = jobs_of(net, trees)
        ends[least_latency] = min(value(movement, lay(net, trees, jobs, rule), Objective.ALL) for rule in RULES)
    bound = cut_bound_ns(movement, chassis)
    assert bound <= ends[True] < ends[False]
    assert ends[True] == pytest.approx(bound, rel=0.025)
