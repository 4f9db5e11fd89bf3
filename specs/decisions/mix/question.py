"""The nouns of unit mixes.

A *unit* is a shape of worker: a prefill worker on one GPU, a decode worker on two.  Load is fluid: a unit divides its
time between its *abilities*, and a request takes `request_ns` of it, so a rate of r requests per second within the SLO
is `request_ns` = 10^9 / r, rounded up.  A *demand* is a class of requests in one role.  A request that a prefill unit
and a decode unit share is one of each demand; a unit that does both has an ability that covers both.

Changes come in *phases*.  In a phase the new units start first, and only when they are up the old ones stop.  So
what served before a phase serves until its end, and every phase says how the units that are up after it divide the
load: before the last phase at least the floor of each demand, after it the whole demand.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum

import attrs

from specs import fields
from specs.errors import InvalidProblem
from specs.units import NANOS_PER_SECOND, Nanos

HOUR_NS = 3600 * NANOS_PER_SECOND


class Objective(StrEnum):
    """What should be as small as possible.  Each is a whole number."""

    DEVICES = "devices"  # of all kinds together, in use after the last phase
    COST = "cost"  # of the units after the last phase for `hours`, and of the changes
    CHANGES = "changes"  # units started and stopped


@attrs.frozen(kw_only=True)
class Ability:
    """One sort of work that a unit can do within the SLO."""

    covers: tuple[str, ...]  # names of demands that one request satisfies at once
    request_ns: Nanos = fields.positive()  # of one unit's time


@attrs.frozen(kw_only=True)
class DeviceCount:
    """Some devices of one kind."""

    kind: str = fields.name()
    count: int = fields.positive()


@attrs.frozen(kw_only=True)
class Unit:
    """A shape of worker, and how many of it run now.  Money is in whole units of the question's own choice."""

    name: str = fields.name()
    abilities: tuple[Ability, ...]
    devices: tuple[DeviceCount, ...]  # of one unit
    cost: int = fields.natural()  # of one unit for an hour
    start_cost: int = fields.natural()  # once
    stop_cost: int = fields.natural()  # once
    running: int = fields.natural()


@attrs.frozen(kw_only=True)
class Demand:
    """Requests of one class in one role."""

    name: str = fields.name()
    requests_per_hour: int = fields.natural()
    floor_per_hour: int = fields.natural()  # to be served between phases too; at most `requests_per_hour`


@attrs.frozen(kw_only=True)
class Supply:
    """How many devices of a kind there are, those of running units included."""

    kind: str = fields.name()
    available: int = fields.natural()


@attrs.frozen(kw_only=True)
class MixQuestion:
    """See the module's text.  Raises InvalidProblem, with every fault, when the parts contradict each other."""

    units: tuple[Unit, ...]
    demands: tuple[Demand, ...]
    supplies: tuple[Supply, ...]
    objective: Objective
    hours: int = fields.positive()  # for which the answer will stand
    phases_max: int = fields.positive()
    changes_max: int | None = attrs.field(default=None)  # None: any number
    cost_max: int | None = attrs.field(default=None)  # None: any cost

    def __attrs_post_init__(self) -> None:
        faults = tuple(_contradictions(self))
        if faults:
            raise InvalidProblem("; ".join(faults))


@attrs.frozen(kw_only=True)
class UnitCount:
    """Some units of one shape."""

    unit: str = fields.name()
    count: int = fields.positive()


@attrs.frozen(kw_only=True)
class Flow:
    """Requests that all units of one shape together serve by one ability, in `Phase.period_hours`."""

    unit: str = fields.name()
    ability: int = fields.natural()  # index into `Unit.abilities`
    requests: int = fields.positive()


@attrs.frozen(kw_only=True)
class Phase:
    """Units that start, then units that stop, then how those that are up divide the load."""

    starts: tuple[UnitCount, ...]
    stops: tuple[UnitCount, ...]
    flows: tuple[Flow, ...]
    period_hours: int = fields.positive()  # in which flows are whole requests


@attrs.frozen(kw_only=True)
class Mix:
    """The answer: at least one phase, which may change nothing."""

    phases: tuple[Phase, ...]


def _repeated(what: str, names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield f"{what} {name} is given twice"
        seen.add(name)


def _contradictions(question: MixQuestion) -> Iterator[str]:
    yield from _repeated("unit", (unit.name for unit in question.units))
    yield from _repeated("demand", (demand.name for demand in question.demands))
    yield from _repeated("device kind", (supply.kind for supply in question.supplies))
    for demand in question.demands:
        if demand.floor_per_hour > demand.requests_per_hour:
            yield f"demand {demand.name} has a floor of {demand.floor_per_hour} above its {demand.requests_per_hour}"
    available = {supply.kind: supply.available for supply in question.supplies}
    demands = {demand.name for demand in question.demands}
    used = dict.fromkeys(available, 0)
    for unit in question.units:
        yield from _abilities_of(unit, demands)
        yield from _devices_of(unit, available)
        for part in unit.devices:
            used[part.kind] = used.get(part.kind, 0) + unit.running * part.count
    for kind, count in available.items():
        if used[kind] > count:
            yield f"running units have {used[kind]} devices of kind {kind}, {count} are available"
    for what, limit in (("changes_max", question.changes_max), ("cost_max", question.cost_max)):
        if limit is not None and limit < 0:
            yield f"{what} is {limit}; it must be at least 0"


def _devices_of(unit: Unit, available: dict[str, int]) -> Iterator[str]:
    yield from _repeated(f"device kind of unit {unit.name}:", (part.kind for part in unit.devices))
    if not unit.devices:
        yield f"unit {unit.name} has no devices"
    for part in unit.devices:
        if part.kind not in available:
            yield f"unit {unit.name} has devices of kind {part.kind}, of which no supply is stated"


def _abilities_of(unit: Unit, demands: set[str]) -> Iterator[str]:
    for ability in unit.abilities:
        yield from _repeated(f"demand of unit {unit.name}:", ability.covers)
        if not ability.covers:
            yield f"unit {unit.name} has an ability that covers no demand"
        for name in ability.covers:
            if name not in demands:
                yield f"unit {unit.name} covers demand {name}, which is not stated"
