"""Every small token tree, and expected tokens in fractions; written without the product's code."""

from fractions import Fraction
from functools import cache

from hypothesis import strategies as st

from specs.decisions.speculation.lengths import PARTS
from specs.decisions.speculation.trees import Tree

# Chances need not fall with the rank: measured ones do not.
vectors = st.lists(st.sampled_from([0, 50_000, 100_000, 300_000, 600_000, 900_000]), max_size=4).map(tuple)


@cache
def every_tree(nodes_max, depth_max, ranks):
    """Each tree once, parents first: a new node goes below the parent of the last one or a later node."""

    def grow(parents, levels):
        yield Tree(parents=tuple(parents))
        if len(parents) + 1 == nodes_max:
            return
        for parent in range(parents[-1] if parents else 0, len(levels)):
            if levels[parent] < depth_max and parents.count(parent) < ranks:
                yield from grow([*parents, parent], [*levels, levels[parent] + 1])

    return tuple(grow([], [0]))


def tokens_of(vector, tree):
    """Sum over nodes of the product of chances on the path from the root."""
    chances = [Fraction(1)]
    for node, parent in enumerate(tree.parents):
        rank = tree.parents[:node].count(parent)
        chances.append(chances[parent] * Fraction(vector[rank], PARTS))
    return sum(chances)
