"""`holdfast reconcile`: keep a running cluster as the description wants it."""

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from planner.cli import plan_options as options
from planner.cli.daemon_urls import each_once
from planner.cli.descriptions import read_with_progress
from planner.cli.exits import GOOD, INFEASIBLE, INTERRUPTED, UNDECIDED
from planner.cli.searching import make_search
from planner.description.quantities import parse_duration
from planner.errors import PlannerError
from planner.reconciling.controller import Pace, Reconciler
from planner.reconciling.judging import AtRest
from planner.reconciling.planning import Limits, NoPlan, Refused
from specs.errors import SpecError
from specs.problem import Problem
from specs.units import NANOS_PER_SECOND

_PAUSE_S_MAX = 60.0


def reconcile(  # noqa: PLR0913, PLR0917 - one parameter per option
    description: options.Description,
    at: Annotated[list[str], typer.Option("--at", metavar="URL", help="Of each daemon's HTTP port; repeatable.")],
    once: Annotated[bool, typer.Option("--once", help="Look once, do what is due, say what came of it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and put nothing.")] = False,
    every: Annotated[str, typer.Option(metavar="DURATION", help="Look so often.")] = "1s",
    answer: Annotated[str, typer.Option(metavar="DURATION", help="Wait this long for what a daemon says.")] = "3s",
    patience: Annotated[
        str, typer.Option(metavar="DURATION", help="A change of which nothing is done for so long is stuck.")
    ] = "60s",
    fixed_slots: options.FixedSlots = False,
    within: options.Within = None,
    reproducible: options.Reproducible = False,
    steps: options.Steps = None,
    seed: options.Seed = 0,
) -> None:
    """Keep a running cluster as the description wants it: plan anew when nodes are lost or come back.

    Who is lost the daemons say.  The plan begins from what the others hold and serve, and is put at one of them and at
    each node that is new or was started again.  The description is read again when it changes.  Without a plan the
    cluster gets its first one.  It may be ended at any moment (Ctrl-C), started again, and run twice.

    Exit codes with --once: 0 all is as it is wanted; 1 there is no plan, or a daemon refused it; 3 a plan was put, or
    would be, or is being carried out, or it is not known yet what is due.
    """
    make_search(within=within, reproducible=reproducible, steps=steps, seed=seed)
    urls = each_once(at, "'--at'")
    wish = _Wish(description, _say)
    reconciler = Reconciler(
        urls,
        wish.read,
        Limits(
            answer_s=_seconds(answer),
            offer_s=_seconds(patience),
            search=lambda: make_search(within=within, reproducible=reproducible, steps=steps, seed=seed),
            dry_run=dry_run,
            fixed_slots=fixed_slots,
        ),
        Pace(every_s=_seconds(every), pause_s_max=_PAUSE_S_MAX, patience_s=_seconds(patience)),
        _say,
    )
    try:
        if once:
            raise typer.Exit(_exit_code(reconciler.once()))
        reconciler.run()
    except KeyboardInterrupt:
        # At once: a solver may be at work in a thread that knows nothing of signals.
        sys.stdout.flush()
        os._exit(INTERRUPTED)


def _exit_code(came: object) -> int:
    match came:
        case AtRest():
            return GOOD
        case NoPlan(is_undecided=False) | Refused():
            return INFEASIBLE
        case _:
            return UNDECIDED


def _seconds(duration: str) -> float:
    return parse_duration(duration) / NANOS_PER_SECOND


def _say(kind: str, sentence: str) -> None:
    """Write a line of the log, with the instant."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
    typer.echo(f"{now}Z  {kind:<10} {sentence}")
    sys.stdout.flush()


class _Wish:
    """A description that is read again when its file changes; one with faults changes nothing."""

    def __init__(self, path: Path, say: Callable[[str, str], None]) -> None:
        self._path, self._say = path, say
        self._stamp = self._now()
        self._problem = read_with_progress(path)

    def read(self) -> Problem:
        """Give what is wanted now."""
        stamp = self._now()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._problem = read_with_progress(self._path)
            except (PlannerError, SpecError) as error:
                first = str(error).split("\n", 1)[0]
                self._say("besides", f"the description is left as it was: {first}")
        return self._problem

    def _now(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size
