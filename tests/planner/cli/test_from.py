"""`holdfast plan --from STATE` and `holdfast diff` from the outside."""

import json

import pytest

from planner.__main__ import main
from planner.cli.documents import read_plan, read_state
from specs import codec
from specs.plan import Activate, Switch
from tests.checkpoints import make_checkpoint
from tests.planner.cli.test_plan import DESCRIPTION
from tests.running_clusters import after


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A directory with a description, the state after its plan, and a description with a node less."""
    from planner.cli.documents import read_document

    found = tmp_path_factory.mktemp("from")
    make_checkpoint(found / "llm", "qwen3", tied=True)
    (found / "before.yaml").write_text(DESCRIPTION)
    (found / "next.yaml").write_text(DESCRIPTION.replace("wanted: node[1-3]", "wanted: node[1-2]"))
    assert main(["plan", str(found / "before.yaml"), "--blocks", "4", "--document", str(found / "first.json")]) == 0
    first = read_document(found / "first.json")
    (found / "state.json").write_bytes(codec.encode(after(first.problem, first.plan)))
    return found


def planned(cluster, description, *more):
    return main(["plan", str(cluster / description), "--from", str(cluster / "state.json"), *map(str, more)])


def test_the_same_wish_gives_a_plan_without_steps(cluster, tmp_path, capsys):
    assert planned(cluster, "before.yaml", "--out", tmp_path / "plan.json") == 0
    plan = read_plan(tmp_path / "plan.json")
    assert (plan.steps, plan.generation) == ((), 2)
    assert plan.parent == codec.digest(read_state(cluster / "state.json").plan)
    assert "runs" in capsys.readouterr().out


def test_a_node_is_drained(cluster, tmp_path, capsys):
    document = tmp_path / "document.json"
    assert planned(cluster, "next.yaml", "--document", document, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert [each["old"] for each in summary["switches"]] == ["chat@node3/cpu0"]
    assert len(summary["running"]) == 4
    assert main(["diff", str(cluster / "state.json"), str(document)]) == 0
    printed = capsys.readouterr().out
    assert "kept: they notice nothing" in printed
    assert "copies that go" in printed
    assert main(["check", str(cluster / "next.yaml"), str(document)]) == 0
    page = tmp_path / "page.html"
    assert main(["show", str(cluster / "next.yaml"), str(document), "--out", str(page)]) == 0
    assert "chat@node3/cpu0" in page.read_text()


def test_differences_as_data_and_as_a_picture(cluster, tmp_path, capsys):
    document, picture = tmp_path / "document.json", tmp_path / "picture.svg"
    assert planned(cluster, "next.yaml", "--document", document) == 0
    capsys.readouterr()
    arguments = [str(cluster / "state.json"), str(document), "--json", "--picture", str(picture)]
    assert main(["diff", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {each["fate"] for each in found["seen"]} == {"kept", "recompute"}
    assert "node3/cpu0" in picture.read_text()
    assert main(["diff", str(cluster / "first.json"), str(document)]) == 0
    assert "what requests see" in capsys.readouterr().out


def test_a_pipeline_may_be_stopped(cluster, tmp_path, capsys):
    out = tmp_path / "plan.json"
    assert planned(cluster, "before.yaml", "--stop", "chat@node3/cpu0", "--out", out) == 0
    assert "chat@node3/cpu0 closes when the plan is adopted; its 2 requests" in capsys.readouterr().err
    plan = read_plan(out)
    assert [step.pipeline for step in plan.steps if isinstance(step, Activate)] == ["chat@node3/cpu0:g2"]
    assert not any(isinstance(step, Switch) for step in plan.steps)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--after", "first.json"), "a state says by itself which plan runs"),
        (("--blocks", "3"), "pipelines that run compute with the blobs that there are"),
        (("--stop", "nobody"), "is no pipeline of the cluster"),
        (("--lost", "nobody"), "is no node of the cluster"),
    ],
)
def test_what_contradicts_a_state(cluster, capsys, arguments, said):
    named = [str(cluster / word) if word.endswith(".json") else word for word in arguments]
    assert planned(cluster, "before.yaml", *named) == 2
    assert said in " ".join(capsys.readouterr().err.replace("│", "").split())


def test_files_that_are_none(cluster, tmp_path, capsys):
    assert main(["plan", str(cluster / "before.yaml"), "--from", str(cluster / "first.json")]) == 2
    assert "first.json: document" in capsys.readouterr().err
    assert main(["plan", str(cluster / "before.yaml"), "--stop", "x"]) == 2
    assert "that needs --from" in " ".join(capsys.readouterr().err.split())
    assert main(["plan", str(cluster / "before.yaml"), "--fixed-slots"]) == 2
    assert "that needs --from" in " ".join(capsys.readouterr().err.replace("│", "").split())
    assert main(["diff", str(cluster / "state.json"), str(cluster / "state.json")]) == 2
    assert "a plan with its problem is wanted" in capsys.readouterr().err


def test_a_plan_of_another_parent_is_said(cluster, tmp_path, capsys):
    assert main(["diff", str(cluster / "state.json"), str(cluster / "first.json")]) == 0
    assert "the plan follows plan none" in capsys.readouterr().err
