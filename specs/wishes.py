"""What is wanted at the end where the planner may choose how: services and standbys.

A target (`specs.problem.Target`) says which device is to hold an LLM whole and serve it alone.  A service leaves the
devices and the pipelines over them to the planner, a standby the memories that keep an LLM ready to start.
"""

from enum import StrEnum

import attrs

from specs import fields
from specs.cluster import PlaceId
from specs.llm import LlmId
from specs.units import Nanos


class Objective(StrEnum):
    """What the planner makes as good as it can, once the workload and the SLO are met."""

    GOODPUT = "goodput"  # most tokens per second within the SLO
    LATENCY = "latency"  # least time per output token
    DEVICES = "devices"  # fewest devices
    COST = "cost"  # least rent


@attrs.frozen(kw_only=True)
class Service:
    """At the end, pipelines on some of these devices serve this LLM's workload, within its SLO if it has one."""

    llm: LlmId = fields.name()
    places: tuple[PlaceId, ...]  # devices that it may use; no other service and no target may
    objective: Objective
    depth_max: int = fields.positive(default=8)  # stages of one pipeline
    moves_max: int | None = None  # units that its devices may load, all together, beyond what each holds at the start


@attrs.frozen(kw_only=True)
class Standby:
    """At the end, a copy rests in a memory from which this LLM starts within this time.

    A start is the transfer of all its blobs into the memory of a device, by itself; what the device may have to give
    up for it, and other traffic at that moment, are not counted.
    """

    llm: LlmId = fields.name()
    places: tuple[PlaceId, ...]  # memories that may keep it, devices included
    start_ns_max: Nanos = fields.positive()
