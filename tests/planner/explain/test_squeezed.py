"""Feasible problems, each squeezed in one number: the explanation names it, with the least amount that is enough."""

import functools
import random
from collections import Counter
from collections.abc import Callable

import attrs
import pytest

from planner.explain.limits import (
    Limit,
    longest_request_of,
    memory_of,
    more_live_requests_of,
    percentile_of,
    requests_of,
    tpot_of,
    ttft_of,
)
from planner.outcome import Infeasible, Outcome, Planned, Undecided
from planner.solve import solve
from specs import queueing
from specs.decisions.latency.prediction import Prediction
from specs.problem import Holding, Problem, Target
from specs.workload import Slo
from tests.builders import TOY, a_problem, an_llm
from tests.place_graphs import islands
from tests.plans import gpu

COUNT = 100
LONGEST = Slo(llm="llm", percentile=90, ttft_ns_max=10**12, tpot_ns_max=10**12)

# --- feasible problems ------------------------------------------------


def _equal(dice: random.Random) -> Problem:
    """One LLM on a few equal nodes."""
    nodes = dice.randint(2, 5)
    llm = an_llm(dice.randint(4, 12), layer_bytes=64_000 * dice.randint(1, 4))
    return a_problem(nodes, dice.randint(1, nodes - 1), llm=llm, live_requests_max=dice.choice((2, 5, 8, 16)))


def _two_llms(dice: random.Random) -> Problem:
    """A second LLM, without a promise, on devices of its own or beside the first."""
    base = _equal(dice)
    other = an_llm(dice.randint(3, 6), name="other")
    place = base.targets[dice.randrange(len(base.targets))].place
    return attrs.evolve(
        base,
        llms=(*base.llms, other),
        workloads=(*base.workloads, attrs.evolve(base.workloads[0], llm="other", live_requests_max=2)),
        holdings=(*base.holdings, Holding(llm="other", place=gpu(0))),
        targets=(*base.targets, Target(llm="other", place=place)),
    )


def _two_kinds(dice: random.Random) -> Problem:
    """Nodes with two kinds of device, one of which is slower."""
    base = _equal(dice)
    percent = dice.randint(60, 95)
    slow = attrs.evolve(
        TOY,
        name="slow",
        memory_bytes_per_second=TOY.memory_bytes_per_second * percent // 100,
        flops_per_second_fp32=TOY.flops_per_second_fp32 * percent // 100,
    )
    last = base.targets[-1].place
    places = tuple(attrs.evolve(place, device="slow") if place.id == last else place for place in base.cluster.places)
    cluster = attrs.evolve(base.cluster, device_kinds=(TOY, slow), places=places)
    return attrs.evolve(base, cluster=cluster)


def _stores(dice: random.Random) -> Problem:
    """The LLM rests on an SSD at first."""
    base = a_problem(3, llm=an_llm(dice.randint(4, 9)), cluster=islands(3), live_requests_max=dice.choice((2, 6)))
    return attrs.evolve(base, holdings=(Holding(llm="llm", place="n0/ssd"),))


SHAPES: tuple[Callable[[random.Random], Problem], ...] = (_equal, _two_llms, _two_kinds, _stores)


