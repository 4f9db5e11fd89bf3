"""`holdfast plan --explain`: what it prints, and the same for programs."""

import json

import pytest

from planner.__main__ import main
from planner.cli.documents import read_plan
from tests.checkpoints import make_checkpoint

DESCRIPTION = """
cluster:
  name: small
  templates:
    cpu1: {cpu: 1 GB, nics: {rate: 1 Gb/s, latency: 50 us}}
  nodes:
    source: {like: cpu1}
    node[1-2]: {like: cpu1}
llms:
  chat:
    checkpoint: llm
    workload: {requests: 30 / min, prompt: 32, output: 32, longest: 256, live: 8}
    slo: {percentile: 90, ttft: 2 s, tpot: 200 ms}
    held: source
    wanted: node[1-2]
profile:
  - {device: cpu, dtype: F32, compute: 20 Gflop/s, memory: 5 GB/s, overhead: 400 us, source: made up}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    directory = tmp_path_factory.mktemp("explained")
    make_checkpoint(directory / "llm")
    path = directory / "small.yaml"
    path.write_text(DESCRIPTION)
    return path


def test_every_decision_is_explained(file, tmp_path, capsys):
    out = tmp_path / "plan.json"
    assert main(["plan", str(file), "--blocks", "2", "--explain", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    for said in ("completion of transfers of chat", "number of blocks of chat", "TPOT at percentile 90 of chat",
                 "binding", "runner-up", "more", "both directions, 1 GB/s more: bound "):  # fmt: skip
        assert said in printed
    assert main(["plan", str(file), "--blocks", "2", "--explain", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    decisions = found["explanation"]["decisions"]
    completion = next(each for each in decisions if each["decision"] == "completion of transfers")
    claims = {(each["claim"], each["measure"]): each for each in found["certificates"]}
    assert completion["value"] == claims["completion", "ns"]["value"]
    assert completion["gap"] == completion["value"] - completion["bound"]
    assert {each["figure"] for each in completion["worth"]} <= {"bound", "value"}
    assert read_plan(out).problem == found["problem"]


def test_without_the_option_nothing_is_explained(file, capsys):
    assert main(["plan", str(file), "--blocks", "2", "--json"]) == 0
    assert "explanation" not in json.loads(capsys.readouterr().out)
