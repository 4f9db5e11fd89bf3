"""How many slots pipelines have over time."""

import attrs

from specs.invariants.facts import Facts
from specs.plan import Resize
from tests.live_plans import a_growth
from tests.plans import gpu, with_last, with_step

KEPT, NEW = f"llm@{gpu(0)}", f"llm@{gpu(1)}"


def test_without_a_word_pipelines_have_all_their_slots():
    facts = Facts(*a_growth())
    assert facts.slots_over_time(KEPT) == ((0, 4),)
    assert facts.slots_over_time(NEW) == ((facts.opened_ns[NEW], 4),)


def test_slots_are_those_of_the_start_or_the_opening_and_then_of_each_resize():
    problem, plan = a_growth()
    (row,) = problem.running
    problem = attrs.evolve(problem, running=(attrs.evolve(row, slots=3),))
    plan = with_step(plan, -1, slots=1)
    later = plan.steps[-1].at_ns
    for id_, (pipeline, slots) in enumerate([(KEPT, 2), (NEW, 2), (KEPT, 4)], start=10):
        plan = with_last(plan, Resize(id=id_, pipeline=pipeline, slots=slots, at_ns=later + id_))
    facts = Facts(problem, plan)
    assert facts.slots_over_time(KEPT) == ((0, 3), (later + 10, 2), (later + 12, 4))
    assert facts.slots_over_time(NEW) == ((later, 1), (later + 11, 2))
    assert (facts.slots_at_end(KEPT), facts.slots_at_end(NEW)) == (4, 2)
