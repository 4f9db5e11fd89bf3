"""Plans for full devices, carried out by the core in random orders: no memory runs over, and all is done at the end."""

import random
from functools import cache

import pytest

from specs.invariants.facts import Facts
from specs.plan import Release, Resize, Switch
from tests.planner.reconfiguring.test_full_devices import deeper, moved, only, verified
from tests.protocols.test_memory_of_plans import carried_out
from tests.protocols.world import Faults
from tests.running_clusters import after, planned, replanned


@cache
def plans():
    """One device is used on, with few requests and with many; two pipelines become a deeper one."""
    deep = replanned(after(deeper(1), planned(deeper(1)).plan, requests=1), deeper(2))
    return [verified(each) for each in (moved(2), moved(6), deep)]


@pytest.mark.parametrize("faults", [Faults(), Faults(losses=2, lates=1, deaths=1)], ids=["no fault", "faults"])
def test_planned_resizes_are_carried_out(faults):
    for seed, result in enumerate(plans()):
        facts = Facts(result.problem, result.plan)
        _, world, most = carried_out(facts, faults, random.Random(seed))
        for place, used in most.items():
            assert used <= facts.places[place].memory_bytes
        if faults == Faults():
            for kind, done in (
                (Resize, {step for state in world.nodes for step in state.resized}),
                (Release, {step for state in world.nodes for step in state.released}),
            ):
                assert {step.id for step in only(result.plan, kind)} <= done
            closed = {name for state in world.nodes for name in state.closed}
            assert {step.old for step in only(result.plan, Switch)} <= closed
