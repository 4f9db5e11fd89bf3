"""Services and standbys that can be had, each squeezed in one number: it is named, with the least that is enough."""

import random
from collections.abc import Callable

import attrs
import pytest

from planner.explain.limits import (
    Limit,
    depth_of,
    machines_serving,
    memory_of,
    memory_of_kind,
    requests_of,
    tpot_of,
    ttft_of,
)
from planner.explain.of_demand import first_token_ns_at_least
from planner.outcome import Infeasible, Planned
from planner.solve import solve
from specs import queueing
from specs.problem import Holding, Problem
from specs.services import offer
from specs.units import Nanos
from specs.wishes import Objective, Service, Standby
from specs.workload import Slo
from tests.builders import TOY, a_problem, an_llm
from tests.place_graphs import islands
from tests.plans import gpu


@attrs.frozen(kw_only=True)
class Squeeze:
    """A problem with one number squeezed, and what the explanation must name."""

    problem: Problem
    rule: str
    limit: Limit
    decided: bool = True  # the planner finds a plan at the least amount, where a promise leaves no margin it need not


def a_served(dice: random.Random, *, slos: tuple[Slo, ...] = ()) -> Problem:
    """Some nodes of one or two kinds may serve an LLM that another holds."""
    nodes = dice.randint(3, 5)
    base = a_problem(nodes, 1, llm=an_llm(dice.randint(4, 7), layer_bytes=400_000), live_requests_max=4)
    slow = attrs.evolve(TOY, name="slow", memory_bytes_per_second=TOY.memory_bytes_per_second * 2 // 3)
    of = {gpu(nodes - 1): "slow"} if dice.random() < 0.5 else {}
    places = tuple(attrs.evolve(each, device=of.get(each.id, each.device)) for each in base.cluster.places)
    service = Service(
        llm="llm",
        places=tuple(gpu(node) for node in range(1, nodes)),
        objective=dice.choice((Objective.DEVICES, Objective.GOODPUT, Objective.LATENCY)),
    )
    cluster = attrs.evolve(base.cluster, device_kinds=(TOY, slow) if of else (TOY,), places=places)
    return attrs.evolve(base, cluster=cluster, targets=(), services=(service,), slos=slos)


def small(problem: Problem, memory_bytes: int) -> Problem:
    mine = problem.services[0].places
    places = tuple(
        attrs.evolve(each, memory_bytes=memory_bytes) if each.id in mine else each for each in problem.cluster.places
    )
    return attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, places=places))


def nearly_whole(problem: Problem, percent: int) -> int:
    """Memory in which the LLM and one request fit but for this part of the weights."""
    question = offer(problem, problem.services[0]).question
    whole = question.weight_sums[-1] + question.kv_sums[-1] * question.context_tokens
    return whole + question.paces[0].workspace_bytes - question.weight_sums[-1] * percent // 100


def squeezed_requests(dice: random.Random) -> Squeeze:
    tight = requests_of(a_served(dice), "llm").set_to(a_served(dice), 10**9 * dice.randint(2, 9))
    return Squeeze(problem=tight, rule="DEMAND", limit=requests_of(tight, "llm"))


def squeezed_memory(dice: random.Random) -> Squeeze:
    tight = small(a_served(dice), dice.randint(200_000, 700_000))
    return Squeeze(problem=tight, rule="DEMAND", limit=memory_of_kind(tight, tight.services[0], "toy"))


def squeezed_depth(dice: random.Random) -> Squeeze:
    base = a_served(dice)
    tight = small(base, nearly_whole(base, dice.randint(1, 15)))
    service = attrs.evolve(base.services[0], depth_max=1)
    return Squeeze(
        problem=attrs.evolve(tight, services=(service,)), rule="DEMAND", limit=depth_of(service), decided=False
    )


def squeezed_machines(dice: random.Random) -> Squeeze:
    """One device of several that are needed is left."""
    base = a_served(dice)
    service = attrs.evolve(base.services[0], places=(gpu(1),))
    tight = attrs.evolve(small(base, nearly_whole(base, dice.randint(1, 60))), services=(service,))
    node = next(place.node for place in tight.cluster.places if place.id == gpu(1))
    return Squeeze(problem=tight, rule="DEMAND", limit=machines_serving(tight, service, node, "toy"), decided=False)


def squeezed_tpot(dice: random.Random) -> Squeeze:
    slo = Slo(llm="llm", percentile=90, ttft_ns_max=10**12, tpot_ns_max=dice.randint(50, 900))
    tight = a_served(dice, slos=(slo,))
    limit = tpot_of(tight, "llm")
    assert limit is not None
    return Squeeze(problem=tight, rule="DEMAND", limit=limit, decided=False)


