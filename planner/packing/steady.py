"""The steady state: shares of each item on trees of hops so that the busiest link is busy for the least time.

A linear program over all trees, by column generation.  The master program has the trees found so far; its dual
prices of links ask for a cheaper tree for every class of items; and any prices prove a bound
(`specs.decisions.flow.prices`), so the prices that proved the best one are the witness.

The time of a steady state knows nothing of latency, and its trees may be deep.  Where latency counts, trees of least
latency alone often take no longer in bytes, and the last piece then arrives soonest.
"""

from collections.abc import Callable, Iterable, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray
from ortools.linear_solver import pywraplp

from planner.packing.network import Network
from planner.packing.trees import Matrix, Tree, Wish, cheapest_tree
from planner.search import Search
from specs.decisions.flow.question import Movement

Prices = NDArray[np.float64]

# Passes that lay every class on the cheapest tree at prices that grow with load, before the first master program.
_SEED_PASSES = 8
_SEED_STEEPNESS = 6.0
# The bound is close enough: what rounding to whole pieces costs is more.
_CLOSE = 1e-4
# Prices are moved only so far from the best ones known: it keeps degenerate duals from jumping.
_TRUST = 0.5


@attrs.frozen(kw_only=True)
class Column:
    """A tree for a class of items: the ways of its hops, each after the one that feeds it."""

    of: int  # class
    ways: tuple[int, ...]


@attrs.define(kw_only=True)
class Class:
    """Items with the same holders and wanters."""

    wish: Wish
    items: list[int]
    bytes: int = 0


@attrs.frozen(kw_only=True)
class Steady:
    """Shares of columns (they sum to 1 for each class), the time that they take, and the best prices found."""

    classes: tuple[Class, ...]
    columns: tuple[Column, ...]
    shares: tuple[float, ...]
    time_ns: float
    prices: Prices


class Unreachable(Exception):
    """Some receiver cannot be reached by hops."""


def classes_of(movement: Movement, net: Network) -> tuple[Class, ...]:
    """Gather items that differ in size only."""
    found: dict[Wish, Class] = {}
    relays = [net.memory[place] for place in movement.relays]
    for index, item in enumerate(movement.items):
        if not item.receivers:
            continue
        holders = tuple(sorted(net.memory[place] for place in item.holders))
        receivers = tuple(sorted(net.memory[place] for place in item.receivers))
        wish = Wish(
            holders=holders,
            receivers=receivers,
            relays=tuple(sorted(set(relays) - set(holders) - set(receivers))),
        )
        each = found.setdefault(wish, Class(wish=wish, items=[]))
        each.items.append(index)
        each.bytes += item.bytes
    return tuple(found.values())


Cheapest = Callable[[int], tuple[Matrix, NDArray[np.int64]]]  # for a class, what `Network.cheapest` gives


class _Reach:
    """Which ways the trees of a class may use: all, or only those of least latency from its holders."""

    def __init__(self, net: Network, classes: Sequence[Class], *, least_latency: bool) -> None:
        self.net = net
        self._barred = [_roundabout(net, each) for each in classes] if least_latency else []

    def cheapest(self, costs: Prices) -> Cheapest:
        """Find the cheapest ways at these costs of all ways."""
        if not self._barred:
            found = self.net.cheapest(costs)
            return lambda _: found
        return lambda of: self.net.cheapest(np.where(self._barred[of], np.inf, costs))


def _roundabout(net: Network, each: Class) -> NDArray[np.bool_]:
    """Say of each way whether who takes it gets the item later than latency demands (distances: Bellman and Ford)."""
    source, destination, latency = np.array([(way.source, way.destination, way.latency_ns) for way in net.ways]).T
    takers = np.zeros(len(net.memory), dtype=bool)
    takers[[*each.wish.receivers, *each.wish.relays]] = True
    later = np.where(takers[destination], 0.0, np.inf) + latency
    at = np.full(len(net.memory), np.inf)
    at[list(each.wish.holders)] = 0.0
    while True:
        before = at.copy()
        np.minimum.at(at, destination, at[source] + later)
        if (at == before).all():
            roundabout: NDArray[np.bool_] = at[source] + later > at[destination]
            return roundabout


def steady_state(
    net: Network, classes: tuple[Class, ...], search: Search, rounds_max: int, *, least_latency: bool = False
) -> Steady:
    """Pack trees until the bound by prices meets the value, or limits say stop.  Raises Unreachable.

    With `least_latency`, only trees by which everybody gets an item as soon as latency allows; the prices then prove
    nothing about other schedules.
    """
    reach = _Reach(net, classes, least_latency=least_latency)
    master = _Master(net, classes)
    for column in _seed(reach, classes, search):
        master.add(column)
    best_prices = np.ones(len(net.movement.links)) / max(1, len(net.movement.links))
    best_bound = 0.0
    time_ns, prices, _ = master.solve(search)
    for _ in range(rounds_max):
        if not search.spend(100 * len(classes)):
            break
        for trial in (prices, _TRUST * best_prices + (1 - _TRUST) * prices):
            columns, bound = _price_out(reach, classes, trial, search)
            if bound > best_bound:
                best_bound, best_prices = bound, trial
            fresh = [master.add(column) for column in columns]
            if any(fresh):
                break
        else:
            break
        time_ns, prices, _ = master.solve(search)
        if best_bound >= time_ns * (1 - _CLOSE):
            break
    time_ns, prices, shares = master.solve(search)
    _, bound = _price_out(reach, classes, prices, search)
    if bound > best_bound:
        best_prices = prices
    return Steady(classes=classes, columns=tuple(master.columns), shares=shares, time_ns=time_ns, prices=best_prices)


