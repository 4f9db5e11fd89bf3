"""The demo from beginning to end: everything that happens before and after the daemons run."""

import asyncio
from collections.abc import Sequence

from rich.console import Console

from examples.demo import oracle, serving
from examples.demo.commands import holdfast
from examples.demo.daemons import check_ports_free
from examples.demo.findings import find, table_of
from examples.demo.preparing import expect, have_checkpoint, have_plan, the_llm
from examples.demo.settings import Settings
from specs.checker import VerifiedPlan


def run(settings: Settings, console: Console) -> int:
    """Run the demo; give the exit code.  Raises DemoFailed, and CancelledError when it was interrupted."""
    for directory in (settings.out, settings.journals, settings.logs):
        directory.mkdir(parents=True, exist_ok=True)
    llm, directory = the_llm(settings.description)
    have_checkpoint(console, llm, directory, settings.llm_shape)
    verified = have_plan(console, settings.description, settings.plan, settings.document)
    check_ports_free(verified.problem.cluster)
    expected = expect(console, directory, settings.lengths[-1], oracle.PROMPTS)

    def conclude(served: serving.Served) -> bool:
        return _conclude(settings, console, verified, expected, served)

    outcome = asyncio.run(serving.serve(settings, verified, directory, console, conclude))
    unclean = {node: code for node, code in outcome.exits.items() if code != 0}
    if unclean:
        console.print(f"not stopped cleanly, by exit code: {unclean}")
    else:
        console.print("every daemon stopped cleanly")
    return 0 if outcome.is_good and not unclean else 1


def _conclude(
    settings: Settings,
    console: Console,
    verified: VerifiedPlan,
    expected: Sequence[Sequence[str]],
    served: serving.Served,
) -> bool:
    """Audit the journals, draw the page, print what happened; tell whether it is as it should be."""
    description, plan, journals = str(settings.description), str(settings.plan), str(settings.journals)
    as_planned = holdfast(console, "audit", description, plan, journals, into=settings.audit, codes_allowed=(0, 1))
    holdfast(console, "show", description, plan, "--journal", journals, "--out", str(settings.page))
    judged = [(answer, answer.equals(expected)) for answer in served.answers]
    found = find(verified, served.journals, served.put_unix_ns, judged)
    console.print(table_of(found))
    for error in [answer.error for answer in served.answers if answer.error][:5]:
        console.print(f"failed request: {error}")
    if as_planned != 0:
        console.print(f"the run was not as planned: {settings.audit}", soft_wrap=True)
    console.print(f"page: {settings.page.resolve()}", soft_wrap=True)
    return found.is_good and as_planned == 0
