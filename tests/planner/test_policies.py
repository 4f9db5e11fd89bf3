"""Speculation tables in plans: made where drafting was measured, and judged by SPEC."""

import attrs
import pytest

from planner.outcome import Planned
from planner.solve import Request, solve
from specs.checker import Rejected, verify
from specs.decisions.speculation.lengths import Load, geometric
from specs.drafting import Drafting
from specs.profile import Profile
from tests.builders import a_problem

LOADS = (
    Load(batch_max=1, draft_ns=10**6, draft_overhead_ns=0, verify_ns=(10**7, 10**7, 10**7)),
    Load(batch_max=64, draft_ns=10**6, draft_overhead_ns=0, verify_ns=(10**7, 2 * 10**7, 3 * 10**7)),
)


def measured():
    buckets = (geometric(0, 2), geometric(800_000, 2))
    drafting = Drafting(llm="llm", length_max=2, loads=LOADS, acceptances=buckets, source="made up")
    return attrs.evolve(a_problem(3), profile=Profile(rates=(), draftings=(drafting,)))


def planned():
    outcome = solve(measured(), Request(blocks=2))
    assert isinstance(outcome, Planned)
    return outcome.verified.plan


def test_short_batches_with_good_drafts_speculate_and_full_ones_do_not():
    (speculation,) = planned().speculations
    table = speculation.table
    assert table.length("llm", 1, 900_000) == 2
    assert table.length("llm", 1, 0) == 0
    assert table.length("llm", 64, 900_000) == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda tables: (), "it has 0 speculation tables; its measured drafting asks for one"),
        (lambda tables: (*tables, *tables), "it has 2 speculation tables; its measured drafting asks for one"),
        (
            lambda tables: (*tables, attrs.evolve(tables[0], llm="other")),
            "it has a speculation table, and nothing measured or nobody wants it",
        ),
    ],
)
def test_there_is_one_table_for_each_measured_llm(change, sentence):
    plan = planned()
    verdict = verify(measured(), attrs.evolve(plan, speculations=change(plan.speculations)))
    assert isinstance(verdict, Rejected)
    assert [(violation.rule, violation.sentence) for violation in verdict.violations] == [("SPEC", sentence)]
