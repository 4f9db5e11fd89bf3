import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.audit.instants import predicted, timeline
from specs.journal import FirstToken, Opened, PeerLost, TransferEnded, TransferFailed, TransferStarted
from specs.protocols.nouns import LossReason
from tests import plans
from tests.runs import BEGIN_UNIX_NS, exact_run, journals_of, only, with_record, without

RESCUE = plans.a_rescue()


def records_of(run):
    return [record for journal in journals_of(run) for record in journal.records]


@pytest.mark.parametrize("name", plans.GOOD)
def test_measured_equals_predicted_for_an_exact_run(name):
    problem, plan = plans.GOOD[name]()
    measured = timeline(plan, problem, records_of(exact_run(problem, plan)))
    expected = predicted(plan, problem)
    assert measured.begin_unix_ns == BEGIN_UNIX_NS
    assert measured.transfers == expected.transfers
    assert measured.pipelines == expected.pipelines
    assert measured.llms == expected.llms


@pytest.mark.parametrize("name", plans.GOOD)
def test_predictions_agree_with_the_certificates(name):
    problem, plan = plans.GOOD[name]()
    llms = {each.llm: each for each in predicted(plan, problem).llms}
    for each in plan.certificates:
        if each.measure == "ns" and each.claim == "first-cover":
            assert llms[each.subject].first_cover_ns == each.value
        # Completion counts copies on the way too; every target is whole by then.
        if each.measure == "ns" and each.claim == "completion":
            assert llms[each.subject].full_load_ns <= each.value


@given(st.randoms())
def test_the_order_of_records_does_not_matter(random):
    problem, plan = RESCUE
    records = records_of(exact_run(problem, plan))
    shuffled = list(records)
    random.shuffle(shuffled)
    # Equal instants may swap; the instants themselves stay.
    assert timeline(plan, problem, shuffled) == timeline(plan, problem, records)


def test_what_did_not_happen_is_none():
    problem, plan = RESCUE
    run = exact_run(problem, plan)
    nothing = timeline(plan, problem, [])
    assert nothing.begin_unix_ns == 0
    assert {each.end_ns for each in nothing.transfers} == {None}
    (llm,) = nothing.llms
    assert (llm.first_cover_ns, llm.full_load_ns, llm.first_token_ns, llm.receiver_token_ns) == (None,) * 4
    without_tokens = timeline(plan, problem, records_of(without(run, only(FirstToken))))
    assert without_tokens.llms[0].first_token_ns is None
    assert without_tokens.llms[0].full_load_ns is not None


def test_a_token_from_the_source_alone_is_none_from_a_receiver():
    problem, plan = RESCUE
    source = plan.pipelines[0].id
    run = exact_run(problem, plan)
    kept = without(run, lambda what: isinstance(what, FirstToken) and what.pipeline != source)
    (llm,) = timeline(plan, problem, records_of(kept)).llms
    assert (llm.first_token_ns, llm.receiver_token_ns) == (0, None)
    (llm,) = timeline(plan, problem, records_of(run)).llms
    assert llm.receiver_token_ns == predicted(plan, problem).pipelines[1].opened_ns


def test_a_transfer_that_was_tried_again_counts_from_its_last_start():
    problem, plan = RESCUE
    run = exact_run(problem, plan)
    first = next(what.step for _, what in run["n0"] if isinstance(what, TransferStarted))
    run["n0"].append((7, TransferStarted(step=first)))
    (instants,) = [each for each in timeline(plan, problem, records_of(run)).transfers if each.step == first]
    assert instants.start_ns == 7


def test_records_of_another_generation_are_passed_over():
    problem, plan = RESCUE
    others = [record for journal in journals_of(exact_run(problem, plan), generation=2) for record in journal.records]
    assert any(isinstance(record.what, Opened | TransferEnded) for record in others)
    assert timeline(plan, problem, others) == timeline(plan, problem, [])


def test_losses_and_failures_are_kept():
    problem, plan = RESCUE
    good = exact_run(problem, plan)
    first = next(what.step for _, what in good["n0"] if isinstance(what, TransferStarted))
    run = with_record(good, "n1", PeerLost(node="n2", reason=LossReason.SILENT), 9)
    run = with_record(run, "n0", PeerLost(node="n2", reason=LossReason.STALLED), 5)
    run = with_record(run, "n2", PeerLost(node="n1", reason=LossReason.MUTUAL), 4)
    run = with_record(run, "n0", TransferFailed(step=first, reason="x"), 3)
    measured = timeline(plan, problem, records_of(run))
    assert [(each.node, each.at_ns, each.reason) for each in measured.losses] == [("n2", 5, LossReason.STALLED)]
    assert {each.failed_ns for each in measured.transfers} == {None}  # it arrived all the same
    broken = without(run, only(TransferEnded, step=first))
    (instants,) = [each for each in timeline(plan, problem, records_of(broken)).transfers if each.step == first]
    assert (instants.end_ns, instants.failed_ns) == (None, 3)
