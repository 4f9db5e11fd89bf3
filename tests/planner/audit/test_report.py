from fractions import Fraction

import attrs
import pytest

from planner.audit.journals import NodeJournal
from planner.audit.report import CHECKS, Report, audit
from specs.checker import VerifiedPlan, verify
from specs.invariants.facts import Facts
from specs.journal import (
    BlobHeld,
    Closed,
    FirstToken,
    Lacks,
    Opened,
    PeerLost,
    Proved,
    Refused,
    Released,
    StageBuilt,
    StageFreed,
    TransferEnded,
    TransferFailed,
    TransferSent,
    TransferStarted,
)
from specs.plan import Release
from specs.protocols.nouns import Ending, LossReason
from tests import plans
from tests.runs import changed, evolved, exact_run, journals_of, later, moved, only, with_record, without


def verified(name: str) -> VerifiedPlan:
    verdict = verify(*plans.GOOD[name]())
    assert isinstance(verdict, VerifiedPlan)
    return verdict


def differing(report: Report) -> set[str]:
    return {finding.id for finding in report.findings if finding.differs}


RESCUE, RELAY = verified("rescue"), verified("relay station")
GOOD_RUN = exact_run(RESCUE.problem, RESCUE.plan)
RELAY_RUN = exact_run(RELAY.problem, RELAY.plan)
(RELAY_RELEASE, _) = [step.id for step in RELAY.plan.steps if isinstance(step, Release)]
HOPS = Facts(RESCUE.problem, RESCUE.plan).hops
FIRST, SECOND, THIRD, _ = HOPS
LOCAL_1, LOCAL_2 = RESCUE.plan.pipelines[-2].id, RESCUE.plan.pipelines[-1].id
BLOB_1 = FIRST.transfer.blob


@pytest.mark.parametrize("name", plans.GOOD)
def test_a_run_to_the_nanosecond_is_as_planned(name):
    plan = verified(name)
    report = audit(plan, journals_of(exact_run(plan.problem, plan.plan)), Fraction(1))
    assert report.as_planned
    assert not [note for finding in report.findings for note in finding.notes]
    assert all(row.late_ns == 0 for row in (*report.milestones, *report.transfers))


