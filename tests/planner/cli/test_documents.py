"""Plan files: written whole or not at all, read strictly."""

import json

import attrs
import pytest

from planner.cli.documents import read_plan, read_verified, write_plan
from planner.errors import BadPlan, CannotWrite
from specs import codec
from tests.builders import a_problem
from tests.plans import a_chain


@pytest.fixture
def plan():
    return a_chain()[1]


def test_what_is_written_is_read(tmp_path, plan):
    file = tmp_path / "plan.json"
    assert write_plan(file, plan) == len(file.read_bytes()) == len(codec.encode(plan))
    assert read_plan(file) == plan
    assert [each.name for each in tmp_path.iterdir()] == ["plan.json"]


def test_a_plan_is_replaced(tmp_path, plan):
    file = tmp_path / "plan.json"
    file.write_text("what was there")
    write_plan(file, plan)
    assert read_plan(file) == plan


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path, plan):
    with pytest.raises(CannotWrite, match=r"^.*/no/plan\.json cannot be written: No such file or directory$"):
        write_plan(tmp_path / "no" / "plan.json", plan)
    directory = tmp_path / "plan.json"
    directory.mkdir()
    with pytest.raises(CannotWrite):
        write_plan(directory, plan)
    assert [each.name for each in tmp_path.iterdir()] == ["plan.json"]


def edited(plan, change):
    document = json.loads(codec.encode(plan))
    change(document)
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "line 1, column 1: not JSON"),
        ("[]", "plan is a list; an object (Plan) is wanted"),
        ('{"format": 1}', "plan lacks blobs, certificates, generation"),
        ('{"format": 2, "unknown": 0}', "format 2; this version reads format 1"),
        ('{"format": "one"}', "format 'one'; this version reads format 1"),
        ('{"format": 1.0}', "1.0 is not a whole number"),
        ('{"format": 1, "format": 1}', "the key 'format' is given twice"),
    ],
)
def test_what_is_no_plan(tmp_path, text, sentence):
    file = tmp_path / "plan.json"
    file.write_text(text)
    with pytest.raises(BadPlan) as caught:
        read_plan(file)
    assert str(caught.value).startswith(f"{file}: {sentence}")
    assert "\n" not in str(caught.value)


def test_every_truncation_is_refused(tmp_path, plan):
    file = tmp_path / "plan.json"
    data = codec.encode(plan)
    for length in range(0, len(data), 97):
        file.write_bytes(data[:length])
        with pytest.raises(BadPlan):
            read_plan(file)


def test_bytes_that_are_no_text(tmp_path):
    file = tmp_path / "plan.json"
    file.write_bytes(b'{"\xff"')
    with pytest.raises(BadPlan, match="byte 2 of the document is not UTF-8"):
        read_plan(file)


def test_keys_that_no_plan_has(tmp_path, plan):
    file = tmp_path / "plan.json"
    file.write_text(edited(plan, lambda document: document.update(stepz=document.pop("steps"))))
    with pytest.raises(BadPlan, match=r"plan has the unknown key 'stepz'; did you mean steps\?"):
        read_plan(file)
    file.write_text(edited(plan, lambda document: document["steps"][0].update(kind="teleport")))
    with pytest.raises(BadPlan, match=r"plan.steps\[0\].kind is 'teleport'"):
        read_plan(file)


def test_a_missing_file(tmp_path):
    with pytest.raises(BadPlan, match=r"plan\.json: cannot be read: No such file or directory$"):
        read_plan(tmp_path / "plan.json")
    with pytest.raises(BadPlan, match="Is a directory"):
        read_plan(tmp_path)


def test_only_verified_plans_pass(tmp_path):
    problem, plan = a_chain()
    file = tmp_path / "plan.json"
    write_plan(file, plan)
    assert read_verified(problem, file).plan == plan
    with pytest.raises(BadPlan, match="the plan breaks FOR"):
        read_verified(attrs.evolve(a_problem(4), name="other"), file)
