"""The `holdfast` command: its sub-commands are a table."""

import typer

from planner.cli import audit, check, describe, mix, plan, show

# Each is a function whose signature and docstring are the command's options and help.
COMMANDS = (describe.describe, plan.plan, check.check, show.show, audit.audit, mix.mix)


def make_app() -> typer.Typer:
    """Make the application with all commands."""
    app = typer.Typer(
        name="holdfast",
        help="Plan how large language models are loaded, placed and served on a GPU cluster.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    # With a callback, a single command stays a sub-command.
    app.callback()(lambda: None)
    for command in COMMANDS:
        app.command()(command)
    return app
