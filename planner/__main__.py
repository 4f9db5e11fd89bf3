"""`holdfast` and `python -m planner`: run one command and say its exit code."""

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence

# What comes of writing to a full disk or a broken device; a closed pipe ends the process before it is seen here.
_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG})


def main(argv: Sequence[str] | None = None) -> int:
    """Run `holdfast` with these arguments, or the process's own; return the exit code.

    Bad input of every command is reported here, one line per fault, and nowhere else.  So is output that cannot be
    written; a reader that closes its pipe early ends the process, as it ends any other (exit code 141 in shells).
    """
    with _quiet_pipes():
        try:
            code = _run(argv)
            sys.stdout.flush()
        except OSError as error:
            if error.errno not in _UNWRITABLE:
                raise
            print(f"the output cannot be written: {error.strerror}", file=sys.stderr)  # noqa: T201 - the last word
            # What is left in the buffer would fail again when the process ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 2
        return code


def _run(argv: Sequence[str] | None) -> int:
    try:
        return _command(argv)
    except KeyboardInterrupt:  # while commands are imported; later they see to it themselves
        return 130


def _command(argv: Sequence[str] | None) -> int:
    import typer

    from planner.cli.app import make_app
    from planner.cli.exits import BAD_INPUT, GOOD
    from planner.errors import BadDescription, PlannerError
    from specs.errors import SpecError

    try:
        words = sys.argv[1:] if argv is None else list(argv)
        make_app(words)(args=words, prog_name="holdfast")
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


@contextlib.contextmanager
def _quiet_pipes() -> Iterator[None]:
    """Let a pipe that its reader has closed end the process; afterwards all is as before."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's business
        return
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGPIPE, before)


if __name__ == "__main__":
    sys.exit(main())
