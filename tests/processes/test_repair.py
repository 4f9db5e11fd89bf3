"""A receiver dies in mid-multicast: the plan is repaired from the journals of those who live, and they finish."""

import signal

from planner.audit.journals import read_journals
from planner.repair import records_of_run, repair
from specs import journal
from specs.plan import Transfer
from tests.processes.cluster import (
    adopt,
    completion,
    daemons,
    make_plan,
    make_problem,
    text_of,
    wait_for,
    wait_until_complete,
    weights_bytes,
)


def held_by(records, generation, kind=journal.BlobHeld):
    """What a node's journal says that arrived under a plan, and when."""
    return [record for record in records if record.generation == generation and isinstance(record.what, kind)]


def test_a_repaired_plan_sends_only_what_lacks(checkpoint, oracle, tmp_path):
    problem = make_problem(checkpoint, 4, rate=weights_bytes(checkpoint) // 3)
    first = make_plan(problem, blocks=8)
    with daemons(problem, checkpoint, tmp_path) as running:
        adopt(running, first)
        source, victim, *others = running
        wait_for(lambda: victim.status()["blobs"]["held"] >= 2, "the victim holds two blobs", seconds=60)
        wait_for(lambda: all(daemon.status()["blobs"]["held"] >= 1 for daemon in others), "all hold a blob", seconds=60)
        victim.signal(signal.SIGKILL)
        survivors = [source, *others]
        for daemon in survivors:
            wait_for(lambda daemon=daemon: victim.name in daemon.status()["lost"], "the loss is noticed", seconds=60)
            wait_for(
                lambda daemon=daemon: daemon.status()["phase"] != "transferring", f"{daemon.name} is done", seconds=60
            )
        journals = read_journals([daemon.state / "journal" for daemon in survivors])
        left = repair(problem, first.plan, records_of_run(journals, problem, first.plan))
        assert [node.id for node in left.cluster.nodes] == ["n0", "n2", "n3"]
        second = make_plan(left, parent=first.plan)
        assert second.plan.blobs == first.plan.blobs
        adopt(survivors, second)
        wait_until_complete(survivors)
        assert any(isinstance(step, Transfer) for step in second.plan.steps), "nothing was left to send"
        for daemon in others:
            records = daemon.records()
            arrived = {record.what.blob for record in held_by(records, 1)}
            ended = held_by(records, 2, journal.TransferEnded)
            blob_of = {step.id: step.blob for step in second.plan.steps if isinstance(step, Transfer)}
            sent = [blob_of[record.what.step] for record in ended]
            assert arrived
            assert arrived.isdisjoint(sent), "what had arrived was sent again"
            assert sorted([*arrived, *sent]) == sorted(blob.id for blob in second.plan.blobs)
        for daemon in survivors:
            assert text_of(completion(daemon, "after the repair", 12)) == oracle.answer("after the repair", 12)
