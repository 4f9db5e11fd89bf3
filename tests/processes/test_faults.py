"""Nodes that die or hang in mid-multicast: noticed in time, named; the others complete or say what they lack."""

import signal
import time

import pytest

from specs import journal
from specs.timing import node_deadline_ns
from tests.processes.cluster import adopt, complete, completion, daemons, make_plan, make_problem, wait_for


def settled(daemon):
    return daemon.status()["phase"] != "transferring"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_lost_receiver_is_named_and_the_others_end(how, checkpoint, oracle, tmp_path):
    # A block takes about 0.4 s: the victim goes in the middle.
    size = sum(path.stat().st_size for path in checkpoint.glob("*.safetensors"))
    problem = make_problem(checkpoint, 4, rate=size // 3)
    verified = make_plan(problem, blocks=8)
    with daemons(problem, checkpoint, tmp_path) as running:
        adopt(running, verified)
        source, victim, *others = running
        wait_for(lambda: victim.status()["blobs"]["held"] >= 2, "the victim holds two blobs", seconds=60)
        lost_at = time.time_ns()
        victim.signal(how)
        asked = [completion(source, f"a prompt {number}", 8) for number in range(3)]
        assert [each.json()["choices"][0]["text"] for each in asked] == [
            oracle.answer(f"a prompt {number}", 8) for number in range(3)
        ]
        survivors = [source, *others]
        for daemon in survivors:
            wait_for(lambda daemon=daemon: settled(daemon), f"{daemon.name} is done", seconds=60)
            wait_for(lambda daemon=daemon: victim.name in daemon.status()["lost"], "the loss is noticed", seconds=60)
        for daemon in survivors:
            record = next(each for each in daemon.records() if isinstance(each.what, journal.PeerLost))
            assert record.what.node == victim.name
            # Noticed within the plan's own deadline, with room for this machine's scheduling.
            assert record.at_unix_ns - lost_at < 20 * node_deadline_ns(verified.plan)
            blobs = daemon.status()["blobs"]
            assert blobs["held"] + len(blobs["lacking"]) == blobs["wanted"]
            assert all(lack["because"] == victim.name for lack in blobs["lacking"])
            # Whoever answers, answers right.
            answer = completion(daemon, "after the loss", 8)
            assert answer.json()["choices"][0]["text"] == oracle.answer("after the loss", 8)


def test_everything_completes_and_every_pipeline_ends_as_planned(checkpoint, oracle, tmp_path):
    size = sum(path.stat().st_size for path in checkpoint.glob("*.safetensors"))
    problem = make_problem(checkpoint, 4, rate=size // 2)
    verified = make_plan(problem, blocks=8)
    with daemons(problem, checkpoint, tmp_path) as running:
        adopt(running, verified)
        for daemon in running:
            wait_for(lambda daemon=daemon: complete(daemon), f"{daemon.name} is complete", seconds=60)
        local = {pipeline.id for pipeline in verified.plan.pipelines if len(pipeline.stages) == 1}
        for daemon in running:
            wait_for(
                lambda daemon=daemon: set(daemon.status()["pipelines"]["open"]) == local,
                "only local pipelines are open",
                seconds=60,
            )
            assert daemon.get("/health").status_code == 200
            answer = completion(daemon, "at last", 12)
            assert answer.json()["choices"][0]["text"] == oracle.answer("at last", 12)
        for daemon in running:
            daemon.process.terminate()
            daemon.process.join(20)
            assert daemon.process.exitcode == 0, daemon.log.read_text()
