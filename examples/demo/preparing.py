"""What a demo needs before its daemons start: the LLM of its description, a checkpoint, a plan, the oracle's tokens."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
from rich.console import Console
from rich.progress import Progress
from ruamel.yaml import YAML

from examples.demo import checkpoint, oracle
from examples.demo.commands import holdfast
from examples.demo.daemons import check_ports_free
from examples.demo.settings import DemoFailed, Run
from planner.cli.documents import read_plan
from planner.description.reading import read_problem
from specs.checker import VerifiedPlan, verify
from specs.llm import LlmId


@attrs.frozen(kw_only=True)
class Prepared:
    """What a run begins with."""

    checkpoint: Path
    verified: VerifiedPlan
    expected: Sequence[Sequence[str]]  # the oracle's tokens, by prompt


def prepare(run: Run, console: Console) -> Prepared:
    """Make what is needed, and see that the daemons' ports are free.  Raises DemoFailed."""
    for directory in (run.out, run.journals, run.logs):
        directory.mkdir(parents=True, exist_ok=True)
    llm, directory = _the_llm(run.description)
    _have_checkpoint(console, llm, directory, run.llm_shape)
    verified = _have_plan(console, run)
    check_ports_free(verified.problem.cluster)
    return Prepared(checkpoint=directory, verified=verified, expected=_expect(console, directory, run))


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


def _have_checkpoint(console: Console, llm: LlmId, directory: Path, shape: Mapping[str, int]) -> None:
    """Make the checkpoint if it is not there.  Raises DemoFailed."""
    if not checkpoint.is_whole(directory, shape):
        with console.status(f"making the checkpoint of {llm}"):
            checkpoint.make(directory, shape)
    weights = sum(file.stat().st_size for file in directory.glob("*.safetensors"))
    console.print(f"checkpoint: {directory}, {weights / 1e6:,.0f} MB of seeded weights", soft_wrap=True)


def _have_plan(console: Console, run: Run) -> VerifiedPlan:
    """Make the first plan, as a person would, and let the checker pass it.  Raises DemoFailed."""
    holdfast(console, "plan", str(run.description), "--out", str(run.plan), "--document", str(run.document))
    holdfast(console, "check", str(run.description), str(run.plan))
    verified = verify(read_problem(run.description), read_plan(run.plan))
    assert isinstance(verified, VerifiedPlan), "`holdfast check` has just passed this plan"
    return verified


def _expect(console: Console, directory: Path, run: Run) -> tuple[tuple[str, ...], ...]:
    """Ask the oracle for the tokens of the longest answers, before the daemons want the processor."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("the oracle's tokens", total=len(run.prompts))
        expected = oracle.expected_names(
            directory, run.lengths[-1], lambda done: bars.update(task, completed=done), run.prompts
        )
    console.print(f"oracle: {sum(map(len, expected)):,} tokens by transformers' generate, fp32, greedy, one process")
    return expected
