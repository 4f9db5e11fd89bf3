"""Real daemons hand requests over with their KV, from node to node; none of them fails or gets a wrong token."""

import re

import attrs
import pytest

from planner.reconfiguring import waves
from specs import journal
from specs.plan import Continuity, Switch
from specs.problem import Target
from tests.processes.cluster import (
    LLM,
    adopt,
    daemons,
    document,
    make_plan,
    make_problem,
    records_of,
    wait_for,
    wait_until_adopted,
    wait_until_complete,
)
from tests.processes.test_reconfiguration import FAST, asking, closed_under, next_plan

pytestmark = pytest.mark.slow


def test_requests_move_with_their_kv(checkpoint, tmp_path, monkeypatch):
    """Computing so little again would be sooner, so that the planner is told to copy."""
    ways = waves.ways
    monkeypatch.setattr(waves, "ways", lambda *asked: tuple(w for w in ways(*asked) if w.continuity is Continuity.COPY))
    whole = make_problem(checkpoint, 3, rate=FAST, context=256)
    first = make_plan(attrs.evolve(whole, targets=(Target(llm=LLM, place="n1/cpu0"),)))
    with daemons(whole, checkpoint, tmp_path) as running:
        adopt(running, first)
        wait_until_complete(running)
        with asking(running):
            wanted = attrs.evolve(whole, targets=(Target(llm=LLM, place="n2/cpu0"),))
            second = next_plan(running, wanted)
            switches = [step for step in second.plan.steps if isinstance(step, Switch)]
            assert {step.continuity for step in switches} == {Continuity.COPY}
            assert running[1].put(document(second)).status_code == 200
            wait_until_adopted(running, second)
            wait_until_complete(running)
            wait_for(lambda: closed_under(running, 2) >= {step.old for step in switches}, "they close", seconds=60)
        receipts = [each.what for each in records_of(running, journal.HandedOver)]
        assert {receipt.pipeline for receipt in receipts} == {step.old for step in switches}
        assert sum(receipt.copied for receipt in receipts) > 0, receipts
        assert sum(receipt.bytes for receipt in receipts) > 0, receipts
        assert sum(counted(daemon) for daemon in running) > 0


def counted(daemon):
    """How many requests of a front were paused by a hand-over."""
    text = daemon.get("/metrics").text
    return int(float(re.search(r"^holdfast_hand_over_pause_seconds_count (\S+)$", text, re.MULTILINE)[1]))
