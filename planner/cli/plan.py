"""`holdfast plan`: find a plan, say how good it is, write it."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import attrs
import typer
from rich.console import Console
from rich.table import Table

from planner.cli import plan_options as options
from planner.cli.beginnings import Options, beginning
from planner.cli.descriptions import read_with_progress
from planner.cli.documents import write_document, write_plan
from planner.cli.exits import GOOD, INFEASIBLE, UNDECIDED
from planner.cli.output import keep
from planner.cli.plan_tables import certificate_table, pipeline_table, plan_summary, resident_table
from planner.cli.searching import make_search, shown
from planner.decided import Request
from planner.outcome import NOT_REACHED, Conflict, Infeasible, Planned, Undecided
from planner.solve import solve
from specs import codec
from specs.checker import VerifiedPlan
from specs.plan import Aim

_CONFLICTS_SHOWN = 8


def plan(  # noqa: PLR0913, PLR0917 - one parameter per option
    description: options.Description,
    out: options.Out = None,
    document: options.Document = None,
    blocks: options.Blocks = None,
    aim: options.For = Aim.COMPLETION,
    after: options.After = None,
    journal: options.Journal = None,
    state: options.From = None,
    lost: options.Lost = None,
    back: options.Back = None,
    stop: options.Stop = None,
    fixed_slots: options.FixedSlots = False,
    generation: options.Generation = None,
    within: options.Within = None,
    reproducible: options.Reproducible = False,
    steps: options.Steps = None,
    seed: options.Seed = 0,
    explained: options.Explain = False,
    as_json: options.AsJson = False,
) -> None:
    """Find a plan, have the checker pass it, say how far from the optimum it can be, and write it.

    Ctrl-C gives the best plan found so far (exit code 0 if there is one, else 3); a second one ends at once (130).
    With --after and --journal it repairs: what has arrived under the plan before is kept, nodes that are lost go.
    With --from it begins from a running cluster, which serves all the while.
    """
    asked = Options(
        after=after,
        journal=journal or (),
        state=state,
        lost=lost or (),
        back=back or (),
        stop=stop or (),
        fixed_slots=fixed_slots,
    )
    for written in (out, document):
        for read in (description, *asked.read):
            keep(read=read, written=written)
    search = make_search(within=within, reproducible=reproducible, steps=steps, seed=seed)
    problem = read_with_progress(description)
    begun = beginning(problem, Request(blocks=blocks, aim=aim, generation=generation), asked)
    began = time.monotonic()
    with shown(search, f"planning for {problem.name}"):
        left = begun.problem
        outcome = left if isinstance(left, Infeasible) else solve(left, begun.request, search)
    elapsed = time.monotonic() - began
    match outcome:
        case Planned(verified=verified):
            _write(verified, out, document)
            _print(outcome, out, as_json=as_json, elapsed=elapsed, cut_short=search.cut_short, explained=explained)
            raise typer.Exit(GOOD)
        case Infeasible(conflicts=conflicts):
            _print_conflicts(conflicts, as_json=as_json)
            raise typer.Exit(INFEASIBLE)
        case Undecided():
            _print_undecided(outcome, as_json=as_json)
            raise typer.Exit(UNDECIDED)


def _write(verified: VerifiedPlan, out: Path | None, document: Path | None) -> None:
    if out is not None:
        write_plan(out, verified.plan)
    if document is not None:
        write_document(document, verified)


def _print(
    outcome: Planned, out: Path | None, *, as_json: bool, elapsed: float, cut_short: bool, explained: bool
) -> None:
    verified = outcome.verified
    if as_json:
        reasons = {"explanation": _why_as_data(outcome)} if explained else {}
        typer.echo(json.dumps(plan_summary(verified) | reasons, indent=2))
        return
    written = "not written (use --out)" if out is None else f"written to {out}"
    size = len(codec.encode(verified.plan))
    typer.echo(
        f"planned and verified in {elapsed:.2f} s for problem {verified.plan.problem[:12]}; {size:,} bytes, {written}"
    )
    if cut_short:
        typer.echo("the search was ended early: this is the best plan that it had")
    tables = Console(width=None if Console().is_terminal else 120)
    tables.print(certificate_table(verified))
    tables.print(pipeline_table(verified))
    if (residents := resident_table(verified)) is not None:
        tables.print(residents)
    for each in outcome.tried:
        if each.besides.startswith(NOT_REACHED):
            typer.echo(
                f"{each.subject} could be served better, but {each.besides}; what this plan closes may make room"
            )
    for table in _why(outcome) if explained else ():
        tables.print(table)


def _why(outcome: Planned) -> list[Table]:
    from planner.cli.explain_tables import explanation_tables
    from planner.explain.decisions import explain

    return explanation_tables(explain(outcome.verified, outcome.tried))


def _why_as_data(outcome: Planned) -> dict[str, object]:
    from planner.cli.explain_tables import explanation_summary
    from planner.explain.decisions import explain

    return explanation_summary(explain(outcome.verified, outcome.tried))


def _print_conflicts(conflicts: Sequence[Conflict], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"infeasible": [attrs.asdict(conflict) for conflict in conflicts]}, indent=2))
        return
    typer.echo("no plan: the problem is infeasible")
    for conflict in conflicts[:_CONFLICTS_SHOWN]:
        typer.echo(f"  {conflict.rule} at {conflict.where}: {conflict.sentence}")
        for give in conflict.gives:
            typer.echo(f"    enough by itself - {give.sentence}")
    if len(conflicts) > _CONFLICTS_SHOWN:
        typer.echo(f"  ... and at {len(conflicts) - _CONFLICTS_SHOWN:,} other places (--json has all)")


def _print_undecided(outcome: Undecided, *, as_json: bool) -> None:
    if as_json:
        stood = [attrs.asdict(conflict) for conflict in outcome.conflicts]
        typer.echo(json.dumps({"undecided": outcome.sentence, "conflicts": stood}, indent=2))
        return
    typer.echo(f"undecided: {outcome.sentence}")
    for conflict in outcome.conflicts[:_CONFLICTS_SHOWN]:
        for give in conflict.gives:
            typer.echo(f"    enough for {conflict.where} by itself - {give.sentence}")
