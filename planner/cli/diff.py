"""`holdfast diff`: what a plan changes in what runs."""

import json
import sys
from pathlib import Path
from typing import Annotated

import attrs
import typer
from rich.console import Console

from planner.cli.diff_tables import fate_in_words, tables
from planner.cli.documents import read_document, read_what_runs
from planner.cli.exits import GOOD
from planner.cli.output import keep, write_whole
from planner.cli.plan_tables import seconds
from planner.reconfiguring.differences import Difference, difference

_FILE_WIDTH = 160


def diff(
    before: Annotated[Path, typer.Argument(metavar="BEFORE.json", help="A state, or a plan's document.")],
    document: Annotated[Path, typer.Argument(metavar="DOCUMENT.json", help="The next plan, with its problem.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the differences as JSON.")] = False,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw pipelines, hand-overs and memories over time.")
    ] = None,
) -> None:
    """Say what a plan changes in what runs: what moves and how long, how full memories get, what requests see."""
    for read in (before, document):
        keep(read=read, written=picture)
    runs = read_what_runs(before)
    verified = read_document(document)
    found = difference(verified, runs.pipelines)
    if verified.plan.parent != runs.plan:
        parent = "none" if verified.plan.parent is None else verified.plan.parent[:12]
        typer.echo(f"the plan follows plan {parent}; {before} is of plan {runs.plan[:12]}", err=True)
    if picture is not None:
        from planner.reconfiguring.picture import draw

        write_whole(picture, draw(verified, found).encode())
    if as_json:
        typer.echo(json.dumps(attrs.asdict(found), indent=2))
    else:
        _print(found)
    raise typer.Exit(GOOD)


def _print(found: Difference) -> None:
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _FILE_WIDTH)
    for table in tables(found):
        console.print(table)
    typer.echo(f"all is done after {seconds(found.lasts_ns)}" if found.lasts_ns else "nothing changes")
    for each in found.seen:
        if each.fate == "closed":
            typer.echo(f"{each.pipeline}: {fate_in_words(each)}")
