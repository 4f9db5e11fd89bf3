import pytest

from planner.__main__ import main
from planner.cli.documents import write_plan
from tests import plans
from tests.runs import exact_run, write_journals

PROBLEM, PLAN = plans.a_rescue()


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr("planner.cli.show.read_with_progress", lambda _path: PROBLEM)
    write_plan(tmp_path / "plan.json", PLAN)
    write_journals(exact_run(PROBLEM, PLAN), tmp_path / "journals")
    return tmp_path


def show(files, *arguments):
    return main(["show", "problem.yaml", str(files / "plan.json"), *map(str, arguments)])


def test_a_page_of_a_plan(files, capsys):
    page = files / "page.html"
    assert show(files, "--out", page) == 0
    assert capsys.readouterr().out == f"written to {page}: {page.stat().st_size:,} bytes\n"
    assert page.read_text().startswith("<!DOCTYPE html>\n")
    assert '"measured":false' in page.read_text()


def test_a_page_of_a_run(files):
    page = files / "page.html"
    assert show(files, "--journal", files / "journals", "--out", page) == 0
    assert '"measured":true' in page.read_text()


def test_bad_input(files, capsys):
    assert show(files, "--out", files / "absent" / "page.html") == 2
    assert "cannot be written" in capsys.readouterr().err
    write_journals(exact_run(*plans.a_chain()), files / "other")
    assert show(files, "--out", files / "page.html", "--journal", files / "other") == 2
    assert "no journal there is of this plan" in capsys.readouterr().err
    assert not (files / "page.html").exists()
