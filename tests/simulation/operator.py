"""The operator of a simulated cluster: looks at what runs, wishes for something else, and has it planned."""

import random
from functools import lru_cache
from pathlib import Path

import attrs

from planner.outcome import Infeasible, Planned
from planner.reconfiguring.beginning import begin
from planner.search import Search
from planner.solve import Request, solve
from specs import codec
from specs.checker import VerifiedPlan
from specs.cluster import NodeId
from specs.problem import Problem
from specs.state import RunningCluster, RunningNode
from specs.workload import Slo
from tests.processes.cluster import LLM, draw_wish, make_plan, make_problem, weights_bytes, with_service
from tests.simulation.resizes import with_resizes
from tests.simulation.world import World

_LOADING_S = 1  # that the slowest transfers together take, about
_SMALL = 0.6  # of the clusters have devices that hold a part of the LLM only
_SLOW = 0.6  # compute so slowly that KV is copied: to compute it again would hold requests up too long
_SLOW_FLOPS_PER_SECOND = 10_000_000
_PATIENT = Slo(llm=LLM, percentile=50, ttft_ns_max=10**13, tpot_ns_max=10**12, pause_ns_max=3 * 10**8)
_STEPS_MAX = 200  # the best of plans is not what is wanted here
_SMALL_BYTES = 2_600_000  # KV, workspace and about half of the LLM


@lru_cache
def _first(checkpoint: Path, nodes: int, sources: int, small: bool, slow: bool) -> VerifiedPlan:
    """Plan a multicast from the sources to all others; where these are small, each holds a part of the LLM only.

    Addresses mean nothing here.
    """
    weights = weights_bytes(checkpoint)
    problem = make_problem(checkpoint, nodes, rate=max(1, weights // _LOADING_S), sources=sources)
    named = tuple(attrs.evolve(each, address=f"127.0.0.1:{7000 + n}") for n, each in enumerate(problem.cluster.nodes))
    kinds = problem.cluster.device_kinds
    if slow:
        kinds = tuple(attrs.evolve(each, flops_per_second_fp32=_SLOW_FLOPS_PER_SECOND) for each in kinds)
        problem = attrs.evolve(problem, slos=(_PATIENT,))
    problem = attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, nodes=named, device_kinds=kinds))
    if not small:
        return make_plan(problem)
    holders = {holding.place for holding in problem.holdings}
    places = tuple(
        attrs.evolve(place, memory_bytes=_SMALL_BYTES)
        if place.device is not None and place.id not in holders
        else place
        for place in problem.cluster.places
    )
    problem = attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, places=places))
    return make_plan(with_service(problem, tuple(place.id for place in places if place.device is not None)))


_made: dict[str, VerifiedPlan | str] = {}  # many schedules come to the same question


def _answered(problem: Problem, request: Request) -> VerifiedPlan | str:
    assert request.parent is not None
    key = f"{codec.digest(problem)} {codec.digest(request.parent)} {request.generation}"
    if key not in _made:
        outcome = solve(problem, request, Search(steps_max=_STEPS_MAX))
        _made[key] = outcome.verified if isinstance(outcome, Planned) else str(outcome)[:200]
    return _made[key]


class Operator:
    """Plans for one cluster, from its first plan on."""

    def __init__(self, checkpoint: Path, chance: random.Random) -> None:
        self._verified = _first(
            checkpoint, chance.randint(3, 5), chance.randint(1, 2), chance.random() < _SMALL, chance.random() < _SLOW
        )
        self._chance = chance
        self.plans = {codec.digest(self._verified.plan): self._verified}  # that were ever made, by digest

    @property
    def problem(self) -> Problem:
        """The problem of the first plan."""
        return self._verified.problem

    def first(self) -> VerifiedPlan:
        """Give the plan that the cluster begins with."""
        return self._verified

    def next(self, world: World, killed: frozenset[NodeId], empty: frozenset[NodeId]) -> VerifiedPlan | str:
        """Plan for another wish from what runs now; a sentence where there is no plan."""
        before = self._look(world)
        if before is None:
            return "nodes are under different plans"
        begun = begin(before, draw_wish(self.problem, self._chance), lost=killed, back=empty)
        if isinstance(begun, Infeasible):
            return str(begun)[:200]
        answered = _answered(begun.problem, begun.request)
        if isinstance(answered, VerifiedPlan):
            answered = with_resizes(answered, self._chance)
            self.plans[codec.digest(answered.plan)] = answered
        return answered

    def _look(self, world: World) -> RunningCluster | None:
        """Collect what every daemon says; the load is left out, so that like states are the same question."""
        adopted = [d._run.shell.verified for d in world.daemons.values() if d._run.shell is not None]
        verified = max(adopted, key=lambda each: each.plan.generation)
        nodes = tuple(_unloaded(daemon.state()) for _, daemon in sorted(world.daemons.items()))
        if len({state.plan for state in nodes} - {None}) > 1:
            return None
        return RunningCluster(problem=verified.problem, plan=verified.plan, nodes=nodes)


def _unloaded(state: RunningNode) -> RunningNode:
    return attrs.evolve(state, leads=tuple(attrs.evolve(each, live_requests=0, live_tokens=0) for each in state.leads))
