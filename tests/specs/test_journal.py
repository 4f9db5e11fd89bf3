"""Journal lines: every kind of record comes back from its line, and nothing else is read."""

import typing

import attrs
import pytest

from specs import journal
from specs.errors import MalformedDocument
from specs.protocols import events as core
from specs.protocols import kv_hand_over_events as hand_over
from specs.protocols import plan_switch_nouns as switch
from specs.protocols.kv_hand_over_nouns import Chunk, HandOverId, Path
from specs.protocols.nouns import Ending, LossReason, Report
from tests.builders import a_digest

NAME = switch.PlanName(generation=2, digest=a_digest("plan"))
ID = HandOverId(old="pair", new="llm@n1", number=1)
PATH = Path(old_stage=1, new_stage=0)
RECORDS = (
    journal.Started(settled=3),
    journal.LearntOfPlans(event=switch.Heard("n1", switch.Standing(accepted=NAME))),
    journal.LearntOfPlans(event=switch.Offered(switch.Offer(name=NAME, parent=None, nodes=("n0",)), "it is full")),
    journal.LearntUnderPlan(event=core.Heard("n1", Report(over=(7,), opened=("pair",)))),
    journal.LearntAsSource(
        pipeline="pair",
        event=hand_over.Tick(),
        times=2,
        done=(hand_over.Copy(ID, (hand_over.CopyRow("a", 0, 1, 2, 3),)),),
    ),
    journal.LearntAsTarget(pipeline="llm@n1", event=hand_over.Reserved(ID, (("a", 1), ("b", None)))),
    journal.LearntAsStage(events=(hand_over.ChunkCame(Chunk(id=ID, path=PATH, request="a", seat=1, start=2, end=3)),)),
    journal.CopyOrdered(id=ID, path=PATH, rows=(hand_over.CopyRow("a", 0, 1, 2, 3),)),
    journal.LearntAsFront(id=ID, requests=("a",)),
    journal.Moved(
        attempt="b", before="a", pipeline="llm@n1", tokens=4, was_left=True, resumes=ID, digest=a_digest("tokens")
    ),
    journal.TookOver(attempt="b", digest=a_digest("tokens")),
    journal.Adopted(plan=a_digest("plan"), problem=a_digest("problem")),
    journal.Refused(reason="its generation is 3; this node carries out 4"),
    journal.Accepted(plan=a_digest("plan"), generation=2),
    journal.Declined(plan=a_digest("plan"), generation=2, reason="it does not hold llm"),
    journal.Forgotten(plan=a_digest("plan"), generation=2, reason="n1 declined it"),
    journal.BlobHeld(blob="llm/0", place="n0/gpu0"),
    journal.TransferStarted(step=7),
    journal.TransferSent(step=7, elapsed_ns=12, bytes=64),
    journal.TransferEnded(step=7, elapsed_ns=12, bytes=64),
    journal.TransferDetoured(step=7, reason="the peer's device did not answer."),
    journal.TransferFailed(step=7, reason="the peer's digest is another"),
    journal.StageBuilt(pipeline="pair"),
    journal.StageFailed(pipeline="pair", reason="16 bytes are missing"),
    journal.StageFreed(pipeline="pair"),
    journal.Proved(pipeline="pair", right=True),
    journal.Opened(pipeline="pair"),
    journal.Closed(pipeline="pair", ending=Ending.SUPERSEDED, successor="llm@n1"),
    journal.Closed(pipeline="pair", ending=Ending.MEMBER_LOST),
    journal.HandedOver(
        pipeline="pair", successor="llm@n1", copied=3, recomputed=1, rounds=2, bytes=4096, halted_ns=7_000_000
    ),
    journal.Resized(step=-2, pipeline="p", slots_before=4, slots=2, elapsed_ns=5),
    journal.Released(step=9),
    journal.PeerLost(node="n2", reason=LossReason.STALLED),
    journal.Lacks(blob="llm/0", place="n3/gpu0", because="n2"),
    journal.FirstToken(pipeline="pair", waited_ns=5),
)


def a_record(what, sequence=0):
    return journal.Record(sequence=sequence, at_unix_ns=1_700_000_000_000_000_000, node="n0", generation=1, what=what)


def test_every_kind_of_record_has_a_line():
    assert {type(what) for what in RECORDS} == set(typing.get_args(journal.What))
    records = tuple(a_record(what, sequence) for sequence, what in enumerate(RECORDS))
    lines = [journal.write_line(record) for record in records]
    assert not any("\n" in line for line in lines)
    assert journal.read_lines("\n".join(lines) + "\n") == records


def test_a_line_is_canonical():
    assert journal.write_line(a_record(journal.TransferStarted(step=7), 3)) == (
        '{"at_unix_ns":1700000000000000000,"generation":1,"node":"n0","sequence":3,'
        '"what":{"kind":"transferstarted","step":7}}'
    )


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"kind":"transferstarted"', '"kind":"transferbegun"', "document.what.kind is 'transferbegun'; one of started"),
        ('"step":7', '"stp":7', "did you mean step"),
        ('"step":7', '"step":-7', "from 0"),
        ('"step":7', '"step":7.5', "not a whole number"),
        ('"sequence":0', '"sequence":null', "document.sequence is null"),
        ('"node":"n0"', '"node":""', "a name is"),
        ("}}", "}", "not JSON"),
    ],
)
def test_anything_else_is_refused(old, new, sentence):
    line = journal.write_line(a_record(journal.TransferStarted(step=7)))
    assert old in line
    with pytest.raises(MalformedDocument, match=sentence):
        journal.read_lines(line.replace(old, new))


@pytest.mark.parametrize("seats", ['[["a"]]', '[["a",1,2]]', '[["a","1"]]', "[[null,1]]", '["a"]'])
def test_a_seat_is_a_name_and_a_number(seats):
    what = journal.LearntAsTarget(pipeline="llm@n1", event=hand_over.Reserved(ID, (("a", 1),)))
    line = journal.write_line(a_record(what))
    assert '[["a",1]]' in line
    with pytest.raises(MalformedDocument, match=r"event\.seats"):
        journal.read_lines(line.replace('[["a",1]]', seats))


@pytest.mark.parametrize("what", RECORDS, ids=lambda what: type(what).__name__)
def test_records_are_values(what):
    assert attrs.evolve(what) == what
    assert hash(what) == hash(attrs.evolve(what))
