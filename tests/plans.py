"""Plans that keep every invariant, small enough to read.  `tests.broken_plans` has one plan per broken rule."""

import itertools
from collections.abc import Callable

import attrs

from specs import codec
from specs.blobs import Blob, packed_bytes
from specs.certificates import certify
from specs.checker import Rejected, verify
from specs.invariants.facts import Facts
from specs.llm import Llm
from specs.plan import (
    FORMAT,
    Activate,
    Claim,
    Continuity,
    HandOver,
    Measure,
    Pipeline,
    Plan,
    Provenance,
    Release,
    Resize,
    Route,
    RoutingWeight,
    Stage,
    Step,
    Switch,
    Transfer,
)
from specs.problem import Problem
from specs.timing import kv_bytes, links_by_id, route_latency_ns, transfer_ns, workspace_bytes
from specs.wishes import Objective, Service
from tests.builders import GIGABYTE, a_cluster, a_digest, a_problem, an_llm

SLOTS, REQUEST_TOKENS, ITERATION_TOKENS = 4, 64, 32


def gpu(node: int) -> str:
    return f"n{node}/gpu0"


# --- parts -----------------------------------------------------------------------------------------------------------


def blobs_of(llm: Llm, count: int) -> tuple[Blob, ...]:
    """Cut an LLM of `an_llm` into `count` blobs of about as many tensors."""
    borders = [len(llm.tensors) * index // count for index in range(count + 1)]
    return tuple(
        Blob(
            id=f"{llm.id}/{index}",
            llm=llm.id,
            first_tensor=first,
            end_tensor=end,
            bytes=packed_bytes(llm, first, end),
        )
        for index, (first, end) in enumerate(itertools.pairwise(borders))
    )


def a_stage(llm: Llm, place: str, first_unit: int, end_unit: int, slots: int = SLOTS) -> Stage:
    return Stage(
        place=place,
        first_unit=first_unit,
        end_unit=end_unit,
        kv_bytes=kv_bytes(llm, first_unit, end_unit, slots * REQUEST_TOKENS),
        workspace_bytes=workspace_bytes(llm, end_unit, slots, ITERATION_TOKENS),
    )


def a_pipeline(name: str, llm: Llm, *runs: tuple[str, int, int]) -> Pipeline:
    return Pipeline(
        id=name,
        llm=llm.id,
        stages=tuple(a_stage(llm, *run) for run in runs),
        slots=SLOTS,
        request_tokens_max=REQUEST_TOKENS,
        iteration_tokens_max=ITERATION_TOKENS,
    )


def activations(*pipelines: Pipeline) -> tuple[Activate, ...]:
    return tuple(Activate(id=index, pipeline=each.id, at_ns=0) for index, each in enumerate(pipelines))


def local(llm: Llm, place: str) -> Pipeline:
    return a_pipeline(f"{llm.id}@{place}", llm, (place, 0, len(llm.units)))


def a_route(source: str, destination: str) -> Route:
    """The only route of `a_cluster` between two devices."""
    near, far = (place.replace("gpu", "nic") for place in (source, destination))
    return Route(links=(f"{source}>{near}", f"{near}>leaf", f"leaf>{far}", f"{far}>{destination}"))


@attrs.define
class Draft:
    """Lays steps one after another, each transfer as early as its ports and its blob allow."""

    problem: Problem
    blobs: tuple[Blob, ...]
    rate: int = GIGABYTE
    routes: list[Route] = attrs.field(factory=list)
    steps: list[Step] = attrs.field(factory=list)
    pipelines: list[Pipeline] = attrs.field(factory=list)
    free: dict[tuple[str, str], int] = attrs.field(factory=dict)
    held: dict[tuple[str, str], int] = attrs.field(factory=dict)

    def move(
        self,
        blob: Blob,
        source: str,
        destination: str,
        *,
        not_before: int = 0,
        links: tuple[str, ...] = (),
        rate: int = 0,
    ) -> int:
        """Add a transfer, by the only route of `a_cluster` unless links are given; return when it ends."""
        route = Route(links=links) if links else a_route(source, destination)
        if route not in self.routes:
            self.routes.append(route)
        rate = rate or self.rate
        ports = (("send", route.links[0]), ("receive", route.links[-1]))
        start = max(not_before, self.held.get((blob.id, source), 0), *(self.free.get(port, 0) for port in ports))
        latency = route_latency_ns(links_by_id(self.problem.cluster), route)
        end = start + transfer_ns(blob.bytes, rate, latency)
        self.free |= dict.fromkeys(ports, end)
        self.held[blob.id, destination] = end
        index = self.routes.index(route)
        self.steps.append(
            Transfer(id=len(self.steps), blob=blob.id, route=index, bytes_per_second=rate, start_ns=start, end_ns=end)
        )
        return end

    def open(self, pipeline: Pipeline, at_ns: int, slots: int | None = None) -> int:
        self.pipelines.append(pipeline)
        self.steps.append(Activate(id=len(self.steps), pipeline=pipeline.id, slots=slots, at_ns=at_ns))
        return at_ns

    def resize(self, pipeline: Pipeline, slots: int, at_ns: int) -> int:
        self.steps.append(Resize(id=len(self.steps), pipeline=pipeline.id, slots=slots, at_ns=at_ns))
        return at_ns

    def switch(
        self,
        old: Pipeline,
        new: Pipeline,
        at_ns: int,
        continuity: Continuity = Continuity.RECOMPUTE,
        hand_over: HandOver | None = None,
    ) -> None:
        step = Switch(
            id=len(self.steps), old=old.id, new=new.id, continuity=continuity, hand_over=hand_over, at_ns=at_ns
        )
        self.steps.append(step)

    def release(self, blob: Blob, place: str, at_ns: int) -> None:
        self.steps.append(Release(id=len(self.steps), blob=blob.id, place=place, at_ns=at_ns))

    def plan(self) -> Plan:
        """The first plan, or the one after a first plan where pipelines run."""
        running = [each.pipeline for each in self.problem.running]
        return certified(
            self.problem,
            Plan(
                format=FORMAT,
                problem=codec.digest(self.problem),
                parent=a_digest("the plan before it") if running else None,
                generation=2 if running else 1,
                provenance=Provenance(planner="hand/1", solvers=(), seed=0),
                blobs=self.blobs,
                routes=tuple(self.routes),
                pipelines=tuple(self.pipelines),
                steps=tuple(self.steps),
                routing=tuple(RoutingWeight(pipeline=each.id, weight=1) for each in (*running, *self.pipelines)),
                certificates=(),
            ),
        )


FORMULAS_OF_EVERY_LLM = (
    (Claim.COMPLETION, Measure.TICKS, "one-port-multicast-ticks"),
    (Claim.COMPLETION, Measure.NANOS, "one-port-multicast-ns"),
    (Claim.COMPLETION, Measure.NANOS, "port-bytes-ns"),
    (Claim.FIRST_COVER, Measure.TICKS, "one-port-cover-ticks"),
    (Claim.FIRST_COVER, Measure.NANOS, "one-port-cover-ns"),
    (Claim.FIRST_COVER, Measure.NANOS, "port-bytes-cover-ns"),
)


def certified(problem: Problem, plan: Plan) -> Plan:
    """The plan with true certificates of every sort, in place of those that it has."""
    facts = Facts(problem, plan)
    rows = [
        certify(facts, claim, llm, measure, formula)
        for llm in sorted(problem.wished)
        for claim, measure, formula in FORMULAS_OF_EVERY_LLM
        if claim is not Claim.FIRST_COVER or any(target.llm == llm for target in problem.targets)
    ]
    if facts.moves_several:
        rows.append(certify(facts, Claim.MAKESPAN, problem.name, Measure.NANOS, "makespan-distance-ns"))
    rows += [
        certify(facts, Claim.BOTTLENECK, pipeline.id, Measure.NANOS, "pipeline-bottleneck")
        for pipeline in facts.pipelines.values()
    ]
    # Bounds that say nothing are alike, and claimed once.
    once = {(row.claim, row.subject, row.measure, row.formula): row for row in rows}
    return attrs.evolve(plan, certificates=tuple(once.values()))


# --- good plans ------------------------------------------------------------------------------------------------------


def a_service(depth_max: int = 2, places: tuple[int, ...] = (1, 2)) -> tuple[Problem, Plan]:
    """Node 0 holds the LLM; nodes 1 and 2 get half of it each and serve it together."""
    base = a_problem(4, 1)
    wish = Service(llm="llm", places=tuple(map(gpu, places)), objective=Objective.GOODPUT, depth_max=depth_max)
    problem = attrs.evolve(base, targets=(), services=(wish,))
    (llm,) = problem.llms
    draft = Draft(problem, blobs_of(llm, 2))
    border = next(index for index, unit in enumerate(llm.units) if unit.tensors[0] >= draft.blobs[1].first_tensor)
    ends = [draft.move(draft.blobs[0], gpu(0), gpu(1)), draft.move(draft.blobs[1], gpu(0), gpu(2))]
    draft.open(a_pipeline("pair", llm, (gpu(1), 0, border), (gpu(2), border, len(llm.units))), max(ends))
    return problem, draft.plan()


def a_chain(nodes: int = 4, blobs: int = 3, *, problem: Problem | None = None) -> tuple[Problem, Plan]:
    """Node 0 holds the LLM; every blob goes from node to node; each node opens when it is complete."""
    problem = problem or a_problem(nodes)
    (llm,) = problem.llms
    draft = Draft(problem, blobs_of(llm, blobs))
    draft.open(local(llm, gpu(0)), 0)
    for blob in draft.blobs:
        for node in range(1, nodes):
            draft.move(blob, gpu(node - 1), gpu(node))
    for node in range(1, nodes):
        draft.open(local(llm, gpu(node)), max(draft.held[blob.id, gpu(node)] for blob in draft.blobs))
    return problem, draft.plan()


def a_rescue() -> tuple[Problem, Plan]:
    """Two receivers get one half each, serve together, exchange halves, then each serves alone."""
    problem = a_problem(3)
    (llm,) = problem.llms
    draft = Draft(problem, blobs_of(llm, 2))
    first, second = draft.blobs
    border = next(index for index, unit in enumerate(llm.units) if min(unit.tensors) >= first.end_tensor)
    draft.open(local(llm, gpu(0)), 0)
    draft.move(first, gpu(0), gpu(1))
    together = draft.move(second, gpu(0), gpu(2))
    pair = a_pipeline("pair", llm, (gpu(1), 0, border), (gpu(2), border, len(llm.units)))
    draft.open(pair, together)
    done = max(draft.move(first, gpu(1), gpu(2)), draft.move(second, gpu(2), gpu(1)))
    draft.open(local(llm, gpu(1)), done)
    draft.open(local(llm, gpu(2)), done)
    draft.switch(pair, draft.pipelines[-2], done)
    return problem, draft.plan()


def a_relocation() -> tuple[Problem, Plan]:
    """Node 0 hands its only copy over to node 1: it drains, closes and gives its memory up.  Two LLMs, one tied."""
    moved, stays = an_llm(name="moved"), an_llm(3, tied=True, name="stays")
    base = a_problem(3, llm=moved)
    problem = attrs.evolve(
        base,
        llms=(moved, stays),
        workloads=(base.workloads[0], attrs.evolve(base.workloads[0], llm=stays.id)),
        holdings=(*base.holdings, attrs.evolve(base.holdings[0], llm=stays.id, place=gpu(2))),
        targets=(
            attrs.evolve(base.targets[0], place=gpu(1)),
            attrs.evolve(base.targets[0], llm=stays.id, place=gpu(2)),
            attrs.evolve(base.targets[0], llm=stays.id, place=gpu(0)),
        ),
    )
    draft = Draft(problem, (*blobs_of(moved, 2), *blobs_of(stays, 2)))
    old, new = local(moved, gpu(0)), local(moved, gpu(1))
    draft.open(old, 0)
    draft.open(local(stays, gpu(2)), 0)
    done = max([draft.move(blob, gpu(0), gpu(1)) for blob in draft.blobs[:2]])
    draft.open(new, done)
    draft.switch(old, new, done, Continuity.DRAIN)
    for blob in draft.blobs[:2]:
        draft.release(blob, gpu(0), done)
    done = max([draft.move(blob, gpu(2), gpu(0), not_before=done + 1) for blob in draft.blobs[2:]])
    draft.open(local(stays, gpu(0)), done)
    return problem, draft.plan()


def two_chains() -> tuple[Problem, Plan]:
    """Node 0 holds two LLMs and sends one to node 1, then the other to node 2."""
    left, right = an_llm(name="left"), an_llm(name="right")
    base = a_problem(3, llm=left)
    problem = attrs.evolve(
        base,
        llms=(left, right),
        workloads=(base.workloads[0], attrs.evolve(base.workloads[0], llm=right.id)),
        holdings=(*base.holdings, attrs.evolve(base.holdings[0], llm=right.id)),
        targets=(
            attrs.evolve(base.targets[0], place=gpu(1)),
            attrs.evolve(base.targets[0], llm=right.id, place=gpu(2)),
        ),
    )
    draft = Draft(problem, (*blobs_of(left, 1), *blobs_of(right, 1)))
    draft.open(local(left, gpu(0)), 0)
    for llm, blob, place in zip(problem.llms, draft.blobs, (gpu(1), gpu(2)), strict=True):
        draft.open(local(llm, place), draft.move(blob, gpu(0), place))
    return problem, draft.plan()


def bytes_needed(plan: Plan) -> int:
    """What a device needs for all blobs and its local pipeline."""
    (stage,) = plan.pipelines[0].stages
    return sum(blob.bytes for blob in plan.blobs) + stage.kv_bytes + stage.workspace_bytes


def a_chain_in_memory(spare_bytes: int) -> tuple[Problem, Plan]:
    """A chain whose devices have this many bytes more than they need."""
    _, roomy = a_chain()
    cluster = a_cluster(4, memory_bytes=bytes_needed(roomy) + spare_bytes)
    return a_chain(problem=a_problem(4, cluster=cluster))


def a_relay_station() -> tuple[Problem, Plan]:
    """Node 1 wants nothing: it passes the blobs on from node 0 to node 2 and gives their memory up."""
    base = a_problem(3)
    problem = attrs.evolve(base, targets=base.targets[1:])
    (llm,) = problem.llms
    draft = Draft(problem, blobs_of(llm, 2))
    draft.open(local(llm, gpu(0)), 0)
    done = 0
    for blob in draft.blobs:
        draft.move(blob, gpu(0), gpu(1))
        done = draft.move(blob, gpu(1), gpu(2))
        draft.release(blob, gpu(1), done)
    draft.open(local(llm, gpu(2)), done)
    return problem, draft.plan()


GOOD: dict[str, Callable[[], tuple[Problem, Plan]]] = {
    "chain": a_chain,
    "rescue": a_rescue,
    "relocation": a_relocation,
    "relay station": a_relay_station,
    "two chains": two_chains,
    "tight": lambda: a_chain_in_memory(0),
}


# --- changes ---------------------------------------------------------------------------------------------------------


def broken(problem: Problem, plan: Plan) -> set[str]:
    """Ids of the rules that the checker finds broken; none when it accepts the plan."""
    verdict = verify(problem, plan)
    return {violation.rule for violation in verdict.violations} if isinstance(verdict, Rejected) else set()


def with_step(plan: Plan, index: int, **changes: object) -> Plan:
    """The plan with one step changed; a negative index counts from the end."""
    steps = list(plan.steps)
    steps[index] = attrs.evolve(steps[index], **changes)
    return attrs.evolve(plan, steps=tuple(steps))


def with_last(plan: Plan, step: Step) -> Plan:
    return attrs.evolve(plan, steps=(*plan.steps, step))


def with_stage(plan: Plan, **changes: object) -> Plan:
    """The plan with the first stage of the first pipeline changed, and no other left in it."""
    return with_pipeline(plan, 0, stages=(attrs.evolve(plan.pipelines[0].stages[0], **changes),))


def with_pipeline(plan: Plan, index: int, **changes: object) -> Plan:
    pipelines = list(plan.pipelines)
    pipelines[index] = attrs.evolve(pipelines[index], **changes)
    return attrs.evolve(plan, pipelines=tuple(pipelines))
