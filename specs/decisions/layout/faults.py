"""Every way in which an answer is wrong, a sentence each."""

from collections.abc import Iterator
from itertools import pairwise

from specs.decisions.layout import values
from specs.decisions.layout.answer import Answer, Replica, Stage
from specs.decisions.layout.question import Question


def faults(question: Question, answer: Answer) -> Iterator[str]:
    """Say what is wrong with an answer; nothing when it keeps every rule of the question.

    Times and memory are judged only where names, devices and borders are right.
    """
    if not answer.replicas:
        yield "there is no pipeline: at least one is needed"
    clean = []
    used: set[tuple[str, int]] = set()
    for index, replica in enumerate(answer.replicas):
        wrong = [*_stage_faults(question, replica), *_row_faults(question, replica)]
        wrong += list(_shared_devices(question, replica, used)) if not wrong else []
        clean += [replica] if not wrong else []
        wrong += list(_limit_faults(question, replica)) if not wrong else []
        yield from (f"pipeline {index}: {fault}" for fault in wrong)
    if answer.replicas and len(clean) == len(answer.replicas):
        yield from _whole_faults(question, answer)


def _stage_faults(question: Question, replica: Replica) -> Iterator[str]:
    for number, stage in enumerate(replica.stages):
        where = f"stage {number}"
        if stage.shape not in question.shape:
            yield f"{where} has shape {stage.shape}, which is not described"
        elif (stage.shape, replica.batch) not in question.pace:
            yield f"{where}: there is no pace of {stage.shape} at batch {replica.batch}"
        elif question.prompt is not None and stage.shape not in question.prompt_pace:
            yield f"{where}: there is no pace of {stage.shape} for prompts"
        else:
            yield from _device_faults(question, stage, where)


def _device_faults(question: Question, stage: Stage, where: str) -> Iterator[str]:
    shape = question.shape[stage.shape]
    group = question.group[shape.group]
    if list(stage.devices) != sorted(set(stage.devices)) or len(stage.devices) != shape.devices:
        yield f"{where} has devices {stage.devices}; {shape.devices} different ones in ascending order are needed"
    for device in stage.devices:
        if not 0 <= device < group.devices:
            yield f"{where} has device {device} of {group.name}, which has {group.devices}"
    if len({device // group.per_node for device in stage.devices}) > 1:
        yield f"{where} has devices {stage.devices} of {group.name}, which are on different nodes"


def _row_faults(question: Question, replica: Replica) -> Iterator[str]:
    """Every unit once, in order; neighbours joined by a hop."""
    done = 0
    for number, stage in enumerate(replica.stages):
        if stage.first_unit != done or stage.end_unit <= done:
            yield f"stage {number} has units {stage.first_unit} to {stage.end_unit} (exclusive); {done} would be next"
            return
        done = stage.end_unit
    if done != question.units:
        yield f"its stages end at unit {done} of {question.units}"
    groups = [question.shape[s.shape].group for s in replica.stages if s.shape in question.shape]
    for pair in pairwise(groups):
        if pair not in question.hop:
            yield f"a stage on {pair[0]} is followed by one on {pair[1]}, and no hop joins these groups"


def _shared_devices(question: Question, replica: Replica, used: set[tuple[str, int]]) -> Iterator[str]:
    for number, stage in enumerate(replica.stages):
        for device in stage.devices:
            each = (question.shape[stage.shape].group, device)
            if each in used:
                yield f"stage {number} has device {device} of {each[0]}, which has another stage"
            used.add(each)


def _limit_faults(question: Question, replica: Replica) -> Iterator[str]:
    limits = question.limits
    for number, stage in enumerate(replica.stages):
        needs = values.stage_bytes(question, replica, stage)
        has = question.group[question.shape[stage.shape].group].memory_bytes
        if needs > has:
            yield f"stage {number} needs {needs} bytes on each device; each has {has}"
    for what, found, allowed in (
        ("stages", len(replica.stages), limits.depth),
        ("batches in flight", replica.in_flight, limits.in_flight),
        ("slots", replica.slots, limits.slots),
        ("ns per output token", values.tpot_ns(question, replica), limits.tpot_ns),
    ):
        if allowed is not None and found > allowed:
            yield f"{found} {what}; at most {allowed} are allowed"
    if values.rate_millitokens_per_second(question, replica) == 0:
        yield "it gives less than a millitoken per second"
    if limits.ttft_ns is not None and values.ttft_ns(question, replica) > limits.ttft_ns:
        found = values.ttft_ns(question, replica)
        yield f"{found} ns to the first token; at most {limits.ttft_ns} are allowed"


def _whole_faults(question: Question, answer: Answer) -> Iterator[str]:
    """What the pipelines together must keep: demand, shares and moves."""
    demand = question.limits.demand_millitokens_per_second
    shares = sum(replica.weight for replica in answer.replicas)
    for index, replica in enumerate(answer.replicas):
        rate = values.rate_millitokens_per_second(question, replica)
        if demand * replica.weight > rate * shares:
            load = -(-demand * replica.weight // shares)
            yield f"pipeline {index}: its share of the demand is {load} millitokens/s; it gives {rate}"
    allowed = question.limits.moved_units
    if allowed is not None and (moved := values.moved_units(question, answer)) > allowed:
        yield f"{moved} units must be loaded to get there; at most {allowed} are allowed"
