"""Rows of stages where links are the limit."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from planner.layouts.spans import place_spans, routed
from planner.layouts.walk import Walk
from planner.search import Search
from specs.decisions.layout import spans
from specs.decisions.layout.spans import ENTRY, EXIT, Link, Machine, Question


def regions(each: int = 2, layers: int = 2, across: int = 50) -> Question:
    """Requests enter in one region and leave in another; links between the two are slow."""
    names = [f"{region}{i}" for i in range(each) for region in "ab"]
    pairs = [(a, b, 10**6 if a[0] == b[0] else across) for a in names for b in names if a != b]
    pairs += [(ENTRY, name, 10**6) for name in names if name[0] == "a"]
    pairs += [(name, EXIT, 10**6) for name in names if name[0] == "b"]
    return Question(
        layers=layers,
        machines=tuple(Machine(name=name, millitokens_per_second=(100, 50)) for name in names),
        links=tuple(Link(source=a, destination=b, millitokens_per_second=rate) for a, b, rate in pairs),
    )


def test_slow_links_are_used_side_by_side():
    asked = regions()
    found = place_spans(asked, Search())
    assert found.value == found.bound == 200  # one link alone carries 50
    assert {span.machine[0] for span in found.answer.spans if span.first_layer == 0} == {"a"}


def test_depth_is_kept_where_links_are_slow():
    asked = regions(each=4, layers=4, across=20)
    for depth in (2, 3, 4):
        found = place_spans(asked, Search(), depth=depth)
        assert 0 < len({span.first_layer for span in found.answer.spans}) <= depth
        assert found.value > 0


def test_the_same_search_gives_the_same_layout():
    asked = regions(each=4, layers=5, across=30)
    assert place_spans(asked, Search(seed=3)) == place_spans(asked, Search(seed=3))


def test_a_search_that_is_cut_short_gives_a_layout_without_faults():
    asked = regions(each=4, layers=5, across=30)
    for steps in (1, 50, 500):
        found = place_spans(asked, Search(steps_max=steps))
        assert not list(spans.faults(asked, found.answer))
        assert found.value <= found.bound


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 4), st.integers(0, 120))
def test_every_row_holds_each_layer_and_no_machine_twice(seed, each, layers, across):
    asked = regions(each, layers, across)

    def routes(placed):
        assert len({span.machine for span in placed}) == len(placed)
        runs = sorted({(span.first_layer, span.end_layer) for span in placed})
        assert [0, *(end for _, end in runs)] == [*(first for first, _ in runs), layers]
        answer = routed(asked, placed)
        assert not list(spans.faults(asked, answer))
        return spans.value(answer)

    walk = Walk(question=asked, depth=None, rng=Random(seed))
    walk.anneal([(1, (machine,)) for machine in range(layers)], 1, 300, Search(), routes)
