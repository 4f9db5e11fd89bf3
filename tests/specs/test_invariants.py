"""Every rule of the table can be broken alone and holds at its edge."""

from pathlib import Path

import pytest

from specs.checker import Rejected, VerifiedPlan, verify
from specs.invariants.table import INVARIANTS
from tests.broken_plans import BREAKS, JUST_GOOD
from tests.live_plans import LIVE
from tests.plans import GOOD


@pytest.mark.parametrize("make", [*GOOD.values(), *LIVE.values()], ids=[*GOOD, *LIVE])
def test_good_plans_are_verified(make):
    verdict = verify(*make())
    assert isinstance(verdict, VerifiedPlan), str(verdict)


@pytest.mark.parametrize("rule", [rule.id for rule in INVARIANTS])
def test_every_invariant_can_be_broken_alone(rule):
    verdict = verify(*BREAKS[rule]())
    assert isinstance(verdict, Rejected)
    assert {violation.rule for violation in verdict.violations} == {rule}
    assert all(violation.where and violation.sentence for violation in verdict.violations)


@pytest.mark.parametrize("rule", JUST_GOOD)
def test_every_edge_is_inside(rule):
    verdict = verify(*JUST_GOOD[rule]())
    assert isinstance(verdict, VerifiedPlan), str(verdict)


def test_ids_are_unique_and_sentences_end_the_table():
    assert len({rule.id for rule in INVARIANTS}) == len(INVARIANTS)
    assert all(rule.sentence.endswith(".") for rule in INVARIANTS)


def test_the_readme_lists_every_rule():
    text = (Path(__file__).parents[2] / "specs" / "README.md").read_text()
    rows = [line.split(" | ")[:2] for line in text.splitlines() if line.endswith(".py` |") and "invariants/" in line]
    assert rows == [[f"| {rule.id}", rule.sentence] for rule in INVARIANTS]