def squeezed_ttft(dice: random.Random) -> Squeeze:
    slo = Slo(llm="llm", percentile=90, ttft_ns_max=dice.randint(50, 900), tpot_ns_max=10**12)
    tight = a_served(dice, slos=(slo,))
    limit = ttft_of(tight, "llm")
    assert limit is not None
    return Squeeze(problem=tight, rule="SLO", limit=limit, decided=False)


def a_standby(dice: random.Random, start_ns: int = 10**12) -> Problem:
    """Something stands by in the memories of a host."""
    base = a_problem(3, llm=an_llm(dice.randint(4, 9)), cluster=islands(3), live_requests_max=2)
    wish = Standby(llm="llm", places=("n0/host", "n1/host")[: dice.randint(1, 2)], start_ns_max=start_ns)
    return attrs.evolve(base, holdings=(Holding(llm="llm", place="n2/ssd"),), targets=(), standbys=(wish,))


def squeezed_start(dice: random.Random) -> Squeeze:
    def set_to(problem: Problem, amount: int) -> Problem:
        return attrs.evolve(problem, standbys=(attrs.evolve(problem.standbys[0], start_ns_max=Nanos(amount)),))

    tight = a_standby(dice, start_ns=dice.randint(1, 600))
    allowed = tight.standbys[0].start_ns_max
    limit = Limit(name="start of llm", allowed=allowed, loosest=10**12, set_to=set_to, say=str)
    return Squeeze(problem=tight, rule="START", limit=limit)


def squeezed_host(dice: random.Random) -> Squeeze:
    tight = a_standby(dice)
    for place in tight.standbys[0].places:
        tight = memory_of(tight, place).set_to(tight, dice.randint(1, 90_000))
    return Squeeze(problem=tight, rule="START", limit=memory_of(tight, tight.standbys[0].places[-1]))


SQUEEZES: dict[str, Callable[[random.Random], Squeeze]] = {
    "requests": squeezed_requests,
    "memory": squeezed_memory,
    "depth": squeezed_depth,
    "machines": squeezed_machines,
    "TPOT": squeezed_tpot,
    "TTFT": squeezed_ttft,
    "start": squeezed_start,
    "memory of a standby": squeezed_host,
}


def explained(squeeze: Squeeze) -> None:
    outcome = solve(squeeze.problem)
    assert isinstance(outcome, Infeasible), outcome
    conflicts = [each for each in outcome.conflicts if each.rule == squeeze.rule]
    needed = [give.needed for each in conflicts for give in each.gives if give.limit == squeeze.limit.name]
    assert needed, (squeeze.limit.name, outcome)
    enough = solve(squeeze.limit.set_to(squeeze.problem, needed[0]))
    if squeeze.decided:
        assert isinstance(enough, Planned), "what is named is enough"
    elif isinstance(enough, Infeasible):
        assert squeeze.rule not in {each.rule for each in enough.conflicts}, "what is named is enough for this rule"
    step = 1 if needed[0] > squeeze.limit.allowed else -1
    almost = solve(squeeze.limit.set_to(squeeze.problem, needed[0] - step))
    assert isinstance(almost, Infeasible), "and the least"


@pytest.mark.parametrize("kind", SQUEEZES)
@pytest.mark.parametrize("seed", range(2))
def test_the_squeezed_number_is_named(kind, seed):
    explained(SQUEEZES[kind](random.Random(f"{kind} {seed}")))


@pytest.mark.slow
@pytest.mark.parametrize("kind", SQUEEZES)
@pytest.mark.parametrize("seed", range(2, 14))
def test_the_squeezed_number_is_named_in_all_problems(kind, seed):
    explained(SQUEEZES[kind](random.Random(f"{kind} {seed}")))


@pytest.mark.parametrize("seed", range(12))
def test_no_first_token_is_predicted_sooner_than_the_bound(seed):
    dice = random.Random(seed)
    slo = Slo(llm="llm", percentile=dice.choice((1, 50, 90)), ttft_ns_max=10**12, tpot_ns_max=10**12)
    problem = requests_of(a_served(dice), "llm").set_to(a_served(dice, slos=(slo,)), 1)
    outcome = solve(problem)
    assert isinstance(outcome, Planned)
    found = queueing.predict(problem, outcome.verified.plan, "llm")
    assert found.ttft_ns >= first_token_ns_at_least(problem, problem.services[0])
