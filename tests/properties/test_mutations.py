"""Small changes of good plans, ten thousand with the slow ones: the checker and the simulation agree on every one."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from random import Random

import pytest

from planner.outcome import Planned
from planner.solve import Request, solve
from specs.checker import Rejected, verify
from specs.invariants.table import INVARIANTS
from specs.plan import Plan
from specs.problem import Problem
from tests.broken_plans import BREAKS, JUST_GOOD
from tests.builders import a_problem, an_llm
from tests.live_plans import LIVE
from tests.plans import GOOD, certified
from tests.properties.mutations import MUTATIONS
from tests.properties.simulation import faults

MUTANTS = 10_000
BATCHES = 4  # large enough that in each every rule decides alone at least once


def mutant(dice: Random, problem: Problem, plan: Plan) -> Plan:
    """Apply one to three changes; half of the time give the result true certificates, so that other rules decide."""
    for _ in range(dice.choice([1, 1, 1, 2, 3])):
        if plan.steps and plan.blobs and plan.pipelines and plan.routing and plan.certificates and plan.routes:
            plan = dice.choice(MUTATIONS)(dice, problem, plan)
    if dice.random() < 0.6:
        try:
            return certified(problem, plan)
        except (KeyError, IndexError, StopIteration, RuntimeError, ValueError):
            return plan  # it names something unknown, or a blob arrives nowhere: there is nothing to certify
    return plan


def planned() -> tuple[Problem, Plan]:
    """What the planner makes: pipelines over several nodes that switch to local ones."""
    problem = a_problem(5, llm=an_llm(4))
    outcome = solve(problem, Request(blocks=4))
    assert isinstance(outcome, Planned)
    assert any(len(pipeline.stages) > 1 for pipeline in outcome.verified.plan.pipelines)
    return problem, outcome.verified.plan


def _mutants(batch: int) -> Iterator[tuple[Problem, Plan]]:
    dice = Random(f"mutants {batch}")
    promising = [JUST_GOOD[rule] for rule in ("DEMAND", "START", "SPEC", "SLO")]
    live = [LIVE[name] for name in ("split", "growth", "merge", "handing on", "squeeze")]
    bases = [make() for make in (*GOOD.values(), planned, *promising, *promising, *live)]
    while True:
        problem, plan = dice.choice(bases)
        changed = mutant(dice, problem, plan)
        if changed != plan:
            yield problem, changed


@pytest.mark.parametrize("batch", [0, *(pytest.param(batch, marks=pytest.mark.slow) for batch in range(1, BATCHES))])
def test_the_checker_and_the_simulation_agree(batch):
    accepted = 0
    alone: Counter[str] = Counter()  # mutants that exactly one rule stops: without it they would pass
    for problem, plan in islice(_mutants(batch), MUTANTS // BATCHES):
        verdict, seen = verify(problem, plan), faults(problem, plan)
        assert isinstance(verdict, Rejected) == bool(seen), f"{verdict!s:.500}; simulation: {seen[:5]}; {plan}"
        if isinstance(verdict, Rejected):
            rules = {violation.rule for violation in verdict.violations}
            alone.update(rules if len(rules) == 1 else ())
        else:
            accepted += 1
    print(f"{accepted} of {MUTANTS // BATCHES} mutants are good plans; stopped by one rule alone: {dict(alone)}")
    # Both verdicts occur often and every rule matters, or one side of the agreement would not be tested.
    assert accepted > MUTANTS // BATCHES // 20
    assert set(alone) == {rule.id for rule in INVARIANTS}


@pytest.mark.parametrize("make", [*GOOD.values(), *LIVE.values()], ids=[*GOOD, *LIVE])
def test_the_simulation_likes_good_plans(make):
    assert faults(*make()) == []


@pytest.mark.parametrize("rule", BREAKS)
def test_the_simulation_sees_every_broken_rule(rule):
    assert faults(*BREAKS[rule]())
