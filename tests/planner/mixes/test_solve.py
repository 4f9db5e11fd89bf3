"""The best unit mix: against every sequence of states, and the reasons that it gives."""

import attrs
from hypothesis import given, settings

from planner.mixes.answer import MixInfeasible, MixPlanned
from planner.mixes.solve import NODES_MAX, best_mix
from planner.search import Search
from specs.decisions.mix.bounds import none_below, price_bound, proves_infeasible
from specs.decisions.mix.checks import faults, final_counts, value
from specs.decisions.mix.question import Objective
from specs.units import INTEGER_MAX
from tests.hash_seeds import printed
from tests.specs.decisions.mix_questions import a_question, a_unit, best_value, questions


@given(question=questions())
@settings(max_examples=120, deadline=None)
def test_no_sequence_of_changes_is_better(question):
    best = best_value(question)
    outcome = best_mix(question, explain=False)
    if best is None:
        assert isinstance(outcome, MixInfeasible)
        reason_holds(question, outcome)
        return
    assert isinstance(outcome, MixPlanned)
    assert not list(faults(question, outcome.mix))
    assert outcome.value == value(question, outcome.mix) == best
    assert outcome.bound <= best
    reason_of_value_holds(question, outcome)


def reason_of_value_holds(question, outcome):
    assert outcome.price_bound == price_bound(question, outcome.witness) <= outcome.value
    if outcome.method == "dual":
        assert outcome.bound == outcome.price_bound
    if outcome.method == "exhausted":
        assert none_below(question, outcome.bound, outcome.witness, outcome.cuts, NODES_MAX) == outcome.nodes
        assert outcome.gap == 0


def reason_holds(question, outcome):
    if outcome.method == "dual":
        assert proves_infeasible(question, outcome.witness)
    elif outcome.method == "exhausted":
        assert none_below(question, INTEGER_MAX, outcome.witness, outcome.cuts, NODES_MAX) == outcome.nodes
    else:
        assert outcome.solver is not None


SIZING = {  # requests per hour of one public sizing tool's workers, by demands covered and devices
    "prefill-1": (("prefill",), 10986, 1),
    "decode-1": (("decode",), 9164, 1),
    "decode-2": (("decode",), 20868, 2),
    "decode-4": (("decode",), 38399, 4),
    "both-1": (("prefill", "decode"), 4860, 1),
    "both-2": (("prefill", "decode"), 9860, 2),
}


def sizing(per_second, available=1000, **limits):
    units = [
        a_unit(name, (covers, rate), devices=(("h200", devices),)) for name, (covers, rate, devices) in SIZING.items()
    ]
    demands = [(name, per_second * 3600, 0) for name in ("prefill", "decode")]
    return a_question(units, demands, [("h200", available)], **limits)


def test_sizes_of_published_rates():
    found = {rate: best_mix(sizing(rate)) for rate in (10, 25, 100)}
    assert {rate: outcome.value for rate, outcome in found.items()} == {10: 8, 25: 18, 100: 68}
    assert {rate: outcome.price_bound for rate, outcome in found.items()} == {10: 7, 25: 17, 100: 68}
    assert {rate: outcome.method for rate, outcome in found.items()} == {10: "exhausted", 25: "exhausted", 100: "dual"}
    assert all(outcome.gap == 0 for outcome in found.values())


def test_just_enough_devices_and_one_too_few():
    assert best_mix(sizing(25, available=18)).value == 18
    outcome = best_mix(sizing(25, available=17))
    assert isinstance(outcome, MixInfeasible)
    assert outcome.method == "exhausted"
    assert [(c.limit, c.has, c.needs) for c in outcome.conflicts] == [("devices:h200", 17, 18), ("demands", 1000, 981)]
    part = [
        tuple(attrs.evolve(demand, requests_per_hour=90 * parts) for demand in sizing(25).demands)
        for parts in (981, 982)
    ]
    assert isinstance(best_mix(attrs.evolve(sizing(25, available=17), demands=part[0])), MixPlanned)
    assert isinstance(best_mix(attrs.evolve(sizing(25, available=17), demands=part[1]), explain=False), MixInfeasible)
    assert outcome.conflicts[0].sentence == "18 devices of kind h200 are needed, 17 are available: 1 more"


