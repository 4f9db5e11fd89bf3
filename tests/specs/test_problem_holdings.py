"""Holdings of a part of an LLM: what they mean, and what a problem refuses."""

import attrs
import pytest

from specs import codec
from specs.checker import Rejected, verify
from specs.errors import InvalidProblem
from specs.invariants.facts import Facts
from specs.problem import Holding
from tests.builders import a_problem
from tests.plans import a_chain, gpu


def with_holdings(*holdings: Holding):
    return attrs.evolve(a_problem(3), holdings=holdings)


def test_a_run_of_tensors_is_held_blob_by_blob():
    problem, plan = a_chain(3, 2)
    border = plan.blobs[0].end_tensor
    part = Holding(llm="llm", place=gpu(1), end_tensor=border)
    facts = Facts(attrs.evolve(problem, holdings=(*problem.holdings, part)), plan)
    assert (plan.blobs[0].id, gpu(1)) in facts.held_at_start
    assert (plan.blobs[1].id, gpu(1)) not in facts.held_at_start


@pytest.mark.parametrize(("off_by", "broken"), [(0, {"FULL"}), (1, {"REF"}), (-1, {"REF"})])
def test_a_blob_may_not_cross_the_border_of_a_run(off_by, broken):
    problem, plan = a_chain(2, 2)
    part = Holding(llm="llm", place=gpu(1), first_tensor=plan.blobs[1].first_tensor + off_by)
    changed = attrs.evolve(problem, holdings=(*problem.holdings, part))
    verdict = verify(changed, attrs.evolve(plan, problem=codec.digest(changed), certificates=()))
    assert isinstance(verdict, Rejected)
    assert {violation.rule for violation in verdict.violations} - {"BOUND"} == broken


@pytest.mark.parametrize(
    ("holdings", "sentence"),
    [
        ([Holding(llm="llm", place=gpu(0), end_tensor=12)], "a holding names tensors 0 to 12 (exclusive) of llm"),
        ([Holding(llm="llm", place=gpu(0), first_tensor=4, end_tensor=4)], "a holding names tensors 4 to 4"),
        (
            [Holding(llm="llm", place=gpu(0), end_tensor=5), Holding(llm="llm", place=gpu(0), first_tensor=4)],
            "holding of llm at n0/gpu0 is given twice",
        ),
        (
            [Holding(llm="llm", place=gpu(0), end_tensor=5), Holding(llm="llm", place=gpu(1), first_tensor=6)],
            "LLM llm is wanted but held nowhere in part: nothing holds its tensor 5",
        ),
    ],
)
def test_runs_that_mean_nothing_are_refused(holdings, sentence):
    with pytest.raises(InvalidProblem) as caught:
        with_holdings(*holdings)
    assert sentence in str(caught.value)


def test_neighbouring_runs_together_are_enough():
    runs = (
        Holding(llm="llm", place=gpu(0), end_tensor=5),
        Holding(llm="llm", place=gpu(0), first_tensor=5, end_tensor=6),
        Holding(llm="llm", place=gpu(1), first_tensor=6),
    )
    assert with_holdings(*runs).holdings == runs
