"""`holdfast plan` for descriptions with standbys."""

import pytest

from planner.__main__ import main
from planner.cli.documents import read_plan
from specs.plan import Claim
from tests.checkpoints import make_checkpoint

DESCRIPTION = """
cluster:
  name: small
  templates:
    gpu: {gpus: 1 x H100, memory: 100 GB, nics: {rate: 1 Gb/s, latency: 50 us}, pcie: PCIe 5 x16}
  nodes:
    a: {like: gpu}
    b: {like: gpu}
llms:
  chat:
    checkpoint: llm
    workload: {requests: 30 / min, prompt: 32, output: 32, longest: 256, live: 8}
    held: a/gpu0
    standby: {on: [b/host], start: LIMIT}
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    found = tmp_path_factory.mktemp("standbys")
    make_checkpoint(found / "llm", "qwen3", tied=True)
    for name, limit in (("good", "4 s"), ("late", "1 us")):
        (found / f"{name}.yaml").write_text(DESCRIPTION.replace("LIMIT", limit))
    return found


def test_a_standby_is_planned(directory, tmp_path, capsys):
    out = tmp_path / "plan.json"
    assert main(["plan", str(directory / "good.yaml"), "--out", str(out)]) == 0
    plan = read_plan(out)
    (resident,) = plan.residents
    assert (resident.llm, resident.place) == ("chat", "b/host")
    assert plan.routes[resident.route].links[0].startswith("b/host")
    assert Claim.START in {each.claim for each in plan.certificates}
    assert "0, optimal" in capsys.readouterr().out


def test_a_standby_that_cannot_start_in_time_is_refused_with_what_it_needs(directory, capsys):
    assert main(["plan", str(directory / "late.yaml")]) == 1
    printed = capsys.readouterr()
    assert "standby chat" in printed.out + printed.err
    assert "chat starts in" in printed.out + printed.err
