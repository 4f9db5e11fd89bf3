"""Saying how good a plan is: each claim with the strongest bound known, by closed form or by a witness found here."""

from collections.abc import Iterator

from planner.search import Search
from specs.certificates import FORMULAS, ClosedForm, certify
from specs.certificates.flow import priceable
from specs.decisions.flow.question import Movement
from specs.decisions.flow.values import Objective
from specs.invariants.facts import Facts
from specs.llm import LlmId
from specs.movement import covering_movement, involved, promised_movement
from specs.plan import Certificate, Claim, Measure, Method, Plan
from specs.problem import Problem
from specs.witness import Witness

# Steps spent on witnesses for one claim when nobody sets a limit.
_WITNESS_STEPS = 60_000
# Rounds of column generation; memories beyond which it takes long.
_ROUNDS_MAX = 100
_PRICED_MEMORIES_MAX = 64
# A value this near to its bound is worth no further search: cuts and prices see no more of how copies become many.
_NEAR = 1.005


def certificates(problem: Problem, plan: Plan, search: Search | None = None) -> tuple[Certificate, ...]:
    """Certify completion of every wanted LLM, of all that move, first cover, and the bottleneck of long pipelines.

    The search limits the time for witnesses: without any left, there are closed forms alone.
    """
    facts = Facts(problem, plan)
    search = search or Search()
    subjects: list[tuple[Claim, str, Measure]] = []
    targets = {target.llm: None for target in problem.targets}
    for llm in targets:
        subjects += [
            (claim, llm, measure)
            for claim in (Claim.COMPLETION, Claim.FIRST_COVER)
            for measure in (Measure.TICKS, Measure.NANOS)
        ]
    others = [llm.id for llm in problem.llms if llm.id in problem.wished and llm.id not in targets]
    subjects += [(Claim.COMPLETION, llm, Measure.NANOS) for llm in others]
    if facts.moves_several:
        subjects.append((Claim.MAKESPAN, problem.name, Measure.NANOS))
    subjects += [
        (Claim.BOTTLENECK, pipeline.id, Measure.NANOS) for pipeline in plan.pipelines if len(pipeline.stages) > 1
    ]
    return tuple(_best(facts, claim, subject, measure, search) for claim, subject, measure in subjects)


def _best(facts: Facts, claim: Claim, subject: str, measure: Measure, search: Search) -> Certificate:
    """Make the certificate with the largest bound; an earlier formula of the registry wins ties.

    Witnesses are looked for only where closed forms leave more than a small gap.
    """
    best = max(
        (
            certify(facts, claim, subject, measure, formula.name)
            for formula in FORMULAS.values()
            if isinstance(formula, ClosedForm) and formula.claim is claim and formula.measure is measure
        ),
        key=_strength,
    )
    if measure is not Measure.NANOS or claim is Claim.BOTTLENECK:
        return best
    for formula, witness in _witnesses(_movement(facts, claim, subject), claim, search):
        if best.bound * _NEAR >= best.value:
            break
        best = max(best, certify(facts, claim, subject, measure, formula, witness), key=_strength)
    return best


def _strength(offer: Certificate) -> tuple[bool, int]:
    return offer.method is not Method.NONE, offer.bound


def _movement(facts: Facts, claim: Claim, subject: str) -> Movement:
    if claim is Claim.FIRST_COVER:
        return covering_movement(facts, LlmId(subject))
    return promised_movement(facts, LlmId(subject) if claim is Claim.COMPLETION else None)


def _witnesses(movement: Movement, claim: Claim, search: Search) -> Iterator[tuple[str, Witness]]:
    """Look for witnesses one after another, the cheaper first."""
    cover = claim is Claim.FIRST_COVER
    if not any(item.receivers for item in movement.items) or not all(item.holders for item in movement.items):
        return
    from planner.packing.cuts import worst_cut  # brings solvers; closed forms are often enough

    _, members = worst_cut(movement, Objective.COVER if cover else Objective.ALL, search.part(_WITNESS_STEPS))
    prefix = "makespan-" if claim is Claim.MAKESPAN else ""
    if members:
        yield ("cut-cover-ns" if cover else f"{prefix}cut-ns"), members
    if not cover and priceable(movement):
        prices = _prices(involved(movement), search.part(_WITNESS_STEPS))
        if prices:
            yield f"{prefix}link-prices-ns", prices


def _prices(movement: Movement, search: Search) -> Witness:
    """Price the links by the steady state among those who hold or want something; () when that is none or too large.

    Any prices prove a bound on the whole movement; these are good ones.
    """
    if len(movement.memories) > _PRICED_MEMORIES_MAX or search.over():
        return ()
    from planner.packing.move import price_witness, unreachable
    from planner.packing.network import network
    from planner.packing.steady import classes_of, steady_state

    net = network(movement)
    if unreachable(movement, net):
        return ()
    return price_witness(movement, steady_state(net, classes_of(movement, net), search, _ROUNDS_MAX))
