"""`holdfast check` from the outside: a plan as it was made, edited by hand, broken, and for another problem."""

import json

import pytest

from planner.__main__ import main
from specs.invariants.table import INVARIANTS
from tests.checkpoints import make_checkpoint
from tests.planner.cli.test_plan import DESCRIPTION


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    directory = tmp_path_factory.mktemp("check")
    make_checkpoint(directory / "llm", "qwen3", tied=True)
    (directory / "small.yaml").write_text(DESCRIPTION)
    (directory / "other.yaml").write_text(DESCRIPTION.replace("live: 8", "live: 9"))
    assert main(["plan", str(directory / "small.yaml"), "--blocks", "4", "--out", str(directory / "plan.json")]) == 0
    return directory


def check(directory, text=None, *options, description="small.yaml"):
    plan = directory / "plan.json"
    if text is not None:
        plan = directory / "edited.json"
        plan.write_text(text)
    return main(["check", str(directory / description), str(plan), *options])


def test_a_plan_as_it_was_made(made, capsys):
    capsys.readouterr()
    assert check(made) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"verified: {made / 'plan.json'} keeps all {len(INVARIANTS)} invariants (checked in ")
    assert check(made, None, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"verified": True, "violations": []}


def test_a_plan_for_another_problem(made, capsys):
    assert check(made, description="other.yaml") == 1
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.endswith("breaks FOR")
    assert "this is problem" in row


def first(document, kind):
    return next(step for step in document["steps"] if step["kind"] == kind)


def last(document, kind):
    return next(step for step in reversed(document["steps"]) if step["kind"] == kind)


def without(document, kind):
    document["steps"].remove(last(document, kind))


EDITS = {
    "a transfer left out": ("FULL", lambda plan: without(plan, "transfer")),
    "a transfer too quick": ("LINK", lambda plan: first(plan, "transfer").update(end_ns=1)),
    "a transfer above the link's rate": ("LINK", lambda plan: first(plan, "transfer").update(bytes_per_second=10**12)),
    "a transfer before its blob is there": ("CAUSE", lambda plan: last(plan, "transfer").update(start_ns=0)),
    "two transfers at once on a port": ("PORT", lambda plan: last(plan, "transfer").update(start_ns=0)),
    "a pipeline opened at once": ("EARLY", lambda plan: last(plan, "activate").update(at_ns=0)),
    "a pipeline never opened": ("SERVE", lambda plan: without(plan, "activate")),
    "a stage that ends too soon": ("LAYER", lambda plan: plan["pipelines"][0]["stages"][0].update(end_unit=3)),
    "less KV than the slots need": ("MEM", lambda plan: plan["pipelines"][0]["stages"][0].update(kv_bytes=1)),
    "a bound that is too good": ("BOUND", lambda plan: plan["certificates"][1].update(bound=10**15, value=10**15)),
    "a certificate left out": ("BOUND", lambda plan: plan.update(certificates=plan["certificates"][2:])),
    "a blob of another size": ("REF", lambda plan: plan["blobs"][0].update(bytes=1)),
    "a step of an unknown pipeline": ("REF", lambda plan: last(plan, "activate").update(pipeline="nobody")),
    "steps out of order": ("REF", lambda plan: plan["steps"].reverse()),
    "the digest of another problem": ("FOR", lambda plan: plan.update(problem="0" * 64)),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_plan_edited_by_hand(made, capsys, name):
    rule, edit = EDITS[name]
    document = json.loads((made / "plan.json").read_text())
    edit(document)
    assert check(made, json.dumps(document)) == 1
    printed = capsys.readouterr()
    assert printed.err == ""
    heading, *rows = printed.out.splitlines()
    assert heading.startswith(f"rejected: {made / 'edited.json'} breaks ")
    assert rule in heading.partition(" breaks ")[2].split(", ")
    assert any(row.startswith(f"  {rule}") for row in rows)
    assert check(made, json.dumps(document), "--json") == 1
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["verified"] is False
    assert rule in {row["rule"] for row in verdict["violations"]}
    assert all(set(row) == {"rule", "where", "sentence"} for row in verdict["violations"])


def test_what_cannot_be_read_as_a_plan(made, capsys):
    text = (made / "plan.json").read_text()
    for broken, sentence in (
        (text[: len(text) // 2], "edited.json: line 1, column "),
        (text.replace('"format":1,', '"format":7,'), "edited.json: format 7; this version reads format 1"),
        ("null", "edited.json: plan is null; an object (Plan) is wanted"),
    ):
        assert check(made, broken) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert sentence in printed.err
        assert len(printed.err.splitlines()) == 1


def test_files_that_are_not_there(made, capsys):
    assert main(["check", str(made / "small.yaml"), str(made / "absent.json")]) == 2
    assert "absent.json: cannot be read: No such file or directory" in capsys.readouterr().err
    assert main(["check", str(made / "absent.yaml"), str(made / "plan.json")]) == 2
    assert "the file cannot be read" in capsys.readouterr().err
