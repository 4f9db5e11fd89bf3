"""From a movement to a checked schedule of hops with a bound: the public face of this package."""

import contextlib
from collections.abc import Callable, Iterator
from enum import StrEnum
from importlib.metadata import version

import attrs
import numpy as np

from planner.packing.cuts import worst_cut
from planner.packing.exact import exact
from planner.packing.floor import Stopped
from planner.packing.ground import Ground
from planner.packing.growing import grown
from planner.packing.justifying import justified
from planner.packing.laying import RULES, Rule, jobs_of, lay
from planner.packing.network import Network, network
from planner.packing.pipelines import is_multicast, pipelined
from planner.packing.rounding import Planted, planted
from planner.packing.spreading import nested, spread_out
from planner.packing.steady import Steady, classes_of, steady_state
from planner.packing.swarm import Acted, orders
from planner.routes import NoRoute, Routes
from planner.search import Progress, Search
from specs.decisions.flow.answer import Delivery, Hop, Piece
from specs.decisions.flow.bounds import distance_bound_ns, ramp_bound
from specs.decisions.flow.faults import faults
from specs.decisions.flow.growth import growth_bound_ns
from specs.decisions.flow.prices import price_bound_ns
from specs.decisions.flow.question import Movement, as_cluster
from specs.decisions.flow.values import Objective, value
from specs.plan import Route
from specs.units import Nanos
from specs.witness import Price, Witness

# Rounds of column generation.  They end by themselves on all but the largest movements.
_ROUNDS_MAX = 300
# Hops of one schedule beyond which more pieces are not tried.
_HOPS_MAX = 70_000
# More pieces are tried as long as the value falls by this factor, and a family not so much worse than the best.
_GAIN = 1.0005
_PIECES_TO_JUDGE = 16
# Hops of one schedule from which on only the rule that did best, and the last, are tried again.
_HOPS_TO_NARROW = 4_000
_HOPELESS = 1.5
_JUSTIFIED = ", justified"
_PIECES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
_PRICE_WEIGHTS = (0.0, 1.0)
# Prices of witnesses are whole numbers up to this.
_PRICE_MAX = 10**6
# Prices of more memories than this take the checker longer than a second, and all their pairs the planner.
_PRICED_MEMORIES_MAX = 96


class Method(StrEnum):
    """How a bound is known."""

    CLOSED_FORM = "closed form"
    CUT = "cut"
    DUAL = "dual"


@attrs.frozen(kw_only=True)
class Bound:
    """No schedule has a smaller value; `formula` names the function of `specs.decisions.flow` that says so."""

    formula: str
    method: Method
    bound: int  # ns, or byte-ns for the ramp
    witness: Witness = ()


@attrs.frozen(kw_only=True)
class Moved:
    """A schedule without faults, what it achieves, and the best bound known."""

    delivery: Delivery
    objective: Objective
    value: int  # ns, or byte-ns for the ramp
    bound: Bound
    made_by: str  # how the best schedule was made
    word: str | None = None  # the solver that says that no schedule of its kind is better: its word, not a bound

    @property
    def gap(self) -> float:
        """By how much the value exceeds the bound, as a share of the bound."""
        return self.value / self.bound.bound - 1 if self.bound.bound else 0.0


@attrs.frozen(kw_only=True)
class Stuck:
    """Who cannot be reached: pairs of an item's name and a memory, and a sentence for each."""

    missing: tuple[tuple[str, str], ...]
    sentences: tuple[str, ...]


