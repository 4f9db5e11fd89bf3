"""Exchanges of many copies at once: what lies in a few memories is placed anew by CP-SAT.

Families (an LLM and its adapters) are tied only by room and by the limit on moved bytes.  So when one copy of each may
move, or come, the best holding is a multiple-choice knapsack: large neighbourhood search (Shaw, 1998).
"""

from collections.abc import Iterator, Sequence

import attrs
from ortools.sat.python import cp_model

from planner.placement.prices import Relaxed
from planner.placement.stock import Stock
from planner.search import Search
from specs.decisions.placement.nouns import Copy, Item, Pool, Tier
from specs.units import INTEGER_MAX

_STEPS = 500_000  # of which one exchange takes its share, where nobody has set a limit
_SHARE = 0.05
_COMERS = 60  # families without a copy here: those that cost most for each byte


@attrs.frozen(kw_only=True)
class _Option:
    lost: tuple[Copy, ...]
    gained: tuple[Copy, ...]
    value: int  # with the price of moves


def rearrange(stock: Stock, relaxed: Relaxed, search: Search) -> bool:
    """Place anew what lies in each node, then in each two slow pools, where room has a price; say whether it helped."""
    nodes: dict[str | None, list[Pool]] = {}
    for pool in stock.layout.question.pools:
        if pool.id in relaxed.scarce:
            nodes.setdefault(pool.node, []).append(pool)
    slow = [pool for pools in nodes.values() for pool in pools if pool.tier is not Tier.DEVICE]
    pairs = [[pool, other] for pool, other in zip(slow, slow[1:] + slow[:1], strict=True) if pool is not other]
    changed = False
    for pools in [*nodes.values(), *pairs]:
        if search.over():
            break
        changed |= _Exchange(stock, pools).run(search)
    return changed


class _Exchange:
    """takes[base][k]: the family of a base takes its option k; 0 is what it has now."""

    def __init__(self, stock: Stock, pools: Sequence[Pool]) -> None:
        self._stock = stock
        self._pools = pools
        self._model = cp_model.CpModel()
        everyone = {base: tuple(self._options(base, mover)) for base, mover in self._taking_part()}
        self._families = {base.id: options for base, options in everyone.items() if len(options) > 1}
        self._takes = {base: [self._model.new_bool_var("") for _ in of] for base, of in self._families.items()}
        self._chosen = [pair for base, of in self._families.items() for pair in zip(of, self._takes[base], strict=True)]

    def run(self, search: Search) -> bool:
        """Make the exchange that gains most of those that are found; say whether there is one."""
        if sum(max(option.value for option in of) for of in self._families.values()) > INTEGER_MAX:
            return False
        for takes in self._takes.values():
            self._model.add_exactly_one(takes)
            for index, take in enumerate(takes):
                self._model.add_hint(take, index == 0)
        self._limit()
        self._model.minimize(sum(option.value * take for option, take in self._chosen))
        solver, status = search.part(_STEPS).cp_sat(self._model, share=_SHARE)
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return False
        if solver.objective_value >= sum(options[0].value for options in self._families.values()):
            return False
        self._make([option for option, take in self._chosen if solver.boolean_value(take)])
        return True

    def _limit(self) -> None:
        """Room in each memory here, and moved bytes, beyond what is there now."""
        stock, layout = self._stock, self._stock.layout
        more: dict[str, list[cp_model.LinearExprT]] = {}
        moved: list[cp_model.LinearExprT] = []
        for option, take in self._chosen:
            for copies, sign in ((option.gained, 1), (option.lost, -1)):
                for copy in copies:
                    moved.append(sign * layout.moved_bytes(copy) * take)
                    for memory in copy.memories:
                        size = layout.bytes_at(layout.items[copy.item], memory)
                        more.setdefault(memory, []).append(sign * size * take)
        for memory, terms in more.items():
            self._model.add(sum(terms) <= stock.room[memory])
        if stock.moves_left is not None:
            self._model.add(sum(moved) <= stock.moves_left)

    def _make(self, options: Sequence[_Option]) -> None:
        stock = self._stock
        for option in options:
            for copy in option.lost:
                stock.remove(copy)
        for option in options:
            for copy in option.gained:
                stock.add(copy)
        for option in options:
            for copy in option.gained:
                stock.drop_idle(stock.layout.items[copy.item])

    def _taking_part(self) -> list[tuple[Item, Copy | None]]:
        """Families whose limits hold: each that has a copy that may move, with it; and those that cost most without."""
        stock, family = self._stock, self._stock.layout.family
        bases = [
            item for item in stock.layout.question.items if item.base is None and not stock.cost_of(family(item))[0]
        ]
        movers = [(base, self._mover(base)) for base in bases]
        comers = [base for base, mover in movers if mover is None and stock.cost_of(family(base)) > (0, 0)]
        comers.sort(key=lambda base: -stock.cost_of(family(base))[1] / base.bytes)
        return [each for each in movers if each[1] is not None] + [(base, None) for base in comers[:_COMERS]]

    def _mover(self, base: Item) -> Copy | None:
        """A copy in one memory here: of the base, or of an adapter that is not on devices."""
        pool_of = self._stock.layout.pool
        for item in self._stock.layout.family(base):
            for copy in self._stock.copies[item.id]:
                free = item is base or pool_of(copy).tier is not Tier.DEVICE
                if free and len(copy.memories) == 1 and pool_of(copy) in self._pools:
                    return copy
        return None

    def _options(self, base: Item, mover: Copy | None) -> Iterator[_Option]:
        """As now; without the copy that may move; and with it, or one of the base, in each other memory here."""
        stock, layout = self._stock, self._stock.layout
        item = base if mover is None else layout.items[mover.item]
        lost = () if mover is None else tuple(stock.leaving(mover))
        yield _Option(lost=(), gained=(), value=stock.cost_of(layout.family(base))[1])
        if lost:
            yield from self._option(base, lost, ())
        for pool in self._pools:
            on_devices = pool.tier is Tier.DEVICE
            if on_devices and (item is not base or base.devices > 1):
                continue
            moving = [copy.item for copy in reversed(lost)] if on_devices and lost else [item.id]
            for memory in pool.memories:
                if item.id not in stock.at[memory.id]:
                    yield from self._option(base, lost, [Copy(item=name, memories=(memory.id,)) for name in moving])

    def _option(self, base: Item, lost: tuple[Copy, ...], gained: Sequence[Copy]) -> Iterator[_Option]:
        """The option, unless something may not lie there or a limit of the family would not hold."""
        stock, layout = self._stock, self._stock.layout
        family = layout.family(base)
        broken, value = stock.cost_if(family, lost, gained)
        may = all(layout.may_keep(layout.items[copy.item], memory) for copy in gained for memory in copy.memories)
        if may and not broken:
            yield _Option(lost=lost, gained=tuple(gained), value=value + stock.price_of_moves(gained, lost))
