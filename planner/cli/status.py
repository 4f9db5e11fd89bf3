"""`holdfast status`: how far a running cluster is with its plan."""

import json
import sys
import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live

from planner.asking import ask_document, get, many
from planner.audit.receipts import Receipt, receipts
from planner.cli.daemon_urls import each_once
from planner.cli.exits import GOOD, INFEASIBLE, INTERRUPTED, UNDECIDED
from planner.cli.status_tables import as_document, sentences, steps_as_data, steps_table, tables
from planner.description.quantities import parse_duration
from planner.reconciling.looking import AT_REST, Look, look
from specs import journal
from specs.errors import MalformedDocument
from specs.invariants.facts import Facts
from specs.units import NANOS_PER_SECOND

_FILE_WIDTH = 140


def status(
    urls: Annotated[list[str], typer.Argument(metavar="URL...", help="Of each daemon's HTTP port: http://n1:8000.")],
    steps: Annotated[bool, typer.Option("--steps", help="List the receipt of every step, from the journals.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, until Ctrl-C.")] = False,
    every: Annotated[str, typer.Option(metavar="DURATION", help="With --watch: so often.")] = "1s",
    within: Annotated[str, typer.Option(metavar="DURATION", help="Wait this long for each answer.")] = "5s",
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Say how far a running cluster is with its plan: each phase, who is lost, who declined what, and why.

    Exit codes: 0 the plan is carried out; 1 it was not as planned, a node is lost or does not answer, or there is no
    plan; 3 it is under way.
    """
    answer_s, every_s = parse_duration(within) / NANOS_PER_SECOND, parse_duration(every) / NANOS_PER_SECOND
    named = each_once(urls, "'URL'")
    if watch:
        _watch(named, answer_s, every_s)
    found = look(named, answer_s)
    done = _receipts(found, answer_s) if steps else None
    if as_json:
        more = {} if done is None else {"steps": steps_as_data(done)}
        typer.echo(json.dumps(as_document(found) | more, indent=2))
    else:
        console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _FILE_WIDTH)
        console.print(_shown(found))
        if done is not None:
            console.print(steps_table(done))
    raise typer.Exit(_exit_code(found))


def _shown(found: Look) -> Group:
    return Group(*tables(found), *sentences(found))


def _watch(urls: Sequence[str], answer_s: float, every_s: float) -> None:
    """Show what is found until Ctrl-C: in place on a terminal, else whenever it is new."""
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _FILE_WIDTH)
    shown: object = None
    try:
        with Live(console=console, auto_refresh=False, transient=not console.is_terminal) as live:
            while True:
                found = look(urls, answer_s)
                document = as_document(found)
                if console.is_terminal:
                    live.update(_shown(found), refresh=True)
                elif document != shown:
                    console.print(_shown(found))
                    shown = document
                time.sleep(every_s)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _receipts(found: Look, within_s: float) -> tuple[Receipt, ...]:
    """Give the receipts of the plan that is carried out; a journal that cannot be had has none."""
    if found.current is None:
        return ()
    document = ask_document([each.url for each in found.said if each.plan == found.current], within_s)
    texts = many([each.url for each in found.said], lambda url: get(url, "journal?follow=false", within_s))
    records: list[journal.Record] = []
    for each, text in zip(found.said, texts, strict=True):
        read = text if isinstance(text, str) else _read(text)
        if isinstance(read, str):
            typer.echo(f"no journal of {each.node}: {read}", err=True)
        else:
            records += read
    return receipts(Facts(document.problem, document.plan), records)


def _read(text: bytes) -> Sequence[journal.Record] | str:
    try:
        return journal.read_lines(text.decode())
    except (MalformedDocument, UnicodeDecodeError) as error:
        return str(error)


def _exit_code(found: Look) -> int:
    phases = {each.phase for each in found.said if each.plan is not None and each.plan == found.current}
    if found.accepted is not None or phases - AT_REST:
        return UNDECIDED
    is_well = phases == {"complete"} and not found.failed and not any(each.lost for each in found.said)
    return GOOD if is_well and all(each.plan == found.current for each in found.said) else INFEASIBLE
