"""The checker alone: `python -m specs`."""

import io
import json

import pytest

from planner.outcome import Planned
from planner.solve import solve
from specs import codec
from specs.__main__ import main
from tests.builders import a_problem


@pytest.fixture
def document():
    problem = a_problem(4)
    outcome = solve(problem)
    assert isinstance(outcome, Planned)
    plan = outcome.verified.plan
    return {"problem": json.loads(codec.encode(problem)), "plan": json.loads(codec.encode(plan))}


def judge(tmp_path, text):
    path = tmp_path / "document.json"
    path.write_text(text)
    out = io.StringIO()
    return main([str(path)], out), out.getvalue()


def test_a_good_plan_is_verified(tmp_path, document):
    code, said = judge(tmp_path, json.dumps(document))
    assert code == 0
    assert said.startswith("verified")


def test_a_plan_edited_by_hand_is_rejected(tmp_path, document):
    transfer = next(step for step in document["plan"]["steps"] if step["kind"] == "transfer")
    transfer["bytes_per_second"] *= 2
    code, said = judge(tmp_path, json.dumps(document))
    assert code == 1
    assert "LINK" in said


@pytest.mark.parametrize("text", ["", "[]", '{"plan": {}}', '{"plan": {}, "problem": {}}'])
def test_anything_else_is_bad_input(tmp_path, text):
    code, said = judge(tmp_path, text)
    assert code == 2
    assert said.count("\n") == 1


def test_usage_and_missing_files(tmp_path):
    out = io.StringIO()
    assert main([], out) == 2
    assert main([str(tmp_path / "none.json")], out) == 2
    assert "usage" in out.getvalue()
