"""The best token trees: against every small tree, and against the likeliest nodes."""

import heapq
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.speculation.trees import best_size, best_tree
from specs.decisions.speculation.lengths import PARTS
from specs.decisions.speculation.trees import Size, TreeQuestion, depths, faults, price_bound, value
from tests.specs.decisions.speculation_trees import every_tree, tokens_of, vectors


@given(vector=vectors, nodes=st.integers(1, 7), depth=st.integers(0, 6))
@settings(max_examples=60, deadline=None)
def test_no_tree_is_better(vector, nodes, depth):
    planned = best_tree(vector, nodes, depth)
    best = max(tokens_of(vector, tree) for tree in every_tree(nodes, depth, len(vector)))
    assert planned.value == planned.bound == best * PARTS // 1
    assert tokens_of(vector, planned.tree) == best


@given(vector=vectors, depth=st.integers(0, 4), draft=st.integers(0, 30), data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_size_is_better(vector, depth, draft, data):
    nodes = sorted(data.draw(st.sets(st.integers(1, 6), min_size=1, max_size=3)))
    sizes = tuple(Size(nodes=count, verify_ns=data.draw(st.integers(1, 99))) for count in nodes)
    question = TreeQuestion(acceptance_ppm=vector, depth_max=depth, draft_ns=draft, sizes=sizes)
    planned = best_size(question)
    assert not list(faults(question, planned.tree))
    assert planned.value == value(question, planned.tree) == planned.bound
    every = []
    for tree in every_tree(nodes[-1], depth, len(vector)):
        verify = min(size.verify_ns for size in sizes if size.nodes >= tree.nodes)
        time = max(depths(tree)) * draft + verify
        every.append(math.ceil(time / tokens_of(vector, tree)))
    assert planned.value == min(every)


# Measured vectors look like this: mostly falling, not everywhere.
MEASURED = (634_000, 108_000, 57_000, 22_000, 19_000, 15_000, 4_500, 3_000, 12_000, 4_500, 7_500, 4_500, 6_000, 3_000)


@pytest.mark.parametrize(("nodes", "depth"), [(64, 9), (50, 2), (40, 30)])
def test_with_falling_chances_the_likeliest_nodes_are_the_tree(nodes, depth):
    """Parents and lower ranks are likelier then, so the likeliest nodes are a tree, and none has more."""
    falling = tuple(sorted(MEASURED, reverse=True))
    total, waiting = Fraction(0), [(Fraction(-1), 0)]
    for _ in range(nodes):
        chance, level = heapq.heappop(waiting)
        total -= chance
        if level < depth:
            for ppm in falling:
                heapq.heappush(waiting, (chance * Fraction(ppm, PARTS), level + 1))
    planned = best_tree(falling, nodes, depth)
    assert planned.value == planned.bound == int(total * PARTS)
    assert best_tree(MEASURED, nodes, depth).value <= planned.value


def test_the_reason_holds():
    found = {nodes: best_tree(MEASURED, nodes, 9) for nodes in range(1, 80)}
    for nodes, planned in found.items():
        assert planned.value == planned.bound
        if planned.method == "dual":
            assert price_bound(MEASURED, nodes, 9, planned.witness) == planned.bound
        else:
            assert planned.witness == ()
    assert sum(planned.method == "dual" for planned in found.values()) > 60


def test_a_size_is_chosen_by_its_time():
    def question(slow):
        sizes = tuple(Size(nodes=n, verify_ns=1_000_000 + slow * n) for n in (1, 2, 4, 8, 16, 32, 64))
        return TreeQuestion(acceptance_ppm=MEASURED, depth_max=9, draft_ns=50_000, sizes=sizes)

    assert best_size(question(0)).tree.nodes == 64
    assert best_size(question(10_000_000)).tree.nodes == 1
    assert 1 < best_size(question(20_000)).tree.nodes < 64


def test_the_same_question_has_the_same_tree():
    assert best_tree(MEASURED, 40, 6) == best_tree(MEASURED, 40, 6)
