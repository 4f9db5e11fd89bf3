"""The Python API: names are there, and what is not asked for is not imported."""

import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

import planner
from planner.mixes.uniform import best_uniform
from planner.rounds.schedule import schedule
from specs import queueing


def test_names_are_functions_of_the_packages():
    assert set(planner.__all__) == set(planner._LATER)
    for name in planner.__all__:
        assert callable(getattr(planner, name)) or name == "Outcome"
    assert planner.best_uniform_mix is best_uniform
    assert planner.schedule_collective is schedule
    assert planner.predict_latency is queueing.predict
    assert all(name in planner.__doc__ for name in planner._LATER if name.islower())


def test_a_name_that_is_also_that_of_a_part_of_the_package_is_the_function():
    """A submodule that is imported would stand in its place."""
    parts = {each.name for each in pkgutil.iter_modules(planner.__path__)}
    for name in sorted(parts & planner._LATER.keys()):
        part = import_module(f"planner.{name}")
        assert getattr(planner, name) is getattr(part, name)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="module 'planner' has no attribute 'best_guess'"):
        planner.best_guess  # noqa: B018


def test_questions_are_imported_when_they_are_asked():
    program = (
        "import sys, planner\n"
        "later = ('planner.mixes', 'planner.rounds', 'planner.cli')\n"
        "assert not [name for name in sys.modules if name.startswith(later)]\n"
        "planner.best_mix, planner.schedule_collective, planner.explain_plan\n"
        "assert 'planner.mixes.solve' in sys.modules and 'planner.rounds.schedule' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