def feasible(seed: int) -> Problem:
    """A problem of some shape with as many requests as make it busy, and promises with a margin."""
    dice = random.Random(seed)
    problem = SHAPES[seed % len(SHAPES)](dice)
    problem = attrs.evolve(problem, slos=(attrs.evolve(LONGEST, percentile=dice.choice((90, 95))),))
    problem = with_requests(problem, served_at_most(problem) * dice.randint(20, 90) // 100)
    found = predicted(problem)
    slo = attrs.evolve(
        problem.slos[0],
        ttft_ns_max=found.ttft_ns * dice.randint(100, 140) // 100,
        tpot_ns_max=found.tpot_ns * dice.randint(100, 140) // 100,
    )
    return attrs.evolve(problem, slos=(slo,))


def with_requests(problem: Problem, requests: int) -> Problem:
    return requests_of(problem, "llm").set_to(problem, requests)


def served_at_most(problem: Problem) -> int:
    """Requests per hour that all pipelines of a plan have a steady state for."""
    outcome = solve(attrs.evolve(problem, slos=()))
    assert isinstance(outcome, Planned), outcome
    questions = queueing.questions_of(with_requests(problem, 10**12), outcome.verified.plan, "llm")
    return queueing.surely_served(10**12, questions.values())


def predicted(problem: Problem) -> Prediction:
    outcome = solve(problem)
    assert isinstance(outcome, Planned), outcome
    found = queueing.predict(problem, outcome.verified.plan, "llm")
    assert isinstance(found, Prediction)
    return found


def given(outcome: Infeasible | Undecided, rule: str, limit: str) -> int:
    amounts = [
        give.needed
        for conflict in outcome.conflicts
        if conflict.rule == rule
        for give in conflict.gives
        if give.limit == limit
    ]
    assert amounts, (limit, outcome)
    return max(amounts)


# --- one number of each, squeezed ------------------------------------------------


@attrs.frozen(kw_only=True)
class Squeeze:
    """A problem with one number squeezed, and what the explanation must name."""

    problem: Problem
    rule: str
    limit: Limit | None  # of the squeezed problem; None: no number would do


def squeezed_memory(problem: Problem, dice: random.Random) -> Squeeze:
    place = problem.targets[dice.randrange(len(problem.targets))].place
    size = sum(tensor.bytes for tensor in problem.llm("llm").tensors)
    tight = memory_of(problem, place).set_to(problem, dice.randint(1, size))
    return Squeeze(problem=tight, rule="MEM", limit=memory_of(tight, place))


def squeezed_holder(problem: Problem, dice: random.Random) -> Squeeze:
    place = problem.holdings[0].place
    size = sum(tensor.bytes for tensor in problem.llm("llm").tensors)
    tight = memory_of(problem, place).set_to(problem, size // dice.randint(2, 9))
    return Squeeze(problem=tight, rule="MEM", limit=memory_of(tight, place))


def squeezed_longest_request(problem: Problem, dice: random.Random) -> Squeeze:
    """Requests become longer than the memory that was left for them, however few are served at once."""
    place = problem.targets[0].place
    longest = longest_request_of(problem, "llm")
    just = memory_of(problem, place)
    tight = just.set_to(problem, 1)
    outcome = solve(tight)
    assert isinstance(outcome, Infeasible)
    roomy = just.set_to(problem, given(outcome, "MEM", just.name))
    more = dice.randint(1, 40)
    while isinstance(solve(tight := longest.set_to(roomy, longest.allowed + more)), Planned):
        more *= 2
    return Squeeze(problem=tight, rule="MEM", limit=longest_request_of(tight, "llm"))


def squeezed_time(of: Callable[[Problem, str], Limit | None]) -> Callable[[Problem, random.Random], Squeeze]:
    def squeezed(problem: Problem, dice: random.Random) -> Squeeze:
        limit = of(problem, "llm")
        assert limit is not None
        tight = limit.set_to(problem, max(1, limit.allowed // dice.randint(20, 900)))
        return Squeeze(problem=tight, rule="SLO", limit=of(tight, "llm"))

    return squeezed


def squeezed_requests(problem: Problem, dice: random.Random) -> Squeeze:
    requests = problem.workload("llm").requests_per_hour
    tight = with_requests(problem, requests * dice.randint(6, 50))
    return Squeeze(problem=tight, rule="SLO", limit=requests_of(tight, "llm"))


def squeezed_live_requests(problem: Problem, dice: random.Random) -> Squeeze:
    """Batches become so small that requests wait without end, or for longer than is promised."""
    wide = more_live_requests_of(problem, "llm").set_to(problem, 16)
    wide = attrs.evolve(wide, slos=(attrs.evolve(LONGEST, percentile=90),))
    busy = with_requests(wide, served_at_most(wide) * dice.randint(80, 95) // 100)
    assert isinstance(solve(busy), Planned)
    tight = more_live_requests_of(busy, "llm").set_to(busy, dice.randint(1, 2))
    return Squeeze(problem=tight, rule="SLO", limit=more_live_requests_of(tight, "llm"))


def squeezed_percentile(problem: Problem, dice: random.Random) -> Squeeze:
    """Promises that are just kept at a percentile are made for nearly all requests."""
    found = predicted(problem)
    slo = attrs.evolve(problem.slos[0], ttft_ns_max=found.ttft_ns, tpot_ns_max=found.tpot_ns)
    tight = attrs.evolve(problem, slos=(attrs.evolve(slo, percentile=99),))
    del dice
    return Squeeze(problem=tight, rule="SLO", limit=percentile_of(tight, "llm"))


def squeezed_link(problem: Problem, dice: random.Random) -> Squeeze:
    """Nothing leads to a target any more."""
    held = {holding.place for holding in problem.holdings if holding.llm == "llm"}
    place = dice.choice([t.place for t in problem.targets if t.llm == "llm" and t.place not in held])
    links = tuple(link for link in problem.cluster.links if link.destination != place)
    return Squeeze(
        problem=attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, links=links)), rule="FULL", limit=None
    )


# Wishes other than targets join here: a function of a feasible problem and dice to what was squeezed.
SQUEEZES: dict[str, Callable[[Problem, random.Random], Squeeze]] = {
    "memory of a target": squeezed_memory,
    "memory of a holder": squeezed_holder,
    "longest request": squeezed_longest_request,
    "TTFT": squeezed_time(ttft_of),
    "TPOT": squeezed_time(tpot_of),
    "requests": squeezed_requests,
    "live requests": squeezed_live_requests,
    "percentile": squeezed_percentile,
    "link": squeezed_link,
}
KINDS = tuple(SQUEEZES)


def kind_of(seed: int) -> str:
    return KINDS[seed // len(SHAPES) % len(KINDS)]


def answers(outcome: Outcome) -> Infeasible | Undecided:
    """The outcome that carries conflicts: impossible only where every conflict is proven."""
    assert not isinstance(outcome, Planned)
    assert outcome.conflicts, outcome
    assert {conflict.proven for conflict in outcome.conflicts} == {isinstance(outcome, Infeasible)}
    return outcome


def explained(seed: int) -> None:
    squeeze = SQUEEZES[kind_of(seed)](feasible(seed), random.Random(seed + COUNT))
    outcome = answers(solve(squeeze.problem))
    assert squeeze.rule in {conflict.rule for conflict in outcome.conflicts}
    if squeeze.limit is None:
        return
    needed = given(outcome, squeeze.rule, squeeze.limit.name)
    assert isinstance(solve(squeeze.limit.set_to(squeeze.problem, needed)), Planned), "what is named is enough"
    step = 1 if needed > squeeze.limit.allowed else -1
    assert answers(solve(squeeze.limit.set_to(squeeze.problem, needed - step))), "and the least"


# Every kind of squeeze, and every shape at least twice; the others are slow.
SAMPLE = tuple(len(SHAPES) * kind + kind % len(SHAPES) for kind in range(len(KINDS)))


@functools.cache
def counted() -> Counter[str]:
    return Counter(kind_of(seed) for seed in range(COUNT))


def test_all_kinds_are_squeezed_often_and_on_every_shape():
    assert sum(counted().values()) == COUNT
    assert counted() == {kind: 12 if number < 7 else 8 for number, kind in enumerate(KINDS)}
    for kind in KINDS:
        shapes = Counter(seed % len(SHAPES) for seed in range(COUNT) if kind_of(seed) == kind)
        assert min(shapes[shape] for shape in range(len(SHAPES))) >= 2
    assert [kind_of(seed) for seed in SAMPLE] == list(KINDS)
    assert min(Counter(seed % len(SHAPES) for seed in SAMPLE).values()) >= 2


@pytest.mark.parametrize("seed", SAMPLE)
def test_the_squeezed_number_is_named(seed):
    explained(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [seed for seed in range(COUNT) if seed not in SAMPLE])
def test_the_squeezed_number_is_named_in_all_problems(seed):
    explained(seed)
