"""`holdfast state`: collect the state of a running cluster from its daemons."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from planner.asking import Answers, ask
from planner.cli.daemon_urls import each_once
from planner.cli.exits import GOOD, INFEASIBLE
from planner.cli.output import write_whole
from planner.description.quantities import parse_duration
from specs import codec
from specs.state import Load


def state(
    urls: Annotated[list[str], typer.Argument(metavar="URL...", help="Of each daemon's HTTP port: http://n1:8000.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="STATE.json", help="Write the state here.")],
    within: Annotated[str, typer.Option(metavar="DURATION", help="Wait this long for each answer.")] = "10s",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Collect what each node of a running cluster holds and serves; say which nodes did not answer.

    Exit code 1 if some nodes gave no answer, or have no plan: a plan that begins from the state counts them as lost.
    """
    answers = ask(each_once(urls, "'URL'"), parse_duration(within) / 1e9)
    size = write_whole(out, codec.encode(answers.state))
    if as_json:
        typer.echo(json.dumps(_summary(answers), indent=2))
    else:
        _print(answers, out, size)
    raise typer.Exit(INFEASIBLE if answers.state.silent or answers.state.empty else GOOD)


def _print(answers: Answers, out: Path, size: int) -> None:
    plan = answers.state.plan
    Console(width=None if Console().is_terminal else 120).print(_table(answers))
    typer.echo(f"plan {codec.digest(plan)[:12]}, generation {plan.generation}; written to {out}: {size:,} bytes")
    for url, why in answers.failed:
        typer.echo(f"{url}: {why}", err=True)
    if answers.state.silent:
        names = ", ".join(answers.state.silent)
        typer.echo(f"no answer from {names}: a plan that begins from this state counts them as lost", err=True)
    for name in answers.state.empty:
        typer.echo(f"{name} has no plan and holds nothing: `holdfast plan --back {name}` takes it in again", err=True)


def _table(answers: Answers) -> Table:
    table = Table(title="the cluster", title_justify="left")
    for column, side in (("node", "left"), ("URL", "left"), ("copies held", "right")):
        table.add_column(column, justify="right" if side == "right" else "left", overflow="fold")
    for column in ("leads", "requests", "tokens of context"):
        table.add_column(column, justify="left" if column == "leads" else "right", overflow="fold")
    for url, node in zip(answers.urls, answers.state.nodes, strict=True):
        table.add_row(
            node.node,
            url,
            f"{len(node.held):,}",
            ", ".join(_leads(load) for load in node.leads),
            f"{sum(load.live_requests for load in node.leads):,}",
            f"{sum(load.live_tokens for load in node.leads):,}",
        )
    return table


def _leads(load: Load) -> str:
    return load.pipeline if load.slots is None else f"{load.pipeline} (only {load.slots} slots)"


def _summary(answers: Answers) -> dict[str, object]:
    state = answers.state
    return {
        "plan": codec.digest(state.plan),
        "generation": state.plan.generation,
        "nodes": [
            {
                "node": node.node,
                "held": len(node.held),
                "pipelines": [
                    {
                        "id": each.pipeline,
                        "requests": each.live_requests,
                        "tokens": each.live_tokens,
                        "slots": each.slots,
                    }
                    for each in node.leads
                ],
            }
            for node in state.nodes
        ],
        "silent": list(state.silent),
        "empty": list(state.empty),
        "failed": [{"url": url, "why": why} for url, why in answers.failed],
    }
