"""The example of a layout that changes: every step is planned, and what it writes can be read again."""

import sys

import pytest

from examples.reconfiguring import __main__ as example
from planner.cli.documents import read_document, read_state
from specs.plan import Activate, Continuity, Resize, Switch


@pytest.mark.slow
def test_a_node_more_and_a_node_drained(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["reconfiguring", str(tmp_path)])
    monkeypatch.setattr(example, "WISHES", example.WISHES[:3])
    example.main()
    printed = capsys.readouterr().out
    assert printed.count("pipelines that open") == 3
    drained = read_document(tmp_path / "2-document.json")
    switches = [step for step in drained.plan.steps if isinstance(step, Switch)]
    assert [step.continuity for step in switches] == [Continuity.COPY] * 2
    assert len(read_state(tmp_path / "2-state.json").open) == 4
    assert "llama-70b/serve-2:g3" in (tmp_path / "2.svg").read_text()


@pytest.mark.slow
def test_borders_move_on_full_devices(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["reconfiguring", str(tmp_path)])
    monkeypatch.setattr(example, "WISHES", example.WISHES[-2:])
    example.main()
    assert "KV that makes room" in capsys.readouterr().out
    verified = read_document(tmp_path / "1-document.json")
    (running,), (opened,) = verified.problem.running, verified.plan.pipelines
    assert len(opened.stages) == len(running.pipeline.stages) + 1
    (switch,) = (step for step in verified.plan.steps if isinstance(step, Switch))
    assert switch.continuity is Continuity.COPY
    (activation,) = (step for step in verified.plan.steps if isinstance(step, Activate))
    shrunk, grown = (step for step in verified.plan.steps if isinstance(step, Resize))
    assert example.REQUESTS <= shrunk.slots < running.pipeline.slots
    assert example.REQUESTS <= activation.slots < grown.slots == opened.slots
