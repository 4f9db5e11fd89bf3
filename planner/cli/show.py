"""`holdfast show`: write one page about a plan and, given journals, about its run."""

from pathlib import Path
from typing import Annotated

import typer

from planner.audit.instants import timeline
from planner.audit.journals import read_journals
from planner.audit.trace import records_of
from planner.cli.descriptions import read_with_progress
from planner.cli.documents import read_verified
from planner.cli.exits import GOOD
from planner.cli.output import keep, write_whole
from planner.errors import BadJournal
from planner.page.render import render
from specs import codec


def show(
    description: Annotated[Path, typer.Argument(metavar="FILE", help="The description, a YAML file.")],
    plan: Annotated[Path, typer.Argument(metavar="PLAN.json", help="The plan.")],
    out: Annotated[Path, typer.Option(metavar="PAGE.html", help="Write the page here.")],
    journal: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="A journal of the run, or a directory with journals; may be repeated."),
    ] = None,
) -> None:
    """Write one self-contained page: the multicast over time, the flow and its bottleneck, lanes, pipelines, bounds."""
    for read in (description, plan, *(journal or ())):
        keep(read=read, written=out)
    verified = read_verified(read_with_progress(description), plan)
    measured = None
    if journal:
        digest, generation = codec.digest(verified.plan), verified.plan.generation
        records = [record for each in read_journals(journal) for _, record in records_of(each, digest, generation)]
        if not records:
            raise BadJournal(f"{journal[0]}: no journal there is of this plan, {digest[:12]}, generation {generation}")
        measured = timeline(verified.plan, verified.problem, records)
    page = render(verified, measured).encode()
    write_whole(out, page)
    typer.echo(f"written to {out}: {len(page):,} bytes")
    raise typer.Exit(GOOD)
