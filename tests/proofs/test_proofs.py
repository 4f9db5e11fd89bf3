"""The proofs: everything is proved, and with any guard left out there is a case against it."""

import pytest

from specs.proofs import kv_hand_over, plan_switch, remote_writes, room, switching
from specs.proofs.obligations import Obligation, Verdict, judge
from specs.proofs.symbolic import Symbolic

SIZES = {  # obligations, guards
    plan_switch: (88, 23),
    switching: (121, 13),
    room: (90, 8),
    kv_hand_over: (409, 84),
    remote_writes: (321, 34),
}
PROOFS = {theorem: theorem.proof() for theorem in SIZES}
OBLIGATIONS = {theorem: proof.obligations() for theorem, proof in PROOFS.items()}
NONE_TO_SPARE = (plan_switch, switching, room, remote_writes)  # of KV hand-over: test_kv_hand_over_careless.py


def unproved(found):
    return [each for each in map(judge, found) if each.verdict is not Verdict.PROVED]


def part_of(named):
    return named.split(":")[0]


@pytest.mark.parametrize(
    ("theorem", "part"),
    [
        (theorem, part)
        for theorem, proof in PROOFS.items()
        for part in ("at the start", *(change.name for change in proof.changes), "follows")
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__.split(".")[-1],
)
def test_every_obligation_is_proved(theorem, part):
    assert unproved(each for each in OBLIGATIONS[theorem] if part_of(each.name) == part) == []


@pytest.mark.parametrize("theorem", SIZES)
def test_there_are_obligations_and_guards(theorem):
    names = [each.name for each in OBLIGATIONS[theorem]]
    guards = PROOFS[theorem].guards()
    assert (len(names), len(guards)) == (len(set(names)), len(set(guards))) == SIZES[theorem]


@pytest.mark.parametrize(
    ("theorem", "guard"),
    [(theorem, guard) for theorem in NONE_TO_SPARE for guard in PROOFS[theorem].guards()],
    ids=lambda value: value if isinstance(value, str) else value.__name__.split(".")[-1],
)
def test_without_a_guard_there_is_a_counterexample(theorem, guard):
    """Every guard is needed.  The case against it is a state that the invariant allows, and one step from there."""
    left = PROOFS[theorem].without(guard).obligations()
    lost = unproved(each for each in left if part_of(each.name) == part_of(guard))
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
