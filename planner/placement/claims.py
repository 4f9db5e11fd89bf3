"""Turning copies that a search found into an answer that the checker has passed, with the best bound that is known."""

from collections.abc import Sequence

from planner.placement.outcome import Method, Placed
from specs.decisions.placement.bounds import price_bound
from specs.decisions.placement.checks import answer_of, faults, value_of
from specs.decisions.placement.exhaustion import TooManyStates, optimum
from specs.decisions.placement.holding import Layout, by_item
from specs.decisions.placement.nouns import Copy
from specs.witness import Witness

_STATES_MAX = 5_000  # gone through before a solver is taken at its word


def placed(layout: Layout, copies: Sequence[Copy], witness: Witness, word: tuple[int, str] | None = None) -> Placed:
    """Complete, check and value copies; claim the strongest bound.  `word`: a bound and the solver that gives it.

    A fault here is one of the search, never of the question: it ends in AssertionError.
    """
    kept = without_idle_moves(layout, copies)
    answer = answer_of(layout, kept)
    wrong = next(faults(layout.question, answer), None)
    if wrong is not None:
        raise AssertionError(f"a search gave an answer with a fault: {wrong}")
    value = value_of(layout, by_item(kept))
    bound = price_bound(layout.question, witness)
    assert bound is not None, "prices show that no answer exists, and here is one"
    method, solver = Method.PRICES, None
    if bound < value and word is not None:
        best = exhausted(layout)
        if best is not None:
            bound, method, witness = best, Method.EXHAUSTED, ()
        elif word[0] > bound:
            bound, solver = word
            method, witness = Method.SOLVER, ()
    return Placed(answer=answer, value=value, bound=bound, method=method, witness=witness, solver=solver)


def exhausted(layout: Layout) -> int | None:
    """Return the optimum where the checker can go through all answers; None: the space is too large, or empty."""
    try:
        return optimum(layout.question, _STATES_MAX)
    except TooManyStates:
        return None


def without_idle_moves(layout: Layout, copies: Sequence[Copy]) -> tuple[Copy, ...]:
    """Leave out copies that would be moved for nothing: without them no item of the family costs more."""
    held = by_item(copies)
    for item in reversed(layout.question.items):
        family = layout.family(item)
        for copy in sorted(held.get(item.id, ()), key=layout.moved_bytes, reverse=True):
            if not layout.moved_bytes(copy) or _carries_adapter(layout, held, copy):
                continue
            costs = [layout.cost(member, held) for member in family]
            fewer = {**held, item.id: [other for other in held[item.id] if other is not copy]}
            less = [layout.cost(member, fewer) for member in family]
            if all(
                after is not None and before is not None and after <= before
                for before, after in zip(costs, less, strict=True)
            ):
                held = fewer
    return tuple(copy for item in layout.question.items for copy in held.get(item.id, ()))


def _carries_adapter(layout: Layout, held: dict[str, list[Copy]], copy: Copy) -> bool:
    adapters = layout.adapters.get(copy.item, ())
    return any(other.memories == copy.memories for adapter in adapters for other in held.get(adapter.id, ()))
