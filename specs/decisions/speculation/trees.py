"""Token trees: which tree of drafted tokens the LLM accepts most of, and of which size it is quickest.

The root is the token that is already decided.  A draft LLM proposes for each node some next tokens in order of rank,
and the LLM verifies all nodes in one pass.  A node's child of rank b is the one that goes on with chance p_b, whatever
the node (the positional acceptance of Sequoia, Chen et al. 2024): a node counts with the product of the chances on
its path, so a tree gives

    E(tree) = sum over its nodes of the product of p over the ranks on the path from the root     tokens on average.

Ranks are filled in order: who has a child of rank b has children of all lower ranks, the chances of which may be less.
Everything is an exact fraction over `PARTS` ^ depth.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import attrs

from specs import fields
from specs.decisions.speculation.lengths import PARTS
from specs.errors import InvalidProblem
from specs.units import Nanos, ceil_div
from specs.witness import Witness

NODE_PRICE_PARTS = 10**12
LOOKED_MAX = 100_000


@attrs.frozen(kw_only=True)
class Size:
    """A pass of the LLM over up to this many nodes, the root included: as measured, padding included."""

    nodes: int = fields.positive()
    verify_ns: Nanos = fields.positive()


@attrs.frozen(kw_only=True)
class TreeQuestion:
    """Which tree has the least time per token.  Raises InvalidProblem when the parts contradict each other."""

    acceptance_ppm: tuple[int, ...]  # of the children of rank 1, 2 ..
    depth_max: int = fields.natural()  # levels below the root
    draft_ns: Nanos = fields.natural()  # of each level below the root
    sizes: tuple[Size, ...]  # nodes ascend

    def __attrs_post_init__(self) -> None:
        nodes = [size.nodes for size in self.sizes]
        if not nodes or any(one >= other for one, other in pairwise(nodes)):
            raise InvalidProblem(f"sizes have {nodes} nodes; they must ascend, and there must be one")
        if any(not 0 <= ppm <= PARTS for ppm in self.acceptance_ppm):
            raise InvalidProblem(f"an acceptance is outside 0 to {PARTS} ppm")


@attrs.frozen(kw_only=True)
class Tree:
    """Nodes in an order in which parents come first.  Children of one node have ranks 1, 2 .. in that order."""

    parents: tuple[int, ...]  # of nodes 1, 2 ..; node 0 is the root

    @property
    def nodes(self) -> int:
        """How many tokens the LLM verifies."""
        return len(self.parents) + 1


def depths(tree: Tree) -> list[int]:
    """Levels between the root and each node."""
    found = [0]
    for parent in tree.parents:
        found.append(found[parent] + 1)
    return found


def tree_faults(tree: Tree, ranks: int, nodes_max: int, depth_max: int) -> Iterator[str]:
    """Every way in which this is not a tree within these limits, one sentence each."""
    for index, parent in enumerate(tree.parents, start=1):
        if not 0 <= parent < index:
            yield f"node {index} has parent {parent}, which does not come before it"
            return
    if tree.nodes > nodes_max:
        yield f"the tree has {tree.nodes} nodes, {nodes_max} are allowed"
    if (deepest := max(depths(tree))) > depth_max:
        yield f"the tree has {deepest} levels below its root, {depth_max} are allowed"
    for node in range(tree.nodes):
        children = tree.parents.count(node)
        if children > ranks:
            yield f"node {node} has {children} children, acceptance is known for {ranks}"


def expected_tokens(acceptance_ppm: Sequence[int], tree: Tree) -> tuple[int, int]:
    """E(tree) as an exact fraction: tokens per pass, and what to divide them by.  The tree must have no faults."""
    children = [0] * tree.nodes
    chance = [1]  # of node i, over PARTS ^ its depth
    levels = depths(tree)
    for parent in tree.parents:
        chance.append(chance[parent] * acceptance_ppm[children[parent]])
        children[parent] += 1
    deepest = max(levels)
    return sum(c * PARTS ** (deepest - level) for c, level in zip(chance, levels, strict=True)), PARTS**deepest


def most_tokens(acceptance_ppm: Sequence[int], nodes_max: int, depth_max: int) -> list[list[tuple[int, int]]]:
    """The most that E can be, for every depth up to `depth_max` and every number of nodes up to `nodes_max`.

    Entry [d][m - 1] is for at most d levels below the root and at most m nodes, as an exact fraction.  The space is
    exhausted by dynamic programming.  Let V_d(m) be that most, and S_b(m) the most that siblings of ranks b and up,
    with all below them, add per chance of their parent when they are at most m nodes and have d - 1 levels below.
    A tree is its root and the siblings from rank 1; siblings from rank b are none, or the child of rank b with j nodes
    below and including it and the siblings from rank b + 1 with the others, each as good as it can be by itself:

        V_d(m) = 1 + S_1(m - 1),   S_b(m) = max(0, max over 1 <= j <= m of p_b V_(d-1)(j) + S_(b+1)(m - j)).

    V_d is kept as a whole number over PARTS ^ d.
    """
    found = [[(1, 1)] * nodes_max]
    below = [1] * nodes_max  # V_(d-1)(j) at j - 1
    for depth in range(1, depth_max + 1):
        siblings = [0] * nodes_max  # S_b(m) at m; ranks after the last add nothing
        for rank in range(min(len(acceptance_ppm), nodes_max - 1) - 1, -1, -1):
            ppm = acceptance_ppm[rank]
            child = [ppm * value for value in below]
            longest = nodes_max - 1 - rank  # the root and the lower ranks are nodes too
            of_rank = [max(map(int.__add__, child[:m], siblings[m - 1 :: -1])) for m in range(1, longest + 1)]
            siblings = [0, *of_rank]
        whole = PARTS**depth
        below = [whole + more for more in siblings]
        found.append([(value, whole) for value in below])
    return found


def price_bound(acceptance_ppm: Sequence[int], nodes_max: int, depth_max: int, witness: Witness) -> int:
    """No tree within these limits gives more tokens, in parts per million rounded down, at a price per node.

    The price named "node" is in parts of a token per `NODE_PRICE_PARTS`.  A tree of m <= nodes_max nodes loses nothing
    when each node pays the price:  E <= sum over its nodes of (chance - price) + price nodes_max.  Let W(c, d) be the
    most of that sum for a subtree whose root has chance c and d levels below.  Chances only fall on the way down, so

        W(c, d) = c - price                                                          when c <= price or d = 0, else
        W(c, d) = c - price + max over k >= 0 of the sum over b <= k of W(c p_b, d - 1),

    and  E <= W(1, depth_max) + price nodes_max.  It is tight for a price at which a best tree of just so many nodes is
    also best without a limit.  A price so low that more than `LOOKED_MAX` nodes exceed it shows nothing: each node
    gives one token at most.
    """
    depth = min(depth_max, nodes_max - 1)  # no tree has more levels
    whole: int = PARTS**depth * NODE_PRICE_PARTS
    price: int = sum(each.amount for each in witness if each.name == "node") * PARTS**depth
    chances, levels, first = [whole], [0], [0]  # of nodes in the order found; where a node's children begin
    for node, chance in enumerate(chances):
        first[node] = len(chances)
        if chance > price and levels[node] < depth:
            for ppm in acceptance_ppm:
                chances.append(chance * ppm // PARTS)  # a node d levels down divides by PARTS d times, without a rest
                levels.append(levels[node] + 1)
                first.append(0)
        if len(chances) > LOOKED_MAX:
            return nodes_max * PARTS
    gains = [chance - price for chance in chances]
    for node in range(len(chances) - 1, -1, -1):
        end = first[node + 1] if node + 1 < len(chances) else len(chances)
        gains[node] += max(accumulate(gains[first[node] : end], initial=0))
    return (gains[0] + nodes_max * price) * PARTS // whole


def tokens_ppm(tokens: tuple[int, int]) -> int:
    """A fraction of tokens in parts per million, rounded down."""
    return tokens[0] * PARTS // tokens[1]


def pass_ns(question: TreeQuestion, nodes: int, depth: int) -> Nanos:
    """Drafting level by level, and a pass of the quickest size that holds the nodes; there must be one."""
    verify = min(size.verify_ns for size in question.sizes if size.nodes >= nodes)
    return Nanos(depth * question.draft_ns + verify)


def faults(question: TreeQuestion, tree: Tree) -> Iterator[str]:
    """Every way in which a tree is outside the question's limits, one sentence each."""
    yield from tree_faults(tree, len(question.acceptance_ppm), question.sizes[-1].nodes, question.depth_max)


def value(question: TreeQuestion, tree: Tree) -> int:
    """Time per token on average, in nanoseconds rounded up; the tree must have no faults."""
    tokens, parts = expected_tokens(question.acceptance_ppm, tree)
    return ceil_div(pass_ns(question, tree.nodes, max(depths(tree))) * parts, tokens)


def tpot_bound(question: TreeQuestion) -> int:
    """No tree has less time per token: the space is exhausted.

    A tree of depth d whose pass is of some size has at most that size's nodes, so E <= V_d(nodes) (`most_tokens`) and
    its time per token is at least that of the pair (depth, size); rounding up keeps the order.  The least is over all.
    """
    best = most_tokens(question.acceptance_ppm, question.sizes[-1].nodes, question.depth_max)
    return min(
        ceil_div(
            (depth * question.draft_ns + size.verify_ns) * of_depth[size.nodes - 1][1], of_depth[size.nodes - 1][0]
        )
        for depth, of_depth in enumerate(best)
        for size in question.sizes
    )
