"""Waves put together as a plan, without certificates."""

from planner.assembly import in_order
from planner.policies import speculations
from planner.reconfiguring.succession import Succession
from planner.reconfiguring.waves import Laid, Layer
from specs.plan import FORMAT, Activate, Plan, Provenance, RoutingWeight

_NOBODY = Provenance(planner="holdfast", solvers=(), seed=0)


def draft(layer: Layer, following: Succession, laid: Laid, made: Provenance = _NOBODY) -> Plan:
    """Make a plan of these steps; its generation and parent are for who knows them."""
    opened = {step.pipeline for step in laid.steps if isinstance(step, Activate)}
    running = [each.pipeline.id for each in layer.problem.running]
    weighed = [*running, *(each.id for each in following.opened if each.id in opened)]
    standing = layer.decided.standing
    for way in standing.ways.values():
        if way is not None:
            laid.number(way)
    routes = tuple(laid.routes)
    return Plan(
        format=FORMAT,
        problem=layer.digest,
        generation=1,
        provenance=made,
        blobs=tuple(layer.decided.flat),
        routes=routes,
        pipelines=tuple(each for each in following.opened if each.id in opened),
        steps=in_order(laid.steps),
        routing=tuple(RoutingWeight(pipeline=each, weight=following.weights[each]) for each in weighed),
        residents=standing.residents(routes),
        speculations=speculations(layer.problem),
        certificates=(),
    )