def _price_out(reach: _Reach, classes: tuple[Class, ...], prices: Prices, search: Search) -> tuple[list[Column], float]:
    """Find each class's cheapest tree at these prices, and what all of them pay together; nothing when limits end."""
    costs = reach.net.costs(prices)
    cheapest = reach.cheapest(costs + 1e-12 * float(costs.max(initial=0.0)))
    columns: list[Column] = []
    paid = 0.0
    for index, each in enumerate(classes):
        if search.over():
            return [], 0.0
        matrix, which = cheapest(index)
        column = _column(index, cheapest_tree(matrix, each.wish), which)
        columns.append(column)
        paid += each.bytes * float(costs[list(column.ways)].sum())
    return columns, paid / max(float(prices.sum()), 1e-300)


def _column(index: int, tree: Tree | None, which: NDArray[np.int64]) -> Column:
    if tree is None:
        raise Unreachable
    return Column(of=index, ways=tuple(int(which[hop]) for hop in tree))


def _seed(reach: _Reach, classes: tuple[Class, ...], search: Search) -> Iterable[Column]:
    """Lay every class on its cheapest tree again and again, at prices that grow steeply with the load so far."""
    net = reach.net
    load = np.zeros(len(net.movement.links))
    for number in range(_SEED_PASSES):
        if number and search.over():
            return
        for index, each in enumerate(classes):
            peak = float(load.max(initial=0.0))
            prices = np.exp(_SEED_STEEPNESS * (load / peak - 1.0)) if peak > 0 else np.ones(len(load))
            matrix, which = reach.cheapest(net.costs(prices))(index)
            column = _column(index, cheapest_tree(matrix, each.wish), which)
            load += each.bytes * loads(net, column.ways)
            yield column


def loads(net: Network, ways: Iterable[int]) -> NDArray[np.float64]:
    """Nanoseconds per byte that these ways keep each link busy."""
    found = np.zeros(len(net.movement.links))
    for way in ways:
        first = int(net.first_use[way])
        end = int(net.first_use[way + 1]) if way + 1 < len(net.first_use) else len(net.use_link)
        np.add.at(found, net.use_link[first:end], net.use_ns[first:end])
    return found


class _Master:
    """The linear program over the trees found so far: least T with all shares given and no link busy beyond T."""

    def __init__(self, net: Network, classes: tuple[Class, ...]) -> None:
        self._net = net
        self._classes = classes
        self._scale = 1.0 / max(1, sum(each.bytes for each in classes))
        self.columns: list[Column] = []
        self._known: set[Column] = set()
        self._solver = pywraplp.Solver.CreateSolver("GLOP")
        self._time = self._solver.NumVar(0, self._solver.infinity(), "time")
        self._solver.Minimize(self._time)
        self._given = [self._solver.Constraint(1, 1) for _ in classes]
        self._links: dict[int, pywraplp.Constraint] = {}
        self._variables: list[pywraplp.Variable] = []

    def add(self, column: Column) -> bool:
        """Take a tree in; say whether it is new."""
        if column in self._known:
            return False
        self._known.add(column)
        self.columns.append(column)
        variable = self._solver.NumVar(0, self._solver.infinity(), "")
        self._variables.append(variable)
        self._given[column.of].SetCoefficient(variable, 1)
        busy = loads(self._net, column.ways) * self._classes[column.of].bytes * self._scale
        for link in np.flatnonzero(busy):
            index = int(link)
            if index not in self._links:
                row = self._solver.Constraint(-self._solver.infinity(), 0)
                row.SetCoefficient(self._time, -1)
                self._links[index] = row
            self._links[index].SetCoefficient(variable, float(busy[index]))
        return True

    def solve(self, search: Search) -> tuple[float, Prices, tuple[float, ...]]:
        """Give the time in ns, the dual prices of links, and the shares of the columns."""
        search.uses("ortools")
        status = self._solver.Solve()
        if status != pywraplp.Solver.OPTIMAL:  # the basis of the last time may be a bad one to begin with: from scratch
            afresh = pywraplp.MPSolverParameters()
            afresh.SetIntegerParam(afresh.INCREMENTALITY, afresh.INCREMENTALITY_OFF)
            status = self._solver.Solve(afresh)
        if status != pywraplp.Solver.OPTIMAL:
            return self._last_trees_alone()
        prices = np.zeros(len(self._net.movement.links))
        for index, row in self._links.items():
            prices[index] = max(0.0, -row.dual_value())
        shares = tuple(max(0.0, variable.solution_value()) for variable in self._variables)
        return self._time.solution_value() / self._scale, prices, shares

    def _last_trees_alone(self) -> tuple[float, Prices, tuple[float, ...]]:
        """Answer without the solver, which sometimes loses its way in numbers: each class on its last tree.

        Any packing will do to make trees of; equal prices prove what they prove.
        """
        last = {column.of: number for number, column in enumerate(self.columns)}
        shares = tuple(float(last[column.of] == number) for number, column in enumerate(self.columns))
        busy = np.zeros(len(self._net.movement.links))
        for number in last.values():
            column = self.columns[number]
            busy += loads(self._net, column.ways) * self._classes[column.of].bytes
        return float(busy.max(initial=0.0)), np.ones(len(busy)) / max(1, len(busy)), shares
