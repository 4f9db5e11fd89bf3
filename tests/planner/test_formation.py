"""Serving while loading: what must hold for every set of pipelines, and what must happen at known moments."""

import itertools

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.formation import MEMBERS_MAX
from planner.outcome import Infeasible, Planned
from planner.solve import Request, solve
from specs.plan import Activate, Switch, Transfer
from specs.timing import decode_ns
from tests.builders import GIGABYTE, TOY, a_cluster, a_problem, an_llm
from tests.place_graphs import star, two_racks

LAYER_BYTES = 2**20


def planned(problem, blocks=None):
    outcome = solve(problem, Request(blocks=blocks))
    assert isinstance(outcome, Planned), outcome
    return outcome.verified.plan


def a_slow_load(nodes, sources=1, *, layers=8, tied=False, memory_bytes=80 * GIGABYTE, live_requests_max=4):
    """Loading takes so much longer than a token that every pipeline is worth opening."""
    llm = an_llm(layers, layer_bytes=LAYER_BYTES, tied=tied)
    cluster = a_cluster(nodes, rate=GIGABYTE // 100, memory_bytes=memory_bytes)
    return a_problem(nodes, sources, llm=llm, cluster=cluster, live_requests_max=live_requests_max)


class Life:
    """When each pipeline of a plan opens and closes, and who is in it."""

    def __init__(self, problem, plan):
        self.opens = {step.pipeline: step.at_ns for step in plan.steps if isinstance(step, Activate)}
        self.switches = {step.old: step for step in plan.steps if isinstance(step, Switch)}
        self.places = {each.id: {stage.place for stage in each.stages} for each in plan.pipelines}
        self.receivers = {target.place for target in problem.targets}
        self.receivers -= {holding.place for holding in problem.holdings}
        self.over_nodes = [each for each in plan.pipelines if len(self.places[each.id]) > 1]
        self.over_nodes.sort(key=lambda each: self.opens[each.id])

    def span(self, pipeline):
        return self.opens[pipeline.id], self.switches[pipeline.id].at_ns


def check(problem, plan):
    """What must hold for the pipelines of every plan, beyond the checker's rules."""
    life = Life(problem, plan)
    alone = {next(iter(places)) for places in life.places.values() if len(places) == 1}
    assert alone >= life.receivers
    for pipeline in life.over_nodes:
        places = life.places[pipeline.id]
        assert len(places) <= MEMBERS_MAX
        opened, closed = life.span(pipeline)
        assert opened < closed
        successor = life.switches[pipeline.id].new
        assert life.places[successor] & places & life.receivers, "requests leave all receivers that know them"
        assert life.opens[successor] == closed
    switches = [step for step in plan.steps if isinstance(step, Switch)]
    assert sorted(step.old for step in switches) == sorted(pipeline.id for pipeline in life.over_nodes)
    for place in life.receivers:
        spans = sorted(life.span(each) for each in life.over_nodes if place in life.places[each.id])
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    return life


@given(
    receivers=st.integers(1, 9),
    sources=st.integers(1, 4),
    layers=st.integers(1, 9),
    tied=st.booleans(),
    rate=st.integers(1, 1000),
    data=st.data(),
)
@settings(max_examples=120, deadline=None)
def test_pipelines_of_many_problems(receivers, sources, layers, tied, rate, data):
    llm = an_llm(layers, layer_bytes=LAYER_BYTES, tied=tied)
    nodes = receivers + sources
    shape = data.draw(st.sampled_from(["star", "mixed", "racks"]))
    cluster = {
        "star": lambda: a_cluster(nodes, rate=GIGABYTE // rate),
        "mixed": lambda: star(nodes, (GIGABYTE // rate, 3 * GIGABYTE // rate, 2 * GIGABYTE // rate)),
        "racks": lambda: two_racks((nodes + 1) // 2, uplink=GIGABYTE // rate),
    }[shape]()
    problem = a_problem(nodes, sources, llm=llm, cluster=cluster)
    check(problem, planned(problem, data.draw(st.integers(1, layers))))


@given(spare=st.integers(-3, 400), receivers=st.integers(1, 5), sources=st.integers(1, 2), tied=st.booleans())
@settings(max_examples=120, deadline=None)
def test_pipelines_never_take_memory_that_is_not_there(spare, receivers, sources, tied):
    roomy = a_slow_load(sources + receivers, sources, tied=tied)
    plan = planned(roomy, 8)
    stage = next(each.stages[0] for each in plan.pipelines if each.id == "llm@n0/gpu0")
    pipeline_bytes = stage.kv_bytes + stage.workspace_bytes
    memory_bytes = sum(blob.bytes for blob in plan.blobs) + pipeline_bytes + spare * pipeline_bytes // 50
    problem = a_slow_load(sources + receivers, sources, tied=tied, memory_bytes=memory_bytes)
    outcome = solve(problem, Request(blocks=8))
    if spare < 0:
        assert isinstance(outcome, Infeasible)
    else:
        check(problem, outcome.verified.plan)


def test_memory_that_just_fits_and_one_byte_less():
    problem = a_slow_load(3)
    plan = planned(problem, 8)
    stage = next(each.stages[0] for each in plan.pipelines if each.id == "llm@n0/gpu0")
    needed = sum(blob.bytes for blob in plan.blobs) + stage.kv_bytes + stage.workspace_bytes
    exact = a_slow_load(3, memory_bytes=needed)
    assert check(exact, planned(exact, 8)).over_nodes == []
    short = solve(a_slow_load(3, memory_bytes=needed - 1), Request(blocks=8))
    assert isinstance(short, Infeasible)
    # The holder need not serve, so only the targets are in conflict.
    assert [(each.rule, each.where) for each in short.conflicts] == [("MEM", "n1/gpu0"), ("MEM", "n2/gpu0")]
    assert all(each.sentence.endswith(": 1 bytes are missing") for each in short.conflicts)


def test_pipelines_over_nodes_appear_as_memory_grows():
    plan = planned(a_slow_load(5), 8)
    stage = next(each.stages[0] for each in plan.pipelines if each.id == "llm@n0/gpu0")
    pipeline_bytes = stage.kv_bytes + stage.workspace_bytes
    needed = sum(blob.bytes for blob in plan.blobs) + pipeline_bytes
    counts = []
    for extra in range(60):
        problem = a_slow_load(5, memory_bytes=needed + extra * pipeline_bytes // 8)
        counts.append(len(check(problem, planned(problem, 8)).over_nodes))
    assert counts[0] == 0
    assert counts[-1] == len(check(a_slow_load(5), plan).over_nodes) > 0
    assert sum(before != after for before, after in itertools.pairwise(counts)) > 1, "no step between none and all"


@pytest.mark.parametrize("receivers", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("blocks", [2, 4, 8])
def test_the_first_blob_that_arrives_is_put_to_work(receivers, blocks):
    # The first blob holds the first units: its receiver computes them for the source from that instant on.
    problem = a_slow_load(1 + receivers)
    plan = planned(problem, blocks)
    life = check(problem, plan)
    first = min(step.end_ns for step in plan.steps if isinstance(step, Transfer))
    pipeline = life.over_nodes[0]
    assert life.opens[pipeline.id] == first
    assert "n0/gpu0" in life.places[pipeline.id]
    local = next(each for each in plan.pipelines if each.id == "llm@n0/gpu0")
    assert max(decode_ns(problem, pipeline)) < max(decode_ns(problem, local))


def test_a_source_is_no_member_where_that_would_not_help():
    # All the time goes into one layer: a pipeline with two stages is no quicker than the source alone.
    llm = an_llm(2, layer_bytes=LAYER_BYTES)
    heavy = attrs.evolve(llm.units[2], flops_per_token=10**13)
    problem = attrs.evolve(
        a_slow_load(2, layers=2), llms=(attrs.evolve(llm, units=(*llm.units[:2], heavy, llm.units[3])),)
    )
    life = check(problem, planned(problem, 2))
    local = next(each for each in planned(problem, 2).pipelines if each.id == "llm@n0/gpu0")
    for pipeline in life.over_nodes:
        if "n0/gpu0" in life.places[pipeline.id]:
            assert max(decode_ns(problem, pipeline)) < max(decode_ns(problem, local))


@pytest.mark.parametrize(("nodes", "sources"), [(4, 2), (6, 2), (8, 2), (6, 3), (8, 4)])
def test_receivers_serve_together_from_their_first_cover(nodes, sources):
    problem = a_slow_load(nodes, sources, layers=12)
    plan = planned(problem, 12)
    life = check(problem, plan)
    held, cover = set(), None
    arrivals = sorted((step.end_ns, step.blob) for step in plan.steps if isinstance(step, Transfer))
    for at, blob in arrivals:
        held.add(blob)
        if len(held) == len(plan.blobs):
            cover = at
            break
    first = next(each for each in life.over_nodes if life.places[each.id] <= life.receivers)
    assert life.opens[first.id] == cover


def test_nothing_is_formed_when_a_token_takes_longer_than_the_load():
    llm = an_llm(4)
    slow = tuple(attrs.evolve(unit, flops_per_token=10**15) for unit in llm.units)
    problem = a_problem(4, llm=attrs.evolve(llm, units=slow))
    assert check(problem, planned(problem, 4)).over_nodes == []


@pytest.mark.parametrize("units", [1, 2, 5, 9])
def test_slow_receivers_do_not_slow_a_crowded_source_down(units):
    # The source has room for so many units beside its own pipeline: the rest would fall to devices far slower.
    problem = a_slow_load(3)
    plan = planned(problem, 8)
    stage = next(each.stages[0] for each in plan.pipelines if each.id == "llm@n0/gpu0")
    needed = sum(blob.bytes for blob in plan.blobs) + stage.kv_bytes + stage.workspace_bytes
    spare = 2 * (2 * stage.workspace_bytes + units * stage.kv_bytes // 8)
    slow = attrs.evolve(TOY, name="slow", memory_bytes_per_second=GIGABYTE)
    places = tuple(
        attrs.evolve(place, memory_bytes=needed + spare)
        if place.id == "n0/gpu0"
        else attrs.evolve(place, device="slow")
        if place.device
        else place
        for place in problem.cluster.places
    )
    cluster = attrs.evolve(problem.cluster, device_kinds=(TOY, slow), places=places)
    problem = attrs.evolve(problem, cluster=cluster)
    life = check(problem, planned(problem, 8))
    local = next(each for each in planned(problem, 8).pipelines if each.id == "llm@n0/gpu0")
    for pipeline in life.over_nodes:
        if "n0/gpu0" in life.places[pipeline.id]:
            assert max(decode_ns(problem, pipeline)) < max(decode_ns(problem, local))
