import json
import shutil

import pytest

from examples.services.unequal import unequal
from planner.__main__ import main
from planner.cli.documents import read_plan
from planner.outcome import Planned
from planner.page.render import render
from planner.solve import solve
from specs.plan import Claim
from tests.checkpoints import make_checkpoint


def test_an_llm_too_large_for_any_device_is_served_by_several():
    problem = unequal()
    outcome = solve(problem)
    assert isinstance(outcome, Planned), outcome
    plan = outcome.verified.plan
    assert all(len(pipeline.stages) > 1 for pipeline in plan.pipelines)
    assert {row.claim for row in plan.certificates} >= {Claim.COMPLETION, Claim.DEVICES}
    page = render(outcome.verified)
    assert "service qwen-32b on up to 16 devices" in page
    assert "devices that the service uses" in page
    assert "TTFT, p90" in page


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    found = tmp_path_factory.mktemp("services")
    shutil.copy("examples/services/all.yaml", found)
    for name in ("chat", "code", "rare"):
        make_checkpoint(found / name, "llama")
    return found


def test_every_section_of_a_description_is_described(directory, capsys):
    assert main(["describe", str(directory / "all.yaml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (service,), (standby,) = found["services"], found["standbys"]
    assert (service["llm"], service["objective"], service["depth_max"], service["moves_max"]) == ("code", "cost", 4, 64)
    assert (standby["llm"], standby["start_ns_max"]) == ("rare", 4 * 10**9)
    assert main(["describe", str(directory / "all.yaml")]) == 0
    printed = capsys.readouterr().out
    assert "Services" in printed
    assert "Standbys" in printed


def test_every_section_of_a_description_is_planned_checked_and_shown(directory, tmp_path, capsys):
    out, page = tmp_path / "plan.json", tmp_path / "page.html"
    assert main(["plan", str(directory / "all.yaml"), "--out", str(out)]) == 0
    plan = read_plan(out)
    assert {row.claim for row in plan.certificates} >= {Claim.COMPLETION, Claim.COST, Claim.START}
    assert [each.llm for each in plan.residents] == ["rare"]
    assert {each.llm for each in plan.pipelines} >= {"chat", "code"}
    assert "standing by" in capsys.readouterr().out
    assert main(["check", str(directory / "all.yaml"), str(out)]) == 0
    assert main(["show", str(directory / "all.yaml"), str(out), "--out", str(page)]) == 0
    shown = page.read_text()
    for sentence in ("Standing by", "Drafting for code", "rent of the devices", "mean time in which what stands by"):
        assert sentence in shown
