"""Resizes, drawn into a plan wherever the checker allows them: pipelines open with fewer slots, shrink and grow.

Afterwards stages and leaders must agree on what there is room for.
"""

import random
from collections.abc import Iterator, Mapping

import attrs

from executor.daemon import Daemon
from specs.checker import VerifiedPlan, verify
from specs.invariants.facts import Facts
from specs.plan import Activate, Pipeline, Plan, Resize, Step, StepId
from tests.plans import certified

_TRIES = 4


def with_resizes(verified: VerifiedPlan, chance: random.Random) -> VerifiedPlan:
    """Give the plan with as many resizes as were drawn and are allowed; it may be the plan itself."""
    if not Facts(verified.problem, verified.plan).slots_at_first:
        return verified  # nothing serves
    for _ in range(chance.randint(0, _TRIES)):
        changed = _drawn(verified, chance)
        judged = verify(verified.problem, certified(verified.problem, changed))
        if isinstance(judged, VerifiedPlan):
            verified = judged
    return verified


def _drawn(verified: VerifiedPlan, chance: random.Random) -> Plan:
    facts, plan = Facts(verified.problem, verified.plan), verified.plan
    pipeline = facts.pipelines[chance.choice(sorted(facts.slots_at_first))]
    slots = chance.randint(1, pipeline.slots)
    match chance.choice(("opens with fewer", "shrinks and grows", "has others at the end")):
        case "opens with fewer":
            steps = tuple(_opened(step, pipeline, slots) for step in plan.steps)
            last = _resize(pipeline, facts.slots_at_end(pipeline.id), plan)
            return attrs.evolve(plan, steps=steps if chance.random() < 0.5 else (*steps, last))
        case "shrinks and grows":
            less = _resize(pipeline, slots, plan)
            shrunk = attrs.evolve(plan, steps=(*plan.steps, less))
            more = _resize(pipeline, facts.slots_at_end(pipeline.id), shrunk)
            return attrs.evolve(plan, steps=(*shrunk.steps, more))
        case _:
            # Anywhere: what stands behind it has the next number.
            place = chance.randint(0, len(plan.steps))
            before, after = plan.steps[:place], plan.steps[place:]
            resize = Resize(
                id=StepId(place), pipeline=pipeline.id, slots=slots, at_ns=max(map(_ends_ns, before), default=0)
            )
            later = tuple(attrs.evolve(step, id=StepId(step.id + 1)) for step in after)
            return attrs.evolve(plan, steps=(*before, resize, *later))


def _opened(step: Step, pipeline: Pipeline, slots: int) -> Step:
    is_its = isinstance(step, Activate) and step.pipeline == pipeline.id
    return attrs.evolve(step, slots=slots) if is_its else step


def _resize(pipeline: Pipeline, slots: int, plan: Plan) -> Resize:
    """At the end of the plan."""
    id_ = StepId(max((step.id for step in plan.steps), default=-1) + 1)
    return Resize(id=id_, pipeline=pipeline.id, slots=slots, at_ns=max(map(_ends_ns, plan.steps), default=0))


def _ends_ns(step: Step) -> int:
    return step.end_ns if hasattr(step, "end_ns") else step.at_ns


def misfits(daemons: Mapping[str, Daemon]) -> Iterator[str]:
    """Say where a stage has room for other slots than its leader believes; a change under way may be half done."""
    for daemon in daemons.values():
        for name, leader in daemon._run.leaders.items():
            if leader.resizing.is_under_way or leader._shut:
                continue
            most = leader.resizing.slots * leader.pipeline.request_tokens_max
            for index, planned in enumerate(leader.pipeline.stages):
                member = daemons.get(planned.place.partition("/")[0])
                stage = None if member is None else member._run._host.stage(name, index)
                if stage is not None and stage.cache.kv_tokens != most:
                    yield f"stage {index} of {name} has room for {stage.cache.kv_tokens} tokens, the leader says {most}"
