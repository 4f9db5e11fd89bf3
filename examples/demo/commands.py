"""Commands of `holdfast`, run as a person would."""

import subprocess
import sys
from pathlib import Path

import attrs
from rich.console import Console

from examples.demo.settings import DemoFailed


@attrs.frozen(kw_only=True)
class Done:
    """How a command ended."""

    code: int
    text: str  # of its output


def run(*arguments: str, niceness: int = 0) -> Done:
    """Run a command and wait for its end; what it says of faults goes where this process says its own."""
    program = [str(Path(sys.executable).with_name("holdfast")), *arguments]
    done = subprocess.run(["nice", "-n", str(niceness), *program], check=False, stdout=subprocess.PIPE, text=True)
    return Done(code=done.returncode, text=done.stdout)


def holdfast(console: Console, *arguments: str, into: Path | None = None, codes_allowed: tuple[int, ...] = (0,)) -> int:
    """Run a command and print what it says; its last line is printed where the rest goes into a file.

    Give its exit code.  Raises DemoFailed for one that is not allowed.
    """
    destination = f" > {into}" if into else ""
    console.print(f"$ holdfast {' '.join(arguments)}{destination}", style="bold", soft_wrap=True)
    done = run(*arguments)
    if into is None:
        console.print(done.text.rstrip(), soft_wrap=True)
    else:
        into.write_text(done.text, encoding="utf-8")
        console.print(*done.text.splitlines()[-1:], soft_wrap=True)
    if done.code not in codes_allowed:
        raise DemoFailed(f"`holdfast {arguments[0]}` ended with exit code {done.code}.")
    return done.code
