"""`holdfast plan`: find a plan, say how good it is, write it."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from planner.cli.describe import read_with_progress
from planner.cli.documents import read_plan, write_document, write_plan
from planner.cli.exits import GOOD, INFEASIBLE, UNDECIDED
from planner.cli.output import keep
from planner.cli.plan_tables import certificate_table, pipeline_table, plan_summary
from planner.outcome import Infeasible, Planned, Undecided
from planner.solve import Request, solve
from specs import codec

_CONFLICTS_SHOWN = 8


def plan(
    description: Annotated[Path, typer.Argument(metavar="FILE", help="The description, a YAML file.")],
    out: Annotated[Path | None, typer.Option(metavar="PLAN.json", help="Write the plan here.")] = None,
    document: Annotated[
        Path | None,
        typer.Option(metavar="DOCUMENT.json", help="Write the plan with its problem here: what daemons take."),
    ] = None,
    blocks: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Blocks per LLM; chosen for the least time otherwise.")
    ] = None,
    after: Annotated[
        Path | None, typer.Option(metavar="PLAN.json", help="The plan that this one follows: its parent.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON instead of tables.")] = False,
) -> None:
    """Find a plan, have the checker pass it, say how far from the optimum it can be, and write it."""
    keep(read=description, written=out)
    keep(read=description, written=document)
    problem = read_with_progress(description)
    parent = None if after is None else read_plan(after)
    console = Console(stderr=True)
    with console.status(f"planning for {problem.name}"):
        began = time.monotonic()
        outcome = solve(problem, Request(blocks=blocks, parent=parent))
        elapsed = time.monotonic() - began
    match outcome:
        case Planned(verified=verified):
            size = len(codec.encode(verified.plan)) if out is None else write_plan(out, verified.plan)
            if document is not None:
                write_document(document, verified)
            if as_json:
                typer.echo(json.dumps(plan_summary(verified), indent=2))
            else:
                _print(verified.plan.problem, size, elapsed, out)
                tables = Console(width=None if Console().is_terminal else 120)
                tables.print(certificate_table(verified))
                tables.print(pipeline_table(verified))
            raise typer.Exit(GOOD)
        case Infeasible(conflicts=conflicts):
            if as_json:
                rows = [{"rule": c.rule, "where": c.where, "sentence": c.sentence} for c in conflicts]
                typer.echo(json.dumps({"infeasible": rows}, indent=2))
            else:
                typer.echo("no plan: the problem is infeasible")
                for conflict in conflicts[:_CONFLICTS_SHOWN]:
                    typer.echo(f"  {conflict.rule} at {conflict.where}: {conflict.sentence}")
                if len(conflicts) > _CONFLICTS_SHOWN:
                    typer.echo(f"  ... and at {len(conflicts) - _CONFLICTS_SHOWN:,} other places (--json has all)")
            raise typer.Exit(INFEASIBLE)
        case Undecided(sentence=sentence):
            typer.echo(json.dumps({"undecided": sentence}, indent=2) if as_json else f"undecided: {sentence}")
            raise typer.Exit(UNDECIDED)


def _print(problem: str, size: int, elapsed: float, out: Path | None) -> None:
    written = "not written (use --out)" if out is None else f"written to {out}"
    typer.echo(f"planned and verified in {elapsed:.2f} s for problem {problem[:12]}; {size:,} bytes, {written}")
