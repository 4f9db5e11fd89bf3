"""KV, and LINK beside it: more ways to break them, and their edges."""

from itertools import pairwise

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs import codec
from specs.checker import Rejected, verify
from specs.handing_over import ROUNDS_MAX
from specs.plan import Pipeline, Plan, Route, Switch
from specs.problem import Problem, Running
from specs.workload import Slo
from tests.builders import GIGABYTE, a_problem
from tests.live_plans import a_handing_on, a_join, a_merge, a_running_problem, a_split, copy
from tests.plans import (
    Draft,
    a_pipeline,
    a_route,
    blobs_of,
    broken,
    certified,
    gpu,
    local,
    with_pipeline,
    with_step,
)
from tests.properties.simulation import faults


def first_switch(plan: Plan) -> int:
    return next(index for index, step in enumerate(plan.steps) if isinstance(step, Switch))


def with_hand_over(plan: Plan, **changes: object) -> Plan:
    index = first_switch(plan)
    return with_step(plan, index, hand_over=attrs.evolve(plan.steps[index].hand_over, **changes))


def with_path(plan: Plan, index: int, **changes: object) -> Plan:
    paths = list(plan.steps[first_switch(plan)].hand_over.paths)
    paths[index] = attrs.evolve(paths[index], **changes)
    return with_hand_over(plan, paths=tuple(paths))


def said(problem: Problem, plan: Plan) -> list[str]:
    """What rule KV says; of the others only LINK may say something."""
    verdict = verify(problem, plan)
    if not isinstance(verdict, Rejected):
        return []
    assert {violation.rule for violation in verdict.violations} <= {"KV", "LINK"}
    return [violation.sentence for violation in verdict.violations if violation.rule == "KV"]


# --- times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "by", "words"),
    [
        ("pause_ns", -1, ["it is to pause requests for 123094 ns; the rest and an iteration take 123095"]),
        ("pause_ns", 1, ["704535 ns lie between its first round and the switch; 2 rounds and the pause take 704536"]),
        ("start_ns", -1, ["at 516111 ns its first round begins, when pipeline llm@n2/gpu0 is not open yet"]),
        ("start_ns", 1, ["704534 ns lie between its first round and the switch; 2 rounds and the pause take 704535"]),
        ("rounds_max", -1, ["1 rounds leave 28 tokens, 8 may be left"]),
        ("rounds_max", ROUNDS_MAX - 2, []),
        ("rounds_max", ROUNDS_MAX - 1, ["it allows 31 rounds; what does not converge in 30 never will"]),
    ],
)
def test_times_and_rounds_at_their_edges(field, by, words):
    problem, plan = a_merge()
    value = getattr(plan.steps[first_switch(plan)].hand_over, field)
    assert said(problem, with_hand_over(plan, **{field: value + by})) == words


@pytest.mark.parametrize(("by", "found"), [(-1, 1), (0, 0), (1, 0)])
def test_the_switch_comes_when_rounds_and_pause_are_over(by, found):
    problem, plan = a_merge()
    index = first_switch(plan)
    assert len(said(problem, with_step(plan, index, at_ns=plan.steps[index].at_ns + by))) == found


@pytest.mark.parametrize("less_ns", [0, 1])
def test_the_promised_pause_is_beyond_an_iteration(less_ns):
    problem, plan = a_merge()
    allowed_ns = 123095 - 100711 - less_ns
    slo = Slo(llm="llm", percentile=90, ttft_ns_max=10**12, tpot_ns_max=10**12, pause_ns_max=allowed_ns)
    problem = attrs.evolve(problem, slos=(slo,))
    words = f"it pauses requests for 22384 ns beyond an iteration, {allowed_ns} are promised"
    assert said(problem, attrs.evolve(plan, problem=codec.digest(problem))) == [words] * 2 * less_ns


# --- paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda plan: with_hand_over(plan, paths=()), "0 paths lead from stage 0 to stage 0, which share layers"),
        (
            lambda plan: with_hand_over(plan, paths=plan.steps[first_switch(plan)].hand_over.paths * 2),
            "2 paths lead from stage 0 to stage 1, which share layers; one is wanted",
        ),
        (
            lambda plan: with_path(attrs.evolve(plan, routes=(*plan.routes, Route(links=LOOP))), 0, route=2),
            "route 2 leads from n0/gpu0 to n2/gpu0, the KV from n0/gpu0 to n1/gpu0",
        ),
        (lambda plan: with_path(plan, 1, new_stage=0), "2 paths lead from stage 0 to stage 0"),
    ],
)
def test_every_pair_that_shares_layers_has_one_path_between_its_devices(change, words):
    problem, plan = a_split()
    assert any(words in sentence for sentence in said(problem, change(plan)))


