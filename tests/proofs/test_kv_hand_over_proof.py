"""The proof of KV hand-over: every obligation is proved."""

from functools import cache

import pytest

from specs.proofs.kv_hand_over import STEPS, obligations
from specs.proofs.obligations import Verdict, judge

PARTS = ("at the start", *STEPS, "follows")


@cache
def found():
    return obligations()


def part_of(obligation):
    return obligation.name.split(":")[0]


@pytest.mark.parametrize("part", PARTS)
def test_every_obligation_is_proved(part):
    judged = map(judge, (each for each in found() if part_of(each) == part))
    assert [each for each in judged if each.verdict is not Verdict.PROVED] == []


def test_there_are_obligations():
    assert len(found()) == len({each.name for each in found()}) == 409
    assert {part_of(each) for each in found()} == {*PARTS} - {"refuse"}  # nothing looks at who was refused
