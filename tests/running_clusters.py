"""Running clusters as a plan leaves them, and what is wanted of them next."""

import attrs

from planner.outcome import Planned
from planner.reconfiguring.beginning import begin
from planner.solve import solve
from specs import codec
from specs.plan import Release, Transfer
from specs.problem import Problem
from specs.protocols.nouns import Copy
from specs.protocols.plan_switch_nouns import PlanName
from specs.state import Load, RunningCluster, RunningNode
from specs.timing import links_by_id, route_ends


def after(problem, plan, *, requests=2, tokens=24, generation_max=None):
    """The cluster when every step of a plan is done; each pipeline has so many requests with so many tokens each."""
    node_of = {place.id: place.node for place in problem.cluster.places}
    links = links_by_id(problem.cluster)
    held = {(blob.id, each.place): None for each in problem.holdings for blob in plan.blobs if each.has(blob)}
    closed = set()
    for step in plan.steps:
        if isinstance(step, Transfer):
            held[step.blob, route_ends(links, plan.routes[step.route])[1]] = None
        elif isinstance(step, Release):
            del held[step.blob, step.place]
        elif hasattr(step, "old"):
            closed.add(step.old)
    pipelines = [*(each.pipeline for each in problem.running), *plan.pipelines]
    lasting = [each for each in pipelines if each.id not in closed]
    nodes = tuple(
        RunningNode(
            node=node.id,
            plan=PlanName(generation=plan.generation, digest=codec.digest(plan)),
            generation_max=generation_max or plan.generation,
            held=tuple(Copy(blob=blob, place=place) for blob, place in held if node_of[place] == node.id),
            leads=tuple(
                Load(pipeline=each.id, live_requests=requests, live_tokens=requests * tokens)
                for each in lasting
                if node_of[each.stages[0].place] == node.id
            ),
        )
        for node in problem.cluster.nodes
    )
    return RunningCluster(problem=problem, plan=plan, nodes=nodes)


def planned(problem: Problem, request=None):
    outcome = solve(problem, request)
    assert isinstance(outcome, Planned), outcome
    return outcome.verified


def reached(problem: Problem) -> RunningCluster:
    """The cluster that runs once the problem's own plan is carried out."""
    return after(problem, planned(problem).plan)


def replanned(state: RunningCluster, wanted: Problem, **changes):
    """From a running cluster to what is wanted: the outcome."""
    begun = begin(state, wanted, **changes)
    return solve(begun.problem, begun.request)


def with_memory(problem: Problem, memory_bytes: int) -> Problem:
    places = tuple(
        attrs.evolve(place, memory_bytes=memory_bytes) if place.device else place for place in problem.cluster.places
    )
    return attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, places=places))
