"""The best unit mix, with the strongest reason why none is better, or why there is none."""

from planner.mixes.answer import MixInfeasible, MixOutcome, MixPlanned, MixUndecided
from planner.mixes.conflict import conflicts
from planner.mixes.hunt import Hunt, first_cuts
from planner.mixes.linear import infeasibility_prices, relax
from planner.search import Progress, Search
from specs.decisions.mix.bounds import none_below, price_bound, proves_infeasible
from specs.decisions.mix.checks import faults, value
from specs.decisions.mix.question import Mix, MixQuestion, Objective
from specs.units import INTEGER_MAX
from specs.witness import Witness

NODES_MAX = 20_000  # of an exhausted search: a fraction of a second for whoever checks it
_DECISION = "unit mix"


def best_mix(question: MixQuestion, search: Search | None = None, *, explain: bool = True) -> MixOutcome:
    """Find the best mix, or say why there is none and what would have to give.

    The linear relaxation, rounded up, comes first, then one phase, and more only while nothing shows the best so far to
    be the best.  Where units run, CP-SAT prefers fewer changes among mixes of equal value; that is not proved.
    `explain`: when there is none, ask for each limit how far it would have to give, which takes a dozen more searches.
    """
    search = search or Search()
    relaxed = relax(question)
    hunt = Hunt(question, search, first_cuts(question, None if relaxed is None else relaxed.prices))
    if relaxed is None:
        return _infeasible(hunt, explain=explain)
    best = hunt.at_once(relaxed.up)
    word: int | None = 0
    settled = not any(unit.running for unit in question.units)  # else one with fewer changes may be as good
    for phases in sorted({1, question.phases_max}):
        if best is not None:
            planned = _certified(hunt, best, relaxed.prices, None)
            search.tell(Progress(decision=_DECISION, value=planned.value, bound=planned.bound))
            if planned.gap == 0 and (settled or value(question, best, Objective.CHANGES) == 0):
                return planned
        settled = True
        found, word = hunt.best(phases)
        if found is not None and (best is None or _rank(question, found) < _rank(question, best)):
            best = found
    if best is not None:
        return _certified(hunt, best, relaxed.prices, word)
    if word is None and not hunt.unsettled:
        return _infeasible(hunt, explain=explain)
    return MixUndecided(sentence="the search ended before it found a mix or showed that there is none")


def _rank(question: MixQuestion, mix: Mix) -> tuple[int, int]:
    return value(question, mix), value(question, mix, Objective.CHANGES)


def _certified(hunt: Hunt, mix: Mix, prices: Witness, word: int | None) -> MixPlanned:
    question = hunt.question
    wrong = tuple(faults(question, mix))
    assert not wrong, wrong
    reached = value(question, mix)
    shown = price_bound(question, prices)
    cuts: tuple[Witness, ...] = ()
    nodes, method, bound = 0, "dual" if shown else "none", shown
    if shown < reached:
        found = none_below(question, reached, prices, tuple(hunt.cuts), NODES_MAX)
        if found is not None:
            nodes, method, bound, cuts = found, "exhausted", reached, tuple(hunt.cuts)
        elif word is not None and word > shown and not hunt.unsettled:
            method, bound = "solver's word", min(word, reached)
    return MixPlanned(
        mix=mix,
        value=reached,
        bound=bound,
        method=method,
        witness=prices,
        cuts=cuts,
        nodes=nodes,
        price_bound=shown,
        solver=hunt.solver if method == "solver's word" else None,
    )


def _infeasible(hunt: Hunt, *, explain: bool) -> MixInfeasible:
    """Show that there is no mix, by prices, by an exhausted search, else by CP-SAT's word; and say what must give."""
    question = hunt.question
    witness = infeasibility_prices(question) or ()
    by_prices = proves_infeasible(question, witness)
    cuts = () if by_prices else tuple(hunt.cuts)
    nodes = None if by_prices else none_below(question, INTEGER_MAX, witness, cuts, NODES_MAX)
    return MixInfeasible(
        method="dual" if by_prices else "solver's word" if nodes is None else "exhausted",
        witness=witness,
        cuts=cuts,
        nodes=nodes or 0,
        solver=hunt.solver if not by_prices and nodes is None else None,
        conflicts=conflicts(question, hunt.search) if explain else (),
    )
