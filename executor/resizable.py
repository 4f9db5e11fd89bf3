"""Where KV can give memory back: in the memory of hosts, page by page; on a GPU all of it is taken at once."""

from collections.abc import Mapping

import torch

from executor.errors import FixedKv
from specs.cluster import PlaceId
from specs.invariants.facts import Facts
from specs.plan import Plan
from specs.problem import Problem


def check_resizable(problem: Problem, plan: Plan, devices: Mapping[PlaceId, torch.device]) -> None:
    """Raise FixedKv where a pipeline is to have fewer slots than all, at any time, on a device that gains nothing."""
    facts = Facts(problem, plan)
    for name in facts.slots_at_first:
        pipeline = facts.pipelines[name]
        fewest = min(slots for _, slots in facts.slots_over_time(name))
        for stage in pipeline.stages:
            device = devices.get(stage.place)
            if fewest < pipeline.slots and device is not None and device.type != "cpu":
                raise FixedKv(
                    f"{name} is to have {fewest} of its {pipeline.slots} slots for a time, but {stage.place} is "
                    f"{device} here, where the KV of all takes its memory at once, for as long as the pipeline lives: "
                    "holdfast plan --fixed-slots leaves slots alone"
                )
