"""Unit mixes as tables and as data."""

from rich.table import Table
from rich.text import Text

from planner.mixes.answer import MixInfeasible, MixPlanned
from planner.mixes.uniform import UniformMix
from specs.decisions.mix.checks import final_counts
from specs.decisions.mix.question import Mix, MixQuestion, Objective, UnitCount

_MICRO = 10**6  # of a dollar


def say_value(objective: Objective, value: int) -> str:
    """Write a value of an objective for a person."""
    if objective is Objective.COST:
        dollars, rest = divmod(value, _MICRO)
        return f"{dollars:,}.{rest * 100 // _MICRO:02} USD"
    return f"{value:,} {objective}"


def units_table(question: MixQuestion, planned: MixPlanned) -> Table:
    """Tabulate how many units of each shape start, stop and are up in the end."""
    table = Table(title="units", title_justify="left")
    for column in ("unit", "devices of one", "running", "starts", "stops", "in the end"):
        table.add_column(column, overflow="fold", justify="left" if column in ("unit", "devices of one") else "right")
    counts = final_counts(question, planned.mix)
    for unit in question.units:
        moved = [_moved(planned.mix, unit.name, starts=starts) for starts in (True, False)]
        if not (unit.running or counts[unit.name] or any(moved)):
            continue
        devices = ", ".join(f"{part.count} {part.kind}" for part in unit.devices)
        figures = (unit.running, *moved, counts[unit.name])
        table.add_row(Text(unit.name), Text(devices), *(f"{figure:,}" for figure in figures))
    return table


def _moved(mix: Mix, unit: str, *, starts: bool) -> int:
    return sum(
        move.count for phase in mix.phases for move in (phase.starts if starts else phase.stops) if move.unit == unit
    )


def phases_table(planned: MixPlanned) -> Table:
    """Tabulate the order of changes: in each phase what starts first, and what stops when that is up."""
    table = Table(title="phases", title_justify="left")
    for column in ("phase", "starts", "then stops"):
        table.add_column(column, overflow="fold")
    for index, phase in enumerate(planned.mix.phases, 1):
        table.add_row(str(index), Text(_counts(phase.starts)), Text(_counts(phase.stops)))
    return table


def _counts(moves: tuple[UnitCount, ...]) -> str:
    return ", ".join(f"{move.count:,} {move.unit}" for move in moves) or "nothing"


def worth_table(question: MixQuestion, planned: MixPlanned, alike: UniformMix | None) -> Table:
    """Tabulate value, bound and gap; and what equal groups would take instead."""
    table = Table(title="how good it is", title_justify="left")
    for column in ("mix", "value", "bound", "gap", "how the bound is known"):
        table.add_column(column, overflow="fold", justify="right" if column in ("value", "bound", "gap") else "left")
    objective = question.objective
    gap = "0, optimal" if planned.gap == 0 else say_value(objective, planned.gap)
    table.add_row(
        "free",
        say_value(objective, planned.value),
        say_value(objective, planned.bound),
        gap,
        (planned.solver and f"{planned.method}: {planned.solver}") or planned.method,
    )
    if alike is not None:
        more = alike.value - planned.value
        said = f"{alike.groups:,} equal groups of {_group(alike)}"
        price = f"{say_value(objective, more)} more" + (f", {more / planned.value:.1%}" if planned.value else "")
        how = "every number of groups was decided" if alike.exact else "some numbers of groups were not decided"
        table.add_row(Text(said), say_value(objective, alike.value), "", price, how)
    return table


def _group(alike: UniformMix) -> str:
    counts = final_counts(alike.question, alike.group.mix)
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def mix_summary(question: MixQuestion, planned: MixPlanned, alike: UniformMix | None) -> dict[str, object]:
    """Summarise a mix for programs; money is in millionths of a dollar."""
    return {
        "objective": question.objective.value,
        "value": planned.value,
        "bound": planned.bound,
        "gap": planned.gap,
        "method": planned.method,
        "solver": planned.solver,
        "units": {name: count for name, count in final_counts(question, planned.mix).items() if count},
        "phases": [
            {
                "starts": {move.unit: move.count for move in phase.starts},
                "stops": {move.unit: move.count for move in phase.stops},
            }
            for phase in planned.mix.phases
        ],
        "equal_groups": None
        if alike is None
        else {
            "groups": alike.groups,
            "group": {n: c for n, c in final_counts(alike.question, alike.group.mix).items() if c},
            "value": alike.value,
            "more": alike.value - planned.value,
            "exact": alike.exact,
        },
    }


def conflicts_summary(found: MixInfeasible) -> dict[str, object]:
    """Say for programs why there is no mix."""
    return {
        "infeasible": [
            {"limit": each.limit, "allowed": each.has, "needed": each.needs, "sentence": each.sentence}
            for each in found.conflicts
        ],
        "method": found.method,
        "solver": found.solver,
    }
