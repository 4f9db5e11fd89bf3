"""The proof of switches between pipelines: everything is proved, and nothing is when a guard is left out."""

import pytest

from specs.proofs.obligations import Verdict, judge
from specs.proofs.switching import guards, obligations


def unproved(found):
    return [each for each in map(judge, found) if each.verdict is not Verdict.PROVED]


def test_every_obligation_is_proved():
    found = obligations()
    assert unproved(found) == []
    assert len(found) == 121
    assert len({each.name for each in found}) == len(found)


def test_there_are_guards():
    assert len(guards()) == len(set(guards())) == 13


@pytest.mark.parametrize("guard", guards())
def test_without_a_guard_there_is_a_counterexample(guard):
    """Every guard is needed.  The case against it is a state that the invariant allows, and one step from there."""
    step = guard.split(":")[0]
    lost = unproved(each for each in obligations(guard) if each.name.startswith(f"{step}:"))
    assert lost
    assert all(each.verdict is Verdict.REFUTED and each.counterexample for each in lost)
