"""`holdfast plan --after PLAN --journal PATH`: repair from the outside."""

import json
import os
import subprocess
import sys

import attrs
import pytest

from planner.__main__ import main
from planner.cli.documents import read_plan
from planner.description.reading import read_problem
from specs import codec
from specs.journal import PeerLost
from specs.plan import Transfer
from specs.protocols.nouns import LossReason
from tests.checkpoints import make_checkpoint
from tests.planner.cli.test_plan import DESCRIPTION
from tests.runs import exact_run, with_record, write_journals


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A directory with a description, its plan as plan.json and document.json, and journals of a run cut short."""
    found = tmp_path_factory.mktemp("repair")
    make_checkpoint(found / "llm", "qwen3", tied=True)
    (found / "small.yaml").write_text(DESCRIPTION)
    arguments = ["--blocks", "4", "--out", str(found / "plan.json"), "--document", str(found / "document.json")]
    assert main(["plan", str(found / "small.yaml"), *arguments]) == 0
    problem, plan = read_problem(found / "small.yaml"), read_plan(found / "plan.json")
    run = exact_run(problem, plan)
    middle = max(step.end_ns for step in plan.steps if isinstance(step, Transfer)) // 2
    run = {node: [entry for entry in entries if entry[0] <= middle] for node, entries in run.items()}
    run = with_record(run, "source", PeerLost(node="node2", reason=LossReason.SILENT), middle)
    write_journals({node: entries for node, entries in run.items() if node != "node2"}, found / "journals")
    write_journals(run, found / "all")
    return found


def repaired(stopped, *more, out):
    after = ["--after", str(stopped / "plan.json"), "--journal", str(stopped / "journals")]
    return main(["plan", str(stopped / "small.yaml"), *after, "--out", str(out), *more])


def test_what_has_arrived_is_kept_and_the_lost_are_gone(stopped, tmp_path, capsys):
    out = tmp_path / "second.json"
    assert repaired(stopped, out=out) == 0
    printed = capsys.readouterr()
    assert printed.err == "node2 counts as lost: source lost it\n"
    first, second = read_plan(stopped / "plan.json"), read_plan(out)
    assert (second.parent, second.generation) == (codec.digest(first), 2)
    assert second.blobs == first.blobs
    assert not any("node2" in link for route in second.routes for link in route.links)
    journal = "".join(path.read_text() for path in (stopped / "journals").iterdir())
    held = {(blob.id, node) for blob in first.blobs for node in ("node1", "node3") if held_in(journal, blob.id, node)}
    sent = {
        (step.blob, second.routes[step.route].links[-1].rpartition(">")[2].partition("/")[0])
        for step in second.steps
        if isinstance(step, Transfer)
    }
    assert held
    assert not sent & held
    assert len(sent | held) == 2 * len(first.blobs)


def held_in(journal, blob, node):
    return f'"what":{{"blob":"{blob}","kind":"blobheld","place":"{node}/cpu0"}}' in journal


def test_one_that_is_back_is_sent_everything_again(stopped, tmp_path, capsys):
    out = tmp_path / "second.json"
    assert repaired(stopped, "--back", "node2", out=out) == 0
    assert capsys.readouterr().err == ""
    second = read_plan(out)
    entering = [
        step
        for step in second.steps
        if isinstance(step, Transfer) and second.routes[step.route].links[-1].endswith(">node2/cpu0")
    ]
    assert len(entering) == len(second.blobs)


def test_the_second_repair_takes_the_document_of_the_first(stopped, tmp_path, capsys):
    document = tmp_path / "second.json"
    assert repaired(stopped, "--document", str(document), out=tmp_path / "plan.json") == 0
    again = ["plan", str(stopped / "small.yaml"), "--lost", "node2", "--lost", "node3"]
    assert main([*again, "--after", str(tmp_path / "plan.json")]) == 2
    assert "give the document that the daemons took (--document writes it)" in capsys.readouterr().err
    out = tmp_path / "third.json"
    assert main([*again, "--after", str(document), "--out", str(out)]) == 0
    third = read_plan(out)
    assert (third.generation, third.parent) == (3, codec.digest(read_plan(document)))
    assert {pipeline.stages[0].place for pipeline in third.pipelines} == {"source/cpu0", "node1/cpu0"}


def test_a_tensor_without_a_copy_is_named(stopped, tmp_path, capsys):
    assert repaired(stopped, "--lost", "source", "--json", out=tmp_path / "second.json") == 1
    (conflict,) = json.loads(capsys.readouterr().out)["infeasible"]
    assert (conflict["rule"], conflict["where"]) == ("LAST", "chat")
    assert conflict["sentence"].endswith("(exclusive) is left; they were at source/cpu0")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--lost", "node9"], "Invalid value for '--lost': 'node9' is no node of the cluster"),
        (["--back", "node9"], "Invalid value for '--back': 'node9' is no node of the cluster"),
        (["--lost", "node1", "--back", "node1"], "node1 cannot be both lost and back"),
        (["--journal", "{}/none.jsonl"], "none.jsonl: cannot be read: No such file or directory"),
        (["--journal", "{}/other"], "node1 carries out plan"),
        (["--journal", "{}/stranger"], "of node node9, which is not in cluster small"),
    ],
)
def test_bad_input_is_one_sentence(stopped, tmp_path, capsys, more, sentence):
    problem, plan = read_problem(stopped / "small.yaml"), read_plan(stopped / "plan.json")
    other = exact_run(problem, attrs.evolve(plan, generation=7))
    write_journals({"node1": other["node1"]}, stopped / "other")
    write_journals({"node9": other["node1"]}, stopped / "stranger")
    assert repaired(stopped, *(each.format(stopped) for each in more), out=tmp_path / "second.json") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert sentence in printed.err
    assert "Traceback" not in printed.err
    assert not (tmp_path / "second.json").exists()


def test_a_repair_needs_the_plan_that_was_carried_out(stopped, capsys):
    assert main(["plan", str(stopped / "small.yaml"), "--journal", str(stopped / "journals")]) == 2
    assert "Invalid value for '--after': a repair needs the plan that was carried out" in capsys.readouterr().err


def test_a_journal_of_one_who_is_lost_is_not_looked_into(stopped, tmp_path):
    out, same = tmp_path / "second.json", tmp_path / "same.json"
    assert repaired(stopped, "--lost", "node2", out=out) == 0
    after = ["--after", str(stopped / "plan.json"), "--journal", str(stopped / "all"), "--lost", "node2"]
    assert main(["plan", str(stopped / "small.yaml"), *after, "--out", str(same)]) == 0
    assert same.read_bytes() == out.read_bytes()


def test_every_process_writes_the_same_bytes(stopped, tmp_path):
    written = []
    for seed in ("1", "77"):
        out = tmp_path / f"{seed}.json"
        command = [sys.executable, "-m", "planner", "plan", str(stopped / "small.yaml"), "--out", str(out)]
        command += ["--after", str(stopped / "plan.json"), "--journal", str(stopped / "journals"), "--steps", "500"]
        subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": seed}, check=True, capture_output=True)
        written.append(out.read_bytes())
    assert written[0] == written[1]
    provenance = json.loads(written[0])["provenance"]
    assert (provenance["steps_max"], provenance["within_ns"], provenance["seed"]) == (500, None, 0)
