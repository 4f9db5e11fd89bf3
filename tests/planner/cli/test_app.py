"""The list of commands, and what they need not import."""

import subprocess
import sys
from importlib import import_module

import pytest

import planner
from planner.__main__ import main
from planner.cli.app import COMMANDS

SOLVERS = {"ortools", "numpy", "pandas", "z3", "planner.solve"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_the_first_line_of_each_docstring(name):
    command = getattr(import_module(f"planner.cli.{name}"), name)
    assert command.__doc__.strip().partition("\n")[0] == COMMANDS[name]


def test_every_command_is_listed_and_has_its_own_help(capsys):
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in COMMANDS)
    assert main(["plan", "--help"]) == 0
    assert "--within" in capsys.readouterr().out


def test_a_command_that_is_not_known_is_bad_input(capsys):
    assert main(["plam"]) == 2
    assert "plam" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["check", "none.yaml", "none.json"]])
def test_what_does_not_plan_imports_no_solver(words):
    text = (
        "import sys\n"
        "from planner.__main__ import main\n"
        f"main({words!r})\n"
        f"print(sorted({SOLVERS!r} & set(sys.modules)))\n"
    )
    ended = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert ended.stdout.endswith("[]\n")


def test_the_package_has_functions_where_files_have_the_same_names():
    import_module("planner.solve")
    import_module("planner.repair")
    assert callable(planner.solve)
    assert callable(planner.repair)
    assert all(getattr(planner, name) is not None for name in planner.__all__)
    with pytest.raises(AttributeError, match="no attribute 'sovle'"):
        _ = planner.sovle
