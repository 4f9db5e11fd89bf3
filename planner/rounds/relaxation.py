"""Prices of links in steps, from the linear relaxation of the schedule.

The relaxation lets chunks be split and steps last fractions of rounds.  For each kind of chunks and each of its targets
there is a flow from the holders to the target through the fabric unrolled in time; a link carries, of each kind, what
the target that needs most takes there.  Its dual values are prices at which no delivery is cheap.  They are rounded to
whole numbers, and what they prove is worked out by `specs.decisions.rounds.bounds`; nobody has to trust the solver.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import gcd
from typing import Any

import attrs
from ortools.linear_solver import pywraplp

from planner.rounds.symmetry import Symmetry
from planner.rounds.useful import UsefulSends
from planner.search import Search
from specs.decisions.rounds.question import Chunks, LinkEnds, Node, Question
from specs.witness import Price, Witness

_DENOMINATOR_MAX = 2_000  # the duals of small relaxations are fractions with a small denominator
_NEAR = 1e-6
_SCALE = 100_000  # when they are not
_STEPS_PER_ITERATION = 20  # of our steps, for an iteration of the simplex method


@attrs.define
class _Program:
    """The linear program while it is built."""

    question: Question
    group: Sequence[Symmetry]
    solver: Any
    load: dict[tuple[str, int], Any] = attrs.field(factory=dict)  # rows, by the first carrier of an orbit and step
    orbits: dict[str, tuple[str, ...]] = attrs.field(factory=dict)  # by the first of their carriers
    carriers_of: defaultdict[LinkEnds, list[str]] = attrs.field(factory=lambda: defaultdict(list))  # first ones only


@attrs.frozen(kw_only=True)
class Relaxed:
    """What the relaxation says: only the prices count, for the checker works out what they prove."""

    value: float  # rounds; or by how much the division would have to be stretched
    prices: Witness


def relaxed(
    question: Question,
    group: Sequence[Symmetry],
    search: Search,
    *,
    step_rounds_min: int = 1,
    division: Sequence[int] | None = None,
) -> Relaxed | None:
    """Find prices that prove many rounds, or that refute this division of rounds into steps.

    With `step_rounds_min` of 0 they are the best for many copies of the chunks.  None when the solver came to no end
    within the limits, or when the chunks need more steps.
    """
    program = _Program(question, group, pywraplp.Solver.CreateSolver("GLOP"))
    search.uses("ortools")
    _add_carriers(program, step_rounds_min, division)
    for kind, chunks in enumerate(question.chunks):
        if not any(each.kinds[kind] < kind for each in group):
            _add_kind(program, chunks)
    if (left_s := search.left_s()) is not None:
        program.solver.set_time_limit(max(1, int(left_s * 1000)))
    status = program.solver.Solve()
    search.spend(int(program.solver.iterations()) * _STEPS_PER_ITERATION)
    if status != pywraplp.Solver.OPTIMAL:
        return None
    duals = {}
    for (first, step), row in program.load.items():
        for name in program.orbits[first]:
            duals[name, step] = abs(row.dual_value()) / len(program.orbits[first])
    return Relaxed(value=program.solver.Objective().Value(), prices=whole(duals))


def _add_carriers(program: _Program, step_rounds_min: int, division: Sequence[int] | None) -> None:
    """Minimise the rounds, no less than a minimum per step; or the factor by which a division must be stretched."""
    question, solver = program.question, program.solver
    infinity = solver.infinity()
    if division is None:
        rounds = [(solver.NumVar(step_rounds_min, infinity, ""), 1) for _ in range(question.steps)]
        solver.Minimize(sum(variable for variable, _ in rounds))
    else:
        stretch = solver.NumVar(0, infinity, "")
        rounds = [(stretch, each) for each in division]
        solver.Minimize(stretch)
    named = {(tuple(sorted(each.links)), each.chunks_per_round): each.name for each in question.fabric.carriers}
    for carrier in question.fabric.carriers:
        images = [tuple(sorted(each.ends(ends) for ends in carrier.links)) for each in program.group]
        orbit = sorted({named[image, carrier.chunks_per_round] for image in images})
        if carrier.name != orbit[0]:
            continue
        program.orbits[carrier.name] = tuple(orbit)
        for ends in carrier.links:
            program.carriers_of[ends].append(carrier.name)
        for step, (variable, factor) in enumerate(rounds):
            row = solver.Constraint(-infinity, 0)
            row.SetCoefficient(variable, -carrier.chunks_per_round * factor)
            program.load[carrier.name, step] = row


def _add_kind(program: _Program, chunks: Chunks) -> None:
    solver = program.solver
    useful = UsefulSends(program.question.fabric, chunks, program.question.steps)
    taken: dict[tuple[LinkEnds, int], Any] = {}
    for send in useful:
        taken[send] = solver.NumVar(0, solver.infinity(), "")
        images = Counter(name for each in program.group for name in program.carriers_of[each.ends(send[0])])
        for name, times in images.items():
            program.load[name, send[1]].SetCoefficient(taken[send], times)
    for target in chunks.targets:
        for send, flow in _add_flow(program, chunks, target, list(useful.towards((target,)))).items():
            row = solver.Constraint(0, solver.infinity())
            row.SetCoefficient(taken[send], 1)
            row.SetCoefficient(flow, -1)


def _add_flow(
    program: _Program, chunks: Chunks, target: Node, sends: Sequence[tuple[LinkEnds, int]]
) -> dict[tuple[LinkEnds, int], Any]:
    """All chunks of the kind flow from the holders to the target; what stays where it is costs nothing."""
    solver, steps = program.solver, program.question.steps
    infinity = solver.infinity()
    balance: defaultdict[tuple[Node | None, int], list[tuple[Any, int]]] = defaultdict(list)
    flows = {}
    for ends, step in sends:
        flows[ends, step] = flow = solver.NumVar(0, infinity, "")
        # The holders are as one, for they hold all from the start.
        source: Node | None = None if ends[0] in chunks.held_by else ends[0]
        balance[source, 0 if source is None else step].append((flow, -1))
        balance[ends[1], step + 1].append((flow, 1))
    for node in sorted({node for node, _ in balance if node is not None}):
        for step in range(1, steps):
            staying = solver.NumVar(0, infinity, "")
            balance[node, step].append((staying, -1))
            balance[node, step + 1].append((staying, 1))
    for moment, terms in balance.items():
        if moment[0] is None:
            continue
        row = solver.Constraint(chunks.count if moment == (target, steps) else 0, infinity if moment[1] == steps else 0)
        for variable, sign in terms:
            row.SetCoefficient(variable, sign)
    return flows


def whole(duals: dict[tuple[str, int], float]) -> Witness:
    """Round to the smallest whole numbers in about the same proportions."""
    largest = max(duals.values(), default=0.0)
    if largest <= 0:
        return ()
    scale = next((scale for scale in range(1, _DENOMINATOR_MAX) if _all_near(duals, scale)), None)
    factor = _SCALE / largest if scale is None else float(scale)
    amounts = {key: round(dual * factor) for key, dual in duals.items()}
    shared = gcd(*amounts.values())
    found = ((f"{name}@{step}", amount // shared) for (name, step), amount in amounts.items() if amount)
    return tuple(Price(name=name, amount=amount) for name, amount in sorted(found))


def _all_near(duals: dict[tuple[str, int], float], scale: int) -> bool:
    return all(abs(dual * scale - round(dual * scale)) < _NEAR * scale for dual in duals.values())
