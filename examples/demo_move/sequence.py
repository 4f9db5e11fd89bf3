"""The demo of moves from beginning to end: everything that happens before and after the daemons run."""

import asyncio
from collections.abc import Sequence

from rich.console import Console

from examples.demo.daemons import all_stopped
from examples.demo.preparing import prepare
from examples.demo_move import serving
from examples.demo_move.findings import find
from examples.demo_move.picture import draw
from examples.demo_move.settings import Settings
from examples.demo_move.tables import tables


def run(settings: Settings, console: Console) -> int:
    """Run the demo; give the exit code.  Raises DemoFailed, and CancelledError when it was interrupted."""
    prepared = prepare(settings, console)

    def conclude(served: serving.Served) -> bool:
        return _conclude(settings, console, prepared.expected, served)

    is_good, exits = asyncio.run(serving.serve(settings, prepared, console, conclude))
    return 0 if all_stopped(console, exits) and is_good else 1


def _conclude(settings: Settings, console: Console, expected: Sequence[Sequence[str]], served: serving.Served) -> bool:
    """Print what happened and draw the picture; tell whether it is as it should be."""
    found = find(served, expected)
    for table in tables(found):
        console.print(table)
    for error in [answer.error for answer in served.answers if answer.error][:5]:
        console.print(f"failed request: {error}")
    settings.picture.write_text(draw(found, served.answers, served.calm_unix_ns), encoding="utf-8")
    console.print(f"picture: {settings.picture.resolve()}", soft_wrap=True)
    return found.is_good
