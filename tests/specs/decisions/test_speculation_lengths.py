"""Speculation tables: expected tokens, limits at their edges, each fault by itself."""

import random
from fractions import Fraction

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specs.decisions.speculation.lengths import (
    PARTS,
    Acceptance,
    LengthQuestion,
    Load,
    Row,
    ServiceClass,
    SpeculationTable,
    expected_tokens,
    faults,
    geometric,
    meets,
    pass_ns,
    tokens_per_second,
    tpot_ns,
)
from specs.errors import InvalidProblem

CALM = Load(batch_max=1, draft_ns=10, draft_overhead_ns=5, verify_ns=(100, 101, 103, 106))
BUSY = Load(batch_max=8, draft_ns=20, draft_overhead_ns=5, verify_ns=(100, 190, 280, 370))
NEVER, OFTEN = geometric(0, 3), attrs.evolve(geometric(800_000, 3), ppm_min=800_000)
CHAT = ServiceClass(name="chat", tpot_ns_max=60, pause_ns_max=130)
BATCH = ServiceClass(name="batch", tpot_ns_max=1000, pause_ns_max=1000)
QUESTION = LengthQuestion(length_max=3, classes=(CHAT, BATCH), loads=(CALM, BUSY), acceptances=(NEVER, OFTEN))
LENGTHS = {
    ("chat", 1, 0): (0, False),  # 100 ns per token whatever is drafted
    ("chat", 1, 800_000): (2, True),  # 128 ns for 2.44 tokens; 3 would pause for 141 ns
    ("chat", 8, 0): (0, False),
    ("chat", 8, 800_000): (0, False),  # 100 > 60, and 215 for 1.8 tokens is no better
    ("batch", 1, 0): (0, True),
    ("batch", 1, 800_000): (3, True),  # 141 ns for 2.952 tokens
    ("batch", 8, 0): (0, True),
    ("batch", 8, 800_000): (0, True),
}


def a_table(lengths=None):
    return SpeculationTable(
        rows=tuple(
            Row(service_class=c, batch_max=b, acceptance_ppm_min=a, length=length, met=met)
            for (c, b, a), (length, met) in (LENGTHS if lengths is None else lengths).items()
        )
    )


def test_the_table_by_hand_has_no_faults():
    assert list(faults(QUESTION, a_table())) == []


@given(ppm=st.integers(0, PARTS - 1), length=st.integers(0, 12))
def test_equal_acceptance_is_the_geometric_sum(ppm, length):
    rate = Fraction(ppm, PARTS)
    assert Fraction(*expected_tokens(geometric(ppm, 12), length)) == (1 - rate ** (length + 1)) / (1 - rate)


@given(ppm=st.lists(st.integers(0, PARTS), min_size=1, max_size=6), index=st.integers(0, 5), more=st.integers(1, PARTS))
def test_a_bucket_is_judged_by_its_worst_member(ppm, index, more):
    raised = list(ppm)
    raised[index % len(ppm)] = min(PARTS, raised[index % len(ppm)] + more)
    low, high = (Acceptance(ppm_min=0, positions_ppm=tuple(rates)) for rates in (ppm, raised))
    assert Fraction(*expected_tokens(low, len(ppm))) <= Fraction(*expected_tokens(high, len(ppm)))


def test_simulated_acceptance_agrees():
    acceptance = Acceptance(ppm_min=0, positions_ppm=(900_000, 700_000, 600_000, 200_000))
    dice, passes = random.Random(20), 20_000
    counts = []
    for _ in range(passes):
        accepted = 0
        while accepted < 4 and dice.random() < acceptance.positions_ppm[accepted] / PARTS:
            accepted += 1
        counts.append(1 + accepted)
    mean = sum(counts) / passes
    deviation = (sum((count - mean) ** 2 for count in counts) / passes / passes) ** 0.5
    assert abs(mean - float(Fraction(*expected_tokens(acceptance, 4)))) < 4 * deviation