# Each row: what is wrong, and the checks that must say so.
BREAKS = {
    "no start": (without(GOOD_RUN, only(TransferStarted, step=FIRST.transfer.id)), {"STARTED"}),
    "two starts": (with_record(GOOD_RUN, "n0", TransferStarted(step=FIRST.transfer.id)), {"STARTED"}),
    "no acknowledgement": (without(GOOD_RUN, only(TransferSent, step=FIRST.transfer.id)), {"SENT"}),
    "no end": (without(GOOD_RUN, only(TransferEnded, step=FIRST.transfer.id)), {"ARRIVED"}),
    "wrong bytes": (changed(GOOD_RUN, evolved(only(TransferEnded, step=FIRST.transfer.id), bytes=1)), {"ARRIVED"}),
    "held by nobody": (without(GOOD_RUN, only(BlobHeld, blob=BLOB_1, place="n1/gpu0")), {"ARRIVED", "CAUSE", "EARLY"}),
    "sent out of order": (
        moved(GOOD_RUN, "n0", only(TransferStarted, step=SECOND.transfer.id), 3),
        {"ORDER"},
    ),
    "sent while another is under way": (
        moved(GOOD_RUN, "n0", only(TransferSent, step=FIRST.transfer.id), -1),
        {"ORDER"},
    ),
    "sent before it was held": (moved(GOOD_RUN, "n1", only(TransferStarted), 1), {"CAUSE"}),
    "built before it was held": (moved(GOOD_RUN, "n1", only(StageBuilt, pipeline="pair"), 1), {"EARLY"}),
    "built by one member only": (
        {**GOOD_RUN, "n2": [each for each in GOOD_RUN["n2"] if not only(StageBuilt, pipeline="pair")(each[1])]},
        {"OPENED"},
    ),
    "opened without proof": (without(GOOD_RUN, only(Proved, pipeline="pair")), {"OPENED"}),
    "opened after a wrong proof": (changed(GOOD_RUN, evolved(only(Proved, pipeline="pair"), right=False)), {"OPENED"}),
    "never opened": (without(GOOD_RUN, only(Opened, pipeline=LOCAL_2)), {"OPENED"}),
    "successor never opened": (without(GOOD_RUN, only(Opened, pipeline=LOCAL_1)), {"OPENED", "CLOSED"}),
    "opened twice": (with_record(GOOD_RUN, "n1", Opened(pipeline="pair")), {"OPENED"}),
    "never closed": (without(GOOD_RUN, only(Closed)), {"CLOSED", "FREED"}),
    "closed for another": (changed(GOOD_RUN, evolved(only(Closed), successor=LOCAL_2)), {"CLOSED"}),
    "closed for a lost member": (changed(GOOD_RUN, evolved(only(Closed), ending=Ending.MEMBER_LOST)), {"CLOSED"}),
    "closed though it stays": (
        with_record(GOOD_RUN, "n2", Closed(pipeline=LOCAL_2, ending=Ending.SUPERSEDED, successor=LOCAL_1)),
        {"CLOSED"},
    ),
    "freed though open": (with_record(GOOD_RUN, "n2", StageFreed(pipeline=LOCAL_2)), {"FREED"}),
    "a foreign transfer": (with_record(GOOD_RUN, "n1", TransferStarted(step=999)), {"NOTHING-ELSE"}),
    "a stranger's opening": (with_record(GOOD_RUN, "n0", Opened(pipeline=LOCAL_1)), {"NOTHING-ELSE", "OPENED"}),
    "a foreign copy": (with_record(GOOD_RUN, "n1", BlobHeld(blob=BLOB_1, place="n0/gpu0")), {"NOTHING-ELSE"}),
    "a foreign pipeline": (with_record(GOOD_RUN, "n1", FirstToken(pipeline="x", waited_ns=0)), {"NOTHING-ELSE"}),
    "a lost peer": (with_record(GOOD_RUN, "n1", PeerLost(node="n2", reason=LossReason.SILENT)), {"PEERS"}),
    "a lacking copy": (with_record(GOOD_RUN, "n1", Lacks(blob=BLOB_1, place="n1/gpu0", because="n0")), {"LACKS"}),
    "no journal": ({node: run for node, run in GOOD_RUN.items() if node != "n0"}, {"JOURNALS", "STARTED"}),
    "adopted twice": (with_record(GOOD_RUN, "n0", GOOD_RUN["n0"][0][1]), {"ADOPTED"}),
}


@pytest.mark.parametrize("name", BREAKS)
def test_every_break_is_found_by_its_checks(name):
    run, expected = BREAKS[name]
    report = audit(RESCUE, journals_of(run))
    assert expected <= differing(report)
    # What a break drags along stays within what follows from it.
    assert name == "no journal" or len(differing(report)) <= len(expected) + 1


def test_every_check_is_seen_failing():
    seen = set().union(*(expected for _, expected in BREAKS.values()))
    assert seen | {"RELEASED"} == {check.id for check in CHECKS}


@pytest.mark.parametrize(
    "run",
    [
        without(RELAY_RUN, only(Released, step=RELAY_RELEASE)),
        with_record(RELAY_RUN, "n1", Released(step=RELAY_RELEASE)),
        moved(RELAY_RUN, "n1", only(Released), 1),
    ],
)
def test_releases_happen_once_and_after_their_blob_was_there(run):
    assert "RELEASED" in differing(audit(RELAY, journals_of(run)))


def test_a_pipeline_that_was_superseded_before_it_opened_is_as_planned():
    run = without(GOOD_RUN, lambda what: isinstance(what, Proved | Opened | FirstToken) and what.pipeline == "pair")
    report = audit(RESCUE, journals_of(run))
    assert report.as_planned
    assert [note.sentence for finding in report.findings for note in finding.notes] == [
        f"it never opened: {LOCAL_1} was open before it"
    ]


