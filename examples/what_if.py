"""How many more users until a promise breaks, which limit binds, and what to add: asked of one plan.

    python -m examples.what_if

An 8-billion-parameter LLM is loaded from one HGX node onto seven others.  Users of a chat send a request a minute.
"""

import attrs

import planner
from examples.clusters.problems import example
from planner.description.wording import say_duration
from planner.explain.limits import with_copies
from specs.cluster import NodeId, PlaceId
from specs.decisions.latency.prediction import Overload, Prediction
from specs.problem import Problem, Target
from specs.units import Nanos
from specs.workload import Slo

REQUESTS_PER_USER = 60  # per hour
USERS = 1_500
MORE = 102, 100  # a little more than the most


def make_problem(users: int = USERS) -> Problem:
    """Promise the users of `examples/clusters/hgx-h100.yaml` a first token in 300 ms, and the next ones every 9 ms."""
    problem = example("hgx-h100")
    llm = problem.llms[0].id
    slo = Slo(llm=llm, percentile=95, ttft_ns_max=Nanos(300_000_000), tpot_ns_max=Nanos(9_000_000))
    asked = attrs.evolve(problem.workloads[0], requests_per_hour=users * REQUESTS_PER_USER, live_requests_max=64)
    return attrs.evolve(problem, slos=(slo,), workloads=(asked,))


def one_machine_more(problem: Problem) -> Problem:
    """Add a node like the last that is to serve the LLM too."""
    node = problem.cluster.nodes[-1].id
    more = with_copies(problem, NodeId(node), 1)
    return attrs.evolve(more, targets=(*more.targets, Target(llm=more.llms[0].id, place=PlaceId(f"{node}+1/gpu0"))))


def planned(problem: Problem) -> planner.Planned:
    """Plan a problem that has a plan."""
    outcome = planner.solve(problem, planner.Request(blocks=8))
    assert isinstance(outcome, planner.Planned), outcome
    return outcome


def most_users(problem: Problem, outcome: planner.Planned) -> int:
    """Users up to whom the promise is kept by this plan, to one percent."""
    slo = problem.slos[0]
    asked = tuple(planner.latency_questions(problem, outcome.verified.plan, slo.llm).values())
    return (planner.most_requests_per_hour(asked, slo) or 0) // REQUESTS_PER_USER


def binding(problem: Problem, outcome: planner.Planned, users: int) -> str:
    """Say which limit is the first to break when a few more users come."""
    slo = problem.slos[0]
    workload = attrs.evolve(problem.workloads[0], requests_per_hour=users * REQUESTS_PER_USER * MORE[0] // MORE[1])
    crowded = attrs.evolve(problem, workloads=(workload,))
    found = planner.predict_latency(crowded, outcome.verified.plan, slo.llm)
    if isinstance(found, Prediction):
        if found.tpot_ns > slo.tpot_ns_max:
            return f"TPOT: {say_duration(found.tpot_ns)} predicted, {say_duration(slo.tpot_ns_max)} promised"
        return f"TTFT: {say_duration(found.ttft_ns)} predicted, {say_duration(slo.ttft_ns_max)} promised"
    assert isinstance(found, Overload)
    return "the pipelines themselves: with more requests, queues grow without end"


def main() -> None:
    """Ask, and print the answers."""
    problem = make_problem()
    outcome = planned(problem)
    predicted = planner.predict_latency(problem, outcome.verified.plan, problem.llms[0].id)
    assert isinstance(predicted, Prediction)
    slo = problem.slos[0]
    print(f"{USERS:,} users on {len(problem.targets)} GPUs, at percentile {slo.percentile}:")
    print(f"  TTFT {say_duration(predicted.ttft_ns)} of {say_duration(slo.ttft_ns_max)} promised")
    print(f"  TPOT {say_duration(predicted.tpot_ns)} of {say_duration(slo.tpot_ns_max)} promised")
    most = most_users(problem, outcome)
    print(f"the promise holds up to {most:,} users, {most - USERS:,} more")
    print(f"what breaks first: {binding(problem, outcome, most)}")
    print("what to add:")
    larger = one_machine_more(problem)
    users = most_users(larger, planned(larger))
    print(f"  1 machine like {problem.cluster.nodes[-1].id}: {users:,} users, {users - most:,} more")
    longer = attrs.evolve(problem, slos=(attrs.evolve(slo, tpot_ns_max=Nanos(slo.tpot_ns_max + 1_000_000)),))
    users = most_users(longer, planned(longer))
    print(f"  1 ms of TPOT, {say_duration(longer.slos[0].tpot_ns_max)}: {users:,} users, {users - most:,} more")
    later = attrs.evolve(problem, slos=(attrs.evolve(slo, ttft_ns_max=Nanos(slo.ttft_ns_max + 100_000_000)),))
    users = most_users(later, planned(later))
    print(f"  100 ms of TTFT, {say_duration(later.slos[0].ttft_ns_max)}: {users:,} users, {users - most:,} more")


if __name__ == "__main__":
    main()
