"""Machines that hold runs of layers: stages of parallel machines for an answer, worths of layers for its bound."""

from collections.abc import Iterator
from itertools import islice
from random import Random

import attrs
from ortools.graph.python import max_flow
from ortools.sat.python import cp_model

from planner.layouts.linear import program, solved
from planner.layouts.walk import Plain, Walk
from planner.search import Progress, Search
from specs.decisions.layout import spans
from specs.decisions.layout.spans import ENTRY, EXIT, Answer, Flow, Question, Span
from specs.witness import Price, Witness

_PATTERNS_MAX = 6_000
_WHOLE = 840  # worths are whole parts of this
_CUTS_MAX = 400
_WALKS = 2
_WALK_STEPS = 30  # of a walk, per machine and layer
_WALK_STEPS_MAX = 60_000
_MODEST = 3  # a walk begins with wanting this part of the bound
_STEPS = 24  # what is wanted falls by one part in so many at most
_CLOSE = 10_000  # a bound this many times closer than its size ends the search for a better one


@attrs.frozen(kw_only=True)
class SpanLayout:
    """An answer with what it serves, and the bound that its witness shows."""

    answer: Answer
    value: int
    bound: int
    witness: Witness


@attrs.frozen(kw_only=True)
class _Stage:
    """Some machines of each kind that hold the same k layers."""

    layers: int
    counts: tuple[int, ...]


def place_spans(question: Question, search: Search, depth: int | None = None) -> SpanLayout:
    """Find who holds what, so that much is served; at most `depth` stages.

    First as if links carried everything, with a bound; then, where they do not, by annealing from there.
    """
    stages, reach = _best_stages(question, depth, search)
    answer = _seated(question, stages)
    witness = _witness(question, reach, search)
    bound = spans.cover_bound(question, witness)
    search.tell(Progress(decision="spans", value=spans.value(answer), bound=bound))
    if spans.value(answer) < reach:
        answer = _walked(question, stages, answer, bound, depth, search)
    assert not any(spans.faults(question, answer))
    search.tell(Progress(decision="spans", value=spans.value(answer), bound=bound))
    return SpanLayout(answer=answer, value=spans.value(answer), bound=bound, witness=witness)