def test_times_round_against_us():
    assert pass_ns(CALM, 0) == 100
    assert pass_ns(CALM, 2) == 20 + 5 + 103
    assert tpot_ns(CALM, OFTEN, 2) == 53  # 128 / 2.44 = 52.46
    assert tokens_per_second(CALM, OFTEN, 2) == 2_440_000_000 // 128
    assert tokens_per_second(BUSY, NEVER, 0) == 80_000_000


def test_limits_at_their_edges():
    exact = attrs.evolve(CHAT, tpot_ns_max=100, pause_ns_max=100)
    assert meets(exact, CALM, NEVER, 0)
    assert not meets(attrs.evolve(exact, tpot_ns_max=99), CALM, NEVER, 0)
    assert not meets(attrs.evolve(exact, pause_ns_max=99), CALM, NEVER, 0)
    assert meets(attrs.evolve(BATCH, pause_ns_max=128, tpot_ns_max=53), CALM, OFTEN, 2)
    assert not meets(attrs.evolve(BATCH, pause_ns_max=128, tpot_ns_max=52), CALM, OFTEN, 2)


CHAT_OFTEN = ("chat", 1, 800_000)
BROKEN = {
    "class chat, batch 1, acceptance 0 ppm has no row": {k: v for k, v in LENGTHS.items() if k != ("chat", 1, 0)},
    "is a row that the question does not ask for": LENGTHS | {("chat", 2, 0): (0, True)},
    "drafts 4 tokens, 3 are allowed": LENGTHS | {CHAT_OFTEN: (4, True)},
    "misses its limits; 2 would keep them": LENGTHS | {CHAT_OFTEN: (3, False)},
    "says that its limits are met, which is not so": LENGTHS | {CHAT_OFTEN: (3, True)},
    "says that its limits are not met, which is not so": LENGTHS | {CHAT_OFTEN: (2, False)},
    "drafts 2 tokens at 53 ns per token; 3 have 48": LENGTHS | {("batch", 1, 800_000): (2, True)},
    "drafts 1 tokens at 116 ns per token; 0 have 100 ns": LENGTHS | {("batch", 1, 0): (1, True)},
    "drafts 3 tokens at 141 ns per token; 0 have 100 ns": LENGTHS | {("chat", 1, 0): (3, False)},
    "not in the question's order": dict(reversed(LENGTHS.items())),
}


@pytest.mark.parametrize("sentence", BROKEN)
def test_each_fault_is_found(sentence):
    found = list(faults(QUESTION, a_table(BROKEN[sentence])))
    assert any(sentence in fault for fault in found), found


def test_a_key_given_twice():
    rows = a_table().rows
    found = list(faults(QUESTION, SpeculationTable(rows=(*rows, rows[-1]))))
    assert any("some key is given twice" in fault for fault in found)


def test_looking_up_is_never_bolder_than_the_bucket():
    table = a_table()
    assert table.length("chat", 1, 800_000) == table.length("chat", 1, 1_000_000) == 2
    assert table.length("chat", 1, 799_999) == 0, "the bucket below"
    assert table.length("batch", 2, 900_000) == 0, "the load above"
    assert table.length("batch", 1, 900_000) == 3
    assert table.length("batch", 9, 900_000) == 0, "a batch larger than any measured"
    assert table.length("other", 1, 900_000) == 0


CONTRADICTIONS = {
    "class chat is given twice": {"classes": (CHAT, CHAT)},
    "they must ascend, and there must be one": {"loads": ()},
    "loads have batches of up to": {"loads": (BUSY, CALM)},
    "has 4 verification times": {"length_max": 2},
    "that takes no time": {"loads": (attrs.evolve(CALM, verify_ns=(1, 0, 1, 1)),)},
    "they must ascend from 0": {"acceptances": (OFTEN,)},
    "has 2 positions": {"acceptances": (geometric(0, 2),)},
    "a rate outside 0 to 1000000 ppm": {"acceptances": (attrs.evolve(NEVER, positions_ppm=(0, PARTS + 1, 0)),)},
}


@pytest.mark.parametrize("sentence", CONTRADICTIONS)
def test_a_question_that_contradicts_itself_is_refused(sentence):
    with pytest.raises(InvalidProblem, match=sentence):
        attrs.evolve(QUESTION, **CONTRADICTIONS[sentence])
