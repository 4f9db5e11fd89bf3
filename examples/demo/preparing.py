"""What a demo needs before its daemons start: the LLM of its description, a checkpoint, a plan, the oracle's tokens."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from ruamel.yaml import YAML

from examples.demo import checkpoint, oracle
from examples.demo.commands import holdfast
from examples.demo.settings import DemoFailed
from planner.cli.documents import read_plan
from planner.description.reading import read_problem
from specs.checker import VerifiedPlan, verify
from specs.llm import LlmId


def the_llm(description: Path) -> tuple[LlmId, Path]:
    """Give the only LLM of the description and the directory in which its checkpoint is to be.  Raises DemoFailed."""
    try:
        llms = YAML(typ="safe", pure=True).load(description)["llms"]
        ((name, entry),) = llms.items()
        return LlmId(name), Path(description.parent, entry["checkpoint"]).resolve()
    except OSError as error:
        raise DemoFailed(f"{description} cannot be read: {error.strerror}.") from None
    except (KeyError, ValueError, TypeError, AttributeError):
        raise DemoFailed(f"{description} does not describe exactly one LLM with a checkpoint.") from None


def have_checkpoint(console: Console, llm: LlmId, directory: Path, shape: Mapping[str, int]) -> None:
    """Make the checkpoint if it is not there.  Raises DemoFailed."""
    if not checkpoint.is_whole(directory, shape):
        with console.status(f"making the checkpoint of {llm}"):
            checkpoint.make(directory, shape)
    weights = sum(file.stat().st_size for file in directory.glob("*.safetensors"))
    console.print(f"checkpoint: {directory}, {weights / 1e6:,.0f} MB of seeded weights", soft_wrap=True)


def have_plan(console: Console, description: Path, plan: Path, document: Path) -> VerifiedPlan:
    """Make the first plan, as a person would, and let the checker pass it.  Raises DemoFailed."""
    holdfast(console, "plan", str(description), "--out", str(plan), "--document", str(document))
    holdfast(console, "check", str(description), str(plan))
    verified = verify(read_problem(description), read_plan(plan))
    assert isinstance(verified, VerifiedPlan), "`holdfast check` has just passed this plan"
    return verified


def expect(console: Console, directory: Path, tokens: int, prompts: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Ask the oracle for so many tokens after each prompt, before the daemons want the processor."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("the oracle's tokens", total=len(prompts))
        expected = oracle.expected_names(directory, tokens, lambda done: bars.update(task, completed=done), prompts)
    console.print(f"oracle: {sum(map(len, expected)):,} tokens by transformers' generate, fp32, greedy, one process")
    return expected
