"""The best token trees: dynamic programming on whole tables of floating-point numbers, checked in exact integers.

The recurrence stands in `specs.decisions.speculation.trees.most_tokens`.  Here a table row is one numpy operation and
choices are kept, so a tree can be read off; its exact value is worked out afterwards, and the exact bound says whether
rounding cost anything.
"""

import attrs
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from specs.decisions.speculation.lengths import PARTS
from specs.decisions.speculation.trees import (
    NODE_PRICE_PARTS,
    Tree,
    TreeQuestion,
    expected_tokens,
    faults,
    most_tokens,
    price_bound,
    tokens_ppm,
    tpot_bound,
    tree_faults,
    value,
)
from specs.witness import Price, Witness


@attrs.frozen(kw_only=True)
class TreePlanned:
    """A tree, what it achieves and what none surpasses."""

    tree: Tree
    value: int  # of `best_tree`: tokens per pass in parts per million; of `best_size`: nanoseconds per token
    bound: int
    method: str  # "dual": by `price_bound`; "exhausted": the checker fills the exact table again
    witness: Witness


class _Tables:
    """V and the choices behind it, for every depth and number of nodes."""

    def __init__(self, acceptance_ppm: tuple[int, ...], nodes_max: int, depth_max: int) -> None:
        chances = np.array(acceptance_ppm[: nodes_max - 1], dtype=np.float64) / PARTS
        self.most = np.ones((depth_max + 1, nodes_max))  # V_d(m) at [d, m - 1]
        # How many nodes the child of each rank gets, at [d - 1, rank, m]; 0: it and all later ranks are left out.
        self.share = np.zeros((depth_max, len(chances), nodes_max), dtype=np.int64)
        for depth in range(1, depth_max + 1):
            siblings = np.zeros(nodes_max)
            for rank in range(len(chances) - 1, -1, -1):
                child = chances[rank] * self.most[depth - 1, : nodes_max - 1]
                siblings = self._with_child(child, siblings, self.share[depth - 1, rank])
            self.most[depth] = 1 + siblings

    @staticmethod
    def _with_child(
        child: NDArray[np.float64], siblings: NDArray[np.float64], share: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """S_b(m) = max(0, max over j of child_j + siblings_(m - j)) for every m, and the j chosen."""
        count = len(child)
        padded = np.concatenate([np.full(count - 1, -np.inf), siblings[:count]])
        sums = sliding_window_view(padded, count)[:, ::-1] + child  # [m - 1, j - 1] = siblings_(m - j) + child_j
        chosen = sums.argmax(axis=1)
        found = sums[np.arange(count), chosen]
        share[1:] = np.where(found > 0, chosen + 1, 0)
        return np.concatenate([[0.0], np.maximum(found, 0)])

    def node_price(self, nodes: int, depth: int) -> Witness:
        """Give the least slope from a smaller tree to this size: no smaller tree gains by it."""
        most = self.most[depth]
        slopes = (most[nodes - 1] - most[: nodes - 1]) / np.arange(nodes - 1, 0, -1)
        amount = round(float(slopes.min(initial=1.0)) * NODE_PRICE_PARTS)
        return (Price(name="node", amount=amount),) if amount > 0 else ()

    def tree(self, nodes: int, depth: int) -> Tree:
        """Read the tree with at most this many nodes and levels off the choices, nearest to the root first."""
        parents: list[int] = []
        waiting = [(0, nodes, depth)]  # node, nodes from it down, levels below it
        for node, size, levels in waiting:
            left = size - 1
            for rank in range(self.share.shape[1] if levels else 0):
                share = int(self.share[levels - 1, rank, left])
                if share == 0:
                    break
                parents.append(node)
                waiting.append((len(parents), share, levels - 1))
                left -= share
        return Tree(parents=tuple(parents))


def best_tree(acceptance_ppm: tuple[int, ...], nodes_max: int, depth_max: int) -> TreePlanned:
    """Find the tree of which most tokens are accepted, and show that none has more.

    By a price per node where that is tight, which is quick to check; else by filling the exact table.
    """
    tables = _Tables(acceptance_ppm, nodes_max, depth_max)
    tree = _read(tables, acceptance_ppm, nodes_max, depth_max)
    reached = tokens_ppm(expected_tokens(acceptance_ppm, tree))
    witness = tables.node_price(nodes_max, depth_max)
    bound = price_bound(acceptance_ppm, nodes_max, depth_max, witness)
    if bound == reached:
        return TreePlanned(tree=tree, value=reached, bound=bound, method="dual", witness=witness)
    most = most_tokens(acceptance_ppm, nodes_max, depth_max)[depth_max][nodes_max - 1]
    return TreePlanned(tree=tree, value=reached, bound=tokens_ppm(most), method="exhausted", witness=())


def _read(tables: _Tables, acceptance_ppm: tuple[int, ...], nodes_max: int, depth_max: int) -> Tree:
    tree = tables.tree(nodes_max, depth_max)
    wrong = tuple(tree_faults(tree, len(acceptance_ppm), nodes_max, depth_max))
    assert not wrong, wrong
    return tree


def best_size(question: TreeQuestion) -> TreePlanned:
    """Find the tree with the least time per token, over all measured sizes and all depths."""
    tables = _Tables(question.acceptance_ppm, question.sizes[-1].nodes, question.depth_max)
    pairs = [(depth, size) for depth in range(question.depth_max + 1) for size in question.sizes]

    def time_per_token(pair: int) -> float:
        depth, size = pairs[pair]
        return float((depth * question.draft_ns + size.verify_ns) / tables.most[depth, size.nodes - 1])

    depth, size = pairs[min(range(len(pairs)), key=time_per_token)]
    tree = tables.tree(size.nodes, depth)
    wrong = tuple(faults(question, tree))
    assert not wrong, wrong
    return TreePlanned(
        tree=tree, value=value(question, tree), bound=tpot_bound(question), method="exhausted", witness=()
    )
