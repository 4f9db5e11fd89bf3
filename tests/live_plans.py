"""Plans that begin from open pipelines and keep every invariant."""

from collections.abc import Callable, Mapping

import attrs

from specs.handing_over import ROUNDS_MAX, far_pairs, pre_copy
from specs.llm import Llm
from specs.plan import Continuity, HandOver, KvPath, Pipeline, Plan
from specs.problem import Holding, Problem, Running, Target
from specs.profile import DeviceRate, Profile
from specs.timing import links_by_id
from specs.wishes import Objective, Service
from tests.builders import GIGABYTE, TOY, a_problem
from tests.plans import SLOTS, Draft, a_pipeline, a_route, a_stage, blobs_of, gpu, local

# An iteration of ten units takes 100 microseconds and a bit: KV is written at a hundredth of the rate of the links.
SLOW = DeviceRate(
    device="toy",
    dtype="F32",
    flops_per_second=TOY.flops_per_second_fp32,
    memory_bytes_per_second=TOY.memory_bytes_per_second,
    overhead_ns_per_unit=10_000,
    source="made up",
)


def a_running_problem(
    nodes: int, running: tuple[Pipeline, ...], *, targets: tuple[int, ...] = (), holders: tuple[int, ...] = ()
) -> Problem:
    """Pipelines of one LLM run on what their places hold, all or their stage's half; other holders have all of it."""
    base = a_problem(nodes)
    (llm,) = base.llms
    border = blobs_of(llm, 2)[0].end_tensor
    holdings = [Holding(llm=llm.id, place=gpu(node)) for node in holders]
    for stage in (stage for pipeline in running for stage in pipeline.stages):
        first = border if stage.first_unit else 0
        end = None if stage.end_unit == len(llm.units) else border
        holdings.append(Holding(llm=llm.id, place=stage.place, first_tensor=first, end_tensor=end))
    return attrs.evolve(
        base,
        profile=Profile(rates=(SLOW,)),
        holdings=tuple(holdings),
        targets=tuple(Target(llm=llm.id, place=gpu(node)) for node in targets),
        running=tuple(Running(pipeline=each, live_requests=SLOTS, live_tokens=SLOTS * 32) for each in running),
    )


def a_pair(llm: Llm, name: str, left: str, right: str) -> Pipeline:
    """Two stages, one for each of two blobs."""
    second = blobs_of(llm, 2)[1]
    border = next(index for index, unit in enumerate(llm.units) if unit.tensors[0] >= second.first_tensor)
    return a_pipeline(name, llm, (left, 0, border), (right, border, len(llm.units)))


def wider(pipeline: Pipeline, llm: Llm, slots: int) -> Pipeline:
    """The pipeline with more slots, and the room that they need."""
    stages = tuple(a_stage(llm, each.place, each.first_unit, each.end_unit, slots) for each in pipeline.stages)
    return attrs.evolve(pipeline, slots=slots, stages=stages)


def copy(
    draft: Draft,
    old: Pipeline,
    new: Pipeline,
    start_ns: int,
    *,
    rate: int = GIGABYTE,
    slots: Mapping[str, int] = {},
) -> int:
    """Add a switch that copies KV in as many rounds as leave as little as rounds can; return when it is done.

    `slots` are those in force, where a pipeline has not all of its own.
    """
    old, new = (attrs.evolve(each, slots=slots.get(each.id, each.slots)) for each in (old, new))
    llm = draft.problem.llm(old.llm)
    paths = []
    for source, destination in far_pairs(llm, old, new):
        route = a_route(old.stages[source].place, new.stages[destination].place)
        if route not in draft.routes:
            draft.routes.append(route)
        index = draft.routes.index(route)
        paths.append(KvPath(old_stage=source, new_stage=destination, route=index, bytes_per_second=rate))
    asked = pre_copy(draft.problem, links_by_id(draft.problem.cluster), draft.routes, old, new, paths)
    rest = asked.left_tokens(ROUNDS_MAX)[-1]
    rounds = asked.rounds(rest)
    assert rounds
    hand_over = HandOver(
        start_ns=start_ns,
        rounds_max=rounds,
        rest_tokens_max=rest,
        copy_tokens_min=0,
        pause_ns=asked.pause_ns(rest),
        paths=tuple(paths),
    )
    done = start_ns + asked.rounds_ns(rounds) + hand_over.pause_ns
    draft.switch(old, new, done, Continuity.COPY, hand_over)
    return done


def a_join() -> tuple[Problem, Plan]:
    """Two stages become one: the first stage's node gets the other half and serves alone; the second gives it up."""
    (llm,) = a_problem().llms
    pair = a_pair(llm, "pair", gpu(0), gpu(1))
    problem = a_running_problem(3, (pair,), targets=(0,))
    draft = Draft(problem, blobs_of(llm, 2))
    alone = local(llm, gpu(0))
    opened = draft.open(alone, draft.move(draft.blobs[1], gpu(1), gpu(0)))
    done = copy(draft, pair, alone, opened)
    draft.release(draft.blobs[1], gpu(1), done)
    return problem, draft.plan()


