"""The demo from beginning to end: everything that happens before and after the daemons run."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from ruamel.yaml import YAML

from examples.demo import checkpoint, oracle, serving
from examples.demo.daemons import check_ports_free
from examples.demo.findings import find, table_of
from examples.demo.settings import DemoFailed, Settings
from planner.cli.documents import read_plan
from planner.description.reading import read_problem
from specs.checker import VerifiedPlan, verify
from specs.llm import LlmId


def run(settings: Settings, console: Console) -> int:
    """Run the demo; give the exit code.  Raises DemoFailed, and CancelledError when it was interrupted."""
    for directory in (settings.out, settings.journals, settings.logs):
        directory.mkdir(parents=True, exist_ok=True)
    llm, directory = _the_llm(settings.description)
    _have_checkpoint(settings, console, llm, directory)
    verified = _have_plan(settings, console)
    check_ports_free(verified.problem.cluster)
    expected = _expect(console, directory)

    def conclude(served: serving.Served) -> bool:
        return _conclude(settings, console, verified, expected, served)

    outcome = asyncio.run(serving.serve(settings, verified, directory, console, conclude))
    unclean = {node: code for node, code in outcome.exits.items() if code != 0}
    if unclean:
        console.print(f"not stopped cleanly, by exit code: {unclean}")
    else:
        console.print("every daemon stopped cleanly")
    return 0 if outcome.is_good and not unclean else 1


def _the_llm(description: Path) -> tuple[LlmId, Path]:
    """Give the only LLM of the description and the directory in which its checkpoint is to be.  Raises DemoFailed."""
    try:
        llms = YAML(typ="safe", pure=True).load(description)["llms"]
        ((name, entry),) = llms.items()
        return LlmId(name), Path(description.parent, entry["checkpoint"]).resolve()
    except OSError as error:
        raise DemoFailed(f"{description} cannot be read: {error.strerror}.") from None
    except (KeyError, ValueError, TypeError, AttributeError):
        raise DemoFailed(f"{description} does not describe exactly one LLM with a checkpoint.") from None


def _have_checkpoint(settings: Settings, console: Console, llm: LlmId, directory: Path) -> None:
    if not checkpoint.is_whole(directory, settings.llm_shape):
        with console.status(f"making the checkpoint of {llm}"):
            checkpoint.make(directory, settings.llm_shape)
    weights = sum(file.stat().st_size for file in directory.glob("*.safetensors"))
    console.print(f"checkpoint: {directory}, {weights / 1e6:,.0f} MB of seeded weights", soft_wrap=True)


def _have_plan(settings: Settings, console: Console) -> VerifiedPlan:
    description, plan = str(settings.description), str(settings.plan)
    _holdfast(console, "plan", description, "--out", plan, "--document", str(settings.document))
    _holdfast(console, "check", description, plan)
    verified = verify(read_problem(settings.description), read_plan(settings.plan))
    assert isinstance(verified, VerifiedPlan), "`holdfast check` has just passed this plan"
    return verified


def _expect(console: Console, directory: Path) -> tuple[tuple[str, ...], ...]:
    """Ask the oracle, before the daemons want the processor."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("the oracle's tokens", total=len(oracle.PROMPTS))
        expected = oracle.expected_names(directory, lambda done: bars.update(task, completed=done))
    console.print(f"oracle: {sum(map(len, expected)):,} tokens by transformers' generate, fp32, greedy, one process")
    return expected


def _conclude(
    settings: Settings,
    console: Console,
    verified: VerifiedPlan,
    expected: Sequence[Sequence[str]],
    served: serving.Served,
) -> bool:
    """Audit the journals, draw the page, print what happened; tell whether it is as it should be."""
    description, plan, journals = str(settings.description), str(settings.plan), str(settings.journals)
    as_planned = _holdfast(console, "audit", description, plan, journals, into=settings.audit, codes_allowed=(0, 1))
    _holdfast(console, "show", description, plan, "--journal", journals, "--out", str(settings.page))
    judged = [(answer, answer.equals(expected)) for answer in served.answers]
    found = find(verified, served.journals, served.put_unix_ns, judged)
    console.print(table_of(found))
    for error in [answer.error for answer in served.answers if answer.error][:5]:
        console.print(f"failed request: {error}")
    if as_planned != 0:
        console.print(f"the run was not as planned: {settings.audit}", soft_wrap=True)
    console.print(f"page: {settings.page.resolve()}", soft_wrap=True)
    return found.is_good and as_planned == 0


def _holdfast(
    console: Console, *arguments: str, into: Path | None = None, codes_allowed: tuple[int, ...] = (0,)
) -> int:
    """Run a command of `holdfast` as a person would; its last line is printed where the rest goes into a file.

    Give its exit code.  Raises DemoFailed for one that is not allowed.
    """
    destination = f" > {into}" if into else ""
    console.print(f"$ holdfast {' '.join(arguments)}{destination}", style="bold", soft_wrap=True)
    program = Path(sys.executable).with_name("holdfast")
    done = subprocess.run([program, *arguments], check=False, stdout=subprocess.PIPE, text=True)
    if into is None:
        console.print(done.stdout.rstrip(), soft_wrap=True)
    else:
        into.write_text(done.stdout, encoding="utf-8")
        console.print(*done.stdout.splitlines()[-1:], soft_wrap=True)
    if done.returncode not in codes_allowed:
        raise DemoFailed(f"`holdfast {arguments[0]}` ended with exit code {done.returncode}.")
    return done.returncode
