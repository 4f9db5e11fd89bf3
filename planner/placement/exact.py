"""The best answer to a small placement question, or why there is none."""

import math

from ortools.sat.python import cp_model

from planner.placement.claims import placed
from planner.placement.conflicts import explain
from planner.placement.encoding import Encoding, limits
from planner.placement.outcome import Infeasible, Placed, Undecided
from planner.search import Search
from specs.decisions.placement.checks import value_of
from specs.decisions.placement.holding import Layout, by_item
from specs.decisions.placement.nouns import Tier
from specs.witness import Witness

_CHOICES_MAX = 50_000
_PLACES_MAX = 4_000


def small_enough(layout: Layout) -> bool:
    """Whether the exact encoding is of a size that CP-SAT takes well."""
    pools, devices = len(layout.question.pools), len(layout.device_pools)
    copies = choices = 0
    for item in layout.question.items:
        for pool in layout.question.pools:
            copies += math.comb(len(pool.memories), item.devices if pool.tier is Tier.DEVICE else 1)
        levels = min(item.hot_copies, sum(len(pool.memories) for pool in layout.device_pools)) + 1
        choices += levels * devices * pools * (1 if item.base is None else pools + 1)
    return copies <= _PLACES_MAX and choices <= _CHOICES_MAX


def solve_exactly(layout: Layout, witness: Witness, search: Search) -> Placed | Infeasible | Undecided:
    """Search a question that is `small_enough` to the end; the witness is the best known for its bound."""
    encoding = Encoding(layout, limits(layout))
    if not encoding.minimise_value():
        return Undecided(sentence="the numbers are too large for the exact search")
    solver, status = search.cp_sat(encoding.model, share=0.8)
    if status == cp_model.INFEASIBLE:
        return explain(layout, witness, search)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Undecided(sentence="the exact search reached its limit without an answer")
    copies = encoding.decode(solver)
    if status == cp_model.OPTIMAL:
        bound = value_of(layout, by_item(copies))
    else:
        bound = math.floor(solver.best_objective_bound * (1 - 1e-9))
    name = next(name for name in search.solvers if name.startswith("ortools/"))
    return placed(layout, copies, witness, (bound, f"CP-SAT of {name}"))