def test_a_failed_try_is_a_note():
    run = with_record(GOOD_RUN, "n0", TransferFailed(step=FIRST.transfer.id, reason="the line was cut"))
    run["n0"].append((1, TransferStarted(step=FIRST.transfer.id)))
    report = audit(RESCUE, journals_of(run))
    assert "STARTED" not in differing(report)
    assert any("the line was cut" in note.sentence for finding in report.findings for note in finding.notes)


def test_clocks_that_differ_make_notes_and_no_differences():
    report = audit(RESCUE, journals_of(later(GOOD_RUN, "n2", 5_000_000)))
    assert report.as_planned
    assert any("by the clocks" in note.sentence for finding in report.findings for note in finding.notes)


def test_a_lost_node_is_named_as_the_cause():
    lost = without({node: run for node, run in GOOD_RUN.items() if node != "n2"}, lambda what: _touches(what, "n2"))
    lost = with_record(lost, "n1", PeerLost(node="n2", reason=LossReason.STALLED))
    lost = with_record(lost, "n1", Lacks(blob=HOPS[-1].transfer.blob, place="n1/gpu0", because="n2"))
    report = audit(RESCUE, journals_of(lost))
    said = [each.sentence for finding in report.findings for each in finding.differs]
    assert any(sentence.endswith("never arrived; n2 was lost (stalled)") for sentence in said)
    assert any("because of n2, which was lost (stalled)" in sentence for sentence in said)
    assert any("counts it as lost: stalled" in sentence for sentence in said)


def _touches(what, node):
    hop = next((hop for hop in HOPS if hop.transfer.id == getattr(what, "step", None)), None)
    return hop is not None and node in (hop.source_node, hop.destination_node)


def test_journals_of_another_plan_gaps_and_doubles_are_told_apart():
    journals = journals_of(GOOD_RUN)
    other = journals_of(GOOD_RUN, generation=7)
    (finding,) = [each for each in audit(RESCUE, other).findings if each.id == "JOURNALS"]
    assert len(finding.differs) == 3
    assert "generation 7; this one is" in finding.differs[0].sentence
    gap = attrs.evolve(journals[0], records=(*journals[0].records[:2], *journals[0].records[3:]))
    (finding,) = [each for each in audit(RESCUE, (gap, *journals[1:])).findings if each.id == "JOURNALS"]
    assert [each.sentence for each in finding.differs] == ["n0.jsonl: record 2 is missing; 3 follows"]
    again = attrs.evolve(journals[0], file="again.jsonl")
    (finding,) = [each for each in audit(RESCUE, (*journals, again)).findings if each.id == "JOURNALS"]
    assert "2 journals of this plan: n0.jsonl, again.jsonl" in finding.differs[0].sentence
    # An older life of a node that also has a journal of this plan does no harm.
    older = attrs.evolve(other[0], file="older.jsonl")
    assert audit(RESCUE, (*journals, older)).as_planned


def test_a_refused_plan_is_a_note():
    report = audit(RESCUE, journals_of(with_record(GOOD_RUN, "n0", Refused(reason="stale"))))
    assert report.as_planned
    assert [n.sentence for f in report.findings for n in f.notes] == ["it refused another plan meanwhile: stale"]


def test_a_tolerance_turns_slowness_into_a_difference():
    step = SECOND.transfer.id
    took = 3 * (SECOND.transfer.end_ns - SECOND.transfer.start_ns)
    slow = journals_of(changed(GOOD_RUN, evolved(only(TransferEnded, step=step), elapsed_ns=took)))
    assert audit(RESCUE, slow).as_planned
    assert audit(RESCUE, slow, Fraction(3)).as_planned
    report = audit(RESCUE, slow, Fraction("2.9"))
    assert differing(report) == {"IN-TIME"}
    (found,) = report.findings[-1].differs
    assert (found.where, found.sentence) == (f"transfer {step}", "duration is 3.00 times its prediction")


def test_no_journals_at_all_differ():
    empty: tuple[NodeJournal, ...] = ()
    report = audit(RESCUE, empty)
    assert {"JOURNALS", "STARTED", "ARRIVED", "OPENED"} <= differing(report)
