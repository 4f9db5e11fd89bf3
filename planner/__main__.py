"""`holdfast` and `python -m planner`: run one command and say its exit code."""

import sys
from collections.abc import Sequence

import typer

from planner.cli.app import make_app
from planner.cli.exits import BAD_INPUT, GOOD
from planner.errors import BadDescription, PlannerError
from specs.errors import SpecError


def main(argv: Sequence[str] | None = None) -> int:
    """Run `holdfast` with these arguments, or the process's own; return the exit code.

    Bad input of every command is reported here, one line per fault, and nowhere else.
    """
    try:
        make_app()(args=list(argv) if argv is not None else None, prog_name="holdfast")
    except BadDescription as error:
        for fault in error.faults:
            typer.echo(fault, err=True)
        return BAD_INPUT
    except (PlannerError, SpecError) as error:
        typer.echo(str(error), err=True)
        return BAD_INPUT
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else BAD_INPUT
    return GOOD


if __name__ == "__main__":
    sys.exit(main())