def a_split() -> tuple[Problem, Plan]:
    """One stage becomes two on other nodes; its node gives everything up."""
    (llm,) = a_problem().llms
    alone = local(llm, gpu(0))
    service = Service(llm=llm.id, places=(gpu(1), gpu(2)), objective=Objective.GOODPUT, depth_max=2)
    problem = attrs.evolve(a_running_problem(3, (alone,)), services=(service,))
    draft = Draft(problem, blobs_of(llm, 2))
    first, second = draft.blobs
    pair = a_pair(llm, "pair", gpu(1), gpu(2))
    opened = draft.open(pair, max(draft.move(first, gpu(0), gpu(1)), draft.move(second, gpu(0), gpu(2))))
    done = copy(draft, alone, pair, opened, rate=GIGABYTE // 2)
    for blob in draft.blobs:
        draft.release(blob, gpu(0), done)
    return problem, draft.plan()


def a_growth() -> tuple[Problem, Plan]:
    """A pipeline is kept with a larger weight, and another opens beside it."""
    (llm,) = a_problem().llms
    kept = local(llm, gpu(0))
    problem = a_running_problem(2, (kept,), targets=(0, 1))
    draft = Draft(problem, blobs_of(llm, 2))
    draft.open(local(llm, gpu(1)), max([draft.move(blob, gpu(0), gpu(1)) for blob in draft.blobs]))
    plan = draft.plan()
    return problem, attrs.evolve(plan, routing=(attrs.evolve(plan.routing[0], weight=2), *plan.routing[1:]))


def a_drain() -> tuple[Problem, Plan]:
    """Of two pipelines one is kept and takes over what the other has: its node drains and gives everything up."""
    (llm,) = a_problem().llms
    kept, old = local(llm, gpu(0)), local(llm, gpu(1))
    problem = a_running_problem(2, (kept, old), targets=(0,))
    draft = Draft(problem, blobs_of(llm, 2))
    draft.switch(old, kept, 10**6, Continuity.DRAIN)
    for blob in draft.blobs:
        draft.release(blob, gpu(1), 10**6)
    return problem, draft.plan()


def a_merge() -> tuple[Problem, Plan]:
    """Two pipelines become one on a third node, with the slots of both."""
    (llm,) = a_problem().llms
    olds = local(llm, gpu(0)), local(llm, gpu(1))
    problem = a_running_problem(3, olds, targets=(2,))
    draft = Draft(problem, blobs_of(llm, 2))
    new = wider(local(llm, gpu(2)), llm, 2 * SLOTS)
    opened = draft.open(new, max([draft.move(blob, gpu(index), gpu(2)) for index, blob in enumerate(draft.blobs)]))
    for old in olds:
        copy(draft, old, new, opened, rate=GIGABYTE // 2)
    return problem, draft.plan()


def a_handing_on() -> tuple[Problem, Plan]:
    """A node is replaced: what runs on the first moves to the second by the hand of a pair over both."""
    (llm,) = a_problem().llms
    first = local(llm, gpu(0))
    problem = a_running_problem(2, (first,), targets=(1,))
    draft = Draft(problem, blobs_of(llm, 2))
    pair, last = a_pair(llm, "pair", gpu(0), gpu(1)), local(llm, gpu(1))
    there = draft.move(draft.blobs[1], gpu(0), gpu(1))
    draft.open(pair, there)
    done = copy(draft, first, pair, there, rate=GIGABYTE // 2)
    draft.open(last, draft.move(draft.blobs[0], gpu(0), gpu(1), not_before=done))
    done = copy(draft, pair, last, draft.held[draft.blobs[0].id, gpu(1)])
    for blob in draft.blobs:
        draft.release(blob, gpu(0), done)
    return problem, draft.plan()


def a_squeeze(spare_bytes: int = 0) -> tuple[Problem, Plan]:
    """One stage becomes two, the first of them on its own device, which has room for both with three slots each.

    So what runs is shrunk to three of its slots, its successor opens with three, and gets the fourth when there is room
    again.  The device has this many bytes more than both need.
    """
    (llm,) = a_problem().llms
    alone, pair, fewer = local(llm, gpu(0)), a_pair(llm, "pair", gpu(0), gpu(1)), SLOTS - 1
    needed = sum(blob.bytes for blob in blobs_of(llm, 2)) + spare_bytes
    for pipeline in (alone, pair):
        stage = pipeline.stages[0]
        needed += stage.kv_bytes * fewer // SLOTS + stage.workspace_bytes
    problem = a_running_problem(2, (alone,))
    places = tuple(
        attrs.evolve(place, memory_bytes=needed) if place.id == gpu(0) else place for place in problem.cluster.places
    )
    draft = Draft(attrs.evolve(problem, cluster=attrs.evolve(problem.cluster, places=places)), blobs_of(llm, 2))
    second = draft.blobs[1]
    there = draft.move(second, gpu(0), gpu(1))
    shrunk = draft.resize(alone, fewer, 10**6)
    opened = draft.open(pair, max(there, shrunk + 1), fewer)
    slots = {alone.id: fewer, pair.id: fewer}
    done = copy(draft, alone, pair, opened, slots=slots)
    draft.release(second, gpu(0), done)
    draft.resize(pair, SLOTS, done + 1)
    return draft.problem, draft.plan()


LIVE: dict[str, Callable[[], tuple[Problem, Plan]]] = {
    "join": a_join,
    "split": a_split,
    "growth": a_growth,
    "drain": a_drain,
    "merge": a_merge,
    "handing on": a_handing_on,
    "squeeze": a_squeeze,
}