def test_no_scale_down_before_the_replacement_is_up():
    """Two old units must go, but only one new one fits beside them: with the floor it takes two phases."""
    old = a_unit("old", (("p",), 5), running=2, cost=9)
    new = a_unit("new", (("p",), 5), cost=1)
    wanted = {"demands": [("p", 10, 10)], "supplies": [("gpu", 3)], "objective": Objective.COST}
    one = best_mix(a_question([old, new], **wanted))
    assert final_counts(one.mix and a_question([old, new], **wanted), one.mix) == {"old": 1, "new": 1}
    two = best_mix(a_question([old, new], **wanted, phases_max=2))
    assert len(two.mix.phases) == 2
    assert (one.value, two.value) == (10, 2)
    assert (one.gap > 0) == (one.bound < 10)
    full = a_question([old, new], **(wanted | {"supplies": [("gpu", 2)]}), phases_max=4, changes_max=None)
    assert best_mix(full).value == 18  # nothing fits beside them, and they must serve


def test_few_changes_keep_the_answer_near_what_runs():
    running = a_unit("a40", (("p",), 5), cost=3, running=4)
    better = a_unit("a100", (("p",), 20), cost=10, start_cost=1)
    demands, supplies = [("p", 20, 0)], [("gpu", 9)]
    free = a_question([running, better], demands, supplies, objective=Objective.COST, hours=10)
    assert best_mix(free).value == 101
    assert best_mix(attrs.evolve(free, changes_max=4)).value == 120
    assert best_mix(attrs.evolve(free, changes_max=5)).value == 101
    assert best_mix(attrs.evolve(free, objective=Objective.CHANGES)).value == 0
    assert best_mix(attrs.evolve(free, hours=1)).value == 11


def test_what_runs_stays_when_nothing_is_better():
    """Every way to serve with these four shapes costs the same; any of them stays as it is."""
    shapes = [a_unit(name, (("p",), 5), cost=3) for name in "abcd"]
    for running in ((3, 0, 0, 0), (0, 3, 0, 0), (0, 0, 0, 3), (1, 0, 1, 1), (0, 2, 1, 0)):
        units = [attrs.evolve(unit, running=count) for unit, count in zip(shapes, running, strict=True)]
        question = a_question(units, [("p", 15, 15)], [("gpu", 9)], objective=Objective.COST)
        planned = best_mix(question)
        assert (planned.value, planned.gap, value(question, planned.mix, Objective.CHANGES)) == (9, 0, 0)
    grown = attrs.evolve(question, demands=a_question([], [("p", 20, 15)], []).demands)
    assert value(grown, best_mix(grown).mix, Objective.CHANGES) == 1


def test_each_limit_alone_says_how_far_it_must_give():
    old = a_unit("old", (("p",), 5), running=2, cost=9)
    new = a_unit("new", (("p",), 10), cost=1, devices=(("gpu", 2),))
    question = a_question(
        [old, new],
        [("p", 20, 10)],
        [("gpu", 4)],
        objective=Objective.COST,
        changes_max=2,
        phases_max=2,
    )
    outcome = best_mix(question)
    assert isinstance(outcome, MixPlanned)
    squeezed = attrs.evolve(question, changes_max=0)
    limits = {c.limit: c.needs for c in best_mix(squeezed).conflicts}
    assert limits["changes"] == 1
    poor = attrs.evolve(question, cost_max=outcome.value - 1)
    assert {c.limit: c.needs for c in best_mix(poor).conflicts}["cost"] == outcome.value


def test_when_time_is_up_the_best_so_far_has_an_honest_gap():
    stopped = Search()
    stopped.stop()
    outcome = best_mix(sizing(25), stopped)
    assert isinstance(outcome, MixPlanned)
    assert not list(faults(sizing(25), outcome.mix))
    assert outcome.bound <= 18 <= outcome.value
    assert outcome.gap > 0 or outcome.method in ("dual", "exhausted")


def test_two_processes_give_the_same_bytes():
    program = "from tests.planner.mixes.test_solve import *; print(best_mix(sizing(25)), best_mix(sizing(25, 17)))"
    assert b"MixPlanned" in printed(program)
