"""Changes on devices full of KV: pipelines go on with fewer slots, until what they close into has room for all of its.

Each layer takes a MiB, a slot's KV in half of the layers half a MiB, a stage's workspace two.
"""

from itertools import combinations, product

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.outcome import Infeasible, Planned, Undecided
from planner.reconfiguring.beginning import begin
from planner.reconfiguring.differences import difference
from planner.reconfiguring.impossible import most_elsewhere, never_live
from planner.reconfiguring.picture import draw
from planner.reconfiguring.settled import layout
from planner.search import Search
from planner.solve import solve
from specs.cluster import PlaceKind
from specs.invariants.facts import Facts
from specs.plan import Activate, Continuity, Resize, Switch, Transfer
from specs.problem import Holding, Running, Target
from specs.timing import decode_ns, kv_bytes, unit_bytes
from tests.builders import a_cluster, a_problem
from tests.planner.reconfiguring.cases import MEBIBYTE, a_service, heavy, places
from tests.plans import a_pipeline, gpu
from tests.running_clusters import after, planned, reached, replanned


def verified(outcome):
    assert isinstance(outcome, Planned), outcome
    return outcome.verified


def only(plan, kind):
    return [step for step in plan.steps if isinstance(step, kind)]


def full(nodes):
    """Pipelines of two devices with eight slots fill these."""
    return attrs.evolve(a_service(nodes, memory=10 * MEBIBYTE + MEBIBYTE * 17 // 32, live=8), llms=(heavy(kv=2048),))


def moved(requests, **options):
    """From devices 1 and 2 to 2 and 3: beside both pipelines' workspace, device 2 has room for five slots in all."""
    begun = begin(after(full((1, 2)), planned(full((1, 2))).plan, requests=requests), full((2, 3)))
    return solve(begun.problem, attrs.evolve(begun.request, **options))


def fitting(problem, old, new):
    """Every pair of numbers of slots with which both fit beside the weights of both, device by device."""
    (llm,) = problem.llms
    memory = {place.id: place.memory_bytes for place in problem.cluster.places}
    for pair in product(range(1, old.slots + 1), range(1, new.slots + 1)):
        used = {}
        for pipeline, slots in zip((old, new), pair, strict=True):
            for stage in pipeline.stages:
                kv = kv_bytes(llm, stage.first_unit, stage.end_unit, slots * pipeline.request_tokens_max)
                units = set(range(stage.first_unit, stage.end_unit))
                size, held = used.get(stage.place, (0, set()))
                used[stage.place] = size + kv + stage.workspace_bytes, held | units
        sizes = {
            place: size + sum(unit_bytes(llm, unit, unit + 1) for unit in held) for place, (size, held) in used.items()
        }
        if all(size + 1024 <= memory[place] for place, size in sizes.items()):  # of padding in blobs
            yield pair


@pytest.mark.slow
@given(
    memory=st.integers(8 * MEBIBYTE, 12 * MEBIBYTE), requests=st.integers(0, 8), kv=st.sampled_from([1024, 2048, 4096])
)
@settings(max_examples=20, deadline=None)
def test_slots_are_found_wherever_some_fit(memory, requests, kv):
    before, wanted = (
        attrs.evolve(a_service(nodes, memory=memory, live=8), llms=(heavy(kv=kv),)) for nodes in ((1, 2), (2, 3))
    )
    first = solve(before)
    if not isinstance(first, Planned):
        return
    begun = begin(after(before, first.verified.plan, requests=requests), wanted)
    best = layout(begun.problem, begun.request, Search())
    if len(begun.problem.running) != 1 or len(best.pipelines) != 1:
        return
    (running,), (new,) = begun.problem.running, best.pipelines
    pairs = list(fitting(begun.problem, running.pipeline, new))
    outcome = solve(begun.problem, begun.request)
    if not isinstance(outcome, Planned) or [each.stages for each in outcome.verified.plan.pipelines] != [new.stages]:
        assert pairs == []
        return
    resized = [step for step in only(outcome.verified.plan, Resize) if step.pipeline == running.pipeline.id]
    if resized:
        waiting = max(0, running.live_requests - resized[0].slots)
        assert waiting <= min(max(0, running.live_requests - slots) for slots, _ in pairs)


def sizes(plan, pipeline):
    """How many slots it has, one after the other."""
    first = [step.slots for step in only(plan, Activate) if step.pipeline == pipeline]
    return first + [step.slots for step in only(plan, Resize) if step.pipeline == pipeline]


@pytest.mark.parametrize(("requests", "old", "new"), [(0, 2, 3), (2, 2, 3), (3, 3, 2), (4, 4, 1)])
def test_no_request_waits_where_that_fits(requests, old, new):
    plan = verified(moved(requests)).plan
    (opened,) = plan.pipelines
    assert places(opened) == [gpu(3), gpu(2)]
    assert (sizes(plan, "llm/serve-0"), sizes(plan, opened.id)) == ([old], [new, 8])
    (shrunk, _) = only(plan, Resize)
    assert shrunk.at_ns == 0


def test_where_there_are_slots_for_all_kv_is_copied():
    plan = verified(moved(2)).plan
    (switch,) = only(plan, Switch)
    assert switch.continuity is not Continuity.DRAIN
    (grown,) = (step for step in only(plan, Resize) if step.pipeline == switch.new)
    assert (plan.steps[-1], grown.slots) == (grown, 8)


def test_requests_that_are_too_many_come_to_their_end_first():
    result = verified(moved(6))
    plan = result.plan
    (shrunk, _) = only(plan, Resize)
    (running,) = result.problem.running
    lap_ns = sum(decode_ns(result.problem, running.pipeline))
    assert (sizes(plan, "llm/serve-0"), shrunk.at_ns) == ([4], 64 * lap_ns)
    assert min(step.start_ns for step in only(plan, Transfer)) > shrunk.at_ns
    (switch,) = only(plan, Switch)
    assert switch.continuity is Continuity.DRAIN  # its successor has a single slot


def test_slots_that_may_not_change_need_a_stop():
    outcome = moved(2, fixed_slots=True)
    assert isinstance(outcome, Undecided)
    assert "with one slot" not in outcome.sentence
    assert "stop llm/serve-0 first (--stop)" in outcome.conflicts[0].gives[0].sentence


def deeper(depth):
    """Memory is what limits this LLM: two devices with a half each have room for four times as many requests."""
    cluster = a_cluster(4, memory_bytes=16 * MEBIBYTE)
    llm = heavy(flops=10**6)
    base = a_problem(4, 1, llm=llm, live_requests_max=8, cluster=cluster)
    service = attrs.evolve(a_service((1, 2)).services[0], depth_max=depth)
    return attrs.evolve(base, targets=(), services=(service,))


@pytest.mark.parametrize("requests", [0, 1, 2])
def test_two_pipelines_become_a_deeper_one_on_the_same_devices(requests):
    flat = deeper(1)
    result = verified(replanned(after(flat, planned(flat).plan, requests=requests), deeper(2)))
    plan = result.plan
    assert [each.pipeline.slots for each in result.problem.running] == [2, 2]
    (opened,) = plan.pipelines
    assert (places(opened), opened.slots) == ([gpu(1), gpu(2)], 8)
    assert [switch.new for switch in only(plan, Switch)] == [opened.id] * 2
    assert only(plan, Transfer) == []
    assert [sizes(plan, each.pipeline.id) for each in result.problem.running] == [[1], [1]]
    assert sizes(plan, opened.id) == [1, 8]


def three(at_2, at_3, room):
    """Two LLMs on each of two devices: of each, weights take 2 MiB, workspace 2, the KV of eight slots 4."""
    llms = tuple(attrs.evolve(heavy(layers=2), id=name) for name in ("a", "b", "c"))
    base = a_problem(4, 1, llm=llms[0], live_requests_max=8, cluster=a_cluster(4, memory_bytes=room))
    places = tuple(
        attrs.evolve(place, kind=PlaceKind.HOST, device=None) if place.id == gpu(0) else place
        for place in base.cluster.places
    )
    return attrs.evolve(
        base,
        llms=llms,
        workloads=tuple(attrs.evolve(base.workloads[0], llm=llm.id) for llm in llms),
        cluster=attrs.evolve(base.cluster, places=places),
        holdings=tuple(Holding(llm=llm.id, place=gpu(0)) for llm in llms),
        targets=tuple(Target(llm=llm, place=gpu(node)) for node, names in ((2, at_2), (3, at_3)) for llm in names),
    )


@pytest.mark.parametrize(("room", "kept"), [(17.1, []), (16.1, [6, 8])])
def test_who_has_no_part_in_it_makes_room_only_where_it_must(room, kept):
    """While b and c change places, a has as many slots as can be beside both with one each."""
    room = int(room * MEBIBYTE)
    before = three("ab", "ac", room)
    state = after(before, planned(before).plan, requests=1)
    plan = verified(replanned(state, three("ac", "ab", room))).plan
    assert sorted(each.llm for each in plan.pipelines) == ["b", "c"]
    assert [sizes(plan, f"a@{gpu(node)}") for node in (2, 3)] == [kept, kept]
    assert sizes(plan, f"b@{gpu(2)}") == [1]


def test_a_pipeline_that_has_few_slots_now_has_all_at_the_end():
    wish = a_service((1, 2))
    state = reached(wish)
    few = tuple(
        attrs.evolve(node, leads=tuple(attrs.evolve(load, slots=3) for load in node.leads)) for node in state.nodes
    )
    plan = verified(replanned(attrs.evolve(state, nodes=few), wish)).plan
    (step,) = plan.steps
    assert isinstance(step, Resize)
    assert (step.pipeline, step.slots) == ("llm/serve-0", 4)


def crowded(memory):
    """A pipeline leaves device 1 for device 2, the only others; its request's KV is as large as all weights."""
    base = a_service((2,), size=3, live=1, memory=memory)
    llm = heavy(kv=16 * 1024)
    sizes = {"slots": 1, "request_tokens_max": 64, "iteration_tokens_max": 64}
    running = attrs.evolve(a_pipeline("old", llm, (gpu(1), 0, 2), (gpu(2), 2, 10)), **sizes)
    stages = tuple(
        attrs.evolve(stage, kv_bytes=kv_bytes(llm, stage.first_unit, stage.end_unit, 64)) for stage in running.stages
    )
    running = attrs.evolve(running, stages=stages)
    places = tuple(
        attrs.evolve(place, kind=PlaceKind.HOST, device=None) if place.id == gpu(0) else place
        for place in base.cluster.places
    )
    places = tuple(attrs.evolve(place, memory_bytes=4 * MEBIBYTE) if place.id == gpu(1) else place for place in places)
    held = (Holding(llm="llm", place=gpu(1), end_tensor=2), Holding(llm="llm", place=gpu(2), first_tensor=2))
    return attrs.evolve(
        base,
        llms=(llm,),
        cluster=attrs.evolve(base.cluster, places=places),
        holdings=(*base.holdings, *held),
        running=(Running(pipeline=running, live_requests=1, live_tokens=9),),
    )


def test_what_no_plan_can_do_is_infeasible_with_the_least_bad_way():
    """At device 2: 8 MiB of weights, twice as much KV, but for 2 MiB that fit into device 1 with their weights."""
    needed = (8 + 8 + 8 - 2) * MEBIBYTE + 2 * 1024 + 64  # embedding, norm and head
    outcome = solve(crowded(needed - 1))
    assert isinstance(outcome, Infeasible), outcome
    (conflict,) = outcome.conflicts
    assert (conflict.rule, conflict.where) == ("MEM", gpu(2))
    assert f"needs {needed:,} bytes" in conflict.sentence
    (give,) = conflict.gives
    assert "stop old first (--stop): 1 requests wait" in give.sentence
    assert isinstance(solve(attrs.evolve(crowded(needed - 1), running=())), Planned)
    assert list(never_live(crowded(needed))) == []


@given(kv=st.lists(st.integers(0, 9), min_size=1, max_size=6), data=st.data())
@settings(max_examples=50, deadline=None)
def test_no_units_have_more_kv_elsewhere_than_the_bound_says(kv, data):
    weights = data.draw(st.lists(st.integers(0, 9), min_size=len(kv), max_size=len(kv)))
    room = data.draw(st.integers(0, 40))
    pairs = list(zip(kv, weights, strict=True))
    chosen = [each for count in range(len(pairs) + 1) for each in combinations(pairs, count)]
    most = max(sum(own for own, _ in each) for each in chosen if sum(map(sum, each)) <= room)
    assert most <= most_elsewhere(kv, weights, room) <= sum(kv)


def test_longer_requests_than_pipelines_take_are_infeasible_while_they_run():
    wish = a_service((1, 2))
    longer = attrs.evolve(wish, workloads=(attrs.evolve(wish.workloads[0], request_tokens_max=96),))
    outcome = replanned(reached(wish), longer)
    assert isinstance(outcome, Infeasible)
    assert [(each.rule, each.where) for each in outcome.conflicts] == [("REF", "pipeline llm/serve-0")]
    assert [give.limit for give in outcome.conflicts[0].gives] == ["pause of llm/serve-0"]
    verified(replanned(reached(wish), longer, stopped=frozenset({"llm/serve-0"})))


def test_what_it_says_of_slots():
    result = verified(moved(2))
    facts, found = Facts(result.problem, result.plan), difference(result)
    (old, new) = found.fewer
    (switch,) = only(result.plan, Switch)
    assert (old.pipeline, old.slots, old.slots_max, old.from_ns, old.until_ns) == (
        "llm/serve-0", 2, 8, 0, switch.at_ns
    )  # fmt: skip
    assert (new.slots, new.from_ns, new.until_ns) == (3, facts.opened_ns[new.pipeline], found.lasts_ns)
    assert (old.kv_bytes, old.kv_bytes_max) == (2 * MEBIBYTE, 8 * MEBIBYTE)
    assert [each.ending for each in found.fewer] == [0, 0]
    assert [each.ending for each in difference(verified(moved(6))).fewer] == [2, 0]
    assert "llm/serve-0:g2" in draw(result, found)
