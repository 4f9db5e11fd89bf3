"""Repair: a plan stops at any instant, any nodes are lost, and the new plan sends only what lacks."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import BadJournal, BadPlan
from planner.outcome import Infeasible, Planned
from planner.repair import lost_by, records_of_run, repair
from planner.solve import Request, solve
from specs import codec
from specs.journal import Adopted, BlobHeld, PeerLost, Released
from specs.plan import Transfer
from specs.problem import Holding, Target
from specs.protocols.nouns import LossReason
from specs.timing import links_by_id, route_ends
from tests import plans
from tests.builders import a_cluster, a_problem, an_llm
from tests.place_graphs import islands, two_racks
from tests.plans import gpu
from tests.runs import exact_run, journals_of, only, with_record, without


def planned(problem, request=None):
    outcome = solve(problem, request)
    assert isinstance(outcome, Planned), outcome
    return outcome.verified.plan


def stopped(run, at_ns):
    """The run as far as it had come at an instant."""
    return {node: [entry for entry in entries if entry[0] <= at_ns] for node, entries in run.items()}


def records(problem, plan, run):
    return records_of_run(journals_of(run, generation=plan.generation), problem, plan)


def arrived(problem, plan, at_ns, lost):
    """What living places hold at an instant, by the plan's own times."""
    node_of = {place.id: place.node for place in problem.cluster.places}
    links = links_by_id(problem.cluster)
    held = {(blob.id, each.place) for each in problem.holdings for blob in plan.blobs if each.has(blob)}
    for step in plan.steps:
        if isinstance(step, Transfer) and step.end_ns <= at_ns:
            held.add((step.blob, route_ends(links, plan.routes[step.route])[1]))
    return {(blob, place) for blob, place in held if node_of[place] not in lost}


def sent(problem, plan):
    links = links_by_id(problem.cluster)
    return [
        (step.blob, route_ends(links, plan.routes[step.route])[1]) for step in plan.steps if isinstance(step, Transfer)
    ]


