"""The planner on random place graphs and demands: every plan survives a second opinion, every refusal is true."""

import itertools

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.outcome import Infeasible, Planned, Undecided
from planner.solve import Request, solve
from specs import codec
from specs.cluster import PlaceKind
from specs.problem import Holding, Problem, Target
from specs.profile import Profile
from specs.timing import kv_bytes, workspace_bytes
from specs.workload import Workload
from tests.builders import GIGABYTE, an_llm
from tests.place_graphs import Wiring
from tests.properties.simulation import faults

REQUESTS, REQUEST_TOKENS = 2, 32


@st.composite
def clusters(draw):
    """Devices and stores, each with a few links to switches or to each other, some of them one way only."""
    wiring = Wiring()
    rates = st.integers(1, 8).map(lambda eighths: eighths * GIGABYTE // 8000)  # a token is quick beside a transfer
    switches = [wiring.switch(f"switch{number}") for number in range(draw(st.integers(1, 3)))]
    lay = st.sampled_from([wiring.cable] * 5 + [wiring.wire])
    for near, far in itertools.pairwise(switches):
        draw(lay)(near, far, draw(rates))
    memories = []
    for number in range(draw(st.integers(1, 6))):
        memory_bytes = draw(st.one_of(st.just(80 * GIGABYTE), st.integers(400_000, 6_000_000)))
        memories.append(wiring.device(f"n{number}/gpu0", memory_bytes))
    memories += [wiring.store(f"s{number}/ssd", PlaceKind.SSD) for number in range(draw(st.integers(0, 2)))]
    for memory in memories:
        for switch in draw(st.lists(st.sampled_from(switches), min_size=1, max_size=2, unique=True)):
            draw(lay)(memory, switch, draw(rates), draw(st.integers(0, 10_000)))
    for near, far in draw(st.lists(st.tuples(st.sampled_from(memories), st.sampled_from(memories)), max_size=2)):
        if near != far and f"{near}>{far}" not in {link.id for link in wiring.links}:
            wiring.wire(near, far, draw(rates))
    return wiring.cluster()


@st.composite
def problems(draw):
    cluster = draw(clusters())
    memories = [place.id for place in cluster.places if place.kind is not PlaceKind.SWITCH]
    devices = [place.id for place in cluster.places if place.kind is PlaceKind.DEVICE]
    llms, holdings, targets = [], [], []
    for name in ("one", "two")[: draw(st.integers(1, 2))]:
        layers = draw(st.integers(1, 6))
        llm = an_llm(layers, layer_bytes=draw(st.integers(1, 16_000)) * 4, tied=draw(st.booleans()), name=name)
        llms.append(llm)
        held = draw(st.lists(st.sampled_from(memories), min_size=1, max_size=2, unique=True))
        wanted = draw(st.lists(st.sampled_from(devices), max_size=5, unique=True))
        holdings += [Holding(llm=name, place=place) for place in held]
        targets += [Target(llm=name, place=place) for place in wanted]
    workloads = [
        Workload(
            llm=llm.id,
            requests_per_hour=60,
            prompt_tokens_mean=8,
            output_tokens_mean=8,
            request_tokens_max=REQUEST_TOKENS,
            live_requests_max=REQUESTS,
        )
        for llm in llms
    ]
    return Problem(
        name="random",
        cluster=cluster,
        llms=tuple(llms),
        workloads=tuple(workloads),
        slos=(),
        profile=Profile(rates=()),
        holdings=tuple(holdings),
        targets=tuple(targets),
    )


def weights_bytes(llm):
    """The LLM cut as finely as can be: no cut takes less."""
    return sum(tensor.bytes for tensor in llm.tensors)


def serving_bytes(llm):
    tokens, units = REQUESTS * REQUEST_TOKENS, len(llm.units)
    return kv_bytes(llm, 0, units, tokens) + workspace_bytes(llm, units, REQUESTS, tokens)


def exceeds(problem, place_id):
    """Whether what is wanted at a place, or what is held there, cannot fit; paddings aside."""
    place = next(place for place in problem.cluster.places if place.id == place_id)
    wanted = [problem.llm(each.llm) for each in problem.targets if each.place == place_id]
    held = [problem.llm(each.llm) for each in problem.holdings if each.place == place_id]
    padding = 64 * sum(len(llm.tensors) for llm in problem.llms)
    needed = max(sum(weights_bytes(llm) + serving_bytes(llm) for llm in wanted), sum(map(weights_bytes, held)))
    return needed + padding > place.memory_bytes


def reached(problem, llm_id):
    """Every place to which the LLM can come over any links."""
    found = {holding.place for holding in problem.holdings if holding.llm == llm_id}
    for _ in problem.cluster.places:
        found |= {link.destination for link in problem.cluster.links if link.source in found}
    return found


def judge(problem, blocks):
    """Plan, and doubt whatever comes out of it."""
    if blocks is not None:
        blocks = min(blocks, *(llm.layers for llm in problem.llms), 6)
    outcome = solve(problem, Request(blocks=blocks))
    match outcome:
        case Planned(verified=verified):
            assert faults(problem, verified.plan) == []
            again = solve(problem, Request(blocks=blocks))
            assert codec.encode(again.verified.plan) == codec.encode(verified.plan)
        case Infeasible(conflicts=conflicts):
            for conflict in conflicts:
                if conflict.rule == "MEM":
                    assert exceeds(problem, conflict.where)
                else:
                    assert conflict.rule == "FULL"
                    assert any(
                        target.place == conflict.where and target.place not in reached(problem, target.llm)
                        for target in problem.targets
                    )
        case Undecided(sentence=sentence):
            assert "this planner" in sentence
            assert not any(target.place not in reached(problem, target.llm) for target in problem.targets) or (
                "gives nothing up" in sentence
            )


BLOCKS = st.one_of(st.none(), st.integers(1, 6))


@given(problem=problems(), blocks=BLOCKS)
@settings(max_examples=80)
def test_plans_are_good_and_refusals_true(problem, blocks):
    judge(problem, blocks)


@pytest.mark.slow
@given(problem=problems(), blocks=BLOCKS)
@settings(max_examples=1_000)
def test_many_plans_are_good_and_refusals_true(problem, blocks):
    judge(problem, blocks)


@pytest.mark.parametrize("rounds", [3])
@given(problem=problems())
@settings(max_examples=30)
def test_what_was_wanted_can_be_planned_on_from(problem, rounds):
    """After a plan every target holds its LLM; planning again from there moves nothing."""
    for _ in range(rounds):
        outcome = solve(problem)
        if not isinstance(outcome, Planned):
            return
        plan = outcome.verified.plan
        held = dict.fromkeys((each.llm, each.place) for each in (*problem.holdings, *problem.targets))
        problem = attrs.evolve(problem, holdings=tuple(Holding(llm=llm, place=place) for llm, place in held))
    assert not any(hasattr(step, "blob") for step in plan.steps)