def _best_stages(question: Question, depth: int | None, search: Search) -> tuple[list[_Stage], int]:
    """Stages that compute most, and what each computes at least; none when the machines cannot hold all layers."""
    best: list[_Stage] = []
    low, high = 0, spans.layers_bound(question)
    wanted = high
    while low < high and not search.over():
        stages = _stages(question, wanted, depth, search)
        if stages is None:
            high = wanted - 1
        else:
            best, low = stages, min(_computed(question, stage) for stage in stages)
        if high - low <= high // _CLOSE:
            break
        wanted = max(low + 1, (low + high + 1) // 2, high - high // _STEPS)
    return best, low


def _computed(question: Question, stage: _Stage) -> int:
    return sum(rates[stage.layers - 1] * n for rates, n in zip(question.kinds, stage.counts, strict=True) if n)


def _walked(
    question: Question, stages: list[_Stage], answer: Answer, bound: int, depth: int | None, search: Search
) -> Answer:
    """Walk from these stages to others that links join better."""
    best = answer

    def kept(placed: list[Span]) -> int:
        nonlocal best
        found = routed(question, placed)
        best = max(best, found, key=spans.value)
        return spans.value(found)

    steps = min(_WALK_STEPS_MAX, _WALK_STEPS * len(question.machines) * question.layers)
    part = search.part(_WALKS * steps)
    for number in range(_WALKS):
        if spans.value(best) < bound and not part.over():
            walk = Walk(question=question, depth=depth, rng=Random(search.seed + number))  # noqa: S311 - no secrets
            walk.anneal(_by_place(question, stages), bound // _MODEST, steps, part, kept)
    return best


def _patterns(question: Question, layers: int, wanted: int) -> Iterator[_Stage]:
    """Every least set of machines that compute what is wanted while they hold so many layers."""
    kinds = list(question.kinds.items())
    rates = [rates[layers - 1] if layers <= len(rates) else 0 for rates, _ in kinds]

    def extend(index: int, counts: tuple[int, ...], missing: int) -> Iterator[_Stage]:
        if missing <= 0:
            yield _Stage(layers=layers, counts=counts + (0,) * (len(kinds) - len(counts)))
            return
        if index == len(kinds):
            return
        if rates[index] == 0:
            yield from extend(index + 1, (*counts, 0), missing)
            return
        for many in range(len(kinds[index][1]) + 1):
            yield from extend(index + 1, (*counts, many), missing - many * rates[index])
            if many * rates[index] >= missing:
                break

    for stage in extend(0, (), wanted):
        total = sum(n * rate for n, rate in zip(stage.counts, rates, strict=True))
        least = min(rate for n, rate in zip(stage.counts, rates, strict=True) if n)
        if total - least < wanted:
            yield stage


def _stages(question: Question, wanted: int, depth: int | None, search: Search) -> list[_Stage] | None:
    """Choose stages that hold all layers between them, each computing what is wanted."""
    longest = max(len(rates) for rates in question.kinds)
    patterns: list[_Stage] = []
    for layers in range(1, longest + 1):
        patterns.extend(islice(_patterns(question, layers, wanted), _PATTERNS_MAX - len(patterns)))
    model = cp_model.CpModel()
    counts = [len(names) for names in question.kinds.values()]
    many = [
        model.new_int_var(0, min(n // took for took, n in zip(p.counts, counts, strict=True) if took), "")
        for p in patterns
    ]
    model.add(sum(p.layers * x for p, x in zip(patterns, many, strict=True)) == question.layers)
    for kind, count in enumerate(counts):
        model.add(sum(p.counts[kind] * x for p, x in zip(patterns, many, strict=True) if p.counts[kind]) <= count)
    if depth is not None:
        model.add(sum(many) <= depth)
    model.minimize(sum(many))
    solver, status = search.cp_sat(model, share=0.2)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    return [p for p, x in zip(patterns, many, strict=True) for _ in range(solver.value(x))]


def _by_place(question: Question, stages: list[_Stage]) -> Plain:
    """Give stages their machines, in any order."""
    place = {machine.name: index for index, machine in enumerate(question.machines)}
    free = [[place[name] for name in names] for names in question.kinds.values()]
    return [
        (stage.layers, tuple(each.pop(0) for each, took in zip(free, stage.counts, strict=True) for _ in range(took)))
        for stage in stages
    ]


def _seated(question: Question, stages: list[_Stage]) -> Answer:
    """Route through stages in any order."""
    placed: list[Span] = []
    first = 0
    for layers, machines in _by_place(question, stages):
        end = first + layers
        placed += [Span(machine=question.machines[m].name, first_layer=first, end_layer=end) for m in machines]
        first = end
    return routed(question, placed)


def routed(question: Question, placed: list[Span]) -> Answer:
    """Route as much as these spans and the links allow: a maximum flow."""
    return Answer(spans=tuple(placed), flows=_carried(question, placed, question.layers)[1])


def _carried(question: Question, placed: list[Span], border: int) -> tuple[int, tuple[Flow, ...]]:
    """Most that flows from ENTRY to a border, and how; at the last border over the links to EXIT."""
    flow = max_flow.SimpleMaxFlow()
    arcs: list[tuple[int, str, str]] = []
    for index, span in enumerate(placed):
        rate = question.machine[span.machine].millitokens_per_second[span.end_layer - span.first_layer - 1]
        tail, head = 2 + 2 * index, 3 + 2 * index
        flow.add_arc_with_capacity(tail, head, rate)
        before = [(0, ENTRY)] if span.first_layer == 0 else []
        before += [(3 + 2 * i, each.machine) for i, each in enumerate(placed) if each.end_layer == span.first_layer]
        for source, name in before:
            if link := question.link.get((name, span.machine)):
                arc = flow.add_arc_with_capacity(source, tail, link.millitokens_per_second)
                arcs.append((arc, name, span.machine))
        link = question.link.get((span.machine, EXIT))
        if span.end_layer == border and (border < question.layers or link):
            arc = flow.add_arc_with_capacity(head, 1, link.millitokens_per_second if link else rate)
            arcs.append((arc, span.machine, EXIT))
    if not placed or flow.solve(0, 1) != flow.OPTIMAL:
        return 0, ()
    flows = tuple(
        Flow(source=source, destination=destination, millitokens_per_second=flow.flow(arc))
        for arc, source, destination in arcs
        if flow.flow(arc)
    )
    return flow.optimal_flow(), flows


def _witness(question: Question, best: int, search: Search) -> Witness:
    """Worths of layers that show the least flow that can be shown to be out of reach."""
    found = _worths(question, best, search)
    if found is not None:
        return found
    low, high = best, spans.layers_bound(question)
    shown: Witness = ()
    while high - low > max(1, high // _CLOSE) and not search.over():
        middle = (low + high) // 2
        found = _worths(question, middle, search)
        if found is None:
            low = middle
        else:
            high, shown = middle, found
    return shown


def _worths(question: Question, flow: int, search: Search) -> Witness | None:
    """Find worths that show that no more than `flow` is served; None when there are none.

    A linear program over the worths, with a row for each set of machines that computes more than `flow` and has been
    found to be worth too little: the sets are found by the knapsack of the bound.
    """
    solver = program(search)
    kinds = list(question.kinds.items())
    tops = [solver.NumVar(0, solver.infinity(), "") for _ in kinds]
    modes = []
    for (rates, _), top in zip(kinds, tops, strict=True):
        for k, rate in enumerate(rates, 1):
            v = solver.NumVar(0, 1, "")
            solver.Add(k * v <= top)
            if rate > flow:
                solver.Add(v >= 1)
            modes.append((rate, v))
    solver.Minimize(sum(len(names) * top for (_, names), top in zip(kinds, tops, strict=True)))
    for _ in range(_CUTS_MAX):
        if not solved(solver, search) or solver.Objective().Value() >= question.layers * (1 - 1e-9) or search.over():
            return None
        worth = [max(1, min(_WHOLE, int(v.solution_value() * _WHOLE - 1e-6) + 1)) for _, v in modes]
        light = _light_set([rate for rate, _ in modes], worth, flow)
        if light is None:
            witness = _as_witness(question, flow, worth)
            if spans.cover_bound(question, witness) <= flow:
                return witness
            return None
        solver.Add(sum(n * modes[index][1] for index, n in light.items()) >= 1)
    return None


def _light_set(rates: list[int], worth: list[int], flow: int) -> dict[int, int] | None:
    """Find a set that computes more than `flow` and is worth less than a whole; None: there is none."""
    able: list[tuple[int, int, int]] = []  # (worth, rate, index) of those that compute more than all worth less
    for v, loss, index in sorted((v, -rate, index) for index, (rate, v) in enumerate(zip(rates, worth, strict=True))):
        if not able or -loss > able[-1][1]:
            able.append((v, -loss, index))
    best: list[tuple[int, int]] = [(0, -1)]
    for room in range(1, _WHOLE):
        top = (best[room - 1][0], -2)
        for v, rate, index in able:
            if v > room:
                break
            if best[room - v][0] + rate > top[0]:
                top = (best[room - v][0] + rate, index)
        best.append(top)
        if top[0] > flow:
            break
    else:
        return None
    chosen: dict[int, int] = {}
    room = len(best) - 1
    while room > 0:
        index = best[room][1]
        if index == -2:
            room -= 1
            continue
        chosen[index] = chosen.get(index, 0) + 1
        room -= worth[index]
    return chosen


def _as_witness(question: Question, flow: int, worth: list[int]) -> Witness:
    amounts = {"flow": flow, "whole": _WHOLE}
    position = 0
    for rates, names in question.kinds.items():
        for k in range(1, len(rates) + 1):
            amounts[f"{names[0]}:{k}"] = worth[position]
            position += 1
    return tuple(Price(name=name, amount=amounts[name]) for name in sorted(amounts))