LOOP = a_route(gpu(0), gpu(2)).links


def test_within_a_device_there_is_no_path():
    """In a join the first stage's KV stays on its device."""
    problem, plan = a_join()
    (path,) = plan.steps[first_switch(plan)].hand_over.paths
    extra = attrs.evolve(path, old_stage=0)
    sentences = said(problem, with_hand_over(plan, paths=(path, extra)))
    assert "a path leads from stage 0 to stage 0, which have no layers to copy between devices" in sentences


# --- room ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("less", [0, 1])
def test_a_merge_has_the_slots_of_both(less):
    problem, plan = a_merge()
    fewer = certified(problem, with_pipeline(plan, 0, slots=8 - less))
    words = "it has 7 slots; 8 requests may be handed over to it"
    assert said(problem, fewer) == [words] * less


def test_contexts_fit_into_the_new_pipeline():
    problem, plan = a_merge()
    old = problem.running[0]
    wide = attrs.evolve(old.pipeline, request_tokens_max=65)
    (stage,) = wide.stages
    wide = attrs.evolve(wide, stages=(attrs.evolve(stage, kv_bytes=2 * stage.kv_bytes),))
    problem = attrs.evolve(problem, running=(attrs.evolve(old, pipeline=wide), *problem.running[1:]))
    sentences = said(problem, certified(problem, attrs.evolve(plan, problem=codec.digest(problem))))
    assert sentences[0] == "contexts of llm@n0/gpu0 have up to 65 tokens, those of llm@n2/gpu0 up to 64"


# --- links -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [0, 1])
def test_hand_overs_share_links(more):
    problem, plan = a_merge()
    rules = {"LINK"} if more else set()
    assert broken(problem, with_path(plan, 0, bytes_per_second=GIGABYTE // 2 + more)) == rules


@pytest.mark.parametrize("early_ns", [0, 1])
def test_hand_overs_share_links_with_transfers(early_ns):
    """The next transfer takes the whole link and begins when the hand-over, which has half of it, is over."""
    problem, plan = a_handing_on()
    index = first_switch(plan) + 1
    step = plan.steps[index]
    early = with_step(plan, index, start_ns=step.start_ns - early_ns, end_ns=step.end_ns - early_ns)
    assert broken(problem, certified(problem, early)) == ({"LINK"} if early_ns else set())


# --- any shapes ------------------------------------------------------------------------------------------------------


def test_a_kept_pipeline_may_take_over_what_is_copied():
    (llm,) = a_problem().llms
    kept, old = local(llm, gpu(0)), local(llm, gpu(1))
    problem = a_running_problem(2, (kept, old), targets=(0,))
    draft = Draft(problem, blobs_of(llm, 2))
    copy(draft, old, kept, 0)
    plan = draft.plan()
    assert broken(problem, plan) == set()
    assert plan.pipelines == ()


@st.composite
def shapes(draw: st.DrawFn, name: str) -> Pipeline:
    """One to three stages with borders anywhere, each on any of three devices."""
    (llm,) = a_problem().llms
    count = draw(st.integers(1, 3))
    inner = sorted(draw(st.sets(st.integers(1, len(llm.units) - 1), min_size=count - 1, max_size=count - 1)))
    places = draw(st.lists(st.integers(0, 2).map(gpu), min_size=count, max_size=count))
    borders = [0, *inner, len(llm.units)]
    runs = [(place, *units) for place, units in zip(places, pairwise(borders), strict=True)]
    return a_pipeline(name, llm, *runs)


@settings(max_examples=25)
@given(shapes("old"), shapes("new"))
def test_any_shape_becomes_any_other(old, new):
    """Every node holds everything, so only KV has to move; where it need not move far, there are no paths."""
    base = a_running_problem(3, (), holders=(0, 1, 2))
    problem = attrs.evolve(base, running=(Running(pipeline=old, live_requests=4, live_tokens=9),))
    draft = Draft(problem, blobs_of(problem.llms[0], 2))
    draft.open(new, 10)
    copy(draft, old, new, 10, rate=GIGABYTE // 9)
    plan = draft.plan()
    assert broken(problem, plan) == set()
    assert faults(problem, plan) == []
    switch = plan.steps[first_switch(plan)]
    for worse in (
        with_hand_over(plan, pause_ns=switch.hand_over.pause_ns - 1),
        with_hand_over(plan, start_ns=switch.hand_over.start_ns + 1),
        with_hand_over(plan, rest_tokens_max=switch.hand_over.rest_tokens_max - 1),
        *(with_hand_over(plan, paths=switch.hand_over.paths[1:]) for _ in switch.hand_over.paths[:1]),
    ):
        assert broken(problem, worse) == {"KV"}
        assert faults(problem, worse)