def move(movement: Movement, search: Search, objective: Objective = Objective.ALL) -> Moved | Stuck:
    """Find a schedule for a movement that has no faults (`faults_of_question`); the best found when limits say stop."""
    if not any(item.receivers for item in movement.items):
        return _nothing_to_do(movement, objective)
    if len(movement.memories) > _PRICED_MEMORIES_MAX:
        return _move_many(movement, search, objective)
    net = network(movement)
    if stuck := unreachable(movement, net):
        return stuck
    classes = classes_of(movement, net)
    steady = steady_state(net, classes, search, _ROUNDS_MAX)
    bound = best_bound(movement, objective, search, steady)
    best: Moved | None = None
    if _is_for_swarms(movement):
        with contextlib.suppress(NoRoute):  # trees go ways through other memories
            best = _swarmed(movement, search, objective, bound)
    climbs = [
        _Climb(net=net, family=family, objective=objective, bound=bound)
        for family in _families(net, steady, _of_least_latency(net, steady, search))
    ]
    for pieces in _pieces(movement, steady):
        # Every family shows what it can do with few pieces; then those that may still win go on with more.
        for climb in sorted(climbs, key=lambda climb: climb.previous):
            close = best is not None and best.value <= bound.bound * (_GAIN if pieces > 1 else 1)
            if best is not None and (search.over() or close or climb.ended(best.value)):
                continue
            found = climb.next(pieces, search, whole=best is None)
            if found is not None and (best is None or found.value < best.value):
                best = found
                search.tell(Progress(decision="transfers", value=best.value, bound=bound.bound))
    assert best is not None
    best = _refined(net, _justified(movement, best, search), search)
    wrong = list(faults(movement, best.delivery))
    assert not wrong, f"a schedule with faults: {wrong[:3]}"
    return best


def _is_for_swarms(movement: Movement) -> bool:
    """Whole items without relays, several of them: what is not in trees may be better."""
    return not movement.relays and len(movement.items) > 1 and all(item.pieces_max == 1 for item in movement.items)


def _move_many(movement: Movement, search: Search, objective: Objective) -> Moved | Stuck:
    """Move among so many memories that not all pairs can be looked at; items move whole."""
    try:
        best = _swarmed(movement, search, objective, best_bound(movement, objective, search))
    except NoRoute as missing:
        return Stuck(missing=(), sentences=(f"{missing}; ways through other memories are not tried among so many",))
    wrong = list(faults(movement, best.delivery))
    assert not wrong, f"a schedule with faults: {wrong[:3]}"
    return best


def _swarmed(movement: Movement, search: Search, objective: Objective, bound: Bound) -> Moved:
    """Try pipelines where all items go the same way, exchanges, and swarms by several rules.  Raises NoRoute."""
    routes = Routes(as_cluster(movement))
    best: Moved | None = None
    for made_by, delivery in _makings(movement, routes, search, bound if objective is Objective.ALL else None):
        reached = value(movement, delivery, objective)
        if best is None or reached < best.value:
            best = Moved(delivery=delivery, objective=objective, value=reached, bound=bound, made_by=made_by)
            search.tell(Progress(decision="transfers", value=best.value, bound=bound.bound))
        if search.over() or best.value <= bound.bound:
            break
    if best is None:
        raise NoRoute("no hops between those who hold and want items reach everybody")
    return best


def _makings(movement: Movement, routes: Routes, search: Search, bound: Bound | None) -> Iterator[tuple[str, Delivery]]:
    """Yield schedules, of each sort the ones that end sooner than those before; the bound is one of time."""
    if is_multicast(movement) and (delivery := pipelined(movement, routes)) is not None:
        search.spend(10 * len(delivery.hops))
        yield "binomial pipelines", delivery
    bound_ns = 0 if bound is None else bound.bound
    found = False
    for number, delivery in enumerate(spread_out(movement, routes, search, bound_ns)):
        found = True
        yield f"exchange {number}", delivery
    if found and nested(movement, routes) is not None:
        return  # a swarm would bring much into islands that could spread inside
    wants = [(item.bytes, item.holders, item.receivers) for item in movement.items]
    held = movement.latency_holds_ports
    ground = Ground(as_cluster(movement), routes, wants, latency_holds_ports=held)
    for number, acted in enumerate(orders(ground, search, bound_ns, whole=True)):
        if acted.complete:
            yield f"swarm {number}", _delivery_of(movement, ground, acted)


def _delivery_of(movement: Movement, ground: Ground, acted: Acted) -> Delivery:
    """Spell out what was acted out."""
    number: dict[Route, int] = {}
    hops = []
    for start, item, source, destination in acted.moves:
        way = ground.way(source, destination)
        assert way is not None
        hops.append(
            Hop(
                piece=item,
                route=number.setdefault(way.route, len(number)),
                bytes_per_second=way.rate,
                start_ns=Nanos(start),
                end_ns=Nanos(start + way.takes_ns(movement.items[item].bytes)),
            )
        )
    pieces = tuple(Piece(item=index, bytes=item.bytes) for index, item in enumerate(movement.items))
    return Delivery(pieces=pieces, routes=tuple(number), hops=tuple(hops))


