"""Hand-overs of KV, read a second time: sets of units for runs of them, rounds acted out one by one."""

from collections.abc import Iterator
from fractions import Fraction
from math import ceil

import attrs

from specs.plan import Activate, HandOver, Pipeline, Plan, Resize, Stage, Switch
from specs.problem import Problem
from specs.timing import device_rate

SECOND = 10**9


def decode_ns(problem: Problem, pipeline: Pipeline, stage: Stage, slots: int) -> int:
    """Time of a stage for one token of each of so many requests at the mean context."""
    llm = problem.llm(pipeline.llm)
    place = next(place for place in problem.cluster.places if place.id == stage.place)
    rate, workload = device_rate(problem, place, llm.dtype), problem.workload(llm.id)
    context = slots * (workload.prompt_tokens_mean + ceil(Fraction(workload.output_tokens_mean, 2)))
    units = llm.units[stage.first_unit : stage.end_unit]
    flops = sum(unit.flops_per_token * slots + unit.flops_per_token_of_context * context for unit in units)
    read = sum(llm.tensors[index].bytes for index in {index for unit in units for index in unit.tensors})
    read += sum(unit.kv_bytes_per_token * context for unit in units)
    longer = max(Fraction(flops * SECOND, rate.flops_per_second), Fraction(read * SECOND, rate.memory_bytes_per_second))
    return ceil(longer) + rate.overhead_ns_per_unit * len(units)


def with_slots(problem: Problem, plan: Plan, pipeline: Pipeline, until: int) -> Pipeline:
    """The pipeline with the slots that it has after the steps before this one."""
    found = [row.slots for row in problem.running if row.pipeline.id == pipeline.id]
    found += [
        step.slots
        for step in plan.steps
        if isinstance(step, Activate | Resize) and step.pipeline == pipeline.id and step.id < until
    ]
    return attrs.evolve(pipeline, slots=(found and found[-1]) or pipeline.slots)


def broken_hand_overs(problem: Problem, plan: Plan) -> Iterator[str]:
    """Everything that is wrong with how KV is copied, in words.  The plan's names exist."""
    pipelines = {each.id: each for each in (*(row.pipeline for row in problem.running), *plan.pipelines)}
    copies = [step for step in plan.steps if isinstance(step, Switch) and step.hand_over is not None]

    def at(name: str, switch: Switch) -> Pipeline:
        return with_slots(problem, plan, pipelines[name], switch.id)

    for switch in copies:
        earlier = [
            each for each in copies if each.new == switch.new and (each.at_ns, each.id) <= (switch.at_ns, switch.id)
        ]
        if sum(at(each.old, each).slots for each in earlier) > at(switch.new, switch).slots:
            yield f"{switch.new} has too few slots for all who are handed over"
    for switch in copies:
        old, new = at(switch.old, switch), at(switch.new, switch)
        if new.request_tokens_max < old.request_tokens_max:
            yield f"switch {switch.id}: contexts that do not fit"
        ways = list(_ways(problem, plan, switch.hand_over, old, new))
        if None in ways or len(switch.hand_over.paths) != sum(far for _, _, far in ways):
            yield f"switch {switch.id}: paths that are not those of its stages"
        else:
            yield from _late(problem, switch, old, new, [(rate, latency) for rate, latency, _ in ways])


def _ways(
    problem: Problem, plan: Plan, hand_over: HandOver, old: Pipeline, new: Pipeline
) -> Iterator[tuple[Fraction, int, bool] | None]:
    """For each pair of stages with layers in common: nanoseconds per token, latency, whether a path is needed."""
    llm, links = problem.llm(old.llm), {link.id: link for link in problem.cluster.links}
    for source, ours in enumerate(old.stages):
        for destination, theirs in enumerate(new.stages):
            units = set(range(ours.first_unit, ours.end_unit)) & set(range(theirs.first_unit, theirs.end_unit))
            size = sum(llm.units[unit].kv_bytes_per_token for unit in units)
            if not size:
                continue
            if ours.place == theirs.place:
                place = next(place for place in problem.cluster.places if place.id == ours.place)
                rate = device_rate(problem, place, llm.dtype).memory_bytes_per_second
                yield Fraction(2 * size * SECOND, rate), 0, False
                continue
            found = [each for each in hand_over.paths if (each.old_stage, each.new_stage) == (source, destination)]
            walk = [links[link] for each in found for link in plan.routes[each.route].links]
            if len(found) != 1 or (walk[0].source, walk[-1].destination) != (ours.place, theirs.place):
                yield None
                continue
            latency = sum(link.latency_ns for link in walk)
            yield Fraction(size * SECOND, found[0].bytes_per_second), latency, True


def _late(
    problem: Problem, switch: Switch, old: Pipeline, new: Pipeline, ways: list[tuple[Fraction, int]]
) -> Iterator[str]:
    """Act the rounds out with every slot full, and see whether they and the pause take longer than is said."""

    def copy_ns(tokens: int) -> int:
        return max((ceil(tokens * per_token) + latency for per_token, latency in ways), default=0)

    hand_over, most = switch.hand_over, old.slots * old.request_tokens_max
    latency = max((wait for _, wait in ways), default=0)
    batches = min(len(old.stages), old.slots)
    times = [decode_ns(problem, old, stage, ceil(Fraction(old.slots, batches))) for stage in old.stages]
    drafted = [each.length_max for each in problem.profile.draftings if each.llm == old.llm]
    under_way = old.slots * (1 + max(drafted, default=0))
    left, spent, rounds = most, 0, 0
    while min(left + under_way, most) > hand_over.rest_tokens_max and rounds < min(hand_over.rounds_max, 30):
        span = copy_ns(left) + 3 * latency
        spent, rounds = spent + span, rounds + 1
        left = min(most, under_way * (1 + span // sum(times)))
    if min(left + under_way, most) > hand_over.rest_tokens_max or hand_over.rounds_max > 30:
        yield f"switch {switch.id}: {left} tokens are left after {rounds} rounds"
    pause = copy_ns(min(hand_over.rest_tokens_max, most)) + 5 * latency
    pause += batches * max(times) if batches > 1 else 0
    iteration = sum(decode_ns(problem, new, stage, new.slots) for stage in new.stages)
    if hand_over.pause_ns < pause + iteration or switch.at_ns < hand_over.start_ns + spent + hand_over.pause_ns:
        yield f"switch {switch.id}: it takes longer than it says"
    for slo in problem.slos:
        if slo.llm == old.llm and slo.pause_ns_max is not None and hand_over.pause_ns - iteration > slo.pause_ns_max:
            yield f"switch {switch.id}: a pause longer than promised"
