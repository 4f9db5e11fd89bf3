"""`holdfast describe`: print what was understood of a description, or what this node has."""

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
from planner.cli.this_node_tables import headline, node_tables
from planner.description.fit import conflict, fits
from planner.description.node_groups import group_nodes
from planner.description.picture import draw
from planner.description.summary import summarise
from planner.this_node.fragment import fragment
from planner.this_node.inventory import ThisNode
from planner.this_node.reading import read_this_node
from planner.this_node.summary import summarise as summarise_node
from specs.problem import Problem

_FILE_WIDTH = 180
# Below it are the /sys and /proc that --this-node reads.
_ROOT = Path("/")


def describe(
    description: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The description, a YAML file.", show_default=False)
    ] = None,
    this_node: Annotated[
        bool,
        typer.Option("--this-node", help="Describe the machine that this runs on instead, by its /sys and /proc."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON instead of tables.")] = False,
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="With --this-node: print only its entry under `nodes:` of a description.")
    ] = False,
    picture: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw the place graph.")] = None,
) -> None:
    """Print what is understood of a description: nodes, memories, links, LLMs, and whether they fit.

    With --this-node instead of FILE, what this machine has: memories and NUMA nodes, GPUs, RDMA devices with their
    ports, rates and GIDs, how near each is to each GPU, net devices, and an entry for the `nodes:` of a description.
    """
    if this_node:
        _refuse_with_this_node(description, picture, as_json=as_json, as_yaml=as_yaml)
        _describe_this_node(as_json=as_json, as_yaml=as_yaml)
        raise typer.Exit(GOOD)
    if as_yaml:
        raise typer.BadParameter("it prints the entry of this node; say --this-node too", param_hint="'--yaml'")
    if description is None:
        raise typer.BadParameter("name a description, or say --this-node", param_hint="'FILE'")
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


def _refuse_with_this_node(description: Path | None, picture: Path | None, *, as_json: bool, as_yaml: bool) -> None:
    hint = "'--this-node'"
    if description is not None:
        raise typer.BadParameter(f"it is instead of a description; leave out {description} or it", param_hint=hint)
    if picture is not None:
        raise typer.BadParameter("the picture is of a description; leave out --picture or it", param_hint=hint)
    if as_json and as_yaml:
        raise typer.BadParameter("say --json or --yaml, not both", param_hint=hint)
    if not (_ROOT / "sys" / "class").is_dir():
        raise typer.BadParameter("it reads what Linux tells in /sys, and there is no /sys/class here", param_hint=hint)


def _describe_this_node(*, as_json: bool, as_yaml: bool) -> None:
    node = read_this_node(_ROOT)
    if as_json:
        typer.echo(json.dumps(summarise_node(node), indent=2))
    elif as_yaml:
        typer.echo(fragment(node), nl=False)
    else:
        _print_node(node)


def _print_node(node: ThisNode) -> None:
    console = _console()
    console.print(headline(node))
    for table in node_tables(node):
        console.print()
        console.print(table)
    typer.echo()
    # Not through the console: what is to be pasted is never wrapped.
    typer.echo(fragment(node), nl=False)


def _console() -> Console:
    # Without a terminal, tables are as wide as they need to be, and the same everywhere.
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _FILE_WIDTH)


def _print_tables(problem: Problem) -> None:
    console = _console()
    groups = group_nodes(problem)
    console.print(node_tree(problem, groups))
    for table in (*group_tables(problem, groups), *demand_tables(problem)):
        console.print()
        console.print(table)
    if problem.llms:
        console.print()
        console.print(fit_table(problem))
