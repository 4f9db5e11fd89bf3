"""START: more ways to break it."""

import attrs
import pytest

from specs import codec
from specs.checker import Rejected, verify
from specs.plan import Resident
from tests.broken_plans import a_standby
from tests.plans import gpu

FAR = Resident(llm="llm", place=gpu(0), route=0)


def said(residents):
    problem, plan = a_standby(0)
    verdict = verify(problem, attrs.evolve(plan, residents=residents))
    assert isinstance(verdict, Rejected)
    return [(violation.rule, violation.sentence) for violation in verdict.violations]


@pytest.mark.parametrize(
    ("residents", "found"),
    [
        ((), [("START", "no place keeps a copy of it")]),
        ((FAR, FAR), [("START", "n0/gpu0 keeps llm twice")]),
        ((FAR, attrs.evolve(FAR, place=gpu(1), route=None)), [("START", "n1/gpu0 may not keep llm for a standby")]),
        ((attrs.evolve(FAR, llm="gpt"),), [("REF", "its LLM gpt is not in the problem")]),
        ((attrs.evolve(FAR, route=9),), [("REF", "route 9 is not one of 1")]),
        ((attrs.evolve(FAR, place="leaf"),), [("REF", "leaf is not a memory of the cluster")]),
    ],
)
def test_residents_that_do_not_stand_by(residents, found):
    assert said(residents) == found


def test_a_copy_on_a_device_starts_at_once():
    problem, plan = a_standby(0)
    near = attrs.evolve(plan, residents=(attrs.evolve(FAR, route=None),))
    assert not isinstance(verify(problem, near), Rejected)


def test_a_route_must_begin_at_the_copy():
    problem, plan = a_standby(0)
    standby = attrs.evolve(problem.standbys[0], places=(gpu(0), gpu(1)))
    problem = attrs.evolve(problem, standbys=(standby,))
    residents = (attrs.evolve(FAR, place=gpu(1)),)
    verdict = verify(problem, attrs.evolve(plan, problem=codec.digest(problem), residents=residents))
    assert isinstance(verdict, Rejected)
    (violation,) = verdict.violations
    assert violation.sentence == "its route leads from n0/gpu0 to n1/gpu0, not from n1/gpu0 into a device"
