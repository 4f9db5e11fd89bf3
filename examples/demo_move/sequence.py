"""The demo of moves from beginning to end: everything that happens before and after the daemons run."""

import asyncio
from collections.abc import Sequence

from rich.console import Console

from examples.demo.daemons import check_ports_free
from examples.demo.preparing import expect, have_checkpoint, have_plan, the_llm
from examples.demo_move import serving
from examples.demo_move.findings import find
from examples.demo_move.picture import draw
from examples.demo_move.settings import Settings
from examples.demo_move.tables import tables


def run(settings: Settings, console: Console) -> int:
    """Run the demo; give the exit code.  Raises DemoFailed, and CancelledError when it was interrupted."""
    for directory in (settings.out, settings.journals, settings.logs):
        directory.mkdir(parents=True, exist_ok=True)
    llm, directory = the_llm(settings.description)
    have_checkpoint(console, llm, directory, settings.llm_shape)
    verified = have_plan(console, settings.description, settings.plan, settings.document)
    check_ports_free(verified.problem.cluster)
    expected = expect(console, directory, settings.lengths[-1], settings.prompts)

    def conclude(served: serving.Served) -> bool:
        return _conclude(settings, console, expected, served)

    is_good, exits = asyncio.run(serving.serve(settings, verified, directory, console, conclude))
    unclean = {node: code for node, code in exits.items() if code != 0}
    if unclean:
        console.print(f"not stopped cleanly, by exit code: {unclean}")
    else:
        console.print("every daemon stopped cleanly")
    return 0 if is_good and not unclean else 1


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
