"""`holdfast check`: judge a plan by every invariant, without any solver."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from planner.cli.descriptions import read_with_progress
from planner.cli.documents import read_candidate
from planner.cli.exits import GOOD, INFEASIBLE
from specs.checker import Rejected, verify
from specs.invariants.table import INVARIANTS


def check(
    description: Annotated[Path, typer.Argument(metavar="FILE", help="The description, a YAML file.")],
    plan: Annotated[Path, typer.Argument(metavar="PLAN.json", help="The plan, or a document with it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Judge a plan by every invariant; say each violation: the rule, the place, the numbers."""
    problem, candidate = read_candidate(read_with_progress(description), plan)
    began = time.monotonic()
    verdict = verify(problem, candidate)
    elapsed = time.monotonic() - began
    violations = verdict.violations if isinstance(verdict, Rejected) else ()
    if as_json:
        rows = [{"rule": each.rule, "where": each.where, "sentence": each.sentence} for each in violations]
        typer.echo(json.dumps({"verified": not rows, "violations": rows}, indent=2))
    elif violations:
        typer.echo(f"rejected: {plan} breaks {', '.join(sorted({each.rule for each in violations}))}")
        for each in violations:
            typer.echo(f"  {each}")
    else:
        typer.echo(f"verified: {plan} keeps all {len(INVARIANTS)} invariants (checked in {elapsed:.2f} s)")
    raise typer.Exit(INFEASIBLE if violations else GOOD)
