"""Targets, services and standbys together on random place graphs: plans hold, refusals are true, bytes are the same."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.outcome import Infeasible, Planned, Undecided
from planner.solve import solve
from specs import codec
from specs.certificates.layouts import CLAIM_OF
from specs.checker import VerifiedPlan, verify
from specs.cluster import PlaceKind
from specs.decisions.layout import exhausted
from specs.decisions.layout.values import Objective as LayoutObjective
from specs.errors import InvalidProblem
from specs.plan import Claim
from specs.problem import Problem, Target
from specs.services import offer
from specs.wishes import Objective, Service, Standby
from tests.hash_seeds import printed
from tests.properties.simulation import faults
from tests.properties.test_planner import problems, reached

ACTED_OUT = frozenset(
    {Claim.COMPLETION, Claim.FIRST_COVER, Claim.BOTTLENECK}
)  # the second opinion knows these, of targets and services


@st.composite
def wishes(draw) -> Problem:
    """A random problem whose LLMs become a target, a service or a standby each, or nothing."""
    base = draw(problems())
    memories = [place.id for place in base.cluster.places if place.kind is not PlaceKind.SWITCH]
    devices = [place.id for place in base.cluster.places if place.kind is PlaceKind.DEVICE]
    targets, services, standbys = [], [], []
    free = list(devices)
    for llm in base.llms:
        kind = draw(st.sampled_from(("target", "service", "service", "standby")))
        if kind == "standby":
            on = draw(st.lists(st.sampled_from(memories), min_size=1, max_size=3, unique=True))
            limit = draw(st.sampled_from((1, 10**6, 10**12)))
            standbys.append(Standby(llm=llm.id, places=tuple(on), start_ns_max=limit))
        elif free:
            on = draw(st.lists(st.sampled_from(free), min_size=1, max_size=4, unique=True))
            free = [place for place in free if place not in on]
            if kind == "target":
                targets += [Target(llm=llm.id, place=place) for place in on]
            else:
                objective = draw(st.sampled_from([each for each in Objective if each is not Objective.COST]))
                depth, moves = draw(st.integers(1, 4)), draw(st.one_of(st.none(), st.integers(0, 12)))
                services.append(
                    Service(llm=llm.id, places=tuple(on), objective=objective, depth_max=depth, moves_max=moves)
                )
    return attrs.evolve(base, targets=tuple(targets), services=tuple(services), standbys=tuple(standbys))


def truly_unserved(problem: Problem, llm: str) -> bool:
    """Whether no layout answers the question of a service, by trying all."""
    service = next(each for each in problem.services if each.llm == llm)
    try:
        return exhausted.exhausted(offer(problem, service).question, LayoutObjective.GOODPUT) is None
    except InvalidProblem:
        return True


def judge(problem):
    """Plan, and doubt whatever comes out of it."""
    outcome = solve(problem)
    match outcome:
        case Planned(verified=verified):
            plan = verified.plan
            assert isinstance(verify(problem, plan), VerifiedPlan)
            wanted = {target.llm for target in problem.targets} | {service.llm for service in problem.services}
            known = tuple(
                row
                for row in plan.certificates
                if row.claim in {Claim.BOTTLENECK, Claim.MAKESPAN} or (row.claim in ACTED_OUT and row.subject in wanted)
            )
            assert faults(problem, attrs.evolve(plan, certificates=known)) == []
            assert codec.encode(solve(problem).verified.plan) == codec.encode(plan)
            claimed = {row.subject: row for row in plan.certificates}
            for service in problem.services:
                claim, _, objective = CLAIM_OF[service.objective]
                row = next(row for row in plan.certificates if row.claim is claim and row.subject == service.llm)
                assert row.bound == exhausted.exhausted(offer(problem, service).question, objective), claimed
        case Infeasible(conflicts=conflicts):
            for conflict in conflicts:
                assert conflict.sentence
                if conflict.rule == "DEMAND":
                    assert truly_unserved(problem, conflict.where.removeprefix("service "))
                elif conflict.rule == "FULL":
                    assert any(conflict.where not in reached(problem, llm) for llm in problem.wished)
                else:
                    assert conflict.rule in ("MEM", "START")
        case Undecided(sentence=sentence):
            assert sentence


@given(problem=wishes())
@settings(max_examples=25)
def test_plans_are_good_and_refusals_true(problem):
    judge(problem)


@pytest.mark.slow
@given(problem=wishes())
@settings(max_examples=400)
def test_many_plans_are_good_and_refusals_true(problem):
    judge(problem)


PROGRAM = """
import hashlib
from specs import codec
from planner.solve import solve
from examples.services.unequal import unequal
from tests.planner.explain.test_squeezed_wishes import SQUEEZES
import random
print(hashlib.sha256(codec.encode(solve(unequal()).verified.plan)).hexdigest())
for kind in ("memory", "machines", "start"):
    print(solve(SQUEEZES[kind](random.Random(7)).problem))
"""


def test_two_processes_with_other_hash_seeds_say_the_same():
    assert printed(PROGRAM)
