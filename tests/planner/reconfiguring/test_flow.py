"""Changes of small layouts: what is kept, what is switched how, and what cannot be done live."""

import attrs
import pytest

from planner.outcome import Planned, Undecided
from planner.reconfiguring.beginning import begin
from specs.plan import Activate, Continuity, Release, Switch, Transfer
from specs.problem import Holding, Target
from specs.wishes import Objective
from specs.workload import Slo
from tests.builders import a_cluster, a_problem
from tests.planner.reconfiguring.cases import MEBIBYTE, a_service, heavy, places
from tests.plans import gpu
from tests.running_clusters import after, planned, reached, replanned, with_memory


def verified(outcome):
    assert isinstance(outcome, Planned), outcome
    return outcome.verified


def only(plan, kind):
    return [step for step in plan.steps if isinstance(step, kind)]


def test_the_same_wish_again_changes_nothing():
    wish = a_service((1, 2))
    assert verified(replanned(reached(wish), wish)).plan.steps == ()


def test_targets_that_stay_are_kept_and_one_that_goes_is_drained():
    base = a_problem(4)
    plan = verified(replanned(reached(base), attrs.evolve(base, targets=base.targets[:2]))).plan
    (switch,) = only(plan, Switch)
    assert (switch.old, plan.pipelines) == (f"llm@{gpu(3)}", ())
    assert {step.place for step in only(plan, Release)} == {gpu(3)}


def test_new_targets_load_while_the_others_serve():
    base = a_problem(5)
    plan = verified(replanned(reached(attrs.evolve(base, targets=base.targets[:1])), base)).plan
    assert [pipeline.id for pipeline in plan.pipelines] == [f"llm@{gpu(number)}:g2" for number in (2, 3, 4)]
    assert only(plan, Switch) == []


def test_a_pipeline_moves_with_its_kv():
    result = verified(replanned(reached(a_service((1, 2))), a_service((3, 4))))
    (switch,) = only(result.plan, Switch)
    (opened,) = result.plan.pipelines
    assert (places(opened), opened.id) == ([gpu(3), gpu(4)], "llm/serve-0:g2")
    assert switch.continuity is Continuity.COPY
    assert len(switch.hand_over.paths) == 2
    assert max(step.end_ns for step in only(result.plan, Transfer)) <= switch.hand_over.start_ns
    assert {step.place for step in only(result.plan, Release)} == {gpu(1), gpu(2)}


def test_two_become_four_and_four_become_one():
    four = verified(replanned(reached(a_service((1, 2, 3, 4))), a_service((1, 2, 3, 4, 5, 6)))).plan
    assert len(four.pipelines) == 1
    assert only(four, Switch) == []
    state = reached(a_service((1, 2, 3, 4, 5, 6)))
    one = verified(replanned(state, a_service((1, 2, 3, 4, 5, 6), objective=Objective.DEVICES))).plan
    assert len(only(one, Switch)) == 2
    assert {step.new for step in only(one, Switch)} == {"llm/serve-0"} or len(one.pipelines) == 1


def test_stages_move_by_a_border_where_memory_has_room():
    wide = a_service((1, 2), memory=24 * MEBIBYTE)
    narrow = a_service((2, 3), memory=24 * MEBIBYTE)
    result = verified(replanned(reached(wide), narrow))
    for switch in only(result.plan, Switch):
        assert switch.new in {pipeline.id for pipeline in result.plan.pipelines}
    assert {place for pipeline in result.plan.pipelines for place in places(pipeline)} <= {gpu(2), gpu(3)}


def test_where_it_does_not_fit_it_says_what_and_what_stopping_would_cost():
    """Each pipeline has a single slot: on the device that both use there is no room for a second workspace."""
    before, wanted = (a_service(nodes, memory=9 * MEBIBYTE, live=1) for nodes in ((1, 2), (2, 3)))
    outcome = replanned(reached(before), wanted)
    assert isinstance(outcome, Undecided)
    assert f"even with one slot each where memory lacks: at place {gpu(2)}" in outcome.sentence
    (conflict,) = outcome.conflicts
    (give,) = conflict.gives
    assert (conflict.rule, give.limit) == ("MEM", "pause of llm/serve-0")
    assert "stop llm/serve-0 first (--stop): 2 requests wait" in give.sentence
    stopped = replanned(reached(before), wanted, stopped=frozenset({"llm/serve-0"}))
    opened = only(verified(stopped).plan, Activate)
    assert opened[0].at_ns < give.needed


