"""For every invariant one plan that breaks exactly it; and the same plans one unit inside the rule."""

from collections.abc import Callable

import attrs

from specs import codec, queueing
from specs.decisions.latency.prediction import Prediction
from specs.decisions.layout.values import rate_millitokens_per_second
from specs.decisions.speculation.lengths import Load, Row, SpeculationTable, geometric
from specs.drafting import Drafting, Speculation
from specs.plan import Plan, Release, Resident, Resize, Switch
from specs.problem import Problem
from specs.profile import Profile
from specs.services import answer_of, offer
from specs.timing import links_by_id, route_latency_ns, transfer_ns
from specs.wishes import Standby
from specs.workload import Slo
from tests.builders import GIGABYTE, a_problem
from tests.live_plans import a_drain, a_join
from tests.plans import (
    Draft,
    a_chain,
    a_chain_in_memory,
    a_relocation,
    a_rescue,
    a_service,
    a_stage,
    blobs_of,
    certified,
    gpu,
    local,
    with_last,
    with_pipeline,
    with_step,
)


def two_in_a_row(gap_ns: int) -> tuple[Problem, Plan]:
    """Two blobs at half the link's rate; the second starts this long after the end of the first."""
    problem = a_problem(2)
    (llm,) = problem.llms
    draft = Draft(problem, blobs_of(llm, 2), rate=GIGABYTE // 2)
    draft.open(local(llm, gpu(0)), 0)
    ends = [draft.move(blob, gpu(0), gpu(1)) for blob in draft.blobs]
    draft.open(local(llm, gpu(1)), ends[-1])
    plan = draft.plan()
    start, end = plan.steps[2].start_ns, plan.steps[2].end_ns
    changed = with_step(plan, 2, start_ns=start + gap_ns, end_ns=end + gap_ns)
    return problem, certified(problem, with_step(changed, 3, at_ns=end + max(gap_ns, 0)))


def _ref() -> tuple[Problem, Plan]:
    problem, plan = a_chain()
    blob = attrs.evolve(plan.blobs[0], bytes=plan.blobs[0].bytes + 1)
    return problem, attrs.evolve(plan, blobs=(blob, *plan.blobs[1:]))


def _for() -> tuple[Problem, Plan]:
    _, plan = a_chain()
    return a_problem(4, live_requests_max=5), plan


def a_relay(early_ns: int) -> tuple[Problem, Plan]:
    """One blob over two hops; the second hop starts this long before the first one ends."""
    problem, plan = a_chain(3, 1)
    hop = plan.steps[2]
    changed = with_step(plan, 2, start_ns=hop.start_ns - early_ns, end_ns=hop.end_ns - early_ns)
    return problem, certified(problem, changed)


def a_rate(more: int) -> tuple[Problem, Plan]:
    """A transfer whose rate is this much above the capacity of its narrowest link."""
    problem, plan = a_chain()
    return problem, with_step(plan, 1, bytes_per_second=GIGABYTE + more)


def a_second_arrival() -> tuple[Problem, Plan]:
    problem, plan = a_chain()
    again = attrs.evolve(plan.steps[1], id=len(plan.steps), start_ns=10**9, end_ns=2 * 10**9)
    return problem, certified(problem, attrs.evolve(plan, steps=(*plan.steps, again)))


def _layer() -> tuple[Problem, Plan]:
    problem, plan = a_chain()
    (llm,) = problem.llms
    stages = (a_stage(llm, gpu(0), 0, 5), a_stage(llm, gpu(0), 4, len(llm.units)))
    return problem, certified(problem, with_pipeline(plan, 0, stages=stages))


def an_opening(early_ns: int) -> tuple[Problem, Plan]:
    """The last node opens this long before its last blob has arrived."""
    problem, plan = a_chain()
    return problem, with_step(plan, -1, at_ns=plan.steps[-1].at_ns - early_ns)


def _serve() -> tuple[Problem, Plan]:
    problem, plan = a_chain()
    return problem, attrs.evolve(plan, routing=plan.routing[1:])


def a_switch(*order: int) -> tuple[Problem, Plan]:
    """The last steps of a rescue in another order: 6 and 7 open local pipelines, 8 switches from the pair to 6's."""
    problem, plan = a_rescue()
    steps = [attrs.evolve(plan.steps[index], id=number) for number, index in enumerate((*range(6), *order))]
    return problem, certified(problem, attrs.evolve(plan, steps=tuple(steps)))


def a_rest(less: int) -> tuple[Problem, Plan]:
    """A hand-over that may leave this much less to the end than its rounds do."""
    problem, plan = a_join()
    index = next(index for index, step in enumerate(plan.steps) if isinstance(step, Switch))
    hand_over = plan.steps[index].hand_over
    return problem, with_step(
        plan, index, hand_over=attrs.evolve(hand_over, rest_tokens_max=hand_over.rest_tokens_max - less)
    )


def a_size(early_ns: int) -> tuple[Problem, Plan]:
    """What takes over shrinks this long before it has."""
    problem, plan = a_drain()
    shrink = Resize(id=99, pipeline=plan.steps[0].new, slots=1, at_ns=plan.steps[0].at_ns - early_ns)
    return problem, certified(problem, with_last(plan, shrink))


def a_release(early_ns: int) -> tuple[Problem, Plan]:
    """Memory is given up this long before the pipeline that needs it closes."""
    problem, plan = a_relocation()
    index = next(index for index, step in enumerate(plan.steps) if isinstance(step, Release))
    return problem, with_step(plan, index, at_ns=plan.steps[index].at_ns - early_ns)


def a_demand(more: int) -> tuple[Problem, Plan]:
    """A service whose requests take this much more, in millitokens per second, than its only pipeline gives."""
    problem, plan = a_service()
    (service,) = problem.services
    found = offer(problem, service)
    (replica,) = answer_of(plan, plan.pipelines, found).replicas
    most = rate_millitokens_per_second(found.question, replica)
    workload = problem.workloads[0]
    hourly = most * 3600 // (1000 * workload.output_tokens_mean) + more
    problem = attrs.evolve(problem, workloads=(attrs.evolve(workload, requests_per_hour=hourly),))
    return problem, attrs.evolve(plan, problem=codec.digest(problem))


def a_standby(less_ns: int) -> tuple[Problem, Plan]:
    """A standby that must start this much sooner than from its only copy, one route away."""
    problem, plan = a_chain(2, 1)
    (blob,) = plan.blobs
    links = links_by_id(problem.cluster)
    needed_ns = transfer_ns(blob.bytes, GIGABYTE, route_latency_ns(links, plan.routes[0]))
    standby = Standby(llm="llm", places=(gpu(0),), start_ns_max=needed_ns - less_ns)
    problem = attrs.evolve(problem, standbys=(standby,))
    resident = Resident(llm="llm", place=gpu(0), route=0)
    return problem, attrs.evolve(plan, problem=codec.digest(problem), residents=(resident,))


def a_speculation(less_ns: int) -> tuple[Problem, Plan]:
    """A table that says that its only length keeps a TPOT this much shorter than it is: 10 ms a pass, 1 token each."""
    load = Load(batch_max=4, draft_ns=0, draft_overhead_ns=0, verify_ns=(10**7,))
    drafting = Drafting(llm="llm", length_max=0, loads=(load,), acceptances=(geometric(0, 0),), source="made up")
    problem = attrs.evolve(
        a_problem(4),
        slos=(Slo(llm="llm", percentile=90, ttft_ns_max=10**9, tpot_ns_max=10**7 - less_ns),),
        profile=Profile(rates=(), draftings=(drafting,)),
    )
    problem, plan = a_chain(problem=problem)
    row = Row(service_class="llm", batch_max=4, acceptance_ppm_min=0, length=0, met=True)
    table = SpeculationTable(rows=(row,))
    return problem, attrs.evolve(plan, speculations=(Speculation(llm="llm", table=table),))


def a_promise(less_ns: int) -> tuple[Problem, Plan]:
    """An LLM whose TPOT is promised this much shorter than the prediction."""
    longest = Slo(llm="llm", percentile=90, ttft_ns_max=10**9, tpot_ns_max=10**9)
    asked, plan = a_chain(problem=attrs.evolve(a_problem(4), slos=(longest,)))
    found = queueing.predict(asked, plan, "llm")
    assert isinstance(found, Prediction)
    slo = attrs.evolve(longest, ttft_ns_max=found.ttft_ns, tpot_ns_max=found.tpot_ns - less_ns)
    return a_chain(problem=attrs.evolve(asked, slos=(slo,)))


def a_bound(more: int) -> tuple[Problem, Plan]:
    """The certificate of completion in nanoseconds claims this much more than can be proved."""
    problem, plan = a_chain()
    row = plan.certificates[1]
    changed = attrs.evolve(row, bound=row.bound + more)
    return problem, attrs.evolve(plan, certificates=(plan.certificates[0], changed, *plan.certificates[2:]))


BREAKS: dict[str, Callable[[], tuple[Problem, Plan]]] = {
    "REF": _ref,
    "FOR": _for,
    "CAUSE": lambda: a_relay(1),
    "PORT": lambda: two_in_a_row(-1),
    "LINK": lambda: a_rate(1),
    "MEM": lambda: a_chain_in_memory(-1),
    "FULL": a_second_arrival,
    "LAYER": _layer,
    "EARLY": lambda: an_opening(1),
    "SERVE": _serve,
    "SIZE": lambda: a_size(1),
    "UNDO": lambda: a_switch(8, 6, 7),
    "KV": lambda: a_rest(1),
    "LAST": lambda: a_release(1),
    "DEMAND": lambda: a_demand(1),
    "START": lambda: a_standby(1),
    "SPEC": lambda: a_speculation(1),
    "SLO": lambda: a_promise(1),
    "BOUND": lambda: a_bound(1),
}

# The same plans one unit inside the rule.
JUST_GOOD: dict[str, Callable[[], tuple[Problem, Plan]]] = {
    "CAUSE": lambda: a_relay(0),
    "PORT": lambda: two_in_a_row(0),
    "LINK": lambda: a_rate(0),
    "MEM": lambda: a_chain_in_memory(0),
    "EARLY": lambda: an_opening(0),
    "SIZE": lambda: a_size(0),
    "UNDO": lambda: a_switch(6, 8, 7),
    "KV": lambda: a_rest(0),
    "LAST": lambda: a_release(0),
    "DEMAND": lambda: a_demand(0),
    "START": lambda: a_standby(0),
    "SPEC": lambda: a_speculation(0),
    "SLO": lambda: a_promise(0),
    "BOUND": lambda: a_bound(0),
}
