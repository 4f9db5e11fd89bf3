"""Runners-up: what was chosen, what came next, by how much."""

import attrs
import pytest

from planner.explain.decisions import explain
from planner.explain.explained import Explained
from planner.explain.runner_up import in_words, with_runner_up
from planner.outcome import Planned, Tried
from planner.solve import Request, solve
from specs.plan import Aim
from tests.builders import GIGABYTE, a_problem, an_llm
from tests.place_graphs import star

FIRST = Tried(decision="transfers", subject="p", way="one way", value=10**9, unit="ns", besides="12 tokens")
SECOND = attrs.evolve(FIRST, way="another", value=1_100_000_000, besides="")
TRANSFERS = Explained(decision="completion of transfers", subject="llm", unit="ns", value=10**9, binding="")


def test_words():
    said = "chosen one way: 1.000 s (12 tokens); next best another: 1.100 s, 10.0% more"
    assert in_words([FIRST, SECOND]) == said
    assert in_words([SECOND, FIRST]).endswith("12 tokens), 9.1% less")
    assert in_words([FIRST, FIRST]).endswith("equal in this")
    assert in_words([FIRST]).endswith("no other was tried")


@pytest.mark.parametrize(
    ("decision", "subject", "kind", "tried_for", "added"),
    [
        ("completion of transfers", "llm", "transfers", "problem", True),  # of all LLMs together
        ("first cover of transfers", "llm", "transfers", "problem", False),
        ("pipelines of service, cost", "llm", "service", "llm", True),
        ("pipelines of service, cost", "llm", "service", "other", False),
        ("number of blocks", "llm", "transfers", "llm", False),
    ],
)
def test_each_decision_gets_its_own(decision, subject, kind, tried_for, added):
    each = attrs.evolve(TRANSFERS, decision=decision, subject=subject)
    found = with_runner_up(each, [attrs.evolve(FIRST, decision=kind, subject=tried_for)])
    assert (found.runner_up is not None) is added


def test_what_is_known_already_stays():
    known = attrs.evolve(TRANSFERS, runner_up="known")
    assert with_runner_up(known, [FIRST]) is known
    assert with_runner_up(TRANSFERS, []) is TRANSFERS


def test_a_plan_over_unequal_links_names_the_other_draft():
    links = star(4, (GIGABYTE // 25, GIGABYTE // 100, GIGABYTE // 50))
    outcome = solve(a_problem(4, llm=an_llm(4), cluster=links), Request(blocks=4, aim=Aim.RAMP))
    assert isinstance(outcome, Planned)
    (each,) = [one for one in explain(outcome.verified, outcome.tried).decisions if one.decision.startswith("compl")]
    chosen, following = outcome.tried
    assert each.runner_up.startswith(f"chosen {chosen.way}: {chosen.value:,} tokens")
    assert following.way in each.runner_up
    (plain,) = [one for one in explain(outcome.verified).decisions if one.decision.startswith("compl")]
    assert plain.runner_up is None
