"""Cheapest trees of hops from the holders of an item to all who want it, at given costs of hops."""

import heapq

import attrs
import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Tree = tuple[tuple[int, int], ...]  # (source, destination) of hops, each after the one that feeds it


@attrs.frozen(kw_only=True)
class Wish:
    """Who holds an item, who wants it, and who else may pass it on: numbers of memories."""

    holders: tuple[int, ...]
    receivers: tuple[int, ...]
    relays: tuple[int, ...]  # neither holders nor receivers


def cheapest_tree(costs: Matrix, wish: Wish) -> Tree | None:
    """Find a cheap tree; None when some receiver cannot be reached.

    One receiver: the cheapest way.  All takers receivers: the cheapest arborescence.  With relays: the cheaper of the
    arborescence over everybody, relays that feed nobody cut off, and of nearest receivers joined one after another.
    """
    if len(wish.receivers) == 1:
        return _joined(costs, wish)
    spanning = _arborescence(costs, wish, wish.receivers)
    if not wish.relays:
        return spanning
    found = [spanning, _arborescence(costs, wish, (*wish.receivers, *wish.relays)), _joined(costs, wish)]
    pruned = [_pruned(tree, set(wish.receivers)) for tree in found if tree is not None]
    return min(pruned, key=lambda tree: sum(costs[hop] for hop in tree), default=None)


def in_order(parents: dict[int, int], holders: tuple[int, ...]) -> Tree:
    """List hops so that each comes after the one that feeds it; sources and destinations ascend within a level."""
    children: dict[int, list[int]] = {}
    for place, parent in sorted(parents.items()):
        children.setdefault(parent, []).append(place)
    hops: list[tuple[int, int]] = []
    level = list(holders)
    while level:
        fresh = [(place, child) for place in level for child in children.get(place, ())]
        hops += fresh
        level = [child for _, child in fresh]
    return tuple(hops)


def _pruned(tree: Tree, receivers: set[int]) -> Tree:
    kept: list[tuple[int, int]] = []
    needed = set(receivers)
    for source, place in reversed(tree):
        if place in needed:
            kept.append((source, place))
            needed.add(source)
    return tuple(reversed(kept))


def _joined(costs: Matrix, wish: Wish) -> Tree | None:
    """Join the nearest receiver to the tree, again and again (Takahashi and Matsuyama 1980)."""
    takers = set(wish.receivers) | set(wish.relays)
    parents: dict[int, int] = {}
    inside = set(wish.holders)
    waiting = set(wish.receivers)
    while waiting:
        found = _nearest(costs, sorted(inside), takers - inside, waiting)
        if found is None:
            return None
        place, came_from = found
        waiting.discard(place)
        while place not in inside:
            inside.add(place)
            parents[place] = came_from[place]
            place = came_from[place]
        waiting -= inside
    return in_order(parents, wish.holders)


def _nearest(costs: Matrix, inside: list[int], takers: set[int], wanted: set[int]) -> tuple[int, dict[int, int]] | None:
    came_from: dict[int, int] = {}
    queue: list[tuple[float, int, int]] = [(0.0, place, -1) for place in inside]
    done: set[int] = set()
    while queue:
        cost, place, before = heapq.heappop(queue)
        if place in done:
            continue
        done.add(place)
        came_from[place] = before
        if place in wanted:
            return place, came_from
        row = costs[place]
        for far in takers:
            if far not in done and row[far] < np.inf:
                heapq.heappush(queue, (cost + float(row[far]), far, place))
    return None


def _arborescence(costs: Matrix, wish: Wish, takers: tuple[int, ...]) -> Tree | None:
    """Find the cheapest arborescence from the holders, taken as one root, to all takers (Chu and Liu, Edmonds)."""
    places = list(takers)
    size = len(places) + 1  # 0 is the root
    weight = np.full((size, size), np.inf)
    grid = np.array(places)
    from_holders = costs[np.ix_(np.array(wish.holders), grid)]
    weight[0, 1:] = from_holders.min(axis=0)
    weight[1:, 1:] = costs[np.ix_(grid, grid)]
    np.fill_diagonal(weight, np.inf)
    best_holder = from_holders.argmin(axis=0)
    chosen = _edmonds(weight)
    if chosen is None:
        return None
    parents = {
        places[place - 1]: wish.holders[int(best_holder[place - 1])] if parent == 0 else places[parent - 1]
        for place, parent in chosen.items()
    }
    return in_order(parents, wish.holders)


def _edmonds(weight: Matrix) -> dict[int, int] | None:
    """Give each node but 0 its parent in the cheapest arborescence; contracts one cycle at a time."""
    size = len(weight)
    if size == 1:
        return {}
    parent = weight.argmin(axis=0)
    if not np.isfinite(weight[parent[1:], np.arange(1, size)]).all():
        return None
    cycle = _cycle(parent, size)
    if not cycle:
        return {place: int(parent[place]) for place in range(1, size)}
    inside = np.zeros(size, dtype=bool)
    inside[cycle] = True
    outer = np.flatnonzero(~inside)  # 0 is the root still
    ring = np.array(cycle)
    into = weight[np.ix_(outer, ring)] - weight[parent[ring], ring]
    out = weight[np.ix_(ring, outer)]
    smaller = np.full((len(outer) + 1, len(outer) + 1), np.inf)
    smaller[:-1, :-1] = weight[np.ix_(outer, outer)]
    smaller[:-1, -1] = into.min(axis=1)
    smaller[-1, :-1] = out.min(axis=0)
    enters, leaves = into.argmin(axis=1), out.argmin(axis=0)
    found = _edmonds(smaller)
    if found is None:
        return None
    result = {place: int(parent[place]) for place in cycle}
    for place, above in found.items():
        if place == len(outer):
            result[int(ring[enters[above]])] = int(outer[above])
        else:
            result[int(outer[place])] = int(ring[leaves[place]]) if above == len(outer) else int(outer[above])
    return result


def _cycle(parent: NDArray[np.int64], size: int) -> list[int]:
    """Find a cycle among parents, if there is one."""
    state = [0] * size
    state[0] = size + 1
    for start in range(1, size):
        place = start
        while state[place] == 0:
            state[place] = start
            place = int(parent[place])
        if state[place] == start:
            cycle = [place]
            while (following := int(parent[cycle[-1]])) != place:
                cycle.append(following)
            return cycle
    return []
