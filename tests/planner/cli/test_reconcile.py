"""`holdfast reconcile` from the outside."""

import re
import signal
import subprocess
import sys

import pytest

from planner.__main__ import main
from planner.description.reading import read_problem
from planner.reconciling import planning
from tests.checkpoints import make_checkpoint
from tests.planner.cli.test_plan import DESCRIPTION
from tests.planner.reconciling.fake_cluster import FakeCluster

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z  (.{10}) (.*)")


@pytest.fixture(scope="module")
def wish(tmp_path_factory):
    directory = tmp_path_factory.mktemp("reconcile")
    make_checkpoint(directory / "llm", "qwen3", tied=True)
    (directory / "wish.yaml").write_text(DESCRIPTION)
    return directory / "wish.yaml"


@pytest.fixture
def cluster(wish):
    found = FakeCluster(read_problem(wish))
    yield found
    found.close()


def reconcile(wish, cluster, *more):
    ats = [word for url in cluster.urls.values() for word in ("--at", url)]
    return main(["reconcile", str(wish), *ats, *more])


def told(capsys):
    found = [LINE.fullmatch(line) for line in capsys.readouterr().out.splitlines()]
    return [(each[1].strip(), each[2]) for each in found]


def test_exit_codes_say_what_came_of_one_look(wish, cluster, capsys):
    assert reconcile(wish, cluster, "--once", "--dry-run") == 3
    assert [kind for kind, _ in told(capsys)] == ["due", "plan", "dry run"]
    assert reconcile(wish, cluster, "--once") == 3
    assert [kind for kind, _ in told(capsys)] == ["due", "plan", "offered"]
    assert reconcile(wish, cluster, "--once") == 0
    assert [kind for kind, _ in told(capsys)] == ["at rest"]
    cluster.unable[cluster.nodes[0]] = "there is no room"
    cluster.die(cluster.nodes[-1])
    assert reconcile(wish, cluster, "--once") == 1
    assert told(capsys)[-1][1].endswith("there is no room")


def test_slots_may_be_left_alone(wish, cluster, capsys, monkeypatch):
    assert reconcile(wish, cluster, "--once") == 3
    cluster.die(cluster.nodes[-1])
    asked = []

    def solve(problem, request, search):
        asked.append(request.fixed_slots)
        return planning.Undecided(sentence="nothing is planned here")

    monkeypatch.setattr(planning, "solve", solve)
    assert reconcile(wish, cluster, "--once", "--fixed-slots") == 3
    assert reconcile(wish, cluster, "--once") == 3
    assert asked == [True, False]


def test_no_plan_within_the_limit_is_undecided(wish, cluster, capsys):
    assert reconcile(wish, cluster, "--once", "--within", "1ns") == 3
    assert told(capsys)[-1][0] in {"undecided", "offered"}


def test_a_description_is_read_again_and_one_with_faults_changes_nothing(wish, tmp_path, capsys):
    from planner.cli.reconcile import _say, _Wish

    copy = wish.with_name("copy.yaml")
    copy.write_text(DESCRIPTION)
    found = _Wish(copy, _say)
    first = found.read()
    copy.write_text("nonsense: [")
    assert found.read() is first
    assert found.read() is first
    ((kind, sentence),) = told(capsys)
    assert (kind, sentence.startswith("the description is left as it was: ")) == ("besides", True)
    copy.write_text(DESCRIPTION.replace("wanted: node[1-3]", "wanted: node[1-2]"))
    assert len(found.read().targets) == 2
    copy.unlink()
    assert len(found.read().targets) == 2


@pytest.mark.parametrize(
    ("more", "words"),
    [(["--within", "soon"], "soon"), (["--every", "1"], "'1'"), (["--within", "1s", "--steps", "5"], "")],
)
def test_bad_options_are_said(wish, cluster, more, words, capsys):
    assert reconcile(wish, cluster, "--once", *more) == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_ends_it_at_once(wish):
    command = [sys.executable, "-m", "planner", "reconcile", str(wish), "--at", "http://127.0.0.1:1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "no answer" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
