"""`holdfast audit`: compare what ran, by the nodes' journals, with what was planned."""

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from planner.audit import report as audits
from planner.audit.findings import Remark
from planner.audit.journals import read_journals
from planner.cli.audit_tables import as_document, check_table, deviation_table, milestone_table, transfer_table
from planner.cli.descriptions import read_with_progress
from planner.cli.documents import read_verified
from planner.cli.exits import GOOD, INFEASIBLE

_SHOWN = 6  # remarks of each check that are listed; --json has all


def audit(
    description: Annotated[Path, typer.Argument(metavar="FILE", help="The description, a YAML file.")],
    plan: Annotated[Path, typer.Argument(metavar="PLAN.json", help="The plan that was carried out.")],
    journals: Annotated[
        list[Path], typer.Argument(metavar="JOURNAL...", help="Journals, or directories in which *.jsonl are sought.")
    ],
    others: Annotated[
        list[Path] | None,
        typer.Option("--with", metavar="PLAN.json", help="A plan that the same nodes carried out before or after it."),
    ] = None,
    tolerance: Annotated[
        str | None,
        typer.Option(metavar="TIMES", help="Count as a difference what takes more than this times its prediction."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Compare a run with its plan: every transfer, opening, closing and release; predicted and measured times.

    What the nodes did under all plans that are given is replayed by the protocols: which plans they adopted, what they
    did under them, and how requests were handed over with their KV.  A breach is named with its record and its rule.
    """
    limit = None if tolerance is None else _times(tolerance)
    described = read_with_progress(description)
    verified = read_verified(described, plan)
    more = [read_verified(described, each) for each in others or ()]
    with Console(stderr=True).status(f"comparing {plan} with its journals"):
        report = audits.audit(verified, read_journals(journals), limit, more)
    if as_json:
        typer.echo(json.dumps(as_document(report), indent=2))
        raise typer.Exit(GOOD if report.as_planned else INFEASIBLE)
    console = Console(highlight=False, markup=False)
    tables = Console(highlight=False, markup=False, width=None if console.is_terminal else 120)
    for table in (check_table(report), milestone_table(report), transfer_table(report), deviation_table(report)):
        if table.row_count:
            tables.print(table)
    _say("what differs", {each.id: each.differs for each in report.findings})
    _say("worth knowing", {each.id: each.notes for each in report.findings})
    typer.echo(audits.CLOCKS)
    differing = sum(len(each.differs) for each in report.findings)
    differences = "1 difference" if differing == 1 else f"{differing:,} differences"
    typer.echo("ran as planned" if report.as_planned else f"{differences} from the plan")
    raise typer.Exit(GOOD if report.as_planned else INFEASIBLE)


def _say(heading: str, remarks_of: Mapping[str, Sequence[Remark]]) -> None:
    """List remarks: who was lost comes first, for it explains the others."""
    if not any(remarks_of.values()):
        return
    typer.echo(f"{heading}:")
    for check, remarks in sorted(remarks_of.items(), key=lambda row: row[0] != "PEERS"):
        for remark in remarks[:_SHOWN]:
            typer.echo(f"  {check} at {remark.where}: {remark.sentence}")
        if len(remarks) > _SHOWN:
            typer.echo(f"  {check}: ... and {len(remarks) - _SHOWN:,} more (--json has all)")


def _times(text: str) -> Fraction:
    try:
        times = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise typer.BadParameter(
            f"{text!r:.40} is no number; say how many times, such as 1.5", param_hint="'--tolerance'"
        ) from error
    if times <= 0:
        raise typer.BadParameter(f"{text!r:.40}: a positive number is needed, such as 1.5", param_hint="'--tolerance'")
    return times
