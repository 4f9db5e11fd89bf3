"""`holdfast mix`: how many units of which shape serve a demand."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from planner.cli import plan_options as options
from planner.cli.exits import GOOD, INFEASIBLE, UNDECIDED
from planner.cli.mix_tables import conflicts_summary, mix_summary, phases_table, units_table, worth_table
from planner.cli.searching import make_search, shown
from planner.description.mix_reading import read_mix
from planner.mixes.answer import MixInfeasible, MixPlanned, MixUndecided
from planner.mixes.solve import best_mix
from planner.mixes.uniform import best_uniform

_FILE_WIDTH = 120


def mix(
    description: Annotated[Path, typer.Argument(metavar="FILE", help="Units, demands and devices, a YAML file.")],
    within: options.Within = None,
    reproducible: options.Reproducible = False,
    steps: options.Steps = None,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
) -> None:
    """Find how many units of which shape serve a demand, and how to get there from what runs; say how good that is.

    With `group` in the file, also the best mix of equal groups, beside which the free mix shows the price of
    uniformity.  Without a mix, every limit that would help alone is named, with how far it would have to give.
    """
    search = make_search(within=within, reproducible=reproducible, steps=steps, seed=seed)
    asked = read_mix(description)
    with shown(search, "looking for a mix"):
        outcome = best_mix(asked.question, search)
        alike = None
        if isinstance(outcome, MixPlanned) and asked.group_devices_max is not None:
            alike = best_uniform(asked.question, asked.group_devices_max, search)
    match outcome:
        case MixPlanned():
            if as_json:
                typer.echo(json.dumps(mix_summary(asked.question, outcome, alike), indent=2))
            else:
                tables = Console(highlight=False, width=None if Console().is_terminal else _FILE_WIDTH)
                tables.print(units_table(asked.question, outcome))
                if any(phase.starts or phase.stops for phase in outcome.mix.phases):
                    tables.print(phases_table(outcome))
                tables.print(worth_table(asked.question, outcome, alike))
                if asked.group_devices_max is not None and alike is None:
                    typer.echo(f"no equal groups of at most {asked.group_devices_max} devices of a kind were found")
            raise typer.Exit(GOOD)
        case MixInfeasible():
            _print_conflicts(outcome, as_json=as_json)
            raise typer.Exit(INFEASIBLE)
        case MixUndecided(sentence=sentence):
            typer.echo(json.dumps({"undecided": sentence}, indent=2) if as_json else f"undecided: {sentence}")
            raise typer.Exit(UNDECIDED)


def _print_conflicts(found: MixInfeasible, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(conflicts_summary(found), indent=2))
        return
    known = found.method if found.solver is None else f"{found.method}, {found.solver}"
    typer.echo(f"no mix serves these demands within the limits ({known})")
    for each in found.conflicts:
        typer.echo(f"  {each.sentence}")
    if not found.conflicts:
        typer.echo("  no single limit is known that would help alone")
