"""The demo from beginning to end: everything that happens before and after the daemons run."""

import asyncio

from rich.console import Console

from examples.demo import serving
from examples.demo.commands import holdfast
from examples.demo.daemons import all_stopped
from examples.demo.findings import find, table_of
from examples.demo.preparing import Prepared, prepare
from examples.demo.settings import Settings


def run(settings: Settings, console: Console) -> int:
    """Run the demo; give the exit code.  Raises DemoFailed, and CancelledError when it was interrupted."""
    prepared = prepare(settings, console)

    def conclude(served: serving.Served) -> bool:
        return _conclude(settings, console, prepared, served)

    is_good, exits = asyncio.run(serving.serve(settings, prepared, console, conclude))
    return 0 if all_stopped(console, exits) and is_good else 1


def _conclude(settings: Settings, console: Console, prepared: Prepared, served: serving.Served) -> bool:
    """Audit the journals, draw the page, print what happened; tell whether it is as it should be."""
    description, plan, journals = str(settings.description), str(settings.plan), str(settings.journals)
    as_planned = holdfast(console, "audit", description, plan, journals, into=settings.audit, codes_allowed=(0, 1))
    holdfast(console, "show", description, plan, "--journal", journals, "--out", str(settings.page))
    judged = [(answer, answer.equals(prepared.expected)) for answer in served.answers]
    found = find(prepared.verified, served.journals, served.put_unix_ns, judged)
    console.print(table_of(found))
    for error in [answer.error for answer in served.answers if answer.error][:5]:
        console.print(f"failed request: {error}")
    if as_planned != 0:
        console.print(f"the run was not as planned: {settings.audit}", soft_wrap=True)
    console.print(f"page: {settings.page.resolve()}", soft_wrap=True)
    return found.is_good and as_planned == 0