def _justified(movement: Movement, best: Moved, search: Search) -> Moved:
    """Push the schedule against its end and its start while it becomes shorter and could still gain."""
    while best.objective is Objective.ALL and best.value > best.bound.bound * _GAIN and not search.over():
        try:
            delivery = justified(movement, best.delivery, search.over)
        except Stopped:
            break
        search.spend(20 * len(delivery.hops))
        reached = value(movement, delivery, Objective.ALL)
        if reached >= best.value:
            break
        made_by = best.made_by.removesuffix(_JUSTIFIED) + _JUSTIFIED
        best = attrs.evolve(best, delivery=delivery, value=reached, made_by=made_by)
        search.tell(Progress(decision="transfers", value=reached, bound=best.bound.bound))
    return best


def _refined(net: Network, best: Moved, search: Search) -> Moved:
    """Ask CP-SAT for something better where the movement is small and a gap is left."""
    if best.value <= best.bound.bound or search.over():
        return best
    ends = value(net.movement, best.delivery, Objective.ALL)
    # Something that is better before the end may well end later.
    horizon_ns = ends if best.objective is Objective.ALL else 2 * ends
    found = exact(net, best.delivery.pieces, horizon_ns, best.objective, search)
    if found is None:
        return best
    word = f"cp-sat/{version('ortools')}" if found.proven else None
    reached = value(net.movement, found.delivery, best.objective)
    if reached >= best.value:
        return attrs.evolve(best, word=word)
    return attrs.evolve(best, delivery=found.delivery, value=reached, word=word, made_by="time-indexed CP-SAT model")


@attrs.frozen(kw_only=True)
class _Family:
    """A way to make trees for every piece."""

    name: str
    trees: Callable[[int], list[Planted]]  # for this number of pieces of each item


def _of_least_latency(net: Network, steady: Steady, search: Search) -> Steady | None:
    """Pack trees of least latency, unless the bytes alone would then take hopelessly long, or all trees are such."""
    if search.over() or not any(link.latency_ns for link in net.movement.links):
        return None
    found = steady_state(net, steady.classes, search, _ROUNDS_MAX, least_latency=True)
    least_ns = steady.time_ns + distance_bound_ns(net.movement)
    return found if found.time_ns <= _HOPELESS * least_ns else None


def _families(net: Network, steady: Steady, of_least_latency: Steady | None) -> Iterator[_Family]:
    yield _Family(name="packed trees", trees=lambda pieces: planted(net, steady, pieces))
    if of_least_latency is not None:
        yield _Family(name="packed trees of least latency", trees=lambda pieces: planted(net, of_least_latency, pieces))
    for weight in _PRICE_WEIGHTS:
        yield _Family(
            name=f"trees grown at {weight:g} times the prices",
            trees=lambda pieces, weight=weight: grown(net, steady, pieces, weight),  # type: ignore[misc]
        )


def _pieces(movement: Movement, steady: Steady) -> Iterator[int]:
    """Numbers of pieces worth trying, ascending: at least one."""
    hops = sum(len(each.items) * len(each.wish.receivers) for each in steady.classes)
    pieces_max = max(item.pieces_max for item in movement.items)
    for pieces in _PIECES:
        if pieces == 1 or (pieces <= pieces_max and hops * pieces <= _HOPS_MAX):
            yield pieces


