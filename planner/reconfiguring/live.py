"""One attempt: who follows whom, in which waves, laid out."""

import attrs

from planner.assembly import provenance
from planner.decided import Request
from planner.reconfiguring.order import Stuck, waves
from planner.reconfiguring.settled import Layout
from planner.reconfiguring.succession import succession
from planner.reconfiguring.waves import Layer
from planner.reconfiguring.whole import draft
from planner.search import Search
from specs import codec
from specs.plan import Plan
from specs.problem import Problem


def live(problem: Problem, request: Request, search: Search, wanted: Layout) -> Plan | Stuck:
    """Find an order and lay it out as well as the search can.  Raises NoPlan."""
    parent = request.parent
    generation = request.generation or (1 if parent is None else parent.generation + 1)
    following = succession(problem, wanted, generation, parent)
    layer = Layer(problem=problem, wanted=wanted, search=search, aim=request.aim, fixed_slots=request.fixed_slots)
    found = waves(layer, following)
    if isinstance(found, Stuck):
        return found
    plan = draft(layer, following, layer.laid(following, found), provenance(search, request.aim))
    return attrs.evolve(plan, parent=None if parent is None else codec.digest(parent), generation=generation)
