"""A node that dies or hangs while it serves counts as lost within the bound that its plan promises."""

import signal
import time

import pytest

from specs import journal
from specs.protocols.nouns import LossReason
from specs.timing import detection_ns, node_deadline_ns
from tests.processes.cluster import (
    adopt,
    completion,
    daemons,
    make_plan,
    make_problem,
    records_of,
    text_of,
    wait_for,
    wait_until_complete,
    weights_bytes,
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "seconds"), [(signal.SIGKILL, 1), (signal.SIGSTOP, 4)], ids=["killed, by the floor", "hung, by a transfer"]
)
def test_a_loss_while_serving_is_noticed_within_the_plans_bound(how, seconds, checkpoint, oracle, tmp_path):
    problem = make_problem(checkpoint, 4, rate=weights_bytes(checkpoint) // seconds)
    verified = make_plan(problem, blocks=1)
    deadline_ns = node_deadline_ns(verified.plan)
    with daemons(problem, checkpoint, tmp_path) as running:
        adopt(running, verified)
        wait_until_complete(running)
        victim, others = running[2], [*running[:2], running[3]]
        victim.signal(how)
        lost_at_ns = time.time_ns()
        for daemon in others:
            wait_for(lambda daemon=daemon: victim.name in daemon.status()["lost"], "the loss is noticed", seconds=60)
            assert text_of(completion(daemon, "after the loss", 8)) == oracle.answer("after the loss", 8)
        losses = records_of(others, journal.PeerLost)
        assert [(each.what.node, each.what.reason) for each in losses] == [(victim.name, LossReason.SILENT)] * 3
        assert {each.node for each in losses} == {daemon.name for daemon in others}
        for each in losses:
            # Its last word was heard before it stopped, so the silence is no shorter than since then.
            assert each.at_unix_ns - lost_at_ns <= detection_ns(deadline_ns)
        if how is signal.SIGSTOP:
            victim.signal(signal.SIGCONT)
            wait_for(lambda: victim.name in others[0].status()["heard_again"], "it is heard again", seconds=60)
            assert victim.name in others[0].status()["lost"], "until another plan comes"