@attrs.define(kw_only=True)
class _Climb:
    """One family, tried with more and more pieces."""

    net: Network
    family: _Family
    objective: Objective
    bound: Bound
    previous: int = 0
    rules: tuple[Rule, ...] = RULES
    settled: bool = False  # enough pieces for all of its trees
    over: bool = False

    def ended(self, best: int) -> bool:
        """Say whether more pieces are not worth trying."""
        return self.over or (self.settled and self.previous > _HOPELESS * best)

    def next(self, pieces: int, search: Search, *, whole: bool) -> Moved | None:
        """Lay the family's trees for so many pieces by every rule that has done well; give the best.

        None when limits end the search before the first is laid; `whole`: the first is laid whatever limits say.
        """
        trees = self.family.trees(pieces)
        jobs = jobs_of(self.net, trees)
        found: list[tuple[int, int, Delivery]] = []
        for number, rule in enumerate(self.rules):
            try:
                delivery = lay(self.net, trees, jobs, rule, (lambda: False) if whole and not found else search.over)
            except Stopped:
                break
            found.append((value(self.net.movement, delivery, self.objective), number, delivery))
            if not search.spend(10 * len(jobs)):
                break
        if not found:
            return None
        reached, number, delivery = min(found, key=lambda row: row[:2])
        self.settled = pieces >= _PIECES_TO_JUDGE or len(jobs) > _HOPS_TO_NARROW
        self.over = self.settled and bool(self.previous) and reached * _GAIN > self.previous
        self.previous = reached
        if len(jobs) > _HOPS_TO_NARROW:
            self.rules = tuple(dict.fromkeys((self.rules[number], self.rules[-1])))
        made_by = f"{self.family.name}, {pieces} pieces"
        return Moved(delivery=delivery, objective=self.objective, value=reached, bound=self.bound, made_by=made_by)


def best_bound(movement: Movement, objective: Objective, search: Search, steady: Steady | None = None) -> Bound:
    """Work out every bound for an objective that is known here, and give the largest."""
    if objective is Objective.RAMP:
        return Bound(formula="ramp_bound", method=Method.CLOSED_FORM, bound=ramp_bound(movement))
    far = Bound(formula="distance_bound_ns", method=Method.CLOSED_FORM, bound=distance_bound_ns(movement, objective))
    found = [far]
    cut, members = worst_cut(movement, objective, search)
    found.append(Bound(formula="cut_bound_ns", method=Method.CUT, bound=cut, witness=members))
    if objective is Objective.ALL:
        growth = growth_bound_ns(movement)
        found.append(Bound(formula="growth_bound_ns", method=Method.CLOSED_FORM, bound=growth))
        if steady is not None and len(movement.memories) <= _PRICED_MEMORIES_MAX:
            witness = price_witness(movement, steady)
            dual = price_bound_ns(movement, witness)
            found.append(Bound(formula="price_bound_ns", method=Method.DUAL, bound=dual, witness=witness))
    return max(found, key=lambda each: each.bound)


def price_witness(movement: Movement, steady: Steady) -> Witness:
    """Round the prices of the steady state to whole numbers."""
    scaled = np.rint(steady.prices / max(float(steady.prices.max()), 1e-300) * _PRICE_MAX)
    rows = zip(movement.links, scaled, strict=True)
    return tuple(
        sorted((Price(name=link.id, amount=int(p)) for link, p in rows if p >= 1), key=lambda price: price.name)
    )


def unreachable(movement: Movement, net: Network) -> Stuck | None:
    """Find receivers that hops, through whoever may take the item, do not reach."""
    onward: dict[int, set[int]] = {}
    for way in net.ways:
        onward.setdefault(way.source, set()).add(way.destination)
    relays = {net.memory[place] for place in movement.relays}
    known: dict[tuple[tuple[str, ...], tuple[str, ...]], set[int]] = {}
    missing: list[tuple[str, str]] = []
    for item in movement.items:
        key = (item.holders, item.wanters)
        if key not in known:
            takers = relays | {net.memory[place] for place in item.wanters}
            reached = {net.memory[place] for place in item.holders}
            front = sorted(reached)
            while front:
                fresh = {far for far in onward.get(front.pop(), ()) if far in takers} - reached
                reached |= fresh
                front += sorted(fresh)
            known[key] = reached
        missing += [(item.name, place) for place in item.receivers if net.memory[place] not in known[key]]
    if not missing:
        return None
    sentences = tuple(f"no way leads {name} from any of its holders to {place}" for name, place in missing)
    return Stuck(missing=tuple(missing), sentences=sentences)


def _nothing_to_do(movement: Movement, objective: Objective) -> Moved:
    pieces = tuple(Piece(item=index, bytes=item.bytes) for index, item in enumerate(movement.items))
    return Moved(
        delivery=Delivery(pieces=pieces, routes=(), hops=()),
        objective=objective,
        value=0,
        bound=Bound(formula="distance_bound_ns", method=Method.CLOSED_FORM, bound=0),
        made_by="nothing to move",
    )