def two_llms(first, second):
    """Two LLMs wanted at these nodes; each device has room for one of them, and node 0 for both."""
    llms = heavy(), attrs.evolve(heavy(), id="other")
    base = a_problem(6, 1, llm=llms[0], cluster=a_cluster(6, memory_bytes=18 * MEBIBYTE))
    places = tuple(
        attrs.evolve(place, memory_bytes=80 * MEBIBYTE) if place.id == gpu(0) else place
        for place in base.cluster.places
    )
    return attrs.evolve(
        base,
        cluster=attrs.evolve(base.cluster, places=places),
        llms=llms,
        workloads=tuple(attrs.evolve(base.workloads[0], llm=llm.id) for llm in llms),
        holdings=tuple(attrs.evolve(base.holdings[0], llm=llm.id) for llm in llms),
        targets=(
            *(Target(llm="llm", place=gpu(node)) for node in first),
            *(Target(llm="other", place=gpu(node)) for node in second),
        ),
    )


def test_llms_change_places_one_after_the_other_where_both_at_once_do_not_fit():
    state = reached(two_llms((1, 3), (2, 4)))
    plan = verified(replanned(state, two_llms((2, 3), (1, 4)))).plan
    switches = {step.old: step for step in only(plan, Switch)}
    assert set(switches) == {f"llm@{gpu(1)}", f"other@{gpu(2)}"}
    opens = {step.pipeline: step.at_ns for step in only(plan, Activate)}
    assert set(opens) == {f"llm@{gpu(2)}:g2", f"other@{gpu(1)}:g2"}
    # One gives its place up before the other's first blob leaves for it.
    first, second = sorted(opens.values())
    assert min(step.at_ns for step in switches.values()) < first < second


def test_what_a_stopped_pipeline_leaves_goes_before_anything_comes():
    state, wanted = reached(two_llms((1, 3), (2,))), two_llms((3,), (2, 1))
    plan = verified(replanned(state, wanted, stopped=frozenset({f"llm@{gpu(1)}"}))).plan
    assert only(plan, Switch) == []
    gone, come = only(plan, Release), only(plan, Transfer)
    assert {step.place for step in gone} == {gpu(1)}
    assert max(step.at_ns for step in gone) < min(step.start_ns for step in come)


def test_a_promised_pause_is_kept():
    slo = Slo(llm="llm", percentile=90, ttft_ns_max=10**10, tpot_ns_max=10**9, pause_ns_max=20_000_000)
    wishes = (a_service((1, 2), slos=(slo,)), a_service((3, 4), slos=(slo,)))
    (switch,) = only(verified(replanned(reached(wishes[0]), wishes[1])).plan, Switch)
    assert switch.continuity is Continuity.COPY


def test_the_generation_is_above_every_one_that_was_accepted():
    base = a_problem(3)
    state = after(base, planned(base).plan, generation_max=7)
    assert verified(replanned(state, base)).plan.generation == 8


def test_nodes_that_are_new_are_used():
    state = reached(a_problem(3))
    plan = verified(replanned(state, a_problem(5))).plan
    assert [pipeline.id for pipeline in plan.pipelines] == [f"llm@{gpu(3)}:g2", f"llm@{gpu(4)}:g2"]
    assert only(plan, Switch) == []


def test_a_node_is_replaced():
    base = a_problem(5)
    state = reached(attrs.evolve(base, targets=base.targets[:3]))
    plan = verified(replanned(state, attrs.evolve(base, targets=(*base.targets[:2], base.targets[3])))).plan
    (switch,) = only(plan, Switch)
    assert switch.old == f"llm@{gpu(3)}"
    assert [pipeline.id for pipeline in plan.pipelines] == [f"llm@{gpu(4)}:g2"]
    assert {step.place for step in only(plan, Release)} == {gpu(3)}


def test_a_silent_node_is_lost_with_its_pipelines():
    base = a_problem(4)
    state = reached(base)
    state = attrs.evolve(state, nodes=state.nodes[:3])
    begun = begin(state, base)
    assert f"llm@{gpu(3)}" not in {each.pipeline.id for each in begun.problem.running}
    assert gpu(3) not in {place.id for place in begun.problem.cluster.places}
    back = begin(state, base, back=frozenset({"n3"}))
    assert gpu(3) in {place.id for place in back.problem.cluster.places}
    assert not any(each.place == gpu(3) for each in back.problem.holdings)


def test_an_llm_that_nobody_wants_any_more_ends():
    base = a_problem(3)
    state = reached(base)
    begun = begin(state, attrs.evolve(base, targets=(), holdings=()))
    assert begun.problem.running == ()
    assert len(begun.ended) == 3


@pytest.mark.parametrize("kept", [True, False])
def test_copies_that_are_described_stay(kept):
    base = a_problem(3)
    wanted = attrs.evolve(base, targets=(Target(llm="llm", place=gpu(2)),))
    if not kept:
        wanted = attrs.evolve(wanted, holdings=(Holding(llm="llm", place=gpu(2)),))
    plan = verified(replanned(reached(base), wanted)).plan
    assert (gpu(0) in {step.place for step in only(plan, Release)}) != kept


def test_memory_that_shrank_is_said():
    base = a_problem(2)
    state = reached(base)
    begun = begin(state, with_memory(base, 1000))
    assert begun.problem.cluster.places[1].memory_bytes == 1000
