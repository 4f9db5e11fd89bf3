"""A placement question for CP-SAT: exact, for questions of some dozens of items and memories."""

from collections.abc import Iterable

import attrs
from ortools.sat.python import cp_model

from planner.placement.outcome import Limit, LimitKind
from specs.decisions.placement.exhaustion import places
from specs.decisions.placement.holding import Layout, reaches
from specs.decisions.placement.nouns import MOVED, Copy, Item, Objective, Pool, Tier, load_ns
from specs.units import INTEGER_MAX


@attrs.frozen(kw_only=True)
class Choice:
    """One way in which an item's cold requests may start, with so many copies on devices."""

    device_copies: int
    pool: str | None  # None: no request waits
    source: str | None  # pool
    base_source: str | None  # pool; None: the base is on devices of `pool`, or there is no base
    start_ns: int


def limits(layout: Layout) -> tuple[Limit, ...]:
    """Every limit of a question, in its order."""
    question = layout.question
    found = [Limit(kind=LimitKind.ROOM, name=memory) for memory in layout.memory_bytes]
    if question.objective is not Objective.LATE_ITEMS:
        late = [item for item in question.items if item.start_ns_max is not None]
        found += [Limit(kind=LimitKind.IN_TIME, name=item.id) for item in late]
    found += [Limit(kind=LimitKind.COPIES, name=item.id) for item in question.items if item.copies_min]
    if question.moved_bytes_max is not None:
        found.append(Limit(kind=LimitKind.MOVED, name=MOVED))
    return tuple(found)


