"""A file about unit mixes becomes a `MixQuestion`.

objective: devices                  # devices, cost or changes: what is to be small
demands:
  prefill: {requests: 25 / s}
  decode: {requests: 25 / s, floor: 10 / s}       # floor: what is served between phases too; nothing by default
devices: {H200: 64}                 # how many there are of each kind, those of running units included
units:
  prefill-1: {devices: {H200: 1}, serves: {prefill: 3.05 / s}, running: 4}
  both-2: {devices: {H200: 2}, serves: {prefill + decode: 2.74 / s}, price: 6 USD / h, start: 1 USD, stop: 0.5 USD}
hours: 24                           # optional: for which the answer will stand; counts for cost
phases: 2                           # optional: in how many phases units may start and stop
changes: 6                          # optional: units that may start or stop
budget: 5000 USD                    # optional: cost that is allowed
group: 8                            # optional: also the best mix of equal groups, of at most so many devices of a kind

A rate under `serves` is what one unit does within the SLO when it does nothing else; with `+`, one request is served in
all the demands that are named.
"""

import re
from fractions import Fraction
from pathlib import Path

import attrs

from planner.description.document import Faults, Item, optional, read_document
from planner.description.hardware import parse_name
from planner.description.quantities import parse_count, parse_natural, parse_per_hour, parse_price
from planner.errors import BadQuantity
from specs.codec import nearest
from specs.decisions.mix.question import (
    Ability,
    Demand,
    DeviceCount,
    MixQuestion,
    Objective,
    Supply,
    Unit,
)
from specs.errors import InvalidProblem
from specs.units import NANOS_PER_SECOND, Nanos

_SECONDS = {"s": 1, "min": 60, "h": 3600, "hour": 3600}
_ONE = Nanos(1)


@attrs.frozen(kw_only=True)
class MixFile:
    """What a file asks: the question, and how large equal groups may be; absent: none are asked for."""

    question: MixQuestion
    group_devices_max: int | None


def read_mix(path: Path) -> MixFile:
    """Read a file about unit mixes.  Raises BadDescription with every fault that was found."""
    root, faults = read_document(path)
    fields = root.fields(
        required=("objective", "demands", "devices", "units"),
        optional=("hours", "phases", "changes", "budget", "group"),
    )
    if not {"objective", "demands", "devices", "units"} <= fields.keys():
        faults.check()
    objective = fields["objective"].read(_parse_objective, Objective.DEVICES)
    demands = tuple(_demand(key, item) for key, item in fields["demands"].entries())
    supplies = tuple(
        Supply(kind=key.read(parse_name, "unnamed"), available=item.read(parse_natural, 1))
        for key, item in fields["devices"].entries()
    )
    known = (tuple(demand.name for demand in demands), tuple(supply.kind for supply in supplies))
    units = tuple(_unit(key, item, *known) for key, item in fields["units"].entries())
    group = optional(fields, "group", parse_count)
    if group is not None and objective is Objective.CHANGES:
        fields["group"].fault("equal groups are chosen by devices or cost, not by changes")
    question = _question(root, fields, faults, objective, (units, demands, supplies))
    return MixFile(question=question, group_devices_max=group)


def _question(
    root: Item,
    fields: dict[str, Item],
    faults: Faults,
    objective: Objective,
    parts: tuple[tuple[Unit, ...], tuple[Demand, ...], tuple[Supply, ...]],
) -> MixQuestion:
    units, demands, supplies = parts
    limits = {
        "hours": optional(fields, "hours", parse_count) or 1,
        "phases_max": optional(fields, "phases", parse_count) or 1,
        "changes_max": optional(fields, "changes", parse_natural),
        "cost_max": optional(fields, "budget", _parse_money),
    }
    faults.check()
    try:
        return MixQuestion(
            units=units,
            demands=demands,
            supplies=supplies,
            objective=objective,
            hours=limits["hours"] or 1,
            phases_max=limits["phases_max"] or 1,
            changes_max=limits["changes_max"],
            cost_max=limits["cost_max"],
        )
    except InvalidProblem as error:
        root.fault(str(error))
        faults.check()
        raise


def _demand(key: Item, item: Item) -> Demand:
    fields = item.fields(required=("requests",), optional=("floor",))
    requests = optional(fields, "requests", parse_per_hour) or 0
    floor = optional(fields, "floor", parse_per_hour) or 0
    if floor > requests:
        fields["floor"].fault(f"the floor, {floor:,} per hour, is above the demand, {requests:,} per hour")
        floor = requests
    return Demand(name=key.read(parse_name, "unnamed"), requests_per_hour=requests, floor_per_hour=floor)


def _unit(key: Item, item: Item, demands: tuple[str, ...], kinds: tuple[str, ...]) -> Unit:
    fields = item.fields(required=("devices", "serves"), optional=("running", "price", "start", "stop"))
    devices = fields["devices"].entries() if "devices" in fields else []
    serves = fields["serves"].entries() if "serves" in fields else []
    for what, of_item in (("devices", devices), ("serves", serves)):
        if what in fields and fields[what].is_mapping and not of_item:
            fields[what].fault(f"a unit that {'has no devices' if what == 'devices' else 'serves nothing'} is no unit")
    return Unit(
        name=key.read(parse_name, "unnamed"),
        abilities=tuple(
            Ability(covers=_known(name, name.text().split("+"), demands), request_ns=rate.read(_parse_request_ns, _ONE))
            for name, rate in serves
        ),
        devices=tuple(
            DeviceCount(kind=_known(kind, [kind.text()], kinds)[0], count=count.read(parse_count, 1))
            for kind, count in devices
        ),
        cost=optional(fields, "price", parse_price) or 0,
        start_cost=optional(fields, "start", _parse_money) or 0,
        stop_cost=optional(fields, "stop", _parse_money) or 0,
        running=optional(fields, "running", parse_natural) or 0,
    )


def _known(item: Item, names: list[str], known: tuple[str, ...]) -> tuple[str, ...]:
    stripped = tuple(name.strip() for name in names)
    for name in stripped:
        if name not in known:
            item.fault(f"{name!r:.60} is not stated above; {nearest(name, known)}")
    if len(set(stripped)) < len(stripped):
        item.fault(f"{item.text()!r:.80} names a demand twice")
    return stripped


def _parse_objective(text: str) -> Objective:
    if text not in set(Objective):
        raise BadQuantity(f"{text!r:.40} is not an objective; write one of {', '.join(Objective)}")
    return Objective(text)


def _parse_money(text: str) -> int:
    """Read money, such as 1.5 USD, in millionths of a dollar, rounded up."""
    found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*USD", text)
    if found is None:
        raise BadQuantity(f"{text!r:.60} is not money; write for example 1.50 USD")
    return (Fraction(found.group(1)) * 10**6).__ceil__()


def _parse_request_ns(text: str) -> Nanos:
    """Read what a unit does alone, such as 3.05 / s, as its time for one request, rounded up."""
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*/\s*([a-z]+)", text)
    if found is None or found.group(2) not in _SECONDS:
        raise BadQuantity(f"{text!r:.60} is not a rate of requests; write for example 3.05 / s or 90 / min")
    rate = Fraction(found.group(1))
    if rate == 0:
        raise BadQuantity(f"{text!r:.60}: a unit that serves nothing of this is left out")
    return Nanos((_SECONDS[found.group(2)] * NANOS_PER_SECOND / rate).__ceil__())
