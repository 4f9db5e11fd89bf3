"""`holdfast status` from the outside: phases, who declined what, receipts."""

import json

import attrs
import pytest

from planner.__main__ import main
from planner.audit.receipts import receipts
from planner.cli.status_tables import as_document, phases, sentences
from planner.reconciling.looking import Look, read
from specs import codec, journal
from specs.invariants.facts import Facts
from specs.plan import Activate, Release, Switch, Transfer
from specs.protocols.nouns import Ending
from tests.builders import a_problem
from tests.live_plans import a_drain, a_growth, a_join, a_merge, a_split, a_squeeze
from tests.planner.reconciling.fake_cluster import FakeCluster
from tests.planner.reconciling.test_controller import a_reconciler, settle

WISH = a_problem(4)


@pytest.fixture
def cluster():
    found = FakeCluster(WISH)
    yield found
    found.close()


def status(cluster, *more):
    return main(["status", *cluster.urls.values(), *more])


def test_how_far_it_is_and_who_is_lost(cluster, capsys):
    assert status(cluster) == 1, "there is no plan"
    settle(a_reconciler(cluster))
    assert status(cluster) == 0
    printed = capsys.readouterr().out
    assert "generation 1, plan" in printed
    assert "adopted by nodes" in printed
    cluster.phase["n1"] = "transferring"
    assert status(cluster) == 3
    cluster.phase["n1"] = "complete"
    cluster.die("n2")
    assert status(cluster) == 1
    printed = capsys.readouterr().out
    assert "n2 (silent)" in printed
    assert f"{cluster.urls['n2']}: no answer" in printed


def test_a_declined_plan_is_named_with_whom_and_why(cluster, capsys):
    reconciler = a_reconciler(cluster)
    settle(reconciler)
    cluster.unable["n1"] = "there is no room"
    cluster.die("n3")
    reconciler.once()
    capsys.readouterr()
    assert status(cluster) == 1
    assert "generation 2 was declined by n1: there is no room" in capsys.readouterr().out
    assert status(cluster, "--json") == 1
    (declined,) = json.loads(capsys.readouterr().out)["declined"]
    assert (declined["by"], declined["generation"], declined["reason"]) == ("n1", 2, "there is no room")


def test_what_is_offered_is_counted(cluster, capsys):
    settle(a_reconciler(cluster))
    cluster.die("n3")
    offered = cluster.status("n0")
    offered["next"]["accepted"] = {"generation": 2, "digest": "f" * 64, "nodes": ["n0", "n1"], "awaited": ["n1"]}
    found = Look(said=(read("http://n0", offered),), failed=())
    assert [str(each) for each in sentences(found)] == [
        "generation 2 is offered: accepted by 1 of 2 nodes; n1 awaited",
    ]
    assert as_document(found)["offered"]["accepted_by"] == ("n0",)


def test_phases_are_counted_over_all_nodes(cluster):
    settle(a_reconciler(cluster))
    said = []
    for number, node in enumerate(cluster.nodes[:3]):
        document = cluster.status(node)
        document["transfers"] = {"arrived": number, "arrive": 3, "receiving": [7] if number else []}
        document["steps"] = {"switches": {"done": 1, "given_up": 0, "all": 2}}
        document["pipelines"]["kept_open"] = ["c"] * (node == "n1")
        document["hand_overs"] = [
            {"pipeline": "a", "successor": "b", "phase": "rounds", "round": 2, "requests": 3, "tokens_left": 40}
        ] * (node == "n0")
        said.append(read(f"http://{node}", document))
    found = {each.phase: each for each in phases(Look(said=tuple(said), failed=()))}
    adopted, transfers, switches = found["adopted by nodes"], found["transfers"], found["pipelines that gave way"]
    assert (adopted.done, adopted.all, adopted.remark) == (3, 4, "not by n3")
    assert (transfers.done, transfers.all, transfers.remark) == (3, 9, "2 under way")
    assert (switches.done, switches.all) == (3, 6)
    assert switches.remark == (
        "a hands over to b: rounds, round 2, 3 requests, 40 tokens of KV left; "
        "c is kept open for the plan that is offered"
    )


def records(facts, *whats):
    return [
        journal.Record(
            sequence=number, at_unix_ns=10**9 + number, node=node, generation=facts.plan.generation, what=what
        )
        for number, (node, what) in enumerate(whats)
    ]


@pytest.fixture(params=[a_join, a_split, a_growth, a_drain, a_merge, a_squeeze], ids=lambda each: each.__name__)
def facts(request):
    return Facts(*request.param())


def test_every_step_has_a_receipt(facts):
    found = receipts(facts, [])
    assert [each.step for each in found] == [each.id for each in facts.plan.steps]
    assert {each.state for each in found} <= {"to come"}


def test_what_was_done_is_told_with_its_figures(facts):
    whats = []
    for step in facts.plan.steps:
        match step:
            case Transfer():
                whats.append(("n1", journal.TransferEnded(step=step.id, elapsed_ns=5 * 10**6, bytes=1000)))
            case Activate():
                whats.append(("n1", journal.Opened(pipeline=step.pipeline)))
            case Switch():
                ending = journal.Closed(pipeline=step.old, ending=Ending.SUPERSEDED, successor=step.new)
                whats.append(("n0", ending))
            case Release():
                whats.append(("n0", journal.Released(step=step.id)))
    found = receipts(facts, records(facts, *whats))
    known = {each.id for each in facts.plan.steps if isinstance(each, Transfer | Activate | Switch | Release)}
    assert {each.state for each in found if each.step in known} <= {"done"}
    assert all(each.detail == "1,000 bytes in 5.0 ms" for each in found if each.kind == "transfer")
    why = "the peer's device did not answer."
    detours = [
        ("n1", journal.TransferDetoured(step=what.step, reason=why)) for _, what in whats if hasattr(what, "bytes")
    ]
    found = receipts(facts, records(facts, *detours, *whats))
    as_stream = f"1,000 bytes in 5.0 ms; in the end as a stream: {why}"
    assert all(each.detail == as_stream for each in found if each.kind == "transfer")
    later = attrs.evolve(facts.plan, generation=facts.plan.generation + 1)
    assert codec.digest(later) != codec.digest(facts.plan)
    assert {each.state for each in receipts(Facts(facts.problem, later), records(facts, *whats))} <= {"to come"}
