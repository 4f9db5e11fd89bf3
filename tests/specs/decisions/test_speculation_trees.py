"""Token trees: faults, values, and the exhausted bound against every small tree."""

import itertools
import random
from fractions import Fraction

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs.decisions.speculation.lengths import PARTS
from specs.decisions.speculation.trees import (
    Size,
    Tree,
    TreeQuestion,
    depths,
    expected_tokens,
    faults,
    most_tokens,
    price_bound,
    tokens_ppm,
    tpot_bound,
    value,
)
from specs.errors import InvalidProblem
from specs.witness import Price
from tests.specs.decisions.speculation_trees import every_tree, tokens_of, vectors

QUESTION = TreeQuestion(
    acceptance_ppm=(600_000, 200_000),
    depth_max=2,
    draft_ns=10,
    sizes=(Size(nodes=2, verify_ns=100), Size(nodes=4, verify_ns=110)),
)
#   0 -+- 1 --- 3
#      +- 2
TREE = Tree(parents=(0, 0, 1))


def test_values_by_hand():
    assert depths(TREE) == [0, 1, 1, 2]
    assert Fraction(*expected_tokens(QUESTION.acceptance_ppm, TREE)) == 1 + Fraction(6 + 2, 10) + Fraction(36, 100)
    assert tokens_ppm(expected_tokens(QUESTION.acceptance_ppm, TREE)) == 2_160_000
    assert list(faults(QUESTION, TREE)) == []
    assert value(QUESTION, TREE) == 61  # (20 + 110) / 2.16 = 60.2
    assert value(QUESTION, Tree(parents=())) == 100
    assert value(QUESTION, Tree(parents=(0,))) == 69  # 110 / 1.6 = 68.75
    assert tpot_bound(QUESTION) == 61


def test_each_fault_is_found():
    assert list(faults(QUESTION, Tree(parents=(0, 0, 1, 1)))) == ["the tree has 5 nodes, 4 are allowed"]
    (deep,) = faults(QUESTION, Tree(parents=(0, 1, 2)))
    assert deep == "the tree has 3 levels below its root, 2 are allowed"
    (wide,) = faults(QUESTION, Tree(parents=(0, 0, 0)))
    assert wide == "node 0 has 3 children, acceptance is known for 2"
    for parents in ((1,), (0, 2), (-1,)):
        (lost,) = faults(QUESTION, Tree(parents=parents))
        assert "does not come before it" in lost


@pytest.mark.parametrize(
    "change",
    [{"sizes": ()}, {"sizes": QUESTION.sizes[::-1]}, {"acceptance_ppm": (PARTS + 1,)}, {"acceptance_ppm": (-1,)}],
)
def test_a_question_that_contradicts_itself_is_refused(change):
    with pytest.raises(InvalidProblem):
        attrs.evolve(QUESTION, **change)


@given(vector=vectors, nodes=st.integers(1, 7), depth=st.integers(0, 6))
@settings(max_examples=60, deadline=None)
def test_the_bound_is_the_best_of_every_tree(vector, nodes, depth):
    best = max(tokens_of(vector, tree) for tree in every_tree(nodes, depth, len(vector)))
    assert Fraction(*most_tokens(vector, nodes, depth)[depth][nodes - 1]) == best


prices = st.sampled_from([0, 1, 10**9, 10**10, 5 * 10**10, 10**11, 2 * 10**11, 5 * 10**11, 10**12, 10**13])


@given(vector=vectors, nodes=st.integers(1, 7), depth=st.integers(0, 6), amount=prices)
@settings(max_examples=80, deadline=None)
def test_no_price_shows_what_is_not_so(vector, nodes, depth, amount):
    best = max(tokens_of(vector, tree) for tree in every_tree(nodes, depth, len(vector)))
    witness = (Price(name="node", amount=amount),) if amount else ()
    assert price_bound(vector, nodes, depth, witness) >= int(best * PARTS)


def test_prices_by_hand():
    """Chances are 1, 0.6, 0.2 and on the next level 0.36, 0.12, 0.12, 0.04: four nodes give 2.16."""

    def bound(nodes, price_ppm):
        return price_bound((600_000, 200_000), nodes, 2, (Price(name="node", amount=price_ppm * 10**6),))

    assert bound(4, 150_000) == bound(4, 200_000) == bound(4, 120_000) == 2_160_000
    assert bound(4, 360_000) == 1_000_000 + 600_000 + 2 * 360_000
    assert bound(4, 100_000) == 2_160_000 + 2 * 20_000
    assert price_bound((600_000, 200_000), 4, 2, ()) == 2_440_000, "all seven nodes for nothing"
    assert price_bound((PARTS,) * 9, 300, 9, ()) == 300 * PARTS, "too many to look at"


@given(vector=vectors, data=st.data())
@settings(max_examples=50, deadline=None)
def test_expected_tokens_is_the_sum_over_paths(vector, data):
    tree = data.draw(st.sampled_from(list(every_tree(6, 5, len(vector)))))
    assert Fraction(*expected_tokens(vector, tree)) == tokens_of(vector, tree)


def test_simulated_acceptance_agrees():
    """At each node one child at most goes on: the walk's length is the tokens accepted."""
    vector = (500_000, 200_000, 100_000)
    tree = Tree(parents=(0, 0, 0, 1, 1, 2, 4, 7))
    children = {node: [i for i, parent in enumerate(tree.parents, 1) if parent == node] for node in range(tree.nodes)}
    dice, passes = random.Random(4), 20_000
    counts = []
    for _ in range(passes):
        node, count = 0, 0
        while node is not None:
            count += 1
            drawn = dice.random() * PARTS
            edges = itertools.accumulate(vector)
            node = next((c for c, edge in zip(children[node], edges, strict=False) if drawn < edge), None)
        counts.append(count)
    mean = sum(counts) / passes
    deviation = (sum((count - mean) ** 2 for count in counts) / passes / passes) ** 0.5
    assert abs(mean - float(Fraction(*expected_tokens(vector, tree)))) < 4 * deviation
