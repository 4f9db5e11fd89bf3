from itertools import product

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.layouts.spans import place_spans, routed
from planner.search import Search
from specs.decisions.layout import spans
from specs.decisions.layout.spans import ENTRY, EXIT, Answer, Flow, Link, Machine, Question, Span
from specs.errors import InvalidProblem
from specs.witness import Price


def every_link(names, capacity=10**9):
    pairs = [(a, b) for a in (ENTRY, *names) for b in (*names, EXIT) if a != b and (a, b) != (ENTRY, EXIT)]
    return tuple(Link(source=a, destination=b, millitokens_per_second=capacity) for a, b in pairs)


def question(layers=4, rates=((90, 50, 30), (90, 50, 30), (40, 20)), **changes):
    machines = tuple(Machine(name=f"m{i}", millitokens_per_second=each) for i, each in enumerate(rates))
    whole = Question(layers=layers, machines=machines, links=every_link([m.name for m in machines]))
    return attrs.evolve(whole, **changes)


def flow(source, destination, amount):
    return Flow(source=source, destination=destination, millitokens_per_second=amount)


def two():
    return Answer(
        spans=(Span(machine="m0", first_layer=0, end_layer=2), Span(machine="m1", first_layer=2, end_layer=4)),
        flows=(flow(ENTRY, "m0", 50), flow("m0", "m1", 50), flow("m1", EXIT, 50)),
    )


def test_a_right_answer():
    assert not list(spans.faults(question(), two()))
    assert spans.value(two()) == 50


BROKEN = {
    "another span": {"spans": two().spans * 2},
    "it holds 1 to 3": {"spans": (Span(machine="m0", first_layer=0, end_layer=4),), "flows": ()},
    "its link carries": {"flows": (flow("m0", "m0", 1),)},
    "begins at": {"flows": (*two().flows, flow(ENTRY, "m1", 0))},
    "out of it": {"flows": two().flows[:2]},
    "which computes 50": {"flows": tuple(flow(f.source, f.destination, 51) for f in two().flows)},
    "given twice": {"flows": (*two().flows, flow(ENTRY, "m0", 0))},
}


@pytest.mark.parametrize("sentence", BROKEN)
def test_every_fault_is_found(sentence):
    found = list(spans.faults(question(), attrs.evolve(two(), **BROKEN[sentence])))
    assert sentence in " ".join(found)


def test_links_carry_no_more_than_they_can():
    names = [machine.name for machine in question().machines]
    assert not list(spans.faults(question(links=every_link(names, 50)), two()))
    assert len(list(spans.faults(question(links=every_link(names, 49)), two()))) == 3


def test_questions_that_contradict_themselves_are_refused():
    for changes in (
        {"machines": question().machines * 2},
        {"links": question().links * 2},
        {"machines": question().machines[:1]},
        {"rates": ((90, -1), (90,), (40,))},
    ):
        with pytest.raises(InvalidProblem):
            question(**changes)


@st.composite
def small(draw):
    layers = draw(st.integers(1, 5))
    kinds = [tuple(draw(st.lists(st.integers(1, 60), min_size=1, max_size=layers))) for _ in range(2)]
    rates = [draw(st.sampled_from(kinds)) for _ in range(draw(st.integers(1, 4)))]
    asked = question(layers=layers, rates=rates)
    kept = tuple(link for link in asked.links if draw(st.integers(0, 9)))
    return attrs.evolve(asked, links=kept)


def brute_force(asked):
    """Every way to give every machine a run or none, each with its maximum flow."""
    runs = []
    for machine in asked.machines:
        room = len(machine.millitokens_per_second)
        runs.append(
            [None]
            + [
                Span(machine=machine.name, first_layer=first, end_layer=end)
                for first in range(asked.layers)
                for end in range(first + 1, min(asked.layers, first + room) + 1)
            ]
        )
    placed = ([span for span in chosen if span is not None] for chosen in product(*runs))
    return max(spans.value(routed(asked, each)) for each in placed)


@settings(max_examples=40, deadline=None)
@given(small())
def test_no_bound_is_below_the_optimum(asked):
    best = brute_force(asked)
    found = place_spans(asked, Search())
    assert found.value <= best <= found.bound <= spans.layers_bound(asked)
    assert not list(spans.faults(asked, found.answer))
    assert found.bound == spans.cover_bound(asked, found.witness)


@settings(max_examples=60, deadline=None)
@given(small(), st.integers(0, 100), st.integers(0, 9), st.lists(st.integers(0, 9), min_size=20, max_size=20))
def test_no_witness_shows_too_much(asked, claim, whole, worths):
    names = [f"{kind[0]}:{k}" for rates, kind in asked.kinds.items() for k in range(1, len(rates) + 1)]
    prices = [Price(name=name, amount=worth) for name, worth in zip(names, worths, strict=False)]
    witness = (Price(name="flow", amount=claim), Price(name="whole", amount=whole), *prices)
    assert spans.cover_bound(asked, witness) >= brute_force(asked)


def test_a_witness_that_makes_a_layer_too_cheap_is_refused():
    asked = question()
    found = place_spans(asked, Search())
    assert found.value == found.bound == 50
    wrong = tuple(attrs.evolve(p, amount=49) if p.name == "flow" else p for p in found.witness)
    assert spans.cover_bound(asked, wrong) >= 50


def test_a_knapsack_that_takes_too_long_is_not_done():
    asked = question()
    worths = (Price(name="m0:1", amount=1), Price(name="m2:1", amount=1))
    assert spans.cover_bound(asked, (*worths, Price(name="whole", amount=2**60))) == spans.layers_bound(asked)


def test_depth_is_kept():
    asked = question(layers=6, rates=((90, 50, 30),) * 6)
    assert place_spans(asked, Search()).value == 100  # three stages of two machines
    shallow = place_spans(asked, Search(), depth=2)
    assert len({span.first_layer for span in shallow.answer.spans}) == 2
    assert shallow.value == 90
