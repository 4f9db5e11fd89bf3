"""Tokens over the ramp against a count by hand, and which draft is chosen for which aim."""

from fractions import Fraction

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.formation import Opening
from planner.outcome import Planned
from planner.ramp import EQUAL_PERCENT, Draft, best, tokens
from planner.solve import Request, solve
from planner.stages import Sizes
from specs.plan import Aim, RoutingWeight, Transfer
from specs.timing import decode_ns
from specs.units import NANOS_PER_SECOND
from tests.builders import GIGABYTE, a_cluster, a_problem, an_llm
from tests.place_graphs import star
from tests.plans import gpu

PROBLEM = a_problem(4, llm=an_llm(8, layer_bytes=2**24))
SIZES = Sizes.of(PROBLEM, PROBLEM.llms[0])
SECOND = NANOS_PER_SECOND


def opening(number, open_ns, close_ns=None, *, also=None):
    """A pipeline on one node, or with the second half of its units on another."""
    stages = (SIZES.stage(gpu(number), 0, 10),)
    if also is not None:
        stages = (SIZES.stage(gpu(number), 0, 5), SIZES.stage(gpu(also), 5, 10))
    name = f"p{number}-{also}-{open_ns}"
    pipeline = SIZES.pipeline(name, stages)
    return Opening(pipeline=pipeline, open_ns=open_ns, close_ns=close_ns, successor=None)


def weighed(openings, weight=1):
    return [RoutingWeight(pipeline=each.pipeline.id, weight=weight) for each in openings]


def served(*openings, until):
    return tokens(PROBLEM, openings, weighed(openings), until)


def rate(which):
    """Tokens per ns of a pipeline whose devices do nothing else."""
    return Fraction(which.pipeline.slots, max(decode_ns(PROBLEM, which.pipeline)))


def test_one_pipeline_serves_while_it_is_open():
    one = opening(0, SECOND, 3 * SECOND)
    expected = int(rate(one) * 2 * SECOND)
    assert abs(served(one, until=10 * SECOND) - expected) <= expected // 1000
    assert served(one, until=SECOND) == 0
    half = served(one, until=2 * SECOND)
    assert abs(half - expected // 2) <= expected // 1000


def test_pipelines_on_devices_of_their_own_add_up():
    one, other = opening(0, 0), opening(1, 0)
    together = served(one, other, until=SECOND)
    assert abs(together - 2 * served(one, until=SECOND)) <= 1


def test_pipelines_that_share_a_device_share_its_time():
    alone = served(opening(0, 0), until=SECOND)
    twice = served(opening(0, 0), attrs.evolve(opening(0, 0), pipeline=opening(0, 1).pipeline), until=SECOND)
    assert abs(alone - twice) <= 1


def test_taking_half_of_the_work_over_serves_nearly_twice_as_much():
    alone, shared = opening(0, 0), opening(0, 0, also=1)
    assert served(shared, until=SECOND) > 1.5 * served(alone, until=SECOND)


@given(
    opens=st.lists(st.integers(0, 50), min_size=1, max_size=4),
    spans=st.lists(st.integers(1, 50), min_size=4, max_size=4),
    weights=st.lists(st.integers(1, 9), min_size=4, max_size=4),
    until=st.integers(1, 60),
)
@settings(deadline=None, max_examples=60)
def test_tokens_are_the_sum_over_small_steps_of_time(opens, spans, weights, until):
    unit = SECOND // 100
    openings = [
        opening(index, at * unit, (at + spans[index]) * unit, also=(index + 1) % 4 if index % 2 else None)
        for index, at in enumerate(opens)
    ]
    openings = [attrs.evolve(each, pipeline=attrs.evolve(each.pipeline, id=f"p{i}")) for i, each in enumerate(openings)]
    routing = [RoutingWeight(pipeline=each.pipeline.id, weight=weights[i]) for i, each in enumerate(openings)]
    total = Fraction(0)
    for step in range(until):
        now = [i for i, each in enumerate(openings) if each.open_ns <= step * unit < each.close_ns]
        loads = {}
        for i in now:
            pipeline = openings[i].pipeline
            for stage, ns in zip(pipeline.stages, decode_ns(PROBLEM, pipeline), strict=True):
                loads[stage.place] = loads.get(stage.place, 0) + Fraction(weights[i] * ns, pipeline.slots)
        if now:
            total += unit * sum(weights[i] for i in now) / max(loads.values())
    found = tokens(PROBLEM, openings, routing, until * unit)
    assert abs(found - total) <= 1 + total / 500


def draft(name, completion, cover, *openings):
    return Draft(
        made_by=name,
        blobs=8,
        completion_ns=completion,
        cover_ns=cover,
        openings=openings,
        routing=weighed(openings),
    )


SLOWER = (100 + EQUAL_PERCENT) * SECOND // 100
EARLY = draft("early", SLOWER, SECOND, opening(0, 0))  # the most tokens
QUICK = draft("quick", SECOND, SECOND // 2, opening(0, SECOND // 2))


@pytest.mark.parametrize(
    ("aim", "drafts", "chosen"),
    [
        (Aim.COMPLETION, (EARLY, QUICK), "early"),  # no more than EQUAL_PERCENT later
        (Aim.COMPLETION, (attrs.evolve(EARLY, completion_ns=SLOWER + 1), QUICK), "quick"),
        (Aim.COMPLETION, (QUICK, EARLY), "early"),
        (Aim.COVER, (EARLY, QUICK), "quick"),
        (Aim.COVER, (EARLY, attrs.evolve(QUICK, cover_ns=SECOND)), "early"),
        (Aim.RAMP, (attrs.evolve(EARLY, completion_ns=3 * SECOND), QUICK), "early"),
        (Aim.RAMP, (QUICK, attrs.evolve(QUICK, made_by="same")), "quick"),
    ],
)
def test_each_aim_has_its_order(aim, drafts, chosen):
    index, tried = best(PROBLEM, drafts, aim)
    assert drafts[index].made_by == chosen
    assert tried[0].way == f"{chosen}, 8 blobs"
    assert {each.unit for each in tried} == {"tokens" if aim is Aim.RAMP else "ns"}


def test_one_draft_needs_no_comparison():
    assert best(PROBLEM, [EARLY], Aim.RAMP) == (0, ())


def planned(problem, aim):
    outcome = solve(problem, Request(blocks=8, aim=aim))
    assert isinstance(outcome, Planned), outcome
    return outcome


def test_the_plan_says_what_it_is_for_and_what_else_was_tried():
    links = star(6, (GIGABYTE // 25, GIGABYTE // 100, GIGABYTE // 100, GIGABYTE // 50))
    problem = a_problem(6, llm=an_llm(8, layer_bytes=2**20), cluster=links)
    found = {aim: planned(problem, aim) for aim in Aim}
    assert [each.verified.plan.provenance.aim for each in found.values()] == list(Aim)
    for each in found.values():
        assert len(each.tried) == 2
    ends = {
        aim: max(step.end_ns for step in each.verified.plan.steps if isinstance(step, Transfer))
        for aim, each in found.items()
    }
    assert ends[Aim.COMPLETION] * 100 <= min(ends.values()) * (100 + EQUAL_PERCENT)
    chosen = found[Aim.RAMP].tried
    assert chosen[0].value == max(each.value for each in chosen)


def test_on_equal_links_there_is_one_way():
    assert planned(a_problem(4, llm=an_llm(8), cluster=a_cluster(4)), Aim.COMPLETION).tried == ()
