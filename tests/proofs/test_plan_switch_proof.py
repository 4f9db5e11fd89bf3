"""The proof of plan switch: everything is proved, and nothing is when a guard is left out."""

import pytest

from specs.proofs.obligations import Obligation, Verdict, judge
from specs.proofs.plan_switch import guards, obligations
from specs.proofs.symbolic import Symbolic


def unproved(found):
    return [each for each in map(judge, found) if each.verdict is not Verdict.PROVED]


def test_every_obligation_is_proved():
    found = obligations()
    assert unproved(found) == []
    assert len(found) == 88
    assert len({each.name for each in found}) == len(found)


def test_there_are_guards():
    assert len(guards()) == len(set(guards())) == 23


@pytest.mark.parametrize("guard", guards())
def test_without_a_guard_there_is_a_counterexample(guard):
    """Every guard is needed.  The case against it is a state that the invariant allows, and one step from there."""
    step = guard.split(":")[0]
    lost = unproved(each for each in obligations(guard) if each.name.startswith(f"{step}:"))
    assert lost
    assert all(each.verdict is Verdict.REFUTED and each.counterexample for each in lost)


def test_what_does_not_follow_is_refuted_and_what_is_not_known_is_not_proved():
    logic = Symbolic()
    f, a, b = logic.function("f", "Thing", "number"), logic.constant("a", "Thing"), logic.constant("b", "Thing")
    assert judge(Obligation(name="", premises=(f(a) == f(b),), goal=a == b)).verdict is Verdict.REFUTED
    assert judge(Obligation(name="", premises=(a == b,), goal=f(a) == f(b))).verdict is Verdict.PROVED
    x, y, z = (logic.constant(name, "number") for name in "xyz")
    fermat = x * x * x + y * y * y != z * z * z
    hard = Obligation(name="", premises=(x > 0, y > 0, z > 0), goal=fermat)
    assert judge(hard, within_ms=50).verdict is Verdict.UNKNOWN
