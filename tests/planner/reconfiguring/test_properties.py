"""From any running layout to any other: plans verify, what runs is kept or switched, every LLM is served throughout."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.outcome import Infeasible, Planned, Undecided
from planner.reconfiguring.impossible import never_live
from planner.solve import solve
from specs.plan import Activate, Switch
from specs.problem import Target
from specs.wishes import Objective, Service
from tests.builders import a_cluster, a_problem, an_llm
from tests.plans import gpu
from tests.running_clusters import after, replanned

NODES = 5
ROUNDS_MAX = 4


def an_llm_with_kv(layers, kv, name="llm"):
    """Layers of 64 kB, and KV that takes as much room as one wants."""
    llm = an_llm(layers, name=name)
    units = tuple(
        attrs.evolve(unit, kv_bytes_per_token=kv, flops_per_token=10**8) if unit.kv_bytes_per_token else unit
        for unit in llm.units
    )
    return attrs.evolve(llm, units=units)


@st.composite
def wishes(draw, base):
    """Targets or services for each LLM, on devices of their own."""
    free = list(range(1, NODES))
    targets, services = [], []
    for llm in base.llms:
        mine = draw(st.lists(st.sampled_from(free), min_size=1, max_size=max(1, len(free) - 1), unique=True))
        if llm is not base.llms[-1]:
            mine = mine[:2]
        free = [node for node in free if node not in mine] or free
        if draw(st.booleans()):
            targets += [Target(llm=llm.id, place=gpu(node)) for node in sorted(mine)]
        else:
            objective = draw(st.sampled_from([Objective.GOODPUT, Objective.DEVICES, Objective.LATENCY]))
            depth = draw(st.integers(1, 3))
            services.append(
                Service(llm=llm.id, places=tuple(map(gpu, sorted(mine))), objective=objective, depth_max=depth)
            )
    return attrs.evolve(base, targets=tuple(targets), services=tuple(services))


@st.composite
def changes(draw):
    """A problem, and another wish for the same cluster."""
    layers, kv = draw(st.integers(2, 5)), draw(st.sampled_from([128, 4096]))
    names = ["llm", "other"][: draw(st.integers(1, 2))]
    llms = tuple(an_llm_with_kv(layers, kv, name) for name in names)
    room = draw(st.sampled_from([10**9, 4 * layers * 64_000 + 3 * layers * kv * 64]))
    base = a_problem(NODES, 1, llm=llms[0], cluster=a_cluster(NODES, memory_bytes=room), live_requests_max=2)
    base = attrs.evolve(
        base,
        llms=llms,
        workloads=tuple(attrs.evolve(base.workloads[0], llm=llm.id) for llm in llms),
        holdings=tuple(attrs.evolve(base.holdings[0], llm=llm.id) for llm in llms),
        targets=(),
    )
    return draw(wishes(base)), draw(wishes(base)), draw(st.integers(0, 2))


def always_served(problem, plan):
    """Replay switches in the order of steps: every LLM that runs at the start has an open pipeline at every step."""
    is_open = {each.pipeline.id: each.pipeline.llm for each in problem.running}
    llm_of = is_open | {each.id: each.llm for each in plan.pipelines}
    served = set(is_open.values())
    for step in plan.steps:
        if isinstance(step, Activate):
            is_open[step.pipeline] = llm_of[step.pipeline]
        elif isinstance(step, Switch):
            assert step.new in is_open
            del is_open[step.old]
        assert served <= set(is_open.values())
    return is_open


def judged(state, wanted):
    outcome = replanned(state, wanted)
    if not isinstance(outcome, Planned):
        return outcome
    problem, plan = outcome.verified.problem, outcome.verified.plan
    assert not any(never_live(problem))
    switched = [step.old for step in plan.steps if isinstance(step, Switch)]
    assert len(switched) == len(set(switched))
    open_at_end = always_served(problem, plan)
    for each in problem.running:
        assert (each.pipeline.id in switched) != (each.pipeline.id in open_at_end)
    assert not {each.id for each in plan.pipelines} & {each.pipeline.id for each in problem.running}
    return outcome


@given(change=changes())
@settings(max_examples=12, deadline=None)
def test_any_layout_to_any_other(change):
    check(change)


@pytest.mark.slow
@given(change=changes())
@settings(max_examples=150, deadline=None)
def test_any_layout_to_any_other_at_length(change):
    check(change)


def check(change):
    running, wanted, requests = change
    first = solve(running)
    if not isinstance(first, Planned):
        return
    state = after(running, first.verified.plan, requests=requests)
    outcome = judged(state, wanted)
    if not isinstance(outcome, Planned):
        assert isinstance(outcome, Undecided | Infeasible)
        return
    for _ in range(ROUNDS_MAX):  # what closes makes room for what could not be reached beside it
        compromise = any(each.besides.startswith("not reached") for each in outcome.tried)
        state = after(outcome.verified.problem, outcome.verified.plan, requests=requests)
        outcome = judged(state, wanted)
        assert isinstance(outcome, Planned), outcome
        if not outcome.verified.plan.steps:
            return
        assert compromise, "the same wish again is to change nothing"
    raise AssertionError("replanning does not come to an end")
