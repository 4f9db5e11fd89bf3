"""The `holdfast` command: its sub-commands are a table, and only the one that is asked for is imported."""

from collections.abc import Sequence
from importlib import import_module

import typer

# Each is the function of its name in the module of its name here: its signature and docstring are the command's options
# and help.  The docstring's first line stands here as well, so that the list of commands needs none of the modules.
COMMANDS = {
    "describe": "Print what is understood of a description: nodes, memories, links, LLMs, and whether they fit.",
    "plan": "Find a plan, have the checker pass it, say how far from the optimum it can be, and write it.",
    "state": "Collect what each node of a running cluster holds and serves; say which nodes did not answer.",
    "diff": "Say what a plan changes in what runs: what moves and how long, how full memories get, what requests see.",
    "status": "Say how far a running cluster is with its plan: each phase, who is lost, who declined what, and why.",
    "reconcile": "Keep a running cluster as the description wants it: plan anew when nodes are lost or come back.",
    "check": "Judge a plan by every invariant; say each violation: the rule, the place, the numbers.",
    "show": (
        "Write one self-contained page: the multicast over time, the flow and its bottleneck, lanes, pipelines, bounds."
    ),
    "audit": "Compare a run with its plan: every transfer, opening, closing and release; predicted and measured times.",
    "mix": (
        "Find how many units of which shape serve a demand, and how to get there from what runs; say how good that is."
    ),
}


def make_app(argv: Sequence[str]) -> typer.Typer:
    """Make the application for these arguments: the command that they ask for can be run, the others are listed."""
    app = typer.Typer(
        name="holdfast",
        help="Plan how large language models are loaded, placed and served on a GPU cluster.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(lambda: None)
    asked = next((word for word in argv if not word.startswith("-")), None)
    for name, line in COMMANDS.items():
        if name == asked:
            app.command(name)(getattr(import_module(f"planner.cli.{name}"), name))
        else:
            app.command(name, help=line)(_listed)
    return app


def _listed() -> None:
    raise AssertionError("a command that was not asked for is only listed")
