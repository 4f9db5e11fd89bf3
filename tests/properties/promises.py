"""What plans promise beyond movement, read a second time: standbys, tables, services and predictions.

What a length, a share of requests or a percentile is worth is worked out by the functions of `specs` themselves: they
have brute forces of their own.  Which of them are asked, and about what, is found here.
"""

from collections.abc import Iterator
from fractions import Fraction
from math import ceil

from specs import queueing
from specs.cluster import PlaceKind
from specs.decisions.latency.prediction import Prediction
from specs.decisions.layout import faults as layout_faults
from specs.decisions.speculation import lengths
from specs.drafting import length_question
from specs.plan import Plan, Switch
from specs.problem import Problem
from specs.services import answer_of, offer
from specs.ways import NoWay
from tests.properties.hand_overs import with_slots

SECOND = 10**9


def broken_promises(problem: Problem, plan: Plan) -> Iterator[str]:
    """Everything promised that is not so, in words."""
    yield from _standbys(problem, plan)
    yield from _tables(problem, plan)
    closed = {step.old for step in plan.steps if isinstance(step, Switch)}
    pipelines = [*(each.pipeline for each in problem.running), *plan.pipelines]
    end = 1 + max((step.id for step in plan.steps), default=0)
    lasting = [with_slots(problem, plan, pipeline, end) for pipeline in pipelines if pipeline.id not in closed]
    for service in problem.services:
        mine = tuple(pipeline for pipeline in lasting if pipeline.llm == service.llm)
        if not mine or any(stage.place not in service.places for each in mine for stage in each.stages):
            yield f"{service.llm} is served by nobody, or where it must not be"
            return
        found = offer(problem, service)
        yield from layout_faults.faults(found.question, answer_of(plan, mine, found))
    for slo in problem.slos:
        if any(pipeline.llm == slo.llm for pipeline in lasting):
            try:
                seen = queueing.predict(problem, plan, slo.llm)
            except (NoWay, ValueError) as error:
                yield f"{slo.llm} cannot be predicted: {error}"
                continue
            if not isinstance(seen, Prediction) or seen.ttft_ns > slo.ttft_ns_max or seen.tpot_ns > slo.tpot_ns_max:
                yield f"{slo.llm} is predicted as {seen}, not as promised"


def _standbys(problem: Problem, plan: Plan) -> Iterator[str]:
    links = {link.id: link for link in problem.cluster.links}
    devices = {place.id for place in problem.cluster.places if place.kind is PlaceKind.DEVICE}
    allowed = {(standby.llm, place) for standby in problem.standbys for place in standby.places}
    kept = [(resident.llm, resident.place) for resident in plan.residents]
    if not set(kept) <= allowed or len(kept) != len(set(kept)):
        yield "a copy stands by where it must not, or twice"
    held_bytes = {llm.id: sum(blob.bytes for blob in plan.blobs if blob.llm == llm.id) for llm in problem.llms}
    starts: dict[str, list[int]] = {}
    for resident in plan.residents:
        way = [] if resident.route is None else [links[link] for link in plan.routes[resident.route].links]
        ends = (way[0].source, way[-1].destination) if way else (resident.place, resident.place)
        if ends[0] != resident.place or ends[1] not in devices:
            yield f"{resident.llm} does not get from {resident.place} into a device"
        moving = 0
        if way:
            rate = min(link.bytes_per_second for link in way)
            moving = ceil(Fraction(held_bytes[resident.llm] * SECOND, rate)) + sum(link.latency_ns for link in way)
        starts.setdefault(resident.llm, []).append(moving)
    for standby in problem.standbys:
        if min(starts.get(standby.llm, [standby.start_ns_max + 1])) > standby.start_ns_max:
            yield f"{standby.llm} stands by too far away"


def _tables(problem: Problem, plan: Plan) -> Iterator[str]:
    targets = {target.llm for target in problem.targets}
    measured = {each.llm: each for each in problem.profile.draftings if each.llm in targets}
    if sorted(each.llm for each in plan.speculations) != sorted(measured):
        yield "tables of speculation that do not match what was measured"
        return
    slos = {slo.llm: slo for slo in problem.slos}
    for each in plan.speculations:
        yield from lengths.faults(length_question(measured[each.llm], slos.get(each.llm)), each.table)