class Encoding:
    """Variables and constraints.  `enforced` says which limits hold; what no limit asks for always holds.

    holds[c]     copy c, of all that could be, is held
    takes[i, u]  the cold requests of item i start in way u, for exactly one u
    """

    def __init__(self, layout: Layout, enforced: Iterable[Limit]) -> None:
        self.layout = layout
        self.model = cp_model.CpModel()
        self.enforced = frozenset(enforced)
        rooms = (Limit(kind=LimitKind.ROOM, name=memory) for memory in layout.memory_bytes)
        boundless = frozenset(room.name for room in rooms if room not in self.enforced)
        self.places = {item.id: places(layout, item, boundless) for item in layout.question.items}
        self.holds = {copy: self.model.new_bool_var("") for copies in self.places.values() for copy in copies}
        self.choices = {item.id: self._choices(item) for item in layout.question.items}
        self.takes = {
            (item, choice): self.model.new_bool_var("") for item, choices in self.choices.items() for choice in choices
        }
        self._once_per_memory()
        self._adapters_beside_bases()
        self._room()
        self._copies_on_nodes()
        self._moved()
        for item in layout.question.items:
            self._starts(item)

    def minimise_value(self) -> bool:
        """Make the question's objective the goal; False when its numbers are too large for the solver."""
        largest = 0
        match self.layout.question.objective:
            case Objective.START_TIME:
                weights = {key: self._waiting(*key) * key[1].start_ns for key in self.takes}
                self.model.minimize(sum(weights[key] * take for key, take in self.takes.items()))
                largest = sum(weights.values())
            case Objective.LATE_ITEMS:
                self.model.minimize(sum(take for key, take in self.takes.items() if self._late(*key)))
            case Objective.MOVED_BYTES:
                self.model.minimize(self._moved_bytes())
        return largest <= INTEGER_MAX

    def minimise_excess(self, limit: Limit) -> None:
        """Make the goal what one limit, which is not enforced, would have to become: bytes, nanoseconds or nodes."""
        match limit.kind:
            case LimitKind.ROOM:
                self.model.minimize(self._used(limit.name))
            case LimitKind.IN_TIME:
                of_item = [(choice, take) for (item, choice), take in self.takes.items() if item == limit.name]
                self.model.minimize(sum(choice.start_ns * take for choice, take in of_item))
            case LimitKind.COPIES:
                self.model.maximize(sum(self._nodes(self.layout.items[limit.name])))
            case LimitKind.MOVED:
                self.model.minimize(self._moved_bytes())

    def decode(self, solver: cp_model.CpSolver) -> tuple[Copy, ...]:
        """Copies of the solver's answer."""
        return tuple(copy for copy, held in self.holds.items() if solver.boolean_value(held))

    def _choices(self, item: Item) -> tuple[Choice, ...]:
        kind = Limit(kind=LimitKind.IN_TIME, name=item.id)
        top = min(item.hot_copies, sum(1 for copy in self.places[item.id] if self._on_devices(copy)))
        ways = [way for pool in self.layout.device_pools for way in self._ways(item, pool)]
        choices: list[Choice] = []
        for count in range(top + 1):
            if not item.cold_requests(count):
                none = Choice(device_copies=count, pool=None, source=None, base_source=None, start_ns=0)
                choices.append(none)
            else:
                choices += [attrs.evolve(way, device_copies=count) for way in ways]
        return tuple(choice for choice in choices if kind not in self.enforced or not self._late(item.id, choice))

    def _ways(self, item: Item, pool: Pool) -> Iterable[Choice]:
        base = self.layout.items[item.base] if item.base is not None else None
        room = pool.landing_bytes - item.part_bytes
        if room < 0:
            return
        unders: list[tuple[str | None, int]] = [(None, 0)]
        if base is not None and base.part_bytes <= room:
            unders += [(source, ns) for source, ns in self._loads(base, pool) if source != pool.id]
        for source, own_ns in self._loads(item, pool):
            for base_source, base_ns in unders:
                yield Choice(
                    device_copies=0,
                    pool=pool.id,
                    source=source,
                    base_source=base_source,
                    start_ns=own_ns + base_ns,
                )

    def _loads(self, item: Item, pool: Pool) -> list[tuple[str, int]]:
        sources = self.layout.routes_to[pool.id].items()
        return [
            (source, load_ns(item, route))
            for source, route in sources
            if reaches(item, self.layout.pools[source], pool)
        ]

    def _starts(self, item: Item) -> None:
        """Start one way; from a pool with a copy; with the base from one, or on the devices; with copies enough."""
        takes = [(choice, self.takes[item.id, choice]) for choice in self.choices[item.id]]
        self.model.add(sum(take for _, take in takes) == 1)
        on_devices = sum(self.holds[copy] for copy in self.places[item.id] if self._on_devices(copy))
        self.model.add(sum(choice.device_copies * take for choice, take in takes) <= on_devices)
        for pool in self.layout.question.pools:
            own = sum(take for choice, take in takes if choice.source == pool.id)
            self.model.add(own <= self._held_in(item.id, pool))
            if item.base is None:
                continue
            under = sum(
                take
                for choice, take in takes
                if choice.base_source == pool.id or (choice.pool == pool.id and choice.base_source is None)
            )
            self.model.add(under <= self._held_in(item.base, pool))

    def _once_per_memory(self) -> None:
        for copies in self.places.values():
            at: dict[str, list[cp_model.IntVar]] = {}
            for copy in copies:
                for memory in copy.memories:
                    at.setdefault(memory, []).append(self.holds[copy])
            for variables in at.values():
                self.model.add_at_most_one(variables)

    def _adapters_beside_bases(self) -> None:
        for item in self.layout.question.items:
            for copy in self.places[item.id] if item.base is not None else ():
                if self._on_devices(copy):
                    base = self.holds.get(Copy(item=str(item.base), memories=copy.memories))
                    self.model.add(self.holds[copy] <= (0 if base is None else base))

    def _room(self) -> None:
        for memory, has in self.layout.memory_bytes.items():
            if Limit(kind=LimitKind.ROOM, name=memory) in self.enforced:
                self.model.add(self._used(memory) <= has)

    def _copies_on_nodes(self) -> None:
        for item in self.layout.question.items:
            if item.copies_min and Limit(kind=LimitKind.COPIES, name=item.id) in self.enforced:
                self.model.add(sum(self._nodes(item)) >= item.copies_min)

    def _moved(self) -> None:
        most = self.layout.question.moved_bytes_max
        if most is not None and Limit(kind=LimitKind.MOVED, name=MOVED) in self.enforced:
            self.model.add(self._moved_bytes() <= most)

    def _nodes(self, item: Item) -> list[cp_model.IntVar]:
        """For each node, a variable that may be 1 only when a copy is in it."""
        at: dict[str, list[cp_model.IntVar]] = {}
        for copy in self.places[item.id]:
            node = self.layout.pool(copy).node
            if node is not None:
                at.setdefault(node, []).append(self.holds[copy])
        found = []
        for variables in at.values():
            node_has = self.model.new_bool_var("")
            self.model.add(node_has <= sum(variables))
            found.append(node_has)
        return found

    def _used(self, memory: str) -> cp_model.LinearExprT:
        return sum(
            self.layout.bytes_at(self.layout.items[copy.item], memory) * held
            for copy, held in self.holds.items()
            if memory in copy.memories
        )

    def _moved_bytes(self) -> cp_model.LinearExprT:
        return sum(self.layout.moved_bytes(copy) * held for copy, held in self.holds.items())

    def _held_in(self, item: str, pool: Pool) -> cp_model.LinearExprT:
        return sum(self.holds[copy] for copy in self.places[item] if self.layout.pool(copy) is pool)

    def _on_devices(self, copy: Copy) -> bool:
        return self.layout.pool(copy).tier is Tier.DEVICE

    def _waiting(self, item: str, choice: Choice) -> int:
        return self.layout.items[item].cold_requests(choice.device_copies)

    def _late(self, item: str, choice: Choice) -> bool:
        return choice.pool is not None and self.layout.is_late(self.layout.items[item], choice.start_ns)
