"""Descriptions, read while a bar shows how far it is."""

import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from planner.description import checkpoint
from planner.description.reading import read_problem
from specs.llm import LlmId
from specs.problem import Problem


def read_with_progress(description: Path) -> Problem:
    """Read the problem; a bar on the error stream shows the hashing of checkpoints, and leaves nothing behind."""
    columns = (TextColumn("reading {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:

        def progress_of(llm: LlmId) -> checkpoint.Progress:
            task = bars.add_task(llm, total=None)
            return lambda done, total: bars.update(task, completed=done, total=total)

        return read_problem(description, progress_of)
