import json

import pytest

from planner.__main__ import main
from planner.cli.documents import write_plan
from specs.journal import PeerLost, Started, TransferEnded
from specs.protocols.nouns import LossReason
from specs.replay import Replayed, Said
from tests import plans
from tests.runs import exact_run, only, with_record, without, write_journals

PROBLEM, PLAN = plans.a_rescue()
RUN = exact_run(PROBLEM, PLAN)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A description that stands for the small problem, its plan, and journals of an exact run."""
    monkeypatch.setattr("planner.cli.audit.read_with_progress", lambda _path: PROBLEM)
    write_plan(tmp_path / "plan.json", PLAN)
    write_journals(RUN, tmp_path / "good")
    return tmp_path


def audit(files, *arguments):
    return main(["audit", "problem.yaml", str(files / "plan.json"), *map(str, arguments)])


def test_a_good_run(files, capsys):
    assert audit(files, files / "good", "--tolerance", "1.5") == 0
    out = capsys.readouterr().out
    assert out.endswith("ran as planned\n")
    assert "IN-TIME" in out
    assert "wall clock" in out
    assert "differs" not in out


def test_a_run_that_differs(files, capsys):
    lost = with_record(without(RUN, only(TransferEnded)), "n1", PeerLost(node="n2", reason=LossReason.SILENT))
    assert audit(files, write_journals(lost, files / "lost")) == 1
    out = capsys.readouterr().out
    assert "ARRIVED at transfer 1: llm/0 from n0/gpu0 to n1/gpu0 never arrived" in out
    assert "PEERS at n2: n1 counts it as lost: silent" in out
    assert out.endswith(" differences from the plan\n")


def test_what_does_not_follow_from_what_was_learnt(files, capsys):
    started = {node: [(0, Started(settled=0)), *entries] for node, entries in RUN.items()}
    assert audit(files, write_journals(started, files / "started"), "--with", files / "plan.json") == 1
    out = capsys.readouterr().out
    assert "PROTOCOLS at n0: record 1: Adopted " in out
    assert "does not follow from what it had learnt: a node adopts the newest plan that it accepted" in out


def test_a_hand_over_that_does_not_follow(files, capsys, monkeypatch):
    said = Said(node="n1", sentence="record 7: TookOver n0:life:2 does not follow", is_of_hand_over=True)
    found = Replayed(records=9, hand_over_records=4, breaches=(said,), notes=())
    monkeypatch.setattr("planner.audit.report.replay", lambda *_: found)
    assert audit(files, files / "good") == 1
    out = capsys.readouterr().out
    assert "HAND-OVER at n1: record 7: TookOver n0:life:2 does not follow" in out
    assert "PROTOCOLS at" not in out
    assert audit(files, files / "good", "--json") == 1
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)["checks"]}
    assert (rows["PROTOCOLS"]["examined"], rows["PROTOCOLS"]["verdict"]) == (5, "as planned")
    assert (rows["HAND-OVER"]["examined"], rows["HAND-OVER"]["verdict"]) == (4, "differs")


def test_json_has_every_row(files, capsys):
    assert audit(files, files / "good", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["as_planned"] is True
    assert len(document["transfers"]) == 8
    assert {row["verdict"] for row in document["checks"]} == {"as planned"}
    assert {row["what"] for row in document["milestones"]} >= {"first cover", "full load", "opening", "first token"}


@pytest.mark.parametrize("tolerance", ["much", "0", "-1", "1/0"])
def test_tolerances_that_are_none(files, capsys, tolerance):
    assert audit(files, files / "good", f"--tolerance={tolerance}") == 2
    assert f"Invalid value for '--tolerance': '{tolerance}'" in capsys.readouterr().err


def test_bad_input(files, capsys):
    assert audit(files, files / "absent") == 2
    assert "cannot be read" in capsys.readouterr().err
    (files / "good" / "n0.jsonl").write_text("{}\n")
    assert audit(files, files / "good") == 2
    err = capsys.readouterr().err
    assert "n0.jsonl:1: " in err
    assert err.count("\n") == 1
    (files / "plan.json").write_text("{}")
    assert audit(files, files / "good") == 2


def test_a_plan_that_the_checker_rejects(files, capsys):
    write_plan(files / "plan.json", plans.with_step(PLAN, 1, end_ns=1))
    assert audit(files, files / "good") == 2
    assert "the plan breaks " in capsys.readouterr().err