@st.composite
def stops(draw):
    """A plan, an instant, and nodes that are lost."""
    nodes = draw(st.integers(2, 7))
    cluster = draw(st.sampled_from([a_cluster(nodes), two_racks((nodes + 1) // 2), islands(nodes, 1)]))
    sources = draw(st.integers(1, min(2, nodes - 1)))
    layers = draw(st.integers(1, 6))
    problem = a_problem(nodes, sources, llm=an_llm(layers, layer_bytes=2**18), cluster=cluster)
    plan = planned(problem, Request(blocks=draw(st.integers(1, layers))))
    last = max(step.end_ns for step in plan.steps if isinstance(step, Transfer))
    lost = draw(st.sets(st.sampled_from([node.id for node in cluster.nodes]), max_size=3))
    return problem, plan, draw(st.integers(0, last)), lost


@given(stop=stops(), told=st.booleans())
@settings(max_examples=60, deadline=None)
def test_whatever_stops_the_repaired_plan_sends_only_what_lacks(stop, told):
    problem, plan, at_ns, lost = stop
    run = {node: entries for node, entries in stopped(exact_run(problem, plan), at_ns).items() if node not in lost}
    if told and run:  # the journals of the others say who was lost
        for node in lost:
            run = with_record(run, next(iter(run)), PeerLost(node=node, reason=LossReason.SILENT), at_ns)
    left = repair(problem, plan, records(problem, plan, run), frozenset() if told and run else lost)
    held = arrived(problem, plan, at_ns, lost)
    targets = [each.place for each in problem.targets if each.place.partition("/")[0] not in lost]
    gone = [blob.id for blob in plan.blobs if all(blob.id != name for name, _ in held)]
    if targets and gone:
        assert isinstance(left, Infeasible)
        assert {(each.rule, each.where) for each in left.conflicts} == {("LAST", "llm")}
        return
    assert [node.id for node in left.cluster.nodes] == [
        node.id for node in problem.cluster.nodes if node.id not in lost
    ]
    repaired = planned(left, Request(parent=plan))
    assert repaired.parent == codec.digest(plan)
    assert repaired.blobs == plan.blobs
    wanted = {(blob.id, place) for blob in plan.blobs for place in targets}
    assert sorted(sent(left, repaired)) == sorted(wanted - held)
    for each in repaired.certificates:
        assert each.bound <= each.value


def test_neighbouring_blobs_are_one_run_and_all_of_them_are_a_whole_holding():
    problem, plan = plans.a_chain(3, 4)
    run = exact_run(problem, plan)
    wanted = {gpu(1): (0, 1, 3), gpu(2): (0, 1, 2, 3)}
    journal = {node: [] for node in run} | {
        f"n{node}": [
            (0, Adopted(plan=codec.digest(plan), problem=codec.digest(problem))),
            *((0, BlobHeld(blob=f"llm/{index}", place=gpu(node))) for index in wanted[gpu(node)]),
        ]
        for node in (1, 2)
    }
    del journal["n0"]
    left = repair(problem, plan, records(problem, plan, journal))
    ends = [blob.end_tensor for blob in plan.blobs]
    assert left.holdings == (
        Holding(llm="llm", place=gpu(0)),
        Holding(llm="llm", place=gpu(1), end_tensor=ends[1]),
        Holding(llm="llm", place=gpu(1), first_tensor=ends[2]),
        Holding(llm="llm", place=gpu(2)),
    )


def test_what_was_released_is_gone_and_what_may_have_been_is_not_counted_on():
    problem, plan = plans.a_relocation()
    run = exact_run(problem, plan)
    with_all = repair(problem, plan, records(problem, plan, run))
    assert not [each for each in with_all.holdings if each.llm == "moved" and each.place == gpu(0)]
    unsaid = {node: entries for node, entries in run.items() if node != "n0"}
    assert repair(problem, plan, records(problem, plan, unsaid)).holdings == tuple(
        each for each in with_all.holdings if (each.llm, each.place) != ("stays", gpu(0))
    )
    kept = repair(problem, plan, records(problem, plan, without(run, only(Released))))
    assert Holding(llm="moved", place=gpu(0)) in kept.holdings


def test_the_last_copy_that_is_lost_is_named():
    problem, plan = plans.a_chain(3, 3)
    run = stopped(exact_run(problem, plan), plan.steps[1].end_ns)  # the first blob is at node 1
    left = repair(problem, plan, records(problem, plan, run), frozenset({"n0"}))
    assert isinstance(left, Infeasible)
    (conflict,) = left.conflicts
    end, count = plan.blobs[0].end_tensor, len(problem.llms[0].tensors)
    assert (conflict.rule, conflict.where) == ("LAST", "llm")
    assert conflict.sentence == (f"no copy of its tensors {end} to {count} (exclusive) is left; they were at n0/gpu0")


def test_a_node_that_comes_back_holds_what_the_description_says():
    problem, plan = plans.a_chain(3, 3)
    run = with_record(exact_run(problem, plan), "n1", PeerLost(node="n0", reason=LossReason.SILENT), 10**9)
    run = {node: entries for node, entries in run.items() if node != "n0"}
    without_it = repair(problem, plan, records(problem, plan, run))
    assert {node.id for node in without_it.cluster.nodes} == {"n1", "n2"}
    with_it = repair(problem, plan, records(problem, plan, run), back=frozenset({"n0"}))
    assert with_it == attrs.evolve(
        problem, holdings=tuple(Holding(llm="llm", place=gpu(number)) for number in range(3))
    )


def test_a_second_repair_knows_what_the_first_one_knew():
    problem = a_problem(4, llm=an_llm(6, layer_bytes=2**18))
    first = planned(problem, Request(blocks=6))
    middle = max(step.end_ns for step in first.steps if isinstance(step, Transfer)) // 2
    run = stopped(exact_run(problem, first), middle)
    left = repair(problem, first, records(problem, first, run), frozenset({"n3"}))
    second = planned(left, Request(parent=first))
    early = stopped(exact_run(left, second), 0)
    # Node 3 is described again, and wanted: it has come back with nothing.
    again = repair(left, second, records(left, second, early), wanted=problem)
    assert {each.place for each in again.targets} == {gpu(1), gpu(2), gpu(3)}
    third = planned(again, Request(parent=second))
    assert sorted(sent(again, third)) == sorted([*sent(left, second), *((blob.id, gpu(3)) for blob in first.blobs)])


def test_other_wishes_are_served_from_what_has_arrived():
    problem = a_problem(4)
    plan = planned(problem, Request(blocks=2))
    run = exact_run(problem, plan)
    fewer = attrs.evolve(problem, targets=(Target(llm="llm", place=gpu(2)),))
    left = repair(problem, plan, records(problem, plan, run), wanted=fewer)
    assert sent(left, planned(left, Request(parent=plan))) == []


def test_the_word_of_a_lost_node_does_not_count():
    problem, plan = plans.a_chain(3, 2)
    run = with_record(exact_run(problem, plan), "n1", PeerLost(node="n2", reason=LossReason.SILENT), 10**9)
    found = records(problem, plan, run)
    assert lost_by(found, frozenset()) == {"n2": ("n1",)}
    assert lost_by(found, frozenset({"n1"})) == {}


# --- journals that say nothing of this plan --------------------------------------------------------------------------


def test_journals_of_other_plans_and_nodes_are_refused():
    problem, plan = plans.a_chain(3, 2)
    other_problem, other = plans.a_chain(3, 3)
    run = exact_run(problem, plan)
    with pytest.raises(BadJournal, match=r"n0.jsonl: n0 carries out plan .* not .*, generation 1"):
        records(other_problem, other, run)
    stranger = {"n9": [(0, Released(step=0))]}
    with pytest.raises(BadJournal, match=r"n9.jsonl: of node n9, which is not in cluster toys"):
        records(problem, plan, stranger)
    with pytest.raises(BadJournal, match="n1 has not adopted plan"):
        records(problem, plan, without(run, lambda what: isinstance(what, Adopted)) | {"n0": run["n0"]})


def test_a_node_that_was_started_again_has_lost_its_memory():
    problem, plan = plans.a_chain(3, 2)
    run = exact_run(problem, plan)
    (first,) = (each for each in journals_of(run) if each.node == "n1")
    late = [attrs.evolve(each, at_unix_ns=each.at_unix_ns + 10**10) for each in first.records]
    idle = attrs.evolve(first, file="later.jsonl", records=(attrs.evolve(late[-1]),))
    with pytest.raises(BadJournal, match=r"later.jsonl: n1 was started again and has not adopted plan"):
        records_of_run([*journals_of(run), idle], problem, plan)
    # Adopted once more, it holds what it has got since.
    again = attrs.evolve(first, file="later.jsonl", records=tuple(late[:1]))
    found = records_of_run([*journals_of(run), again], problem, plan)
    assert found["n1"] == tuple(late[:1])
    assert not [each for each in repair(problem, plan, found).holdings if each.place == gpu(1)]


@pytest.mark.parametrize(
    "what", [BlobHeld(blob="llm/7", place=gpu(1)), BlobHeld(blob="llm/0", place=gpu(2)), Released(step=0)]
)
def test_records_that_are_not_of_the_plan_are_refused(what):
    problem, plan = plans.a_chain(3, 2)
    run = with_record(exact_run(problem, plan), "n1", what)
    with pytest.raises(BadJournal, match="journal of n1: "):
        repair(problem, plan, records(problem, plan, run))


def test_an_llm_that_has_changed_is_refused():
    problem, plan = plans.a_chain(3, 2)
    changed = a_problem(3, llm=an_llm(8, layer_bytes=4))
    with pytest.raises(BadPlan, match="LLM llm is not what it was under the plan"):
        repair(problem, plan, {}, wanted=changed)
