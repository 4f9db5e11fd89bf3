"""`holdfast describe`: print what was understood of a description, as tables, a tree and a picture."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from planner.cli.describe_tables import demand_tables, fit_table, group_tables, node_tree
from planner.cli.descriptions import read_with_progress
from planner.cli.exits import GOOD, INFEASIBLE
from planner.cli.output import keep, write_whole
from planner.description.fit import conflict, fits
from planner.description.node_groups import group_nodes
from planner.description.picture import draw
from planner.description.summary import summarise
from specs.problem import Problem

_FILE_WIDTH = 180


def describe(
    description: Annotated[Path, typer.Argument(metavar="FILE", help="The description, a YAML file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON instead of tables.")] = False,
    picture: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw the place graph.")] = None,
) -> None:
    """Print what is understood of a description: nodes, memories, links, LLMs, and whether they fit."""
    keep(read=description, written=picture)
    problem = read_with_progress(description)
    found = fits(problem)
    if picture is not None:
        write_whole(picture, draw(problem).encode())
    if as_json:
        typer.echo(json.dumps(summarise(problem, found), indent=2, ensure_ascii=False))
    else:
        _print_tables(problem)
    missing = [fit for fit in found if fit.missing_bytes > 0]
    if missing and not as_json:
        for each in map(conflict, missing[:8]):
            typer.echo(f"{each.rule} at {each.where}: {each.sentence}")
        if len(missing) > 8:
            typer.echo(f"... and at {len(missing) - 8} other places")
    raise typer.Exit(INFEASIBLE if missing else GOOD)


def _print_tables(problem: Problem) -> None:
    # Without a terminal, tables are as wide as they need to be, and the same everywhere.
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _FILE_WIDTH)
    groups = group_nodes(problem)
    console.print(node_tree(problem, groups))
    for table in (*group_tables(problem, groups), *demand_tables(problem)):
        console.print()
        console.print(table)
    if problem.llms:
        console.print()
        console.print(fit_table(problem))
