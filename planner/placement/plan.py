"""Answering a placement question: prices and a bound first, then exact search or rounding, then the check."""

from planner.placement.claims import placed
from planner.placement.conflicts import lacking_room, stateless
from planner.placement.exact import small_enough, solve_exactly
from planner.placement.filling import fill, keep
from planner.placement.improving import improve
from planner.placement.outcome import Infeasible, Method, Outcome, Undecided
from planner.placement.prices import relax
from planner.search import Progress, Search
from specs.decisions.placement.bounds import price_bound
from specs.decisions.placement.holding import Layout
from specs.decisions.placement.nouns import Question


def place(question: Question, search: Search) -> Outcome:
    """Say what to hold where, with a bound; or why nothing will do.

    Questions of some dozens of items are searched to the end; larger ones are rounded from the linear relaxation and
    improved by local search.  Never returns an answer with a fault, or a bound that the checker does not give.
    """
    layout = Layout(question)
    relaxed = relax(layout, search)
    bound = price_bound(question, relaxed.witness)
    search.tell(Progress(decision="placement", value=None, bound=bound))
    if small_enough(layout):
        outcome = solve_exactly(layout, relaxed.witness, search)
        if not isinstance(outcome, Undecided):
            return outcome
    if bound is None:
        return Infeasible(conflicts=stateless(layout), method=Method.PRICES, witness=())
    if not relaxed.feasible:
        conflicts = lacking_room(layout, relaxed.classes, relaxed.witness)
        if conflicts:
            return Infeasible(conflicts=conflicts, method=Method.PRICES, witness=relaxed.witness)
    if not relaxed.states:
        return Undecided(sentence="the linear relaxation has no answer, or reached its limit")
    stock = fill(layout, relaxed) if question.moved_bytes_max is None else keep(layout)
    improve(stock, relaxed, search)
    broken, _ = stock.cost_of(question.items)
    if broken:
        return Undecided(sentence=f"the best holding that was found leaves {broken} items without what they need")
    return placed(layout, stock.all_copies(), relaxed.witness)
