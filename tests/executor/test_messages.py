"""What nodes say about plans, on the wire: exact bytes, strict reading, and staleness."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.messages import AskPlan, Message, PlanIs, StandingIs, decode, encode, read, write
from specs.errors import MalformedDocument
from specs.protocols.nouns import Cannot, Report
from specs.protocols.plan_switch_nouns import Declined, PlanName, Standing
from tests.builders import a_digest

PLAN = a_digest("plan")
START = b'{"plan":"' + PLAN.encode() + b'","generation":1,"life":"a","report":'
names = st.tuples() | st.lists(st.from_regex(r"[a-z][a-z0-9/]{0,8}", fullmatch=True), max_size=3).map(tuple)
steps = st.lists(st.integers(0, 2**40), max_size=3).map(tuple)
cannots = st.lists(st.builds(Cannot, step=st.integers(0, 99), because=st.just("n0")), max_size=2).map(tuple)
reports = st.builds(
    Report,
    ready=steps,
    over=steps,
    cannot=cannots,
    built=names,
    unable=names,
    opened=names,
    closed=names,
    lost=names,
)


@given(reports, st.integers(1, 2**40))
def test_every_report_comes_back(report, generation):
    message = Message(plan=PLAN, generation=generation, life="a", report=report)
    assert decode(encode(message)) == message


def test_the_bytes_are_canonical():
    message = Message(
        plan=PLAN, generation=2, life="a", report=Report(ready=(3,), cannot=(Cannot(step=1, because="n0"),))
    )
    assert encode(message) == (
        b'{"generation":2,"life":"a","plan":"'
        + PLAN.encode()
        + b'","report":{"built":[],"cannot":[{"because":"n0","step":1}],'
        b'"closed":[],"lost":[],"opened":[],"over":[],"ready":[3],"resized":[],"roomy":[],"unable":[]}}'
    )


def test_a_message_names_its_plan():
    message = Message(plan=PLAN, generation=2, life="a", report=Report())
    assert message.name == PlanName(generation=2, digest=PLAN)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b"[]", "an object"),
        (b'{"plan":"x","generation":1,"life":"a","report":{}}', "a digest is 64"),
        (b'{"plan":"' + PLAN.encode() + b'","generation":0,"life":"a","report":{}}', "from 1"),
        (START + b'{"redy":[]}}', "did you mean ready"),
        (START + b'{"ready":["1"]}}', "a whole number is wanted"),
        (
            START + b'{"cannot":[{"step":-1,"because":"n"}]}}',
            "from 0",
        ),
    ],
)
def test_anything_else_is_refused(data, sentence):
    with pytest.raises(MalformedDocument, match=sentence):
        decode(data)


NAME = PlanName(generation=3, digest=PLAN)
WORDS = [
    StandingIs(standing=Standing(), life="a"),
    StandingIs(
        standing=Standing(adopted=NAME, accepted=NAME, declined=(Declined(plan=NAME, reason="too large"),)), life="b"
    ),
    AskPlan(plan=NAME),
    PlanIs(plan=NAME),
]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_about_plans_comes_back_with_its_document(word):
    found, document = read(memoryview(b"".join(write(word, b"document"))))
    assert (found, bytes(document)) == (word, b"document")


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [(b"", "no header"), (b"\x09\0\0\0{}", "announces a header of 9"), (b"\x02\0\0\0{}", "lacks")],
)
def test_a_word_that_makes_no_sense_is_refused(frame, sentence):
    with pytest.raises(MalformedDocument, match=sentence):
        read(memoryview(frame))
