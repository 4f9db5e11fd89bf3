"""What an answer achieves: latencies of a pipeline, goodput, devices, cost, and what must move to get there.

A pipeline is a ring: m batches of b requests circulate through stages of times t_1 .. t_S with hops between them.
Every stage and every hop takes one batch at a time, in turn, so a batch comes round once in

    max(t_1 + hops + .. + t_S + round, m max(t_1, .., t_S, hops)),

exactly, when times do not vary: neither the batch's own way nor the busiest stage's work for all m can be shorter, and
in the schedule of that period every stage finds its next batch waiting.  That period is the time per output token.
"""

from enum import StrEnum
from itertools import pairwise

from specs.decisions.layout.answer import Answer, Replica, Stage
from specs.decisions.layout.question import Question
from specs.units import NANOS_PER_SECOND, Bytes, Nanos

MILLI = 1000


class Objective(StrEnum):
    """What is best."""

    GOODPUT = "goodput"  # most output tokens per second
    COST = "cost"  # least cost per hour
    DEVICES = "devices"  # fewest devices
    TPOT = "tpot"  # least time per output token of the slowest pipeline
    TTFT = "ttft"  # least time to the first token of the slowest pipeline


def kv_tokens(question: Question, replica: Replica) -> int:
    """Tokens of KV that a pipeline reserves."""
    return replica.slots * question.context_tokens


def stage_bytes(question: Question, replica: Replica, stage: Stage) -> Bytes:
    """Bytes of weights, KV and workspace on each device of a stage, rounded up."""
    run_bytes = question.weight_sums[stage.end_unit] - question.weight_sums[stage.first_unit]
    run_kv = question.kv_sums[stage.end_unit] - question.kv_sums[stage.first_unit]
    parts = question.shape[stage.shape].devices
    workspace = question.pace[stage.shape, replica.batch].workspace_bytes
    if question.prompt is not None:
        workspace = max(workspace, question.prompt_pace[stage.shape].workspace_bytes)
    return Bytes(-(-(run_bytes + run_kv * kv_tokens(question, replica)) // parts) + workspace)


def hop_ns(question: Question, replica: Replica, tokens: int) -> list[Nanos]:
    """Times of a pipeline's hops, in order."""
    groups = [question.shape[stage.shape].group for stage in replica.stages]
    return [question.hop[pair].ns(tokens) for pair in pairwise(groups)]


def tpot_ns(question: Question, replica: Replica) -> Nanos:
    """Time per output token of a full pipeline."""
    stages = replica.stages
    own = [question.pace[s.shape, replica.batch].ns(s.first_unit, s.end_unit) for s in stages]
    hops = hop_ns(question, replica, replica.batch)
    return Nanos(max(sum(own) + sum(hops) + question.round_ns, replica.in_flight * max(own + hops)))


def ttft_ns(question: Question, replica: Replica) -> Nanos:
    """Time until a prompt has passed an idle pipeline: its c chunks take t_1 + .. + t_S + hops + (c - 1) max(t, hops).

    Raises ValueError when the question does not say how long prompts take.
    """
    if question.prompt is None:
        raise ValueError("the question does not say how long prompts take")
    tokens = question.prompt.paces[0].batch
    own = [question.prompt_pace[s.shape].ns(s.first_unit, s.end_unit) for s in replica.stages]
    hops = hop_ns(question, replica, tokens)
    return Nanos(sum(own) + sum(hops) + question.round_ns + (question.prompt.chunks - 1) * max(own + hops))


def rate_millitokens_per_second(question: Question, replica: Replica) -> int:
    """Output of a full pipeline, rounded down."""
    return replica.slots * MILLI * NANOS_PER_SECOND // max(1, tpot_ns(question, replica))


def moved_units(question: Question, answer: Answer) -> int:
    """Units that devices must load: for each device those that it computes and did not compute in what runs.

    A device keeps a unit only as the same part of it: with the same number of devices in its stage.
    """
    held = {
        (question.shape[stage.shape].group, device): (len(stage.devices), stage.first_unit, stage.end_unit)
        for replica in question.running
        for stage in replica.stages
        for device in stage.devices
    }
    moved = 0
    for replica in answer.replicas:
        for stage in replica.stages:
            for device in stage.devices:
                parts, first, end = held.get((question.shape[stage.shape].group, device), (0, 0, 0))
                kept = max(0, min(end, stage.end_unit) - max(first, stage.first_unit))
                moved += stage.end_unit - stage.first_unit - (kept if parts == len(stage.devices) else 0)
    return moved


def value(question: Question, answer: Answer, objective: Objective) -> int:
    """What an answer without faults achieves: millitokens/s, cost per hour, devices, or ns."""
    replicas = answer.replicas
    stages = [stage for replica in replicas for stage in replica.stages]
    match objective:
        case Objective.GOODPUT:
            return sum(rate_millitokens_per_second(question, replica) for replica in replicas)
        case Objective.COST:
            return sum(question.group[question.shape[s.shape].group].cost_per_hour * len(s.devices) for s in stages)
        case Objective.DEVICES:
            return sum(len(stage.devices) for stage in stages)
        case Objective.TPOT:
            return max(tpot_ns(question, replica) for replica in replicas)
        case Objective.TTFT:
            return max(ttft_ns(question, replica) for replica in replicas)
